//! Writes stub wheels for projects that conda provides: a name and a version, without requirements.
//!
//! The resolver gets a constraint `name @ file:…` for each, so that it uses exactly this version, whatever an index
//! has, and does not resolve its dependencies, which conda has installed. The zip has three small files without
//! compression.

use std::{io, path::Path};

use flate2::Crc;
use mlconda_lock::provided::Provided;
use url::Url;

/// Writes the wheel of a project into a directory, and returns the constraint.
pub(super) fn write(name: &str, provided: &Provided, directory: &Path) -> io::Result<String> {
    let version = &provided.version;
    let stem = format!("{}-{version}", name.replace('-', "_"));
    let file = |name: &str, text: String| (format!("{stem}.dist-info/{name}"), text);
    let files = [
        file("METADATA", format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")),
        file("WHEEL", "Wheel-Version: 1.0\nGenerator: mlconda\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        file("RECORD", String::new()),
    ];
    let path = directory.join(format!("{stem}-py3-none-any.whl"));
    fs_err::write(&path, zip(&files))?;
    let url = Url::from_file_path(&path).map_err(|()| io::Error::other("the directory is not absolute"))?;
    Ok(format!("{name} @ {url}"))
}

/// A zip of uncompressed files.
fn zip(files: &[(String, String)]) -> Vec<u8> {
    // They are a few hundred bytes.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        // The version needed to extract, no flags, no compression, and 1980-01-01, the first day of the format.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend(length(text.len()));
        common.extend(length(text.len()));
        common.extend(short(name.len()));
        common.extend([0, 0]);
        let offset = length(archive.len());
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(text.as_bytes());
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset);
        directory.extend(name.as_bytes());
    }
    let offset = length(archive.len());
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(short(files.len()));
    archive.extend(short(files.len()));
    archive.extend(length(directory.len()));
    archive.extend(offset);
    archive.extend([0, 0]);
    archive
}
