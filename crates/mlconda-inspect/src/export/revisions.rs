//! The revisions of an environment, from `conda-meta/history`: the changes of each, and the packages after it.

use std::collections::BTreeSet;

use mlconda_prefix::{Prefix, PrefixError};

use super::history;

/// One section of a history: the result of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastRevision {
    /// The time, as written in the history: the local time of the program that wrote it, without a time zone.
    pub date: String,
    /// The packages that were added (`+CHANNEL/SUBDIR::NAME-VERSION-BUILD`) and removed (`-…`), sorted. Very old
    /// versions of conda wrote all packages of the environment instead, without signs.
    pub changes: BTreeSet<String>,
    /// The requested match specs after this revision.
    pub requested: Vec<String>,
}

impl PastRevision {
    /// Whether [`PastRevision::changes`] are changes, not all packages of the environment.
    pub fn is_change(&self) -> bool {
        self.changes.iter().any(|line| line.starts_with(['+', '-']))
    }
}

/// Reads the revisions of an environment, the oldest first. Without a history, there are none.
///
/// # Errors
/// If the history cannot be read.
pub fn revisions(prefix: &Prefix) -> Result<Vec<PastRevision>, PrefixError> {
    Ok(parse(&history::read(prefix)?))
}

/// The packages after the last of these revisions, as `CHANNEL/SUBDIR::NAME-VERSION-BUILD`.
pub fn packages_after(revisions: &[PastRevision]) -> BTreeSet<String> {
    let mut packages = BTreeSet::new();
    for revision in revisions {
        // A revision without lines changed other things than packages. (For conda, the environment is empty then.)
        if !revision.changes.is_empty() && !revision.is_change() {
            packages.clone_from(&revision.changes);
        }
        for line in &revision.changes {
            if let Some(package) = line.strip_prefix('-') {
                packages.remove(package);
            }
        }
        packages.extend(revision.changes.iter().filter_map(|line| line.strip_prefix('+')).map(str::to_owned));
    }
    packages
}

fn parse(text: &str) -> Vec<PastRevision> {
    let (mut revisions, mut requested) = (Vec::<PastRevision>::new(), history::RequestedSpecs::default());
    for line in text.lines().map(str::trim) {
        requested.line(line);
        if let Some((date, _)) = line.strip_prefix("==>").and_then(|rest| rest.split_once("<==")) {
            revisions.push(PastRevision { date: date.trim().to_owned(), ..PastRevision::default() });
        } else if let Some(last) = revisions.last_mut() {
            if line.starts_with('#') {
                last.requested = requested.specs.values().cloned().collect();
            } else if !line.is_empty() {
                last.changes.insert(line.to_owned());
            }
        }
    }
    revisions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_after_each_revision_is_known() {
        let history = "==> 2024-01-01 00:00:00 <==\n# cmd: conda create\n+c/noarch::a-1-0\n+c/noarch::b-1-0\n\
                       # update specs: ['a', 'b']\n\n==> 2024-01-02 00:00:00 <==\n# cmd: conda install\n\
                       -c/noarch::a-1-0\n+c/noarch::a-2-0\n# update specs: ['a=2']\n\
                       ==> 2024-01-03 00:00:00 <==\n# cmd: conda remove\n-c/noarch::b-1-0\n# remove specs: ['b']\n";
        let revisions = parse(history);
        let told: Vec<String> = (1..=revisions.len())
            .map(|count| {
                let packages: Vec<String> = packages_after(&revisions[..count]).into_iter().collect();
                format!(
                    "{}: {} ({})",
                    revisions[count - 1].date,
                    packages.join(" "),
                    revisions[count - 1].requested.join(" ")
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "2024-01-01 00:00:00: c/noarch::a-1-0 c/noarch::b-1-0 (a b)",
                "2024-01-02 00:00:00: c/noarch::a-2-0 c/noarch::b-1-0 (a=2 b)",
                "2024-01-03 00:00:00: c/noarch::a-2-0 (a=2)",
            ]
        );
    }

    #[test]
    fn a_revision_without_lines_removes_nothing() {
        let history =
            "==> 2024-01-01 00:00:00 <==\n+c/noarch::a-1-0\n==> 2024-01-02 00:00:00 <==\n# cmd: conda env config\n";
        assert!(packages_after(&parse(history)).iter().eq(["c/noarch::a-1-0"]));
    }

    #[test]
    fn a_list_of_all_that_is_there_is_no_change() {
        let revisions = parse("noise\n==> 2012-01-01 00:00:00 <==\na-1-0\nb-1-0\n==> 2012-01-02 00:00:00 <==\nb-2-0\n");
        assert_eq!(packages_after(&revisions[..1]).len(), 2);
        assert!(packages_after(&revisions).iter().eq(["b-2-0"]));
        assert!(!revisions[0].is_change() && revisions[0].requested.is_empty());
    }
}
