//! Reads a lock with git's conflict markers, from two branches that changed it.
//!
//! Merging line by line would mix packages of two solves. So both sides are read as complete locks, and a new solve
//! prefers their packages (`mlconda_solve::Previous`).

use std::{cmp::Ordering, collections::HashSet};

use super::{Lock, LockedPackage};

/// The two sides of a text with git's conflict markers, each as a complete text; `None` if there are no such markers.
/// The common ancestor (`|||||||`, with `merge.conflictStyle` `diff3` or `zdiff3`) is left out.
///
/// ```
/// use mlconda_lock::merge::sides;
///
/// let text = "same\n<<<<<<< HEAD\nours\n||||||| base\nbefore\n=======\ntheirs\n>>>>>>> branch\n";
/// assert_eq!(sides(text), Some(("same\nours\n".to_owned(), "same\ntheirs\n".to_owned())));
/// assert_eq!(sides("same\n"), None);
/// ```
pub fn sides(text: &str) -> Option<(String, String)> {
    enum Side {
        Both,
        Ours,
        Base,
        Theirs,
    }
    let (mut ours, mut theirs, mut side, mut found) = (String::new(), String::new(), Side::Both, false);
    for line in text.split_inclusive('\n') {
        let marker = |marker: &str| {
            line.trim_end().strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        side = match side {
            Side::Both if marker("<<<<<<<") => Side::Ours,
            Side::Ours if marker("|||||||") => Side::Base,
            Side::Ours | Side::Base if marker("=======") => Side::Theirs,
            Side::Theirs if marker(">>>>>>>") => {
                found = true;
                Side::Both
            }
            Side::Both => {
                ours.push_str(line);
                theirs.push_str(line);
                continue;
            }
            Side::Ours => {
                ours.push_str(line);
                continue;
            }
            Side::Theirs => {
                theirs.push_str(line);
                continue;
            }
            Side::Base => continue,
        };
    }
    (found && matches!(side, Side::Both)).then_some((ours, theirs))
}

/// An @EXPLICIT text with only the first line of each package. Outside of the conflicts, git merges the lines of both
/// sides, so one side may contain a package twice.
///
/// ```
/// use mlconda_lock::merge::each_once;
///
/// let lock = |lines: &str| format!("# platform: linux-64\n@EXPLICIT\n{lines}");
/// let text = lock("https://h/noarch/a-1-0.conda\nhttps://h/noarch/b-1-0.conda\nhttps://h/noarch/a-2-0.conda#12\n");
/// assert_eq!(each_once(&text), lock("https://h/noarch/a-1-0.conda\nhttps://h/noarch/b-1-0.conda\n"));
/// ```
#[must_use]
pub fn each_once(text: &str) -> String {
    let (mut seen, mut is_package) = (HashSet::new(), false);
    let first = |line: &&str| {
        let place = line.split('#').next().unwrap_or_default().trim();
        if !is_package || place.is_empty() {
            is_package |= place == "@EXPLICIT";
            return true;
        }
        let file = place.rsplit('/').next().unwrap_or(place);
        seen.insert(file.rsplitn(3, '-').nth(2).unwrap_or(file).to_lowercase())
    };
    text.split_inclusive('\n').filter(first).collect()
}

/// A lock with the packages of both locks. If both have a package, the newer version is taken. The result is not a
/// solution, only the preference of the next solve. Everything else is from `ours`.
///
/// ```
/// # use std::path::Path;
/// # use mlconda_lock::{Expansion, explicit, merge::newer_of_both};
/// let lock = |package: &str| {
///     let text = format!("@EXPLICIT\nhttps://conda.anaconda.org/lab/noarch/{package}.conda\n");
///     explicit::parse(&text, Path::new("/srv/env.lock"), &Expansion::default())
/// };
/// let both = newer_of_both(&lock("tool-1.9-0")?, &lock("tool-1.10-0")?);
/// assert_eq!(both.packages[0].version, "1.10");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn newer_of_both(ours: &Lock, theirs: &Lock) -> Lock {
    let mut both = ours.clone();
    for package in &theirs.packages {
        match both.packages.iter_mut().find(|known| known.name == package.name) {
            Some(known) if is_newer(package, known) => *known = package.clone(),
            Some(_) => {}
            None => both.packages.push(package.clone()),
        }
    }
    for package in &theirs.pip {
        let version = |version: &Option<String>| version.as_ref()?.parse::<rattler_conda_types::Version>().ok();
        match both.pip.iter_mut().find(|known| known.name == package.name) {
            Some(known) if version(&package.version) > version(&known.version) => *known = package.clone(),
            Some(_) => {}
            None => both.pip.push(package.clone()),
        }
    }
    both
}

/// Compares the versions, then the build numbers.
fn is_newer(package: &LockedPackage, known: &LockedPackage) -> bool {
    let order = package.parsed_version().cmp(&known.parsed_version());
    let number = |package: &LockedPackage| package.known().map(|record| record.build_number);
    order.then_with(|| number(package).cmp(&number(known))) == Ordering::Greater
}
