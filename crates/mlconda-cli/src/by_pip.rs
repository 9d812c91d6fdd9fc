//! Warns about packages that pip has installed, replaced or removed: no record lists these changes, so a lock or a graph
//! of the prefix, which is made from the records, does not have them.

use std::path::Path;

use mlconda::{PrefixRecord, prefix::Prefix};

use crate::{
    context::Context,
    error::CliError,
    text::{count, list, path_word},
};

/// What is made from the records of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Lock,
    Comparison,
    /// A graph or an SBOM.
    View,
}

/// Warns about the changes of pip in a prefix, or in the prefix of a `conda-meta`.
pub(crate) fn warn_of_path(path: &Path, purpose: Purpose, context: &Context) -> Result<(), CliError> {
    let is_meta = path.ends_with("conda-meta");
    warn(&Prefix::open(path.parent().filter(|_| is_meta).unwrap_or(path))?, purpose, context)
}

/// Warns about the changes of pip in a prefix.
pub(crate) fn warn(prefix: &Prefix, purpose: Purpose, context: &Context) -> Result<(), CliError> {
    let mut records = prefix.records()?;
    records.extend(prefix.distributions()?);
    let before = records.clone();
    let untracked = prefix.untracked(&mut records)?;
    let gone = gone(&before, &records);
    let (installed, has) = match purpose {
        Purpose::Lock => ("are not in the lock", "the lock has"),
        Purpose::Comparison => ("are not compared", "the records have"),
        Purpose::View => ("no record lists", "the records have"),
    };
    let installed = if untracked.len() == 1 { installed.replacen("are", "is", 1) } else { installed.to_owned() };
    let place = if purpose == Purpose::View { String::new() } else { format!(" in `{}`", prefix.path().display()) };
    if !untracked.is_empty() {
        let names: Vec<String> = untracked.iter().map(|each| format!("{}=={}", each.name, each.version)).collect();
        let packages = count(names.len(), "package");
        context.ui.warn(&format!("pip has installed {packages}{place} that {installed}: {}", list(&names)));
    }
    if !gone.is_empty() {
        let packages = count(gone.len(), "package");
        context.ui.warn(&format!("pip has replaced or removed {packages}{place}, but {has} {}", list(&gone)));
    }
    if purpose == Purpose::Lock && !(untracked.is_empty() && gone.is_empty()) {
        context.ui.hint(&format!(
            "`mlconda export {}` writes an environment.yml with the packages of pip in its `pip:` list; `mlconda lock` \
             locks that",
            path_word(prefix.path())
        ));
    }
    Ok(())
}

/// The names and versions of the records that are in `before` only.
pub(crate) fn gone(before: &[PrefixRecord], after: &[PrefixRecord]) -> Vec<String> {
    let is_gone = |record: &&PrefixRecord| !after.iter().any(|other| other.file_name() == record.file_name());
    let record = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        format!("{} {}", package.name.as_normalized(), package.version)
    };
    before.iter().filter(is_gone).map(record).collect()
}
