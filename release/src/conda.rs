//! The conda package (`.conda`, CEP 20): a zip with two tars in zstd, one with the files and one with their metadata.

use serde_json::{Value, json};
use zip::CompressionMethod;

use crate::{
    Result, Written,
    package::{LICENSE, Package, SUMMARY},
    sbom, sha256,
    tree::{Directories, Entry, Tree},
    wheel,
};

/// The level of zstd, the same as conda-build's.
const LEVEL: i32 = 19;

/// Packs it. The build string has the subdir in it, so that packages of all platforms can be in one directory.
pub(crate) fn pack(package: &Package) -> Result<Written> {
    let stem = format!("mlconda-{}-{}", package.version, build(package));
    let mut tree = package.share.clone();
    tree.program("bin/mlconda", package.program.clone());
    let compressed = |tree: &Tree| -> Result<Vec<u8>> {
        Ok(zstd::encode_all(tree.tar(package.epoch, Directories::LeftOut)?.as_slice(), LEVEL)?)
    };
    let member = |name: String, bytes: Vec<u8>| (name, Entry::File { bytes, executable: false });
    let members = [
        member("metadata.json".to_owned(), br#"{"conda_pkg_format_version": 2}"#.to_vec()),
        member(format!("info-{stem}.tar.zst"), compressed(&info(package, &tree)?)?),
        member(format!("pkg-{stem}.tar.zst"), compressed(&tree)?),
    ];
    Ok(Written { name: format!("{stem}.conda"), bytes: wheel::zip(&members, CompressionMethod::Stored)? })
}

/// The build string.
fn build(package: &Package) -> String {
    format!("{}_0", package.target.subdir.to_string().replace('-', "_"))
}

/// The files of `info/`.
fn info(package: &Package, tree: &Tree) -> Result<Tree> {
    let mut info = Tree::default();
    let mut put = |name: &str, value: &Value| -> Result<()> {
        info.file(format!("info/{name}"), serde_json::to_string_pretty(value)? + "\n");
        Ok(())
    };
    let subdir = package.target.subdir.to_string();
    let (platform, arch) = subdir.split_once('-').unwrap_or((&subdir, ""));
    let depends: Vec<String> = package.oldest.iter().map(|(major, minor)| format!("__osx >={major}.{minor}")).collect();
    put(
        "index.json",
        &json!({
            "arch": if arch == "64" { "x86_64" } else { arch },
            "build": build(package),
            "build_number": 0,
            "depends": depends,
            "license": LICENSE,
            "name": "mlconda",
            "platform": platform,
            "subdir": subdir,
            "timestamp": package.epoch * 1000,
            "version": package.version,
        }),
    )?;
    put(
        "about.json",
        &json!({
            "description": "Solves an environment.yml into a lock, and installs the lock in container builds.",
            "dev_url": package.repository,
            "home": package.repository,
            "license": LICENSE,
            "license_file": ["LICENSE", "THIRD-PARTY-LICENSES"],
            "summary": SUMMARY,
        }),
    )?;
    let paths: Vec<Value> = tree
        .0
        .iter()
        .filter_map(|(path, entry)| match entry {
            Entry::File { bytes, .. } => Some(json!({
                "_path": path,
                "path_type": "hardlink",
                "sha256": sha256(bytes),
                "size_in_bytes": bytes.len(),
            })),
            _ => None,
        })
        .collect();
    put("paths.json", &json!({"paths": paths, "paths_version": 1}))?;
    let files: String = tree.0.keys().map(|path| format!("{path}\n")).collect();
    info.file("info/files", files);
    info.file("info/licenses/LICENSE", package.license.clone());
    info.file("info/licenses/THIRD-PARTY-LICENSES", package.notices.clone());
    info.file("info/sboms/mlconda.cdx.json", sbom::text(&package.sbom));
    Ok(info)
}
