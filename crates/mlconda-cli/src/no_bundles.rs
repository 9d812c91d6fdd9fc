//! Replaces `bundles` in a program without the feature `bundle`: a bundle is an error that names the feature.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use mlconda::{install::Options, lock::LockFile};

use crate::{context::Context, error::CliError};

/// The beginning of a bundle: the name of its first member.
const BEGIN: &[u8] = b"mlconda-bundle.json\0";

/// The locks of a bundle; `None` if the file is something else.
pub(crate) fn locks(file: &Path, context: &Context) -> Result<Option<LockFile>, CliError> {
    is_bundle(file, context).map(|_| None)
}

/// An error if a file is a bundle, which this program cannot read; otherwise `false`.
pub(crate) fn is_bundle(file: &Path, context: &Context) -> Result<bool, CliError> {
    let path = context.settings.absolute(file);
    let mut start = Vec::new();
    // An unreadable file is reported later by its reader. A pipe is opened only by its reader: if it were opened and
    // closed here, its writer would fail.
    if path.is_file()
        && let Ok(opened) = mlconda::files::open(&path)
    {
        let _ = opened.take(BEGIN.len() as u64).read_to_end(&mut start);
    }
    if start == BEGIN {
        return Err(CliError::world(
            format!("`{}` is a bundle, and this program was built without the feature `bundle`", file.display()),
            "use a mlconda with it; or unpack the bundle: it is a tar with locks and a channel",
        ));
    }
    Ok(false)
}

/// Whether a file is a bundle, whole or damaged.
pub(crate) fn may_be_bundle(_path: &Path) -> bool {
    false
}

/// Returns no archives: no file is a bundle.
#[cfg(feature = "lock")]
pub(crate) fn archives(
    _files: &[PathBuf],
    _context: &Context,
) -> Result<Vec<std::sync::Arc<mlconda::install::PackedArchives>>, CliError> {
    Ok(Vec::new())
}

/// Does nothing: no file is a bundle.
pub(crate) fn add_archives(_files: &[PathBuf], _options: &mut Options, _context: &Context) -> Result<(), CliError> {
    Ok(())
}

/// Returns `None`: no program has an appended bundle.
pub(crate) fn program_size(_program: &Path, _context: &Context) -> Result<Option<u64>, CliError> {
    Ok(None)
}
