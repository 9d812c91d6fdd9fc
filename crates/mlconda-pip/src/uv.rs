//! Runs the resolver uv as a child process, and reads its output.
//!
//! All input is passed in files of a temporary directory and in the environment variables that the caller gives, so
//! that settings of the machine do not affect the result and no login is on a command line. The python that uv uses
//! only builds packages without wheels; versions and markers are those of the target.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mlconda_channel::repodata::Access;
use mlconda_environment::requirements::Indexes;
use mlconda_python::tags;
use mlconda_solve::Cutoff;
use mlconda_system::{files, process::ChildGroup};
use mlconda_types::{host::Host, redact};
use rattler_conda_types::Subdir;
use rattler_digest::{Sha256, compute_bytes_digest};

use super::words::{self, Meaning};

/// The program uv, with its settings.
#[derive(Clone, Debug)]
pub struct Uv {
    /// The program.
    pub program: PathBuf,
    /// The python that builds packages; `None` to let uv find one.
    pub python: Option<PathBuf>,
    /// All of its environment variables; it inherits none.
    pub variables: Vec<(String, String)>,
    /// Its cache directory. Temporary directories are created beside it.
    pub cache: PathBuf,
    /// Files of PEM certificates to trust.
    pub certificates: Vec<PathBuf>,
}

/// The output of uv.
#[derive(Debug)]
pub(super) struct UvOutput {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The target of a resolution.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) host: &'a Host,
    /// The version of python, in full.
    pub(super) python: &'a str,
}

/// One run of uv in a directory.
#[derive(Clone, Copy)]
pub(super) struct UvRequest<'a> {
    pub(super) dependencies: DependencyMode,
    pub(super) directory: &'a Path,
    pub(super) target: &'a Target<'a>,
    pub(super) indexes: &'a Indexes,
    pub(super) python: &'a Path,
    pub(super) exclude_newer: Option<Cutoff>,
    pub(super) access: Access,
}

/// Which dependencies are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DependencyMode {
    /// All of them.
    All,
    /// Only the requirements themselves.
    DirectOnly,
}

/// The file of the requirements, in the directory of a [`UvRequest`].
pub(super) const REQUIREMENTS: &str = "requirements.in";
/// The file of the constraints.
pub(super) const CONSTRAINTS: &str = "constraints.in";
/// The file of the result.
pub(super) const ANSWER: &str = "pylock.toml";

/// The versions of glibc (2.x) that uv supports as platforms.
const MANYLINUX: [u64; 12] = [17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40];

/// The name of a platform in uv; `None` if uv does not support it.
pub(super) fn platform(host: &Host) -> Option<String> {
    let manylinux = |processor: &str| {
        let (_, glibc) = tags::virtual_version(&host.virtual_packages, "__glibc").unwrap_or((2, 28));
        let newest = MANYLINUX.iter().rev().find(|known| **known <= glibc).unwrap_or(&MANYLINUX[0]);
        format!("{processor}-manylinux_2_{newest}")
    };
    Some(match host.platform {
        Subdir::Linux64 => manylinux("x86_64"),
        Subdir::LinuxAarch64 => manylinux("aarch64"),
        Subdir::LinuxRiscv64 => "riscv64-unknown-linux".to_owned(),
        Subdir::OsxArm64 => "aarch64-apple-darwin".to_owned(),
        Subdir::Osx64 => "x86_64-apple-darwin".to_owned(),
        Subdir::Win64 => "x86_64-pc-windows-msvc".to_owned(),
        Subdir::Win32 => "i686-pc-windows-msvc".to_owned(),
        Subdir::WinArm64 => "aarch64-pc-windows-msvc".to_owned(),
        _ => return None,
    })
}

impl Uv {
    /// A python to build with: CPython, of the target's minor version if there is one.
    ///
    /// # Errors
    /// If uv cannot be run.
    pub(super) async fn find_python(&self, version: &str, directory: &Path) -> io::Result<Option<PathBuf>> {
        if let Some(python) = &self.python {
            return Ok(Some(python.clone()));
        }
        let minor: String = version.split('.').take(2).collect::<Vec<_>>().join(".");
        for request in [format!("cpython@{minor}"), "cpython@>=3.8".to_owned()] {
            let outcome = self.run(&["python", "find", "--no-project", "--system", &request], directory, &[]).await?;
            let path = PathBuf::from(outcome.stdout.trim());
            if outcome.success && path.is_absolute() {
                return Ok(Some(path));
            }
            if !words::says(&outcome.stderr, Meaning::NoInterpreter) {
                let failure = format!("`{}` fails: {}", self.program.display(), redact::text(outcome.stderr.trim()));
                return Err(io::Error::other(failure));
            }
        }
        Ok(None)
    }

