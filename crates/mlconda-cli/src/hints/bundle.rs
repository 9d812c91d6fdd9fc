//! Hints for bundles that are missing or cannot be read.

use std::{io, io::ErrorKind};

use mlconda::{bundle::BundleError, install::InstallError};

use super::without_prefix;

/// The hint for an error.
pub(super) fn hint(error: &BundleError) -> Option<String> {
    let hint = match error {
        BundleError::File(error) | BundleError::Install(InstallError::File(error)) => return file_hint(error),
        BundleError::Install(error) => return super::install::install_hint(error).map(without_prefix),
        BundleError::Lock(error) => return super::lock::lock_hint(error),
        BundleError::CutShort { .. } => "nothing was written. Copy the file again, or make it again from the lock",
        BundleError::Damaged { .. } | BundleError::NoArchive { .. } => {
            "nothing was written. Copy the file again; if that does not help, somebody has changed it: make it again from the lock"
        }
        BundleError::Format { .. } => "use the mlconda that wrote it, or a newer one",
        BundleError::NotAnArchive { .. } => {
            "build a wheel of it (`pip wheel`), name that in the `pip:` list, and lock again"
        }
        BundleError::SameName { .. } => "make a bundle of each lock",
        BundleError::SameEnvironment { .. } => "give one of them, or give the environments different names (`name:`)",
        BundleError::NoSize { .. } => "lock again with mlconda, which writes sizes into the lock",
        BundleError::Busy { .. } => "wait until it has finished, or write to another file, with `-o`",
        BundleError::Untrusted { .. } => "remove it, or write to another file, with `-o`",
        BundleError::Program { .. } => "name a static mlconda with `--mlconda FILE`",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The hint for an I/O error. A bundle has no prefix: if a file cannot be written, it is that of `-o`; if a file cannot
/// be read, the message names it.
fn file_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or write to another one with `-o`"
        }
        ErrorKind::PermissionDenied => "change the permissions, or write to a directory of your own, with `-o FILE`",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only: write to another one, with `-o FILE`",
        ErrorKind::NotFound => "check the path, and the directory in which the command runs",
        _ => return super::io_hint(error),
    };
    Some(hint.to_owned())
}
