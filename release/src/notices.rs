//! The licences of all code that is linked into a program, as they require: crates, the standard library of Rust, and
//! the C library. Each text is listed once, with its crates. The two crates that replace others (`[patch]` in
//! Cargo.toml) belong to this repository, and have its licence.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{Result, sbom::Dependencies, target::Target};

/// Beside crates, every program is linked with this.
const RUST: &str = "Rust's standard library: MIT OR Apache-2.0; source: https://github.com/rust-lang/rust\n";

/// Programs for Linux are also linked with this. Its licence requires that the program can be linked again with another
/// version of it, which the sources of mlconda allow.
const GLIBC: &str = "The GNU C library: LGPL-2.1-or-later; source: https://sourceware.org/glibc/ and, as linked here, \
                     https://sources.debian.org/src/glibc/\n";

/// The path of the text of that licence on Debian and Ubuntu.
const LGPL: &str = "/usr/share/common-licenses/LGPL-2.1";

/// The text with all licences.
pub(crate) fn of(dependencies: &Dependencies, target: Target) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heads = String::new();
    for component in dependencies.components.iter().filter(|component| component.checksum.is_some()) {
        let title = format!("{} {}", component.name, component.version);
        heads.push_str(&format!("{title}: {}\n", component.license.as_deref().unwrap_or("see its own files")));
        for path in files(&component.directory)? {
            let text = String::from_utf8_lossy(&fs_err::read(&path)?).replace("\r\n", "\n");
            let users = texts.entry(text.trim_end().to_owned()).or_default();
            if users.last() != Some(&title) {
                users.push(title.clone());
            }
        }
    }
    heads.push_str(RUST);
    if target.is_linux() {
        heads.push_str(GLIBC);
        if Path::new(LGPL).exists() {
            let text = fs_err::read_to_string(LGPL)?;
            texts.entry(text.trim_end().to_owned()).or_default().push("the GNU C library".to_owned());
        }
    }
    let mut notices = format!("mlconda contains these libraries. Each is used under its own licence.\n\n{heads}");
    // Each text is listed in the order of its first crate.
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|(one, first), (other, second)| (first, one).cmp(&(second, other)));
    for (text, users) in texts {
        notices.push_str(&format!("\n{}\n{}:\n\n{text}\n", "-".repeat(80), users.join(", ")));
    }
    Ok(notices)
}

/// The files of a crate that contain a licence, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|word| name.starts_with(word));
        if is_licence && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
