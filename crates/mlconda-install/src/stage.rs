//! The stage: the directory in which the new files are put together before the commit.
//!
//! All files are written through the open directory, and no link is followed. So a user who renames the directory
//! meanwhile cannot redirect a file.
//!
//! Each file is written once, at its path in the prefix, and with the final prefix in it. The commit only renames
//! files. Several threads write at once, so a table records which package owns which path. If two packages contain the
//! same path, the one that is linked later wins, as in conda. The order of arrival must not decide, so the second file
//! waits in a numbered slot until all packages are unpacked.

mod clashes;

use std::{
    borrow::Cow,
    collections::hash_map::Entry,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mlconda_system::{self as system, beneath::Root};
use rattler_conda_types::Subdir;

pub(super) use self::clashes::InstalledPackages;
use super::{InstallError, package::invalid, package_paths::PathMap, stop::Stop};

/// The directory of slots in the stage. A slot holds the second file of a path, a file below a link of another package,
/// or a link at a path that is a directory for another package.
const CLASH_DIRECTORY: &str = ".mlconda-clash";

/// A path that several packages contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The path, relative to the prefix.
    pub path: PathBuf,
    /// The packages, by file name without extension, in linking order. The file of the last one is installed.
    pub packages: Vec<String>,
}

/// The stage.
#[derive(Debug)]
pub(super) struct Stage {
    /// The open directory.
    pub(super) root: Arc<Root>,
    /// The final prefix, as text. It replaces placeholders.
    pub(super) prefix: String,
    /// The platform that the prefix is for.
    pub(super) platform: Subdir,
    /// The permission bits that the umask of the process removes.
    umask: u32,
    /// Whether the installation is to stop.
    pub(super) stop: Stop,
    claims: Mutex<Claims>,
}

#[derive(Debug, Default)]
struct Claims {
    files: PathMap<usize>,
    directories: PathMap<Directory>,
    /// For each path: packages that wait for it, because the path is taken, or is below a file or a link.
    waiting: PathMap<Vec<WaitingPackage>>,
    /// Directories of packages at paths below a file or a link.
    wanted_directories: Vec<PathBuf>,
    /// The real paths of files that packages name below links.
    resolved_paths: PathMap<PathBuf>,
    /// The number of slots.
    slots: usize,
}

/// A package that waits for a path.
#[derive(Clone, Copy, Debug)]
struct WaitingPackage {
    package: usize,
    /// The slot that contains its file.
    slot: usize,
}

impl Claims {
    /// Adds a package that waits for a path, and returns its slot.
    fn wait(&mut self, path: &Path, package: usize) -> usize {
        if let Some(slot) = self.slot_of(path, package) {
            // The archive is read for the second time.
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

/// The kind of a path's parent, as far as it is known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ParentKind {
    /// A directory.
    #[default]
    Directory,
    /// A file or a link of a package.
    NotDirectory,
}

/// The state of a directory of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directory {
    /// The path is reserved for a directory. It may not exist yet.
    Claimed,
    /// It exists.
    Made,
}

impl Stage {
    /// A stage in an existing, empty directory, for the prefix `prefix`.
    pub(crate) fn new(root: &Arc<Root>, prefix: &Path, platform: Subdir, stop: Stop) -> io::Result<Self> {
        let prefix = prefix.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", prefix.display())))?;
        let (umask, claims) = (root.umask()?, Mutex::default());
        Ok(Self { root: Arc::clone(root), prefix: prefix.to_owned(), platform, umask, stop, claims })
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        // A panic cannot leave the table inconsistent, because each insertion is one step.
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a path for a package, creates its parent, and returns the path to write the file to, relative to the
    /// stage.
    pub(super) fn claim<'a>(&self, path: &'a Path, package: usize) -> Result<Cow<'a, Path>, InstallError> {
        let parent_kind = self.directory(path.parent().unwrap_or(path))?;
        self.claim_inside(path, package, parent_kind)
    }

