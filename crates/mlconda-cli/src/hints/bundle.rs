//! What to do where there is no bundle, or one cannot be read.

use mlconda::bundle::BundleError;

/// What to do about an error.
pub(super) fn hint(error: &BundleError) -> Option<String> {
    let hint = match error {
        BundleError::File(error) => return super::io_hint(error),
        BundleError::Install(error) => {
            let hint = super::install_hint(error)?;
            return Some(hint.strip_prefix("the prefix is unchanged; ").map_or(hint.clone(), str::to_owned));
        }
        BundleError::Lock(error) => return super::lock_hint(error),
        BundleError::CutShort { .. } => "nothing was written. Copy the file again, or make it again from the lock",
        BundleError::Damaged { .. } | BundleError::NoArchive { .. } => {
            "nothing was written. Copy the file again; if it stays so, somebody has changed it: make it again from the lock"
        }
        BundleError::Format { .. } => "use the mlconda that wrote it, or a newer one",
        BundleError::NotAnArchive { .. } => {
            "build a wheel of it (`pip wheel`), name that in the `pip:` list, and lock again"
        }
        BundleError::SameName { .. } => "make a bundle of each lock",
        BundleError::SameEnvironment { .. } => "give one of them, or give the environments different names (`name:`)",
        BundleError::NoSize { .. } => "lock again with mlconda, which writes sizes into the lock",
        BundleError::Busy { .. } => "wait until it has finished, or write to another file, with `-o`",
        BundleError::Program { .. } => "name a static mlconda with `--mlconda FILE`",
        _ => return None,
    };
    Some(hint.to_owned())
}
