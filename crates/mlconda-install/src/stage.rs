//! The directory in which an installation is put together, aside from the prefix.
//!
//! Each file is written once, with its prefix already replaced by the final one, at the place that it has in
//! the prefix; a commit then only renames. Several threads write at once, so a table says which package holds
//! which path. Where two packages hold the same path, the one that is linked later wins, as with conda; until
//! all are there the second comer waits in a drawer of its own, for the order of arrival must not decide.

mod clashes;

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mlconda_system as system;
use rattler_conda_types::Subdir;

pub(super) use self::clashes::InstalledPackages;
use super::{InstallError, package::invalid, stop::Stop};

/// Where wait, below the stage: second comers; and what is below a link of another package, or a link where another one
/// has a directory.
const CLASH_DIRECTORY: &str = ".mlconda-clash";

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
    /// What tells to stop.
    pub(super) stop: Stop,
    claims: Mutex<Claims>,
}

/// A table by path. A large environment asks these hundreds of thousands of times, and the standard hash is slow.
pub(super) type PathMap<T> = HashMap<PathBuf, T, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Claims {
    files: PathMap<usize>,
    directories: PathMap<Directory>,
    /// Who wants a path that was not free, or that was below what is no directory.
    waiting: PathMap<Vec<WaitingPackage>>,
    /// Directories that were below what is no directory.
    wanted_directories: Vec<PathBuf>,
    /// Where files are that are named below links of packages.
    resolved_paths: PathMap<PathBuf>,
    /// How many drawers there are.
    slots: usize,
}

/// A package that waits for a path.
#[derive(Clone, Copy, Debug)]
struct WaitingPackage {
    package: usize,
    /// The number of the drawer that its file is in.
    slot: usize,
}

impl Claims {
    /// Lets a package wait for a path, and gives the number of its drawer.
    fn wait(&mut self, path: &Path, package: usize) -> usize {
        if let Some(slot) = self.slot_of(path, package) {
            // An archive that has to be read anew.
            return slot;
        }
        let slot = self.slots;
        self.slots += 1;
        self.waiting.entry(path.to_owned()).or_default().push(WaitingPackage { package, slot });
        slot
    }

    fn slot_of(&self, path: &Path, package: usize) -> Option<usize> {
        let waiting = self.waiting.get(path)?.iter().find(|waiting| waiting.package == package);
        waiting.map(|waiting| waiting.slot)
    }
}

