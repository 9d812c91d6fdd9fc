//! Post-link and pre-unlink scripts: the one place where an installation runs a package's own code.

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rattler_conda_types::PackageRecord;

use super::InstallError;

/// When a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// After the package's files are there.
    PostLink,
    /// Before they go.
    PreUnlink,
}

/// The script of a package, relative to the prefix.
pub(super) fn path(name: &str, when: When) -> PathBuf {
    let when = match when {
        When::PostLink => "post-link",
        When::PreUnlink => "pre-unlink",
    };
    PathBuf::from(format!("bin/.{name}-{when}.sh"))
}

/// Runs the script of a package, if it has one, and gives what it left for the user in `.messages.txt`.
/// Of the environment, a script gets `variables` only, and what scripts are promised.
pub(super) fn run(
    prefix: &Path,
    record: &PackageRecord,
    when: When,
    variables: &[(String, String)],
) -> Result<Option<String>, InstallError> {
    let name = record.name.as_normalized();
    let relative = path(name, when);
    let script = prefix.join(&relative);
    if !script.is_file() {
        return Ok(None);
    }
    let shells = [prefix.join("bin/bash"), "/bin/bash".into(), "/usr/bin/bash".into(), "/bin/sh".into()];
    let Some(shell) = shells.into_iter().find(|shell| shell.is_file()) else {
        return Err(InstallError::NoShell { package: name.to_owned(), script: relative });
    };
    // Into a file without a name, not a pipe: a pipe would have us wait for whatever the script leaves running.
    let mut output = tempfile::tempfile_in(prefix)?;
    let status = Command::new(shell)
        .arg(&script)
        .current_dir(prefix)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("PATH", format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", prefix.display()))
        .env("PREFIX", prefix)
        .env("CONDA_PREFIX", prefix)
        .env("ROOT_PREFIX", prefix)
        .env("HOME", prefix)
        .env("PKG_NAME", name)
        .env("PKG_VERSION", record.version.as_str().as_ref())
        .env("PKG_BUILDNUM", record.build_number.to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .status()?;
    if !status.success() {
        let mut words = Vec::new();
        output.seek(SeekFrom::Start(0))?;
        output.read_to_end(&mut words)?;
        let (words, status) = (String::from_utf8_lossy(&words).into_owned(), status.to_string());
        return Err(InstallError::Script { package: name.to_owned(), script: relative, status, output: words });
    }
    let messages = prefix.join(".messages.txt");
    let text = fs_err::read_to_string(&messages).ok();
    crate::system::remove_if_there(&messages)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}
