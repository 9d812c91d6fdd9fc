//! `clean`: empties the cache of mlconda, if there is one. Installations leave no other files.

use std::{fs::FileType, path::Path, process::ExitCode};

use serde_json::json;

use super::{line::Line, tool::Tool};
use crate::{context::Context, error::CliError, text::bytes};

pub(super) fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let any =
        ["--all", "--packages", "--tarballs", "--force-pkgs-dirs", "--index-cache"].iter().any(|key| line.has(key));
    if !any && !line.has("--trash") {
        let message = "name what to clean: `--all` for the whole cache, `--index-cache` for its repodata";
        if !matches!(line.tool, Tool::Mamba | Tool::Micromamba) {
            return Err(CliError::Usage(message.to_owned()));
        }
        // As with them.
        context.ui.say(&format!("Nothing to do: {message}."));
        return Ok(ExitCode::SUCCESS);
    }
    let only_index = line.has("--index-cache")
        && line
            .options
            .iter()
            .filter(|(key, _)| *key != "--index-cache")
            .all(|(key, _)| ["--trash", "--yes", "--quiet", "--json", "--dry-run"].contains(key));
    let cache = context.settings.package_cache().filter(|_| any);
    let mut removed: u64 = 0;
    if let Some(cache) = &cache {
        for entry in fs_err::read_dir(cache)? {
            let entry = entry?;
            if only_index && entry.file_name() != "repodata" {
                continue;
            }
            removed += size(&entry.path(), entry.file_type()?)?;
            if line.has("--dry-run") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs_err::remove_dir_all(entry.path())?;
            } else {
                fs_err::remove_file(entry.path())?;
            }
        }
        // The directory stays if it is a mount or not empty.
        let _ = fs_err::remove_dir(cache);
    }
    let removed_text = bytes(removed);
    context.ui.say(&match (&cache, line.has("--dry-run")) {
        (Some(cache), true) if only_index => {
            format!("Would remove the repodata of the cache `{}`: {removed_text}.", cache.display())
        }
        (Some(cache), false) if only_index => {
            format!("The cache `{}` has no repodata any more: {removed_text} were removed.", cache.display())
        }
        (Some(cache), true) => format!("Would empty the cache `{}`: {removed_text}.", cache.display()),
        (Some(cache), false) => format!("The cache `{}` is empty: {removed_text} were removed.", cache.display()),
        (None, _) if !any => "There is nothing to clean: mlconda leaves no such files.".to_owned(),
        (None, _) => "There is nothing to clean: there is no cache, and installations leave no other files.".to_owned(),
    });
    if line.has("--json") {
        context.ui.json(&json!({ "success": true, "removed_bytes": removed }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The size of a file, or of all files in a directory, in bytes.
pub(super) fn size(path: &Path, kind: FileType) -> Result<u64, CliError> {
    if !kind.is_dir() {
        return Ok(fs_err::symlink_metadata(path)?.len());
    }
    let mut sum = 0;
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        sum += size(&entry.path(), entry.file_type()?)?;
    }
    Ok(sum)
}