    /// Like [`Stage::claim`], if the kind of the parent is known.
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
                    // The archive is read for the second time.
                    self.root.remove_file(path)?;
                    return Ok(path.into());
                }
                Entry::Occupied(_) => {}
            }
        }
        let inner = slot(claims.wait(path, package));
        drop(claims);
        self.root.make_directories(Path::new(CLASH_DIRECTORY), 0o755)?;
        self.root.remove_file(&inner)?;
        Ok(inner.into())
    }

    /// The path of a file that the package has written, relative to the stage.
    pub(crate) fn place(&self, path: &Path, package: usize) -> PathBuf {
        let claims = self.claims();
        match claims.slot_of(path, package) {
            Some(number) if claims.files.get(path) != Some(&package) => slot(number),
            _ => path.to_owned(),
        }
    }

    /// The package that owns a path.
    pub(super) fn owner(&self, path: &Path) -> Option<usize> {
        self.claims().files.get(path).copied()
    }

    /// The final path of a file, after links of packages are resolved.
    pub(super) fn final_path(&self, path: &Path) -> PathBuf {
        let (claims, mut place) = (self.claims(), path);
        // A real path can be below another link. There are no circles.
        while let Some(next) = claims.resolved_paths.get(place).filter(|next| *next != place) {
            place = next;
        }
        place.to_owned()
    }

    /// Creates a directory of the prefix, and its parents.
    ///
    /// First the path is reserved in the table. So no other thread creates a link there, and no file is written through
    /// a link. The directory is created without holding the lock, because this takes time. Two threads may both try.
    pub(super) fn directory(&self, path: &Path) -> Result<ParentKind, InstallError> {
        let Some(missing) = self.claim_directories(path) else { return Ok(ParentKind::NotDirectory) };
        for path in missing.iter().rev() {
            match self.root.make_directory(path, 0o755) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
            // The umask has removed permissions.
            if self.umask & 0o755 != 0 {
                self.root.set_directory_mode(path, 0o755)?;
            }
        }
        if !missing.is_empty() {
            let mut claims = self.claims();
            claims.directories.extend(missing.into_iter().map(|path| (path.to_owned(), Directory::Made)));
        }
        Ok(ParentKind::Directory)
    }

    /// Creates an empty directory of a package.
    pub(super) fn empty_directory(&self, path: &Path) -> Result<(), InstallError> {
        if self.directory(path)? == ParentKind::NotDirectory {
            self.claims().wanted_directories.push(path.to_owned());
        }
        Ok(())
    }

    /// Reserves a directory and its parents. Returns those that must be created, the deepest first. `None` if one of
    /// them is a file or a link.
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

    /// Creates a file with these permissions, whatever the umask is.
    pub(super) fn create(&self, place: &Path, mode: u32) -> io::Result<fs_err::File> {
        let file = self.root.create(place, mode)?;
        if self.umask & mode != 0 {
            system::set_mode(file.file(), mode)?;
        }
        Ok(file)
    }

    /// Sets the modification time of all directories, in seconds since 1970.
    pub(super) fn set_directory_times(&self, seconds: i64) -> Result<(), InstallError> {
        // Deepest first.
        for path in self.directories().iter().rev() {
            self.root.set_time(path, seconds)?;
        }
        Ok(self.root.set_time(Path::new(""), seconds)?)
    }

    /// All directories, relative to the prefix, parents first.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self.claims().directories.keys().cloned().collect();
        // A parent's path is shorter.
        mlconda_types::sorting::sort_by_key(&mut directories, |path| path.as_os_str().len());
        directories
    }

    /// The paths of all files and links, relative to the prefix.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.claims().files.keys().cloned().collect()
    }
}

/// The path of a slot, relative to the stage. Slots have no contents, so nothing is written through a link in one.
fn slot(number: usize) -> PathBuf {
    Path::new(CLASH_DIRECTORY).join(number.to_string())
}
