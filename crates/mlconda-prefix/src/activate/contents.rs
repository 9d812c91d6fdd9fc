//! Reads the files of a prefix that affect its activation.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use mlconda_system::files;
use serde::Deserialize;

use super::{ActivateError, Dialect};
use crate::UNSET;

/// The variables and scripts of a prefix for its activation.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// The variables of packages (`etc/conda/env_vars.d`), overridden by those of the environment (`conda-meta/state`).
    pub(super) variables: BTreeMap<String, String>,
    /// The scripts of `etc/conda/activate.d` for the shell, sorted.
    pub(super) activate_scripts: Vec<PathBuf>,
    /// The sorted scripts for POSIX shells (`.sh`) that have no counterpart for this shell.
    pub(super) foreign_scripts: Vec<PathBuf>,
}

/// The contents of `conda-meta/state`.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    env_vars: BTreeMap<String, Value>,
}

/// A variable's value. A value that is not text is written as Python writes it, because conda is a Python program.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Number(serde_json::Number),
    Truth(bool),
    Nothing(()),
}

impl Contents {
    pub(super) fn read(prefix: &Path, dialect: Dialect) -> Result<Self, ActivateError> {
        let mut variables = BTreeMap::new();
        for file in files(&prefix.join("etc/conda/env_vars.d"))? {
            if let Some(text) = read_if_there(&file)? {
                let declared = serde_json::from_slice(&text);
                insert(&mut variables, declared.map_err(|source| json(&file, source))?, &file)?;
            }
        }
        let file = prefix.join("conda-meta/state");
        if let Some(text) = read_if_there(&file)? {
            let state: State = serde_json::from_slice(&text).map_err(|source| json(&file, source))?;
            insert(&mut variables, state.env_vars, &file)?;
        }
        let all = scripts(&prefix.join("etc/conda/activate.d"))?;
        let (activate_scripts, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| dialect.reads(file));
        let foreign_scripts = others
            .into_iter()
            .filter(|file| file.extension() == Some(OsStr::new("sh")))
            .filter(|file| !activate_scripts.contains(&file.with_extension(dialect.extension())))
            .collect();
        Ok(Self { variables, activate_scripts, foreign_scripts })
    }
}

/// The deactivation scripts of an environment, in reverse order.
pub(super) fn deactivate_scripts(prefix: &Path, dialect: Dialect) -> Result<Vec<PathBuf>, ActivateError> {
    let mut scripts = scripts(&prefix.join("etc/conda/deactivate.d"))?;
    scripts.retain(|file| dialect.reads(file));
    scripts.reverse();
    Ok(scripts)
}

fn json(file: &Path, source: serde_json::Error) -> ActivateError {
    ActivateError::Json { file: file.to_owned(), source }
}

/// Adds variables. Later files override earlier ones.
fn insert(
    variables: &mut BTreeMap<String, String>,
    declared: BTreeMap<String, Value>,
    file: &Path,
) -> Result<(), ActivateError> {
    for (name, value) in declared {
        let value = match value {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Truth(true) => "True".to_owned(),
            Value::Truth(false) => "False".to_owned(),
            Value::Nothing(()) => UNSET.to_owned(),
        };
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(ActivateError::Variable { file: file.to_owned(), name });
        }
        variables.insert(name, value);
    }
    Ok(())
}

/// The sorted files of a directory; none if there is no such directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    // Most prefixes have none of these directories. To read a directory by its name is only one system call.
    let entries = match fs_err::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| !file.is_dir());
    mlconda_types::sorting::sort(&mut files);
    Ok(files)
}

/// Like `files`, but without FIFOs and devices, which a shell would wait for or read forever.
fn scripts(directory: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut scripts = files(directory)?;
    // A broken link stays in the list, so that the shell reports it.
    scripts.retain(|file| fs_err::metadata(file).map_or(true, |metadata| metadata.is_file()));
    Ok(scripts)
}

fn read_if_there(file: &Path) -> Result<Option<Vec<u8>>, std::io::Error> {
    match files::read(file, files::LARGEST_TEXT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
