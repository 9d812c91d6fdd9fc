//! The layout of a prefix on disk: the names that an installation gives to what it has not finished, what a record has besides
//! conda's fields, and where paths lead.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The name of the stage inside a prefix that exists.
pub const STAGE: &str = ".mlconda-new";

/// The history while an installation is not finished. A prefix that has records and no `history` is one in which
/// a process was killed: the next installation links everything anew.
pub const PENDING_HISTORY: &str = "history.mlconda";

/// The name of the directory in the prefix.
pub const BACKUP: &str = ".mlconda-old";

/// No path that can be opened leads through more links.
const MOST_LINKS: usize = 40;

/// What a record holds besides conda's fields, which have no word for it; other tools pass over the field `mlconda`. It
/// is in the record and nowhere else, so that it goes with the package whoever removes that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OwnFields {
    /// Files that anybody may run.
    #[serde(default)]
    pub executable: BTreeSet<PathBuf>,
    /// Where soft links point to.
    #[serde(default)]
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// The prefix, if it was written into files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PathBuf>,
}

/// Where the stage of a prefix is, and the twin of one that exists: beside it, so that one step of the kernel puts
/// either in place.
pub fn stage_and_replica(prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    Some((sibling(prefix, ".mlconda-new")?, sibling(prefix, ".mlconda-twin")?))
}

/// Where what several environments of one call share is, while they are installed: beside the first of them.
pub fn shared_packages(prefix: &Path) -> Option<PathBuf> {
    sibling(prefix, ".mlconda-shared")
}

/// `.NAME` and an end, beside a prefix, whose name need not be text.
fn sibling(prefix: &Path, end: &str) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(prefix.file_name()?);
    name.push(end);
    Some(prefix.parent()?.join(name))
}

/// The module that a file is byte code of, by its name: `a/__pycache__/b.cpython-311.pyc` is of `a/b.py`.
pub fn module_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent().filter(|parent| parent.ends_with("__pycache__"))?;
    let (stem, _) = path.file_name()?.to_str()?.strip_suffix(".pyc")?.split_once(".cpython-")?;
    Some(directory.parent()?.join(format!("{stem}.py")))
}

/// Where a path leads if links are followed, but for its last component; `None` if that is out of the prefix, or nowhere.
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
}
