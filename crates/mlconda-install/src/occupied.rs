//! Detects directories with other files, in which no environment is installed.

use std::{io, path::Path};

use mlconda_prefix::on_disk::{self, BACKUP};

/// Whether an environment may be installed into an existing directory. The directory must be an environment already, or
/// contain only files of a root prefix or a new volume.
pub(super) fn may_hold_environment(path: &Path) -> io::Result<bool> {
    Ok(path.join("conda-meta").is_dir() || !holds_other_files(path)?)
}

/// Whether a directory contains files that neither a root prefix nor a new volume has.
pub(super) fn holds_other_files(path: &Path) -> io::Result<bool> {
    let harmless = ["conda-meta", "envs", "pkgs", "lost+found", ".condarc", on_disk::STAGE, BACKUP];
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        let is_one_of = |names: &[&str]| names.iter().any(|name| entry.file_name() == *name);
        let is_harmless = is_one_of(&harmless) || is_one_of(&FOR_SHELLS) && is_for_shells(&entry.path())?;
        if !is_harmless {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The directories of a root prefix that may contain files of conda before there is an environment, and the names of
/// these files.
const FOR_SHELLS: [&str; 4] = ["bin", "condabin", "etc", "shell"];
const OF_CONDA: [&str; 6] = ["conda", "mamba", "micromamba", "mlconda", "activate", "deactivate"];

/// Whether a directory contains only conda's files for shells.
fn is_for_shells(directory: &Path) -> io::Result<bool> {
    if !fs_err::symlink_metadata(directory)?.is_dir() {
        return Ok(false);
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        let is_harmless = match entry.file_type()?.is_dir() {
            true => is_for_shells(&entry.path())?,
            false => OF_CONDA.contains(&stem),
        };
        if !is_harmless {
            return Ok(false);
        }
    }
    Ok(true)
}
