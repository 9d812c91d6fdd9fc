//! Bundles among the given files. Their archives are only taken from the bundles.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda::{
    bundle::{Bundle, Executable},
    install::{Options, PackedArchives},
    lock::LockFile,
    repodata::Access,
};

use crate::{context::Context, error::CliError};

/// Opens a bundle; `None` if the file is something else.
pub(crate) fn open(file: &Path, context: &Context) -> Result<Option<Bundle>, CliError> {
    Ok(Bundle::open(&context.settings.absolute(file))?)
}

/// The locks of a bundle; `None` if the file is something else.
pub(crate) fn locks(file: &Path, context: &Context) -> Result<Option<LockFile>, CliError> {
    Ok(open(file, context)?.map(|bundle| bundle.locks()).transpose()?)
}

/// Whether a file is a bundle.
pub(crate) fn is_bundle(file: &Path, context: &Context) -> Result<bool, CliError> {
    Ok(open(file, context)?.is_some())
}

/// Whether a file is a bundle, intact or damaged.
pub(crate) fn may_be_bundle(path: &Path) -> bool {
    Bundle::open(path).map_or(true, |bundle| bundle.is_some())
}

/// The archives of all bundles among some files.
pub(crate) fn archives(files: &[PathBuf], context: &Context) -> Result<Vec<Arc<PackedArchives>>, CliError> {
    let mut found = Vec::new();
    for file in files {
        found.extend(open(file, context)?.map(|bundle| Arc::new(bundle.archives())));
    }
    Ok(found)
}

/// Adds the archives of all bundles among some files to the options of an installation. If all are bundles, the network
/// is not used.
pub(crate) fn add_archives(files: &[PathBuf], options: &mut Options, context: &Context) -> Result<(), CliError> {
    options.archives = archives(files, context)?;
    if !files.is_empty() && options.archives.len() == files.len() {
        options.access = Access::Offline;
    }
    Ok(())
}

/// The size in bytes of a program with an appended bundle, without the bundle; `None` if there is none.
pub(crate) fn program_size(program: &Path, context: &Context) -> Result<Option<u64>, CliError> {
    Ok(open(program, context)?.and_then(|bundle| bundle.executable().map(Executable::program_size)))
}
