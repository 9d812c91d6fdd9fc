//! The `.tar.gz` of a program, to be unpacked over `/usr/local` or anywhere else.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use crate::{
    Result, Written,
    package::Package,
    tree::{Directories, Tree},
};

/// Packs it. All files are in one directory with the archive's name.
pub(crate) fn pack(package: &Package) -> Result<Written> {
    let stem = format!("mlconda-{}-{}", package.version, package.target.name);
    let files = package.tree().0.into_iter().map(|(path, entry)| (format!("{stem}/{path}"), entry));
    let tree = Tree(files.collect());
    let bytes = gzip(&tree.tar(package.epoch, Directories::Written)?)?;
    Ok(Written { name: format!("{stem}.tar.gz"), bytes })
}

/// Gzip without a time or a name.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
