//! Access to conda-lock.yml and pixi.lock, which need the feature `formats`. Without it, files of these formats are an
//! error that names the feature.

use std::path::Path;

use super::{
    Expansion, LockError, LockFile, LockFormat,
    file::{LockKind, Part},
};

/// Reads the text of a conda-lock.yml or a pixi.lock.
#[cfg(feature = "formats")]
pub(super) fn read(kind: LockKind, text: &str, file: &Path, expansion: &Expansion) -> Result<LockFile, LockError> {
    let lines: Vec<&str> = text.split('\n').collect();
    let source = mlconda_types::diagnostic::SourceText { file, text, lines: &lines };
    let document = super::document::Document { source, expansion };
    let root = document.root()?;
    match kind {
        LockKind::Pixi => super::pixi::read(&document, &root),
        _ => super::conda_lock::read(&document, &root),
    }
}

/// The error for reading without the feature.
#[cfg(not(feature = "formats"))]
pub(super) fn read(kind: LockKind, _text: &str, file: &Path, _expansion: &Expansion) -> Result<LockFile, LockError> {
    Err(not_built_in(file, matches!(kind, LockKind::Pixi).then_some(LockFormat::Pixi).unwrap_or(LockFormat::CondaLock)))
}

/// Writes parts of a file as a conda-lock.yml or a pixi.lock.
#[cfg(feature = "formats")]
pub(super) fn render(
    format: LockFormat,
    file: &LockFile,
    parts: &[Part],
    directory: Option<&Path>,
    losses: &mut Vec<String>,
) -> Result<String, LockError> {
    match format {
        LockFormat::Pixi => Ok(super::pixi::render(parts, directory, losses)),
        _ => super::conda_lock::render(file, parts, losses),
    }
}

/// The error for writing without the feature.
#[cfg(not(feature = "formats"))]
pub(super) fn render(
    format: LockFormat,
    file: &LockFile,
    _parts: &[Part],
    _directory: Option<&Path>,
    _losses: &mut Vec<String>,
) -> Result<String, LockError> {
    Err(not_built_in(&file.file, format))
}

#[cfg(not(feature = "formats"))]
fn not_built_in(file: &Path, format: LockFormat) -> LockError {
    let format = if format == LockFormat::Pixi { "pixi.lock" } else { "conda-lock.yml" };
    LockError::NotBuiltIn { file: file.to_owned(), format }
}
