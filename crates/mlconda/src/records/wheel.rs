//! The metadata in a wheel, which is a zip file.

use std::io::{Read, Seek};

use zip::ZipArchive;

/// The largest metadata that is read, in bytes.
pub(super) const LARGEST: u64 = 8 << 20;

/// The index of the metadata among the members of a wheel.
pub(super) fn place_of_metadata<R: Read + Seek>(zip: &ZipArchive<R>) -> Option<usize> {
    let is_it = |name: &str| name.ends_with(".dist-info/METADATA") && name.matches('/').count() == 1;
    let name = zip.file_names().filter_map(Result::ok).find(|name| is_it(name))?;
    zip.index_for_name(&name)
}

/// The text of a wheel's metadata; `None` if its bytes cannot be read.
pub(super) fn metadata_of<R: Read + Seek>(zip: &mut ZipArchive<R>) -> Option<String> {
    let index = place_of_metadata(zip)?;
    let mut bytes = Vec::new();
    zip.by_index(index).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
