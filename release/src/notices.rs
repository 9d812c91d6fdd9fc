//! The licences of the crates that are linked into a program, as they ask for: each text once, with the crates it is for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{Result, sbom::Dependencies};

/// The text of all of them.
pub(crate) fn of(dependencies: &Dependencies) -> Result<String> {
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
    let mut notices = format!("mlconda contains these libraries. Each is used under its own licence.\n\n{heads}");
    // In the order of the first crate that has a text.
    let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
    texts.sort_by(|(one, first), (other, second)| (first, one).cmp(&(second, other)));
    for (text, users) in texts {
        notices.push_str(&format!("\n{}\n{}:\n\n{text}\n", "-".repeat(80), users.join(", ")));
    }
    Ok(notices)
}

/// The files of a crate that have a licence in them, sorted.
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
