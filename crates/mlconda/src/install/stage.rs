//! The directory in which an installation is put together, aside from the prefix.
//!
//! Each file is written once, with its prefix already replaced by the final one, at the place that it has in
//! the prefix; a commit then only renames. Several threads write at once, so a table says which package holds
//! which path. Where two packages hold the same path, the one that is linked later wins, as with conda; until
//! all are there the second comer waits in a drawer of its own, for the order of arrival must not decide.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fs::File,
    io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rattler_conda_types::Subdir;

use super::{InstallError, package::invalid};
use crate::system;

/// Where second comers wait, below the stage.
const DRAWER: &str = ".mlconda-clash";

/// A path that several packages hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The path, relative to the prefix.
    pub path: PathBuf,
    /// The packages, by file name without extension, in linking order: the last one's file counts.
    pub packages: Vec<String>,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Stage {
    root: PathBuf,
    /// The directory itself, open: looking a path up from here is shorter.
    pub(super) directory: File,
    /// The final prefix, as text: what placeholders become.
    pub(super) prefix: String,
    /// The platform that the prefix is for.
    pub(super) platform: Subdir,
    /// Permission bits that the process's umask takes away.
    umask: u32,
    claims: Mutex<Claims>,
}

/// A table by path. A large environment asks these hundreds of thousands of times, and the standard hash is slow.
pub(super) type Paths<T> = HashMap<PathBuf, T, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Claims {
    files: Paths<usize>,
    directories: Paths<Directory>,
    /// Who else wants a path, besides the one in `files`.
    clashes: Paths<Vec<usize>>,
}

/// What is known of a directory of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directory {
    /// Nothing else may be at its path; it may be there or be on its way.
    Claimed,
    /// It is there.
    Made,
}

