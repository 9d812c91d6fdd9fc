//! Hints: what the user can do about an error of the library.

mod bundle;
mod image;
mod network;
mod registry;

use std::io::ErrorKind;

use mlconda::{
    environment::EnvironmentError,
    install::InstallError,
    lock::LockError,
    network::{Cause, NetworkError},
    pip::PipError,
    prefix::PrefixError,
    repodata::RepodataError,
    solve::{SolveError, VirtualDemand},
};

use self::network::Transfer;

/// A part of the system's message for too many open files, which has no `ErrorKind`, and its hint.
pub(crate) const MANY_OPEN: &str = "oo many open files";
pub(crate) const MORE_OPEN: &str = "raise the limit with `ulimit -n`, or reduce `--threads` and `--downloads`";

/// What to do about an error, where that is known.
pub(crate) fn hint(error: &mlconda::Error) -> Option<String> {
    match error {
        mlconda::Error::Environment(EnvironmentError::Read(error)) => reading_hint(error),
        mlconda::Error::Repodata(error) => repodata_hint(error),
        mlconda::Error::Solve(error) => solve_hint(error),
        mlconda::Error::Install(error) => install_hint(error),
        mlconda::Error::Lock(error) => lock_hint(error),
        mlconda::Error::Pip(error) => pip_hint(error),
        mlconda::Error::Prefix(error) => prefix_hint(error),
        mlconda::Error::Oci(error) | mlconda::Error::Image(mlconda::image::ImageError::Oci(error)) => {
            registry::hint(error)
        }
        mlconda::Error::Image(error) => image::hint(error),
        mlconda::Error::Bundle(error) => bundle::hint(error),
        _ => None,
    }
}

fn prefix_hint(error: &PrefixError) -> Option<String> {
    match error {
        PrefixError::Read(error) => io_hint(error),
        PrefixError::Record { .. } => {
            Some("the prefix is damaged: `mlconda verify PREFIX LOCK --repair` writes the record again".to_owned())
        }
        _ => None,
    }
}

