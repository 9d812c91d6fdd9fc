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

/// The changes of pip in a prefix.
pub(crate) struct Changes {
    /// What pip has installed, as `NAME==VERSION`.
    pub(crate) installed: Vec<String>,
    /// The conda packages and distributions with a record that pip has replaced or removed.
    pub(crate) gone: Vec<PrefixRecord>,
    /// The other records.
    pub(crate) kept: Vec<PrefixRecord>,
}

impl Changes {
    pub(crate) fn of(prefix: &Prefix) -> Result<Self, CliError> {
        let mut kept = prefix.records()?;
        kept.extend(prefix.distributions()?);
        let mut gone = kept.clone();
        let untracked = prefix.untracked(&mut kept)?;
        gone.retain(|record| !kept.iter().any(|other| other.file_name() == record.file_name()));
        let installed = untracked.iter().map(|each| format!("{}=={}", each.name, each.version)).collect();
        Ok(Self { installed, gone, kept })
    }
}

/// The names and versions of records, as in a list of packages.
pub(crate) fn names<'a>(records: impl IntoIterator<Item = &'a PrefixRecord>) -> Vec<String> {
    let name = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        format!("{} {}", package.name.as_normalized(), package.version)
    };
    records.into_iter().map(name).collect()
}

/// Warns about the changes of pip in a prefix.
pub(crate) fn warn(prefix: &Prefix, purpose: Purpose, context: &Context) -> Result<(), CliError> {
    let Changes { installed: new, gone, .. } = Changes::of(prefix)?;
    let (installed, has) = match purpose {
        Purpose::Lock => ("are not in the lock", "the lock has"),
        Purpose::Comparison => ("are not compared", "the records have"),
        Purpose::View => ("no record lists", "the records have"),
    };
    let installed = if new.len() == 1 { installed.replacen("are", "is", 1) } else { installed.to_owned() };
    let place = if purpose == Purpose::View { String::new() } else { format!(" in `{}`", prefix.path().display()) };
    if !new.is_empty() {
        let packages = count(new.len(), "package");
        context.ui.warn(&format!("pip has installed {packages}{place} that {installed}: {}", list(&new)));
    }
    if !gone.is_empty() {
        let packages = count(gone.len(), "package");
        context.ui.warn(&format!("pip has replaced or removed {packages}{place}, but {has} {}", list(&names(&gone))));
    }
    if purpose == Purpose::Lock && !(new.is_empty() && gone.is_empty()) {
        context.ui.hint(&format!(
            "`mlconda export {}` writes an environment.yml with the packages of pip in its `pip:` list; `mlconda lock` \
             locks that",
            path_word(prefix.path())
        ));
    }
    Ok(())
}