impl Stage {
    /// A stage in an existing, empty directory.
    pub(super) fn new(root: &Path, prefix: &Path, platform: Subdir) -> io::Result<Self> {
        let prefix = prefix.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", prefix.display())))?;
        let umask = system::umask_below(root)?;
        let claims = Mutex::default();
        let directory = fs_err::File::open(root)?.into_parts().0;
        Ok(Self { root: root.to_owned(), directory, prefix: prefix.to_owned(), platform, umask, claims })
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        // A thread that panicked cannot have left the table half-written: each insertion is one step.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a path to a package, makes the directory above it, and tells where in the stage to write its file.
    pub(super) fn claim<'a>(&self, path: &'a Path, package: usize) -> Result<Cow<'a, Path>, InstallError> {
        self.directory(path.parent().unwrap_or(path))?;
        self.claim_inside(path, package)
    }

    /// The same, where the directory above it is known to be there.
    pub(super) fn claim_inside<'a>(&self, path: &'a Path, package: usize) -> Result<Cow<'a, Path>, InstallError> {
        let mut claims = self.claims();
        if claims.directories.contains_key(path) {
            return Err(InstallError::Kind { path: path.to_owned() });
        }
        match claims.files.entry(path.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(package);
                Ok(path.into())
            }
            Entry::Occupied(holder) if *holder.get() == package => {
                // An archive that has to be read anew.
                system::remove_if_there(&self.root.join(path))?;
                Ok(path.into())
            }
            Entry::Occupied(_) => {
                let others = claims.clashes.entry(path.to_owned()).or_default();
                if !others.contains(&package) {
                    others.push(package);
                }
                drop(claims);
                let (inner, place) = (drawer(path, package), self.root.join(drawer(path, package)));
                if let Some(parent) = place.parent() {
                    fs_err::create_dir_all(parent)?;
                }
                system::remove_if_there(&place)?;
                Ok(inner.into())
            }
        }
    }

    /// Where a file is that the package has written before.
    pub(super) fn place(&self, path: &Path, package: usize) -> PathBuf {
        match self.claims().files.get(path) {
            Some(holder) if *holder == package => self.root.join(path),
            _ => self.root.join(drawer(path, package)),
        }
    }

    /// Which package holds a path.
    pub(super) fn holder(&self, path: &Path) -> Option<usize> {
        self.claims().files.get(path).copied()
    }

    /// Makes a directory of the prefix, and those above it.
    ///
    /// The table says that it is a directory before it is made: nobody can put a link there, so that no file is ever
    /// written through a link. It is made without holding the table, for that takes the kernel a while; two threads that
    /// want the same one both make it.
    pub(super) fn directory(&self, path: &Path) -> Result<(), InstallError> {
        let missing = self.claim_directories(path)?;
        for path in missing.iter().rev() {
            let place = self.root.join(path);
            match fs_err::create_dir(&place) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            // It takes too much, or leaves too much.
            if self.umask != 0o022 {
                system::set_directory_mode(&place, 0o755)?;
            }
        }
        if !missing.is_empty() {
            let mut claims = self.claims();
            claims.directories.extend(missing.into_iter().map(|path| (path.to_owned(), Directory::Made)));
        }
        Ok(())
    }

    /// Claims a directory and those above it, and tells which of them are not known to be there, the deepest first.
    fn claim_directories<'a>(&self, path: &'a Path) -> Result<Vec<&'a Path>, InstallError> {
        let mut missing = Vec::new();
        let mut claims = self.claims();
        for path in path.ancestors().take_while(|path| !path.as_os_str().is_empty()) {
            if claims.files.contains_key(path) {
                return Err(InstallError::Kind { path: path.to_owned() });
            }
            match claims.directories.get(path) {
                Some(Directory::Made) => break,
                Some(Directory::Claimed) => {}
                None => {
                    claims.directories.insert(path.to_owned(), Directory::Claimed);
                }
            }
            missing.push(path);
        }
        Ok(missing)
    }

    /// Makes a new file, with these permissions whatever the umask.
    pub(super) fn create(&self, place: &Path, mode: u32) -> io::Result<fs_err::File> {
        let file = system::create_new(place, mode)?;
        if self.umask & mode != 0 {
            system::set_mode(file.file(), mode)?;
        }
        Ok(file)
    }

    /// Lets the right file win wherever packages clash, and tells of the clashes. `packages` gives each package's rank
    /// in the linking order and its name, by its number; `kept` are files of packages that stay in the prefix,
    /// with the same.
    pub(super) fn settle<'a>(
        &self,
        packages: &[(usize, String)],
        kept: impl Iterator<Item = (&'a PathBuf, (usize, String))>,
    ) -> Result<Vec<Clash>, InstallError> {
        let mut claims = self.claims();
        let mut report: BTreeMap<PathBuf, Vec<(usize, String)>> = BTreeMap::new();
        for (path, mut others) in std::mem::take(&mut claims.clashes) {
            let Some(holder) = claims.files.get(&path).copied() else { continue };
            others.push(holder);
            crate::sorting::sort_by_key(&mut others, |number| packages[*number].0);
            if let Some(winner) = others.last().copied().filter(|winner| *winner != holder) {
                fs_err::rename(self.root.join(drawer(&path, winner)), self.root.join(&path))?;
                claims.files.insert(path.clone(), winner);
            }
            report.insert(path, others.into_iter().map(|number| packages[number].clone()).collect());
        }
        for (path, stays) in kept {
            let Some(holder) = claims.files.get(path).copied() else { continue };
            if stays.0 > packages[holder].0 {
                claims.files.remove(path);
                fs_err::remove_file(self.root.join(path))?;
            }
            report.entry(path.clone()).or_insert_with(|| vec![packages[holder].clone()]).push(stays);
        }
        drop(claims);
        match fs_err::remove_dir_all(self.root.join(DRAWER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let clash = |(path, mut packages): (PathBuf, Vec<(usize, String)>)| {
            crate::sorting::sort(&mut packages);
            Clash { path, packages: packages.into_iter().map(|(_, name)| name).collect() }
        };
        Ok(report.into_iter().map(clash).collect())
    }

    /// Gives every directory the same time: writing into them gave each the clock's.
    pub(super) fn settle_directories(&self, seconds: i64) -> Result<(), InstallError> {
        // The deepest first, though setting a time changes none above: a reader sees the order of work.
        for path in self.directories().iter().rev() {
            system::set_directory_time(&self.root.join(path), seconds)?;
        }
        Ok(system::set_directory_time(&self.root, seconds)?)
    }

    /// Every directory, relative to the prefix, parents first.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self.claims().directories.keys().cloned().collect();
        // What is above a path is shorter than it.
        crate::sorting::sort_by_key(&mut directories, |path| path.as_os_str().len());
        directories
    }

    /// Every path that a package holds, relative to the prefix.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.claims().files.keys().cloned().collect()
    }
}

/// Where a second comer's file waits, below the stage.
fn drawer(path: &Path, package: usize) -> PathBuf {
    Path::new(DRAWER).join(package.to_string()).join(path)
}

/// Whether a path stays where it is put: relative, and without `..`.
pub(super) fn is_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link at `path` that points to `target` stays in the prefix, by its text.
pub(super) fn link_stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut descended = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => descended = true,
            Component::CurDir => {}
            // After a name, `..` is the parent of whatever that name links to.
            Component::ParentDir if depth > 0 && !descended => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_the_prefix_are_seen() {
        let stays = |path: &str, target: &str| link_stays_inside(Path::new(path), Path::new(target));
        assert!(stays("lib/libz.so", "libz.so.1") && stays("a/b/c", "../../d") && stays("lib64", "lib"));
        assert!(!stays("lib/libz.so", "../../etc") && !stays("a", "/etc/passwd") && !stays("a/b", "../c/../d"));
    }

    #[test]
    fn paths_that_leave_the_prefix_are_seen() {
        assert!(is_inside(Path::new("lib/a..b/c")));
        assert!(["", "/etc", "../a", "a/../../b"].iter().all(|path| !is_inside(Path::new(path))));
    }
}
