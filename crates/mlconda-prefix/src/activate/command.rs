//! Finds a command in the `PATH` of an activation, as shells do. `exec` alone could not tell where it has searched.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::Activation;

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No directory of `PATH` has such a program.
    #[error("there is no command `{}`", command.display())]
    NotFound {
        /// The command as given.
        command: OsString,
        /// The directories that were searched.
        searched: Vec<PathBuf>,
        /// Commands with a similar name, nearest first; at most three.
        near: Vec<String>,
    },
    /// The command is a path, and no file is there.
    #[error("there is no file `{}`", .0.display())]
    NoFile(PathBuf),
    /// The file exists, but is not executable.
    #[error("`{}` is not an executable file", .0.display())]
    NotExecutable(PathBuf),
}

impl Activation {
    /// Finds a command. If it contains a slash, it is a path relative to `directory`; else it is searched in the
    /// activated `PATH`.
    ///
    /// # Errors
    /// If there is no such file, or none that is executable.
    pub fn find(&self, command: &OsStr, directory: &Path) -> Result<PathBuf, CommandError> {
        find_command(command, &self.path.value(), directory)
    }
}

/// Finds a command. If it contains a slash, it is a path relative to `directory`; else it is searched in `path`, which
/// has the form of `PATH`.
///
/// # Errors
/// If there is no such file, or none that is executable.
pub fn find_command(command: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, CommandError> {
    if command.as_bytes().contains(&b'/') {
        let file = directory.join(command);
        return if !file.exists() {
            Err(CommandError::NoFile(file))
        } else if file.is_dir() || access(&file, Access::EXEC_OK).is_err() {
            Err(CommandError::NotExecutable(file))
        } else {
            Ok(file)
        };
    }
    let mut searched: Vec<PathBuf> = Vec::new();
    let mut refused = None;
    for entry in path.as_bytes().split(|byte| *byte == b':') {
        // An empty entry means the current directory. Joining an empty path gives that.
        let place = directory.join(OsStr::from_bytes(entry));
        let file = place.join(command);
        if file.is_file() {
            if access(&file, Access::EXEC_OK).is_ok() {
                return Ok(file);
            }
            refused.get_or_insert(file);
        }
        if !searched.contains(&place) {
            searched.push(place);
        }
    }
    Err(match refused {
        Some(file) => CommandError::NotExecutable(file),
        None => CommandError::NotFound { command: command.to_owned(), near: near(command, &searched), searched },
    })
}

/// The names of files in some directories that are similar to a command, the most similar first.
fn near(command: &OsStr, directories: &[PathBuf]) -> Vec<String> {
    let command = command.to_string_lossy();
    let mut names = BTreeSet::new();
    for directory in directories {
        let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    let mut near: Vec<(f64, String)> = names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&command, &name), name))
        .filter(|(likeness, _)| *likeness > 0.88)
        .collect();
    mlconda_types::sorting::sort_by(&mut near, |one, other| other.0.total_cmp(&one.0));
    near.into_iter().map(|(_, name)| name).take(3).collect()
}
