//! Whether a package in the cache is what it was when it got in.

use std::{
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use rattler_conda_types::package::{PathType, PathsEntry};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest, digest::Digest as _};

use super::extraction::Seal;
use crate::install::package::{Info, Package, invalid};

/// Files are read in pieces of this size, in bytes.
const PIECE: usize = 256 << 10;

/// Compares every file of a package in the cache with what its `paths.json` says, that with the seal, and the texts of
/// links with that too. A package from before `paths.json` has no hashes: its files are there, that is all.
///
/// # Errors
/// What is wrong, the first thing that was found.
pub(in crate::install) fn prove(place: &Path, buffer: &mut Vec<u8>, stop: &AtomicBool) -> io::Result<()> {
    buffer.resize(buffer.len().max(PIECE), 0);
    let seal = Seal::read(place)?;
    let package = info(place, &seal)?;
    for listed in package.paths.values().filter(|listed| listed.path_type != PathType::Directory) {
        if stop.load(Ordering::Relaxed) {
            return Err(invalid("the installation was stopped"));
        }
        compare(place, listed, &seal, buffer)?;
    }
    Ok(())
}

/// What the package says of itself, if that is what it always said.
fn info(place: &Path, seal: &Seal) -> io::Result<Package> {
    let mut info = Info::default();
    for (name, expected) in &seal.info {
        let content = fs_err::read(place.join(name))?;
        if hex::encode(compute_bytes_digest::<Sha256>(&content)) != *expected {
            return Err(invalid(format!("`{name}` has another content")));
        }
        info.take(Path::new(name), content.len() as u64, content.as_slice())?;
    }
    info.read()
}

fn compare(place: &Path, listed: &PathsEntry, seal: &Seal, buffer: &mut [u8]) -> io::Result<()> {
    let path = &listed.relative_path;
    let differs = |what: &str| Err(invalid(format!("`{}` {what}", path.display())));
    let file = place.join(path);
    let metadata = match fs_err::symlink_metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return differs("is missing"),
        other => other?,
    };
    match seal.links.get(path) {
        Some(to) if metadata.is_symlink() && fs_err::read_link(&file)? == *to => return Ok(()),
        Some(_) => return differs("is not the link that it was"),
        None if !metadata.is_file() => return differs("is no file"),
        None => {}
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if ![0o644, 0o755].contains(&mode) {
        return differs(&format!("has the permissions {mode:o}"));
    }
    if listed.size_in_bytes.is_some_and(|size| size != metadata.len()) {
        return differs("has another size");
    }
    match listed.sha256 {
        Some(expected) if hash(&file, buffer)? != expected => differs("has another content"),
        _ => Ok(()),
    }
}

fn hash(path: &Path, buffer: &mut [u8]) -> io::Result<Sha256Hash> {
    let (mut file, mut hasher) = (fs_err::File::open(path)?, Sha256::new());
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