/// What a path is in, as far as it is known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ParentKind {
    /// A directory.
    #[default]
    Directory,
    /// Something that is a file or a link for a package.
    NotDirectory,
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
    pub(crate) fn new(root: &Path, prefix: &Path, platform: Subdir, stop: Stop) -> io::Result<Self> {
        let prefix = prefix.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", prefix.display())))?;
        let umask = system::umask_below(root)?;
        let claims = Mutex::default();
        let directory = fs_err::File::open(root)?.into_parts().0;
        Ok(Self { root: root.to_owned(), directory, prefix: prefix.to_owned(), platform, umask, stop, claims })
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
        let parent_kind = self.directory(path.parent().unwrap_or(path))?;
        self.claim_inside(path, package, parent_kind)
    }

    /// The same, where it is known what it is in.
    pub(super) fn claim_inside<'a>(
        &self,
        path: &'a Path,
        package: usize,
        parent_kind: ParentKind,
    ) -> Result<Cow<'a, Path>, InstallError> {
        let mut claims = self.claims();
        if parent_kind == ParentKind::Directory && !claims.directories.contains_key(path) {
            match claims.files.entry(path.to_owned()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(package);
                    return Ok(path.into());
                }
                Entry::Occupied(holder) if *holder.get() == package => {
                    // An archive that has to be read anew.
                    system::remove_if_exists(&self.root.join(path))?;
                    return Ok(path.into());
                }
                Entry::Occupied(_) => {}
            }
        }
        let inner = slot(claims.wait(path, package));
        drop(claims);
        fs_err::create_dir_all(self.root.join(CLASH_DIRECTORY))?;
        system::remove_if_exists(&self.root.join(&inner))?;
        Ok(inner.into())
    }

    /// Where a file is that the package has written before.
    pub(crate) fn place(&self, path: &Path, package: usize) -> PathBuf {
        let claims = self.claims();
        match claims.slot_of(path, package) {
            Some(number) if claims.files.get(path) != Some(&package) => self.root.join(slot(number)),
            _ => self.root.join(path),
        }
    }

    /// Which package holds a path.
    pub(super) fn owner(&self, path: &Path) -> Option<usize> {
        self.claims().files.get(path).copied()
    }

    /// Where a path that a package names is, when all is settled: another place, if links of packages lead there.
    pub(super) fn final_path(&self, path: &Path) -> PathBuf {
        let (claims, mut place) = (self.claims(), path);
        // A place may have become one below a link later; no link comes twice.
        while let Some(next) = claims.resolved_paths.get(place).filter(|next| *next != place) {
            place = next;
        }
        place.to_owned()
    }

    /// Makes a directory of the prefix, and those above it.
    ///
    /// The table says that it is a directory before it is made: nobody can put a link there, so that no file is ever
    /// written through a link. It is made without holding the table, for that takes the kernel a while; two threads that
    /// want the same one both make it.
    pub(super) fn directory(&self, path: &Path) -> Result<ParentKind, InstallError> {
        let Some(missing) = self.claim_directories(path) else { return Ok(ParentKind::NotDirectory) };
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
        Ok(ParentKind::Directory)
    }

    /// The same for one that a package names.
    pub(super) fn empty_directory(&self, path: &Path) -> Result<(), InstallError> {
        if self.directory(path)? == ParentKind::NotDirectory {
            self.claims().wanted_directories.push(path.to_owned());
        }
        Ok(())
    }

    /// Claims a directory and those above it, and tells which of them are not known to be there, the deepest first; `None`
    /// if one of them is a file or a link.
    fn claim_directories<'a>(&self, path: &'a Path) -> Option<Vec<&'a Path>> {
        let mut missing = Vec::new();
        let mut claims = self.claims();
        for path in path.ancestors().take_while(|path| !path.as_os_str().is_empty()) {
            if claims.files.contains_key(path) {
                return None;
            }
            if claims.directories.get(path) == Some(&Directory::Made) {
                break;
            }
            missing.push(path);
        }
        for path in &missing {
            claims.directories.insert((*path).to_owned(), Directory::Claimed);
        }
        Some(missing)
    }

    /// Makes a new file, with these permissions whatever the umask.
    pub(super) fn create(&self, place: &Path, mode: u32) -> io::Result<fs_err::File> {
        let file = system::create_new(place, mode)?;
        if self.umask & mode != 0 {
            system::set_mode(file.file(), mode)?;
        }
        Ok(file)
    }

    /// Gives every directory the same time: writing into them gave each the clock's.
    pub(super) fn set_directory_times(&self, seconds: i64) -> Result<(), InstallError> {
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
        mlconda_types::sorting::sort_by_key(&mut directories, |path| path.as_os_str().len());
        directories
    }

    /// Every path that a package holds, relative to the prefix.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.claims().files.keys().cloned().collect()
    }
}

/// Where a file waits, below the stage. A number has nothing below it: nothing is ever made through a link.
fn slot(number: usize) -> PathBuf {
    Path::new(CLASH_DIRECTORY).join(number.to_string())
}

/// Whether a path stays where it is put: relative, and without `..`.
pub(super) fn is_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a path is one that no package may write: records, and what installations put aside. Case does not count, since some file
/// systems do not tell it.
pub(super) fn is_reserved(path: &Path) -> bool {
    let first = path.components().next().map(|first| first.as_os_str().to_ascii_lowercase());
    first.is_some_and(|first| first == "conda-meta" || first.as_encoded_bytes().starts_with(b".mlconda-"))
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
