//! The wheel (PEP 427): the program as a script, without any python.
//!
//! maturin's `bin` bindings make wheels with the same layout, but compile the program themselves; here, the program is
//! given.

use std::io::{Cursor, Write};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rattler_digest::{Sha256, compute_bytes_digest};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

use crate::{
    Result, Written,
    package::{LICENSE, Package, SUMMARY},
    sbom,
    tree::{Entry, Tree},
};

/// Packs it.
pub(crate) fn pack(package: &Package) -> Result<Written> {
    let stem = format!("mlconda-{}", package.version);
    let tags = package.target.wheel_tags(package.oldest);
    let mut tree = Tree::default();
    tree.program(format!("{stem}.data/scripts/mlconda"), package.program.clone());
    let info = |name: &str| format!("{stem}.dist-info/{name}");
    tree.file(info("METADATA"), metadata(package));
    tree.file(info("WHEEL"), wheel(package, &tags));
    tree.file(info("licenses/LICENSE"), package.license.clone());
    tree.file(info("licenses/THIRD-PARTY-LICENSES"), package.notices.clone());
    // PEP 770.
    tree.file(info("sboms/mlconda.cdx.json"), sbom::text(&package.sbom));
    let record = record(&tree, &info("RECORD"));
    let mut entries: Vec<(String, Entry)> = tree.0.into_iter().collect();
    entries.push((info("RECORD"), Entry::File { bytes: record.into_bytes(), executable: false }));
    let name = format!("{stem}-py3-none-{}.whl", tags.join("."));
    Ok(Written { name, bytes: zip(&entries, CompressionMethod::Deflated)? })
}

/// A zip of files. Every file has the earliest time that a zip can store.
pub(crate) fn zip(entries: &[(String, Entry)], method: CompressionMethod) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, entry) in entries {
        let Entry::File { bytes, executable } = entry else {
            return Err(format!("`{path}` is not a file").into());
        };
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(DateTime::default())
            .unix_permissions(if *executable { 0o755 } else { 0o644 });
        archive.start_file(path.as_str(), options)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The metadata for the index and pip (core metadata 2.4).
fn metadata(package: &Package) -> String {
    let Package { version, repository, .. } = package;
    format!(
        "Metadata-Version: 2.4\nName: mlconda\nVersion: {version}\nSummary: {SUMMARY}\n\
         Keywords: conda,docker,lock,environment,installer\nLicense-Expression: {LICENSE}\n\
         License-File: LICENSE\nLicense-File: THIRD-PARTY-LICENSES\n\
         Classifier: Environment :: Console\nClassifier: Programming Language :: Rust\n\
         Classifier: Topic :: System :: Installation/Setup\nRequires-Python: >=3.7\n\
         Project-URL: Repository, {repository}\nProject-URL: Changelog, {repository}/blob/v{version}/CHANGELOG.md\n\
         Description-Content-Type: text/markdown\n\n{}",
        package.readme()
    )
}

fn wheel(package: &Package, tags: &[String]) -> String {
    let tags: String = tags.iter().map(|tag| format!("Tag: py3-none-{tag}\n")).collect();
    format!("Wheel-Version: 1.0\nGenerator: mlconda-release {}\nRoot-Is-Purelib: false\n{tags}", package.version)
}

/// The hashes and sizes of all files except the record itself.
fn record(tree: &Tree, own: &str) -> String {
    let mut record = String::new();
    for (path, entry) in &tree.0 {
        if let Entry::File { bytes, .. } = entry {
            let hash = URL_SAFE_NO_PAD.encode(compute_bytes_digest::<Sha256>(bytes));
            record.push_str(&format!("{path},sha256={hash},{}\n", bytes.len()));
        }
    }
    record + own + ",,\n"
}
