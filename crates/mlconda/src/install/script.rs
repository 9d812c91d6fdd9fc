//! Post-link and pre-unlink scripts: the one place where an installation runs a package's own code.
//!
//! What they write should be the same tomorrow: they see no variable of the builder, not even its umask, are told
//! the time that all is to have in `SOURCE_DATE_EPOCH`, and what they leave behind with the clock's time gets that.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use rattler_conda_types::PackageRecord;

use super::InstallError;
use crate::system;

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
pub(super) fn run(
    prefix: &Path,
    record: &PackageRecord,
    when: When,
    time: i64,
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
    // Only what a script needs; above all no secret of the build.
    let output = Command::new(&shell)
        .args(["-c", "umask 022 && exec \"$0\" \"$1\""])
        .args([&shell, &script])
        .current_dir(prefix)
        .env_clear()
        .env("PATH", format!("{}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", prefix.display()))
        .env("PREFIX", prefix)
        .env("CONDA_PREFIX", prefix)
        .env("ROOT_PREFIX", prefix)
        .env("HOME", prefix)
        .env("SOURCE_DATE_EPOCH", time.to_string())
        .env("PKG_NAME", name)
        .env("PKG_VERSION", record.version.as_str().as_ref())
        .env("PKG_BUILDNUM", record.build_number.to_string())
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
        words.push_str(&String::from_utf8_lossy(&output.stderr));
        let status = output.status.to_string();
        return Err(InstallError::Script { package: name.to_owned(), script: relative, status, output: words });
    }
    let messages = prefix.join(".messages.txt");
    let text = fs_err::read_to_string(&messages).ok();
    system::remove_if_there(&messages)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// The time before scripts run, by the clock of the prefix's file system.
pub(super) fn begin(prefix: &Path) -> Result<SystemTime, InstallError> {
    let probe = prefix.join("conda-meta").join(".mlconda-time");
    system::remove_if_there(&probe)?;
    let file = system::create_new(&probe, 0o644)?;
    let time = file.metadata()?.modified()?;
    system::remove_if_there(&probe)?;
    Ok(time)
}

/// Gives all that has changed since then the time `seconds`. Packages' files have times of their own, which lie
/// before.
pub(super) fn settle(prefix: &Path, since: SystemTime, seconds: i64) -> Result<(), InstallError> {
    // Other environments, and conda's packages, are in a root prefix but not of it.
    Ok(settle_below(prefix, since, seconds, &["envs", "pkgs", super::commit::INSIDE])?)
}

fn settle_below(directory: &Path, since: SystemTime, seconds: i64, except: &[&str]) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !except.iter().any(|name| entry.file_name() == *name) {
                settle_below(&path, since, seconds, &[])?;
            }
        } else if entry.metadata()?.modified()? >= since {
            system::set_link_time(&path, seconds)?;
        }
    }
    if fs_err::symlink_metadata(directory)?.modified()? >= since {
        system::set_directory_time(directory, seconds)?;
    }
    Ok(())
}
