//! The layout of a prefix on disk: names of temporary files and directories of an installation, mlconda's own fields in
//! records, and the resolution of links.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::slim::LeftOut;

/// The name of the stage inside an existing prefix.
pub const STAGE: &str = ".mlconda-new";

/// The name of the history file until an installation is finished. If a prefix has records but no `history`, a process
/// was killed there. The next installation links all packages again.
pub const PENDING_HISTORY: &str = "history.mlconda";

/// The name of the backup directory of a change in place.
pub const BACKUP: &str = ".mlconda-old";

/// The maximum number of links that are followed in a path, as in Linux.
const MOST_LINKS: usize = 40;

/// The field `mlconda` of a record. It has facts for which conda has no field, and other tools ignore it. As a part of
/// the record, it is removed together with the package by any tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OwnFields {
    /// Executable files.
    #[serde(default)]
    pub executable: BTreeSet<PathBuf>,
    /// Soft links and their targets.
    #[serde(default)]
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// The prefix, if a file of the package contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PathBuf>,
    /// The parts that were left out on purpose; `None` if the whole package was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// Whether the package has a post-link script that did not run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scripts_not_run: bool,
}

impl OwnFields {
    /// The field `mlconda` of a record. All values are empty if another tool wrote the record.
    ///
    /// # Errors
    /// If the text is not JSON, or the values have other types.
    pub fn of_record(text: &[u8]) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Record {
            #[serde(default)]
            mlconda: OwnFields,
        }
        Ok(serde_json::from_slice::<Record>(text)?.mlconda)
    }
}

/// The paths of a prefix's stage and of its twin. Both are beside the prefix, on the same file system.
pub fn stage_and_replica(prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((sibling(prefix, ".mlconda-new")?, sibling(prefix, ".mlconda-twin")?))
}

/// The directory for packages that several environments share during one call. It is beside the first of these
/// prefixes.
pub fn shared_packages(prefix: &Path) -> Option<PathBuf> {
    sibling(prefix, ".mlconda-shared")
}

/// The path of `.NAME` with a suffix, beside a prefix named NAME.
fn sibling(prefix: &Path, end: &str) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(prefix.file_name()?);
    name.push(end);
    Some(prefix.parent()?.join(name))
}

/// The module that a byte code file was compiled from: `a/b.py` for `a/__pycache__/b.cpython-311.pyc`.
pub fn module_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| parent.ends_with("__pycache__"))?;
    let (stem, _) = path.file_name()?.to_str()?.strip_suffix(".pyc")?.split_once(".cpython-")?;
    Some(directory.parent()?.join(format!("{stem}.py")))
}

/// Resolves all links in a path, except in its last component. `link` returns the target of the link at a path. `None`
/// if the path leads out of the prefix or into a loop.
///
/// # Errors
/// If `link` fails.
pub fn resolve(path: &Path, link: &dyn Fn(&Path) -> io::Result<Option<PathBuf>>) -> io::Result<Option<PathBuf>> {
    let parts =
        |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let (mut left, mut place, mut links) = (parts(path), PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::Normal(part)) => place.push(part),
            Some(Component::ParentDir) if place.pop() => continue,
            Some(Component::CurDir) | None => continue,
            Some(_) => return Ok(None),
        }
        if left.is_empty() {
            break;
        }
        if let Some(to) = link(&place)? {
            links += 1;
            if links > MOST_LINKS {
                return Ok(None);
            }
            place.pop();
            left.extend(parts(&to));
        }
    }
    Ok(Some(place).filter(|place| !place.as_os_str().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_knows_its_module() {
        let module = |path: &str| module_of(Path::new(path));
        assert_eq!(module("a/__pycache__/b.cpython-311.pyc"), Some("a/b.py".into()));
        assert_eq!(module("a/__pycache__/b.cpython-311.opt-1.pyc"), Some("a/b.py".into()));
        assert_eq!([module("a/b.cpython-311.pyc"), module("__pycache__/b.txt")], [None, None]);
    }

    #[test]
    fn a_path_through_too_many_links_or_out_of_the_prefix_leads_nowhere() {
        let chain = |length: usize| {
            let link = move |path: &Path| {
                let number: Option<usize> = path.to_str().and_then(|name| name.strip_prefix('l')?.parse().ok());
                let next = |number| if number < length { format!("l{number}").into() } else { "end".into() };
                Ok(number.map(|number| next(number + 1)))
            };
            resolve(Path::new("l0/file"), &link).unwrap()
        };
        assert_eq!(chain(MOST_LINKS), Some("end/file".into()));
        assert_eq!(chain(MOST_LINKS + 1), None);
        let to = |target: &'static str| {
            let link = move |path: &Path| Ok((path == Path::new("link")).then(|| target.into()));
            resolve(Path::new("link/file"), &link).unwrap()
        };
        assert_eq!([to("link"), to("../outside"), to("/etc")], [None, None, None]);
        assert_eq!(to("a/../b"), Some("b/file".into()));
    }
}
