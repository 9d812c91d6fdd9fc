//! Verifies that a package in the cache has not changed since it was added.

use std::{
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use mlconda_system::files;
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest, digest::Digest as _};

use super::extraction::Checksums;
use crate::{
    contents::{self, Content, ContentKind},
    package::invalid,
};

/// The number of bytes of a file that are read at once.
const PIECE: usize = 256 << 10;

/// Compares each file of a package in the cache with the list of contents, and the list with its checksum. An old
/// package without `paths.json` has no hashes, so only sizes and modes are compared.
///
/// # Errors
/// The first difference that was found.
pub(crate) fn verify(place: &Path, buffer: &mut Vec<u8>, stop: &AtomicBool) -> io::Result<()> {
    buffer.resize(buffer.len().max(PIECE), 0);
    for content in contents_of(place, &Checksums::read(place)?)? {
        check_stop(stop)?;
        compare(place, &content, buffer, stop)?;
    }
    Ok(())
}

/// Fails if the installation was asked to stop.
fn check_stop(stop: &AtomicBool) -> io::Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(invalid("the installation was stopped")),
        false => Ok(()),
    }
}

/// Reads the list of contents, and checks that no file of `info/` has changed.
fn contents_of(place: &Path, checksums: &Checksums) -> io::Result<Vec<Content>> {
    let mut contents = None;
    for (name, expected) in &checksums.info {
        let content = files::read(&place.join(name), files::LARGEST_RECORD)?;
        if hex::encode(compute_bytes_digest::<Sha256>(&content)) != *expected {
            return Err(invalid(format!("`{name}` has another content")));
        }
        if name == contents::NAME {
            contents = Some(contents::parse(&content)?);
        }
    }
    contents.ok_or_else(|| invalid("it has no list of contents"))
}

fn compare(place: &Path, content: &Content, buffer: &mut [u8], stop: &AtomicBool) -> io::Result<()> {
    let path = &content.listed.path;
    let differs = |what: &str| Err(invalid(format!("`{}` {what}", path.display())));
    let file = place.join(path);
    let expected = match &content.kind {
        ContentKind::Directory => return Ok(()),
        ContentKind::SoftLink(_) | ContentKind::HardLink(_) => None,
        ContentKind::File => Some(0o644),
        ContentKind::Program => Some(0o755),
    };
    let metadata = match fs_err::symlink_metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return differs("is missing"),
        other => other?,
    };
    match &content.kind {
        ContentKind::SoftLink(to) if metadata.is_symlink() && fs_err::read_link(&file)? == *to => return Ok(()),
        ContentKind::SoftLink(_) => return differs("is not the link that it was"),
        // The other path is verified separately.
        ContentKind::HardLink(to) if is_same(&metadata, &place.join(to)) => return Ok(()),
        ContentKind::HardLink(_) => return differs("is not the link that it was"),
        _ if !metadata.is_file() => return differs("is not a file"),
        _ => {}
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if Some(mode) != expected {
        return differs(&format!("has the permissions {mode:o}"));
    }
    if content.size != metadata.len() {
        return differs("has another size");
    }
    match content.listed.sha256 {
        Some(expected) if hash(&file, buffer, stop)? != expected => differs("has another content"),
        _ => Ok(()),
    }
}

fn is_same(metadata: &std::fs::Metadata, other: &Path) -> bool {
    fs_err::symlink_metadata(other).is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
}

fn hash(path: &Path, buffer: &mut [u8], stop: &AtomicBool) -> io::Result<Sha256Hash> {
    let (mut file, mut hasher) = (files::open(path)?, Sha256::new());
    loop {
        check_stop(stop)?;
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
