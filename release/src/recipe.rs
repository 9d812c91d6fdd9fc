//! Files of the repository that a release ships with its version, address and hashes filled in.

use std::path::Path;

use crate::{Result, Written, sha256};

/// The recipe of rattler-build, which packs the archives of this release. Platforms that the release lacks are removed.
pub(crate) fn render(root: &Path, version: &str, repository: &str, written: &[Written]) -> Result<Written> {
    let text = fs_err::read_to_string(root.join("release/recipe.yaml"))?;
    let text = filled(&text, version, repository);
    let mut recipe = String::new();
    // A source is a block of lines: `  - if: …` begins it, and `sha256: @TARGET@` ends it.
    let mut block: Option<String> = None;
    for line in text.split_inclusive('\n') {
        if line.starts_with("  - if: ") {
            block = Some(String::new());
        }
        let Some(open) = &mut block else {
            recipe.push_str(line);
            continue;
        };
        open.push_str(line);
        if let Some(target) = line.trim().strip_prefix("sha256: @").and_then(|rest| rest.strip_suffix('@')) {
            let name = format!("mlconda-{version}-{target}.tar.gz");
            if let Some(file) = written.iter().find(|file| file.name == name) {
                recipe.push_str(&open.replace(&format!("@{target}@"), &sha256(&file.bytes)));
            }
            block = None;
        }
    }
    Ok(Written { name: "recipe.yaml".to_owned(), bytes: recipe.into_bytes() })
}

/// The script that installs a release without a package manager.
pub(crate) fn installer(root: &Path, version: &str, repository: &str) -> Result<Written> {
    let text = fs_err::read_to_string(root.join("release/feature/mlconda/install.sh"))?;
    Ok(Written { name: "install.sh".to_owned(), bytes: filled(&text, version, repository).into_bytes() })
}

fn filled(text: &str, version: &str, repository: &str) -> String {
    text.replace("@VERSION@", version).replace("https://github.com/OWNER/mlconda", repository)
}