    /// Resolves the requirements in the directory of the request, and writes the result there.
    ///
    /// # Errors
    /// If uv cannot be run. A failed resolution is not an error here.
    pub(super) async fn compile(&self, request: &UvRequest<'_>, platform: &str) -> io::Result<UvOutput> {
        let UvRequest { dependencies, directory, target, indexes, python, exclude_newer, access } = request;
        let python = python.display().to_string();
        let mut arguments = vec!["pip", "compile", "--format", "pylock.toml", "--no-header", "--no-sources"];
        arguments.extend(["--python-version", target.python, "--python-platform", platform, "--python", &python]);
        // Like pip, look for the best version in all indexes. With one index, the default strategy has better messages.
        if !indexes.extra.is_empty() {
            arguments.extend(["--index-strategy", "unsafe-best-match"]);
        }
        let moment = exclude_newer.map(|cutoff| cutoff.to_string());
        if let Some(moment) = &moment {
            arguments.extend(["--exclude-newer", moment]);
        }
        match access {
            Access::Offline => arguments.push("--offline"),
            Access::Refresh => arguments.push("--refresh"),
            Access::Online => {}
        }
        if *dependencies == DependencyMode::DirectOnly {
            arguments.push("--no-deps");
        }
        if indexes.prereleases {
            arguments.extend(["--prerelease", "allow"]);
        }
        for host in &indexes.trusted_hosts {
            arguments.extend(["--allow-insecure-host", host]);
        }
        arguments.extend(["--constraints", CONSTRAINTS, "--output-file", ANSWER, REQUIREMENTS]);
        let version = tags::virtual_version(&target.host.virtual_packages, "__osx").unwrap_or((13, 0));
        let macos = ("MACOSX_DEPLOYMENT_TARGET".to_owned(), format!("{}.{}", version.0, version.1));
        self.run(&arguments, directory, if target.host.platform.is_osx() { std::slice::from_ref(&macos) } else { &[] })
            .await
    }

    /// Runs uv in a directory. Its output is written to files there.
    async fn run(&self, arguments: &[&str], directory: &Path, variables: &[(String, String)]) -> io::Result<UvOutput> {
        let (stdout, stderr) = (directory.join("stdout"), directory.join("stderr"));
        let certificates = self.certificates(directory)?;
        let process = Command::new(&self.program)
            .args(arguments)
            .args(["--color", "never", "--no-progress", "--no-python-downloads"])
            .current_dir(directory)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .envs(certificates.map(|path| ("SSL_CERT_FILE", path)))
            .env("UV_CACHE_DIR", &self.cache)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(fs_err::File::create(&stdout)?.into_file())
            .stderr(fs_err::File::create(&stderr)?.into_file())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot run `{}`: {error}", self.program.display()))
            })?;
        let status = ChildGroup::new(process).wait().await?;
        let text = |path: &Path| {
            files::read(path, files::LARGEST_TEXT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(UvOutput { success: status.success(), stdout: text(&stdout)?, stderr: text(&stderr)? })
    }

    /// All certificates in one file: uv accepts one file, which replaces its own certificates.
    fn certificates(&self, directory: &Path) -> io::Result<Option<PathBuf>> {
        match self.certificates.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            several => {
                let mut bundle = Vec::new();
                for path in several {
                    bundle.append(&mut files::read(path, files::LARGEST_TEXT)?);
                    bundle.push(b'\n');
                }
                let path = directory.join("certificates.pem");
                fs_err::write(&path, bundle)?;
                Ok(Some(path))
            }
        }
    }
}

/// The index options of a requirements file.
pub(super) fn index_lines(indexes: &Indexes) -> String {
    let mut lines = String::new();
    let mut line = |option: &str, value: &str| {
        lines.push_str(option);
        lines.push_str(value);
        lines.push('\n');
    };
    if indexes.no_index {
        line("--no-index", "");
    } else {
        indexes.index.iter().for_each(|url| line("--index-url ", url));
        indexes.extra.iter().for_each(|url| line("--extra-index-url ", url));
    }
    indexes.find_links.iter().for_each(|url| line("--find-links ", url));
    indexes.no_binary.iter().for_each(|name| line("--no-binary ", name));
    indexes.only_binary.iter().for_each(|name| line("--only-binary ", name));
    lines
}

/// The name of the prefix for the tools of a lock.
pub fn prefix_name(lock: &str) -> String {
    format!("uv-{}", &hex::encode(compute_bytes_digest::<Sha256>(lock))[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_the_names_that_uv_knows() {
        let of = |subdir| platform(&Host::baseline(subdir));
        assert_eq!(of(Subdir::Linux64).as_deref(), Some("x86_64-manylinux_2_28"));
        assert_eq!(of(Subdir::OsxArm64).as_deref(), Some("aarch64-apple-darwin"));
        assert_eq!(of(Subdir::LinuxPpc64le), None);
        let glibc = |version: &str| {
            let overrides = [format!("__glibc={version}").parse().unwrap()];
            platform(&Host::baseline(Subdir::LinuxAarch64).with(&overrides)).unwrap()
        };
        assert_eq!(glibc("2.27"), "aarch64-manylinux_2_17");
        assert_eq!(glibc("2.35"), "aarch64-manylinux_2_35");
        assert_eq!(glibc("2.50"), "aarch64-manylinux_2_40");
    }
}