fn lock_hint(error: &LockError) -> Option<String> {
    let hint = match error {
        LockError::File(error) if error.kind() == ErrorKind::NotFound => {
            "make a lock with `mlconda lock environment.yml`; `mlconda install` takes an environment.yml as well"
        }
        LockError::File(error) => return reading_hint(error),
        LockError::Prefix(error) => return prefix_hint(error),
        LockError::NotALock { .. } => {
            "an environment file is recognised by its name, `.yml` or `.yaml`; `mlconda lock` makes a lock from it"
        }
        LockError::Conflict { file } => {
            let format = match file.extension() {
                _ if file.ends_with("pixi.lock") => " --format pixi",
                Some(kind) if kind == "yml" => " --format conda-lock",
                _ => "",
            };
            return Some(format!(
                "`mlconda lock{format} --resolve-conflict` solves again, and keeps the packages of both sides where it can"
            ));
        }
        LockError::Selection { help, .. } => help,
        LockError::Format { .. } => "use the mlconda that wrote it, or a newer one",
        LockError::NoDigest { .. } => "index the channel again: newer indexers write sha256 sums",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn pip_hint(error: &PipError) -> Option<String> {
    let hint = match error {
        PipError::NoPython { .. } => "add `python` to the dependencies, with its version: `- python=3.12`",
        PipError::Conflict(_) => {
            "conda packages are solved first: change one of the two lines, or move the line of pip to the conda dependencies"
        }
        PipError::NoUv { .. } => {
            "install uv so that it is on `PATH`, or set `MLCONDA_UV` to its path, or add a channel that has it, such as conda-forge"
        }
        PipError::NoInterpreter => "install a python, or add a channel that has `uv` and `python` for this machine",
        PipError::OldUv { .. } => {
            "set `MLCONDA_UV` to the path of a newer uv; if there is no uv on `PATH`, mlconda installs it from the channels"
        }
        PipError::Tools(error) => return hint(error.downcast_ref()?),
        PipError::Unsolvable { message, .. } if message.contains("404 Not Found") => {
            "correct the URL: its server has no such file"
        }
        PipError::Unsolvable { message, .. } if ["401 Un", "403 Forb"].iter().any(|code| message.contains(code)) => {
            "the index needs a login: in its URL, as `https://${USER}:${PASSWORD}@host/simple`, or in `~/.netrc`"
        }
        PipError::Unsolvable { message, .. } if message.contains("UnknownIssuer") => {
            network::of(Cause::UnknownIssuer, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("407 Proxy") => {
            network::of(Cause::ProxyLogin, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("Git operation failed") => {
            "check the URL, the branch or tag, the network, and whether git has a login for it"
        }
        PipError::Unsolvable { message, .. } if message.contains("Failed to fetch") || message.contains("Connect") => {
            "check the network, the index (`PIP_INDEX_URL`, `pip.conf`, `--index-url` in the list), `HTTPS_PROXY` and \
             `NO_PROXY`; `--offline` uses cached data"
        }
        PipError::Unsolvable { message, lines, .. } if names_unknown_project(message, lines) => {
            "correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`"
        }
        PipError::UntrustedLocation { .. } => {
            "an index can refer to its own scheme or to https, never to files of this machine. If you trust the location, name it: \
             `NAME @ URL` in the list, or its directory with `--find-links`"
        }
        PipError::Python { .. } => {
            "ask for CPython: `- python=3.12=*_cpython`, or move the packages of pip to the conda dependencies"
        }
        PipError::Platform { .. } => "move the packages of pip to the conda dependencies",
        PipError::NoFittingFile { why, .. } if why.contains("hash") => {
            "if you know that the index replaced the file, correct the hash; otherwise somebody has changed the file"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether the unknown project is itself in the list, and not only a dependency.
fn names_unknown_project(message: &str, lines: &str) -> bool {
    let before: Vec<&str> = message.split(" was not found in the").collect();
    let names = before.iter().rev().skip(1).filter_map(|text| text.rsplit(' ').next());
    let mut names = names.map(|name| format!("asked for: `{}", name.trim()));
    names.any(|start| lines.to_lowercase().replace(['_', '.'], "-").contains(&start))
}

#[allow(clippy::too_many_lines, reason = "a table: an arm for each error")]
fn install_hint(error: &InstallError) -> Option<String> {
    let hint = match error {
        InstallError::File(error) => return io_hint(error),
        InstallError::Parent { source, .. } => return io_hint(source),
        InstallError::Changed { .. } => "run the command again: it reads the prefix as it is now",
        InstallError::Replaced { .. } => {
            "somebody else can rename directories there: find out who, before you install into it again"
        }
        InstallError::PartlyChanged { .. } => "remove the cause, and run the command again: it completes the prefix",
        InstallError::Busy { .. } => "wait until it has finished, and try again",
        InstallError::Occupied { .. } => "choose a directory that does not exist yet, or an empty one",
        InstallError::Download { source, .. } if source.to_string().contains(MANY_OPEN) => MORE_OPEN,
        InstallError::Download { source, .. } => {
            let error = source.downcast_ref::<NetworkError>();
            let help = network::of(error.map_or(Cause::Other, NetworkError::cause), Transfer::Package);
            return Some(format!("the prefix is unchanged; {help}"));
        }
        InstallError::Digest { .. } => {
            "the archive was not used. If you know that the server replaced the package, lock again; \
             otherwise somebody between you and the server has changed it"
        }
        InstallError::Packed { .. } => {
            "nothing was installed. Copy the file again; if it stays so, somebody has changed it: make it again from the lock"
        }
        InstallError::Damaged { .. } => "install once without `--offline`: it is then downloaded again",
        InstallError::Unusable { .. } => "choose another directory, with `-p DIR`",
        InstallError::Package { source, .. } if source.kind() == ErrorKind::InvalidFilename => {
            "the prefix is unchanged. Choose a shorter prefix; if that does not help, report it to the maintainers of the package"
        }
        InstallError::Expired { .. } => {
            "the prefix is unchanged. `--script-timeout SECONDS` waits longer (0: without a limit); `--no-scripts` installs \
             without running packages' scripts"
        }
        InstallError::Package { .. } => {
            "the prefix is unchanged. This is an error of the package: report it to its maintainers"
        }
        InstallError::ForeignLink { .. } => {
            "the files behind the link do not belong to the prefix: replace the link with a directory, or move it away, and run the command again"
        }
        InstallError::Untrusted { .. } => {
            "if you do not know who wrote it, check the prefix before you use it. Remove it (a journal with its directory \
             `.mlconda-old`): the next installation then links every package again"
        }
        InstallError::RecordName { .. } => {
            "no tool writes such a record: check the prefix before you use it, and remove the record"
        }
        InstallError::DirectoryInTheWay { .. } => "move your files out of the directory, and run the command again",
        InstallError::PathTypeClash { .. } => "remove one of the packages, or your own file at that path",
        InstallError::OutwardLink { .. } => "if you trust the package, allow the link with `--allow-outward-links`",
        InstallError::PrefixTooLong { .. } => "choose a shorter prefix",
        InstallError::SameDistribution { .. } => {
            "lock again: a package of a channel is not installed by pip as well. Or remove it from one of the two lists"
        }
        InstallError::WrongTags { .. } => "lock again, for this python and platform",
        InstallError::NoPip { .. } => {
            "add `pip` and the packages that the build needs to the environment.yml, and lock it again"
        }
        InstallError::BuildSkipped { .. } => "install without `--no-scripts`, or use a version that has a wheel",
        InstallError::GitOffline { .. } => "install without `--offline`",
        InstallError::Build { .. } => {
            "the prefix is unchanged. What the build needs, such as `setuptools`, must be a package of the environment"
        }
        InstallError::NoPython { .. } => "add `python` to the environment.yml and lock it again",
        InstallError::Script { .. } | InstallError::NoShell { .. } => {
            "`--no-scripts` installs without running packages' scripts"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a given file that cannot be read.
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

pub(crate) fn repodata_hint(error: &RepodataError) -> Option<String> {
    let hint = match error {
        RepodataError::NoChannels(_) => "name one under `channels:`, or with `-c conda-forge`",
        RepodataError::NoSuchChannel { near, .. } if !near.is_empty() => {
            let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
            return Some(format!("did you mean {}?", near.join(" or ")));
        }
        RepodataError::NoSuchChannel { .. } => {
            "check the spelling; a private channel can answer like this if there is no login"
        }
        RepodataError::NoPlatform { .. } => {
            "lock for a platform that the channel has (`--platform`), or add a channel that has packages for this one"
        }
        RepodataError::Denied { .. } => {
            "put the login into the channel's URL as a variable: `https://host/t/$TOKEN/channel` or \
             `https://$USER:$PASSWORD@host/channel`; or store it in `~/.netrc` or with `pixi auth login`"
        }
        RepodataError::Unreachable { cause, .. } => {
            let help = network::of(*cause, Transfer::Repodata);
            let no_answer =
                [Cause::NoHost, Cause::NameServer, Cause::Refused, Cause::NoRoute, Cause::TimedOut].contains(cause);
            let offline = if no_answer { "; `--offline` uses cached data" } else { "" };
            return Some(format!("{help}{offline}"));
        }
        RepodataError::Package { cause: Some(cause), .. } => network::of(*cause, Transfer::Package),
        RepodataError::Broken { .. } => {
            "the channel may be in the middle of an update: try again with `--refresh`, or index it again"
        }
        RepodataError::NotCached { .. } | RepodataError::PackageNotCached { .. } => {
            "lock once without `--offline`: what it loads is then cached"
        }
        RepodataError::Cache { .. } => "set `MLCONDA_CACHE_DIR` to another directory",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn solve_hint(error: &SolveError) -> Option<String> {
    match error {
        SolveError::Unsolvable { virtual_packages, platform, .. } => {
            let lines: Vec<String> =
                virtual_packages.iter().filter_map(|demand| demand_hint(demand, platform.as_str())).collect();
            (!lines.is_empty()).then(|| lines.join("\n      "))
        }
        _ => None,
    }
}

/// What to do about a virtual package. One of another system cannot be declared.
fn demand_hint(demand: &VirtualDemand, platform: &str) -> Option<String> {
    let VirtualDemand { name, wanted, assumed } = demand;
    let version = wanted.trim_start_matches(|first: char| !first.is_ascii_digit());
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let version = match (version.trim_matches('.'), name.as_str()) {
        ("", "__cuda") => "12.4",
        ("", _) => return None,
        (version, _) => version,
    };
    let what = match assumed {
        Some(assumed) => format!("the lock assumes `{name}={assumed}` for {platform}; if the machine has a newer one"),
        None => format!("the lock assumes no `{name}` for {platform}; if the machine has it"),
    };
    Some(format!("{what}, declare it: `--virtual-package {name}={version}`"))
}
