//! Hints: what the user can do about an error of the library.

#[cfg(feature = "bundle")]
mod bundle;
#[cfg(feature = "image")]
mod image;
#[cfg(feature = "install")]
mod install;
#[cfg(feature = "install")]
mod lock;
#[cfg(feature = "install")]
mod network;
#[cfg(feature = "image")]
mod registry;
#[cfg(feature = "install")]
pub(crate) mod repodata;
#[cfg(feature = "lock")]
mod solve;

use std::io::ErrorKind;

use mlconda::{environment::EnvironmentError, prefix::PrefixError};

/// A part of the system's message for too many open files, which has no `ErrorKind`, and its hint.
pub(crate) const MANY_OPEN: &str = "oo many open files";
pub(crate) const MORE_OPEN: &str = "raise the limit with `ulimit -n`, or reduce `--threads` and `--downloads`";

/// The hint for an error, if there is one.
pub(crate) fn hint(error: &mlconda::Error) -> Option<String> {
    match error {
        mlconda::Error::Environment(EnvironmentError::Read(error)) => reading_hint(error),
        #[cfg(feature = "install")]
        mlconda::Error::Lock(error) => lock::lock_hint(error),
        mlconda::Error::Prefix(error) => prefix_hint(error),
        #[cfg(feature = "install")]
        mlconda::Error::Repodata(error) => repodata::repodata_hint(error),
        #[cfg(feature = "install")]
        mlconda::Error::Network(mlconda::network::NetworkError::Proxy { scheme, .. }) => Some(format!(
            "correct the variable `{}_PROXY` or `ALL_PROXY`, or `proxy_servers` in `.condarc`",
            scheme.to_uppercase()
        )),
        #[cfg(feature = "install")]
        mlconda::Error::Install(error) => install::install_hint(error),
        #[cfg(feature = "lock")]
        mlconda::Error::Solve(error) => solve::solve_hint(error),
        #[cfg(feature = "lock")]
        mlconda::Error::Pip(error) => solve::pip_hint(error),
        #[cfg(feature = "image")]
        mlconda::Error::Oci(error) | mlconda::Error::Image(mlconda::image::ImageError::Oci(error)) => {
            registry::hint(error)
        }
        #[cfg(feature = "image")]
        mlconda::Error::Image(error) => image::hint(error),
        #[cfg(feature = "bundle")]
        mlconda::Error::Bundle(error) => bundle::hint(error),
        _ => None,
    }
}

/// The hint of a command without a prefix, made of that of an installation.
#[cfg(feature = "install")]
pub(crate) fn without_prefix(hint: String) -> String {
    match hint.strip_prefix("the prefix is unchanged") {
        Some(rest) => {
            let mut rest = rest.trim_start_matches([';', '.', ' ']).to_owned();
            rest.get_mut(..1).into_iter().for_each(str::make_ascii_lowercase);
            rest
        }
        None => hint,
    }
}

fn prefix_hint(error: &PrefixError) -> Option<String> {
    match error {
        PrefixError::Read(error) | PrefixError::Record { source: error, .. }
            if error.kind() == ErrorKind::PermissionDenied =>
        {
            Some("you have no permission to read the prefix: change that with `chmod` or `chown`".to_owned())
        }
        PrefixError::Read(error) => io_hint(error),
        PrefixError::Record { .. } => {
            Some("the prefix is damaged: `mlconda verify PREFIX LOCK --repair` writes the record again".to_owned())
        }
        PrefixError::Changed { .. } => Some("run the command again: it reads the prefix as it is now".to_owned()),
        _ => None,
    }
}

/// The hint for a given file that cannot be read.
fn reading_hint(error: &std::io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::NotFound => "check the path, and the directory in which the command runs",
        ErrorKind::InvalidFilename => "the name is longer than the file system allows: give the file a shorter one",
        ErrorKind::PermissionDenied => "you have no permission to read the file: change that with `chmod` or `chown`",
        _ if error.to_string().to_lowercase().contains("is a directory") => {
            "name the file in it, as in `DIR/environment.yml`; a prefix is locked with `mlconda lock --from-prefix DIR`"
        }
        _ => return io_hint(error),
    };
    Some(hint.to_owned())
}

fn io_hint(error: &std::io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: nothing has changed; make room",
        ErrorKind::InvalidFilename => "choose a shorter name: file systems allow 255 bytes, and 4,095 for a whole path",
        ErrorKind::FileTooLarge if error.raw_os_error().is_some() || error.to_string().contains("os error") => {
            "the file is larger than a limit of the shell or container (`ulimit -f`), or of the file system"
        }
        ErrorKind::PermissionDenied => "choose a prefix that you can write to, with `-p DIR`",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only; choose another prefix, with `-p DIR`",
        _ if error.to_string().contains(MANY_OPEN) => MORE_OPEN,
        // This error has no `ErrorKind` either.
        _ if error.to_string().contains("nput/output error") => {
            "the disk or its file system has an error; the system log may say more"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
