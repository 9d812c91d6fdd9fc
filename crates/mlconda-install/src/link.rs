//! Links one package: writes the entries of its archive into the stage, with path, prefix, mode and time.

mod cached;
mod entry;
mod error;
mod first_line;
mod leave_out;
mod replace;
mod strip;
pub(super) mod wheel;
mod write;

use std::{
    borrow::Cow,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use mlconda_prefix::{on_disk::OwnFields, slim::Selected};
use mlconda_system::Linker;
use mlconda_types::slim::Slim;
use rattler_conda_types::prefix_record::{PathType, PathsEntry};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

pub(super) use self::error::LinkError;
use self::{error::disk_error, wheel::Request};
use super::{
    OutwardLinks,
    deviations::Deviations,
    package::{InfoFiles, ListedPath, PackageMetadata, invalid},
    package_paths::{PathMap, is_inside, is_reserved},
    stage::{ParentKind, Stage},
    unpack::{Entry, EntryKind, Sink},
};
use crate::python_info::PythonInfo;

/// The size of the buffer for files, in bytes. A file that fits into it is read and written in one piece.
const BUFFER: usize = 1 << 20;

/// A file to write.
struct FileContent<'a> {
    content: &'a mut dyn Read,
    size: u64,
    executable: bool,
    modified: i64,
}

/// The linking of one package.
pub(super) struct Linking<'a> {
    stage: &'a Stage,
    /// The number of the package in the plan.
    number: usize,
    /// The environment's interpreter, if it is linked already.
    python: Option<&'a PythonInfo>,
    /// The buffer of the thread.
    buffer: &'a mut Vec<u8>,
    outward_links: OutwardLinks,
    /// What is left out of packages.
    slim: &'a Slim,
    /// The files that are left out of this package, by their paths in the prefix.
    selected: Selected,
    /// The linker for files of an extracted package.
    linker: &'a Linker,
    /// Set when the installation is to stop.
    stop: &'a AtomicBool,
    package: Option<PackageMetadata>,
    /// The directory of the last path. Most often the next path is in it, too.
    entered: PathBuf,
    /// Whether `entered` is a directory in the stage.
    parent_kind: ParentKind,
    /// The target paths of a noarch python package, to find duplicates.
    targets: PathMap<()>,
    paths: Vec<PathsEntry>,
    /// The linked paths of the archive. Filled when the first unlisted member is read.
    linked: Option<PathMap<()>>,
    deviations: Deviations,
    hard_linked: u64,
    own: OwnFields,
}

/// The result of [`Linking`].
pub(super) struct Linked {
    pub(super) package: PackageMetadata,
    /// The paths in the prefix, for the record, sorted.
    pub(super) paths: Vec<PathsEntry>,
    /// The number of bytes in files that are hard links to other files.
    pub(super) hard_linked: u64,
    /// mlconda's own fields of the record.
    pub(super) own: OwnFields,
    /// Differences between the archive and its list of paths.
    pub(super) deviations: Deviations,
}

impl Sink for Linking<'_> {
    type Error = LinkError;

    fn begin(&mut self, info: &InfoFiles) -> Result<(), LinkError> {
        let package = info.read()?;
        let paths = package.paths.len();
        self.take(package, paths)?;
        let listed = self.package.as_ref().map(|package| package.paths.values().cloned().collect::<Vec<_>>());
        self.select(listed.iter().flatten());
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), LinkError> {
        self.check_stop()?;
        let listed = self.package.as_mut().and_then(|package| package.paths.remove(&entry.path));
        // Members that are not in `paths.json` are not linked.
        let Some(listed) = listed.filter(|listed| !listed.is_directory) else { return self.unlisted(&entry.path) };
        if let Some(linked) = &mut self.linked {
            linked.insert(entry.path.clone(), ());
        }
        let target = self.target(&entry.path)?;
        let size = if matches!(entry.kind, EntryKind::File(_)) { entry.size } else { 0 };
        if self.leaves_out(&target, size) {
            return Ok(());
        }
        let place = self.claim(&target)?.into_owned();
        if entry.executable && matches!(entry.kind, EntryKind::File(_)) {
            self.own.executable.insert(target.clone());
        }
        let entry = match entry.kind {
            EntryKind::File(content) => {
                let source =
                    FileContent { content, size: entry.size, executable: entry.executable, modified: entry.modified };
                self.file(source, &listed, target, &place)?
            }
            EntryKind::SoftLink(ref to) => self.soft_link(to, entry.modified, &listed, target, &place)?,
            EntryKind::HardLink(ref to) => self.same_file(to, &listed, target, &place)?,
        };
        self.paths.push(entry);
        Ok(())
    }
}

/// The entry of a path in the record, with the facts from its package.
fn path_record(listed: &ListedPath, target: PathBuf) -> PathsEntry {
    PathsEntry {
        relative_path: target,
        // Other tools use this field for files that were replaced by another package.
        original_path: None,
        path_type: PathType::HardLink,
        no_link: listed.no_link,
        sha256: listed.sha256,
        sha256_in_prefix: listed.sha256,
        size_in_bytes: listed.size,
        file_mode: None,
        prefix_placeholder: None,
    }
}

impl<'a> Linking<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        number: usize,
        python: Option<&'a PythonInfo>,
        buffer: &'a mut Vec<u8>,
        (outward_links, slim): (OutwardLinks, &'a Slim),
        linker: &'a Linker,
        stop: &'a AtomicBool,
    ) -> Self {
        let (package, entered, paths, own) = (None, PathBuf::new(), Vec::new(), OwnFields::default());
        let parent_kind = ParentKind::Directory;
        let (targets, hard_linked, linked, deviations) = (PathMap::default(), 0, None, Deviations::default());
        let selected = Selected::new();
        Self {
            stage,
            number,
            python,
            buffer,
            outward_links,
            slim,
            selected,
            linker,
            stop,
            package,
            entered,
            parent_kind,
            targets,
            paths,
            linked,
            deviations,
            hard_linked,
            own,
        }
    }

    /// Begins with a package, possibly for the second time.
    fn take(&mut self, package: PackageMetadata, paths: usize) -> Result<(), LinkError> {
        if package.is_noarch_python() && self.python.is_none() {
            return Err(LinkError::PythonWanted);
        }
        self.targets.clear();
        self.paths.clear();
        self.hard_linked = 0;
        self.own = OwnFields::default();
        (self.linked, self.deviations) = (None, Deviations::default());
        self.paths.reserve(paths);
        self.package = Some(package);
        Ok(())
    }

    /// Fails if the installation was asked to stop.
    fn check_stop(&self) -> Result<(), LinkError> {
        Ok(check_stop(self.stop)?)
    }

    /// Handles a member that is not listed as a file, or occurs twice.
    fn unlisted(&mut self, path: &Path) -> Result<(), LinkError> {
        let archived = |entry: &PathsEntry| (entry.original_path.as_ref().unwrap_or(&entry.relative_path).clone(), ());
        let linked = self.linked.get_or_insert_with(|| self.paths.iter().map(archived).collect());
        if linked.contains_key(path) {
            return Err(invalid(format!("it has two members `{}`", path.display())).into());
        }
        self.deviations.unlisted(path);
        Ok(())
    }

    /// Whether a file has another size than listed, in bytes. If so, the listed hash is not used either.
    fn deviates(&mut self, listed: &ListedPath, size: u64) -> bool {
        let other = listed.size.filter(|listed| *listed != size);
        if let Some(other) = other {
            self.deviations.size(&listed.path, other, size);
        }
        other.is_some()
    }

    /// Claims a path of the prefix. Returns the path in the stage to write to.
    fn claim<'b>(&mut self, target: &'b Path) -> Result<Cow<'b, Path>, LinkError> {
        if self.package.as_ref().is_some_and(PackageMetadata::is_noarch_python)
            && self.targets.insert(target.to_owned(), ()).is_some()
        {
            return Err(invalid(format!("two of its paths are to be `{}`", target.display())).into());
        }
        if let Some(parent) = target.parent()
            && parent.as_os_str() != self.entered.as_os_str()
        {
            self.parent_kind = self.stage.directory(parent)?;
            self.entered.clear();
            self.entered.push(parent);
        }
        Ok(self.stage.claim_inside(target, self.number, self.parent_kind)?)
    }

    /// Converts a path in the archive to a path in the prefix.
    fn target(&self, path: &Path) -> Result<PathBuf, LinkError> {
        let noarch = self.package.as_ref().is_some_and(PackageMetadata::is_noarch_python);
        let target = match self.python.filter(|_| noarch) {
            Some(python) if self.package.as_ref().is_some_and(|package| package.wheel.is_some()) => {
                wheel::target(path, python)
            }
            Some(python) => python.target(path).into_owned(),
            None => path.to_owned(),
        };
        let is_directory = target.as_os_str().as_encoded_bytes().ends_with(b"/");
        if is_inside(&target) && !is_directory && !is_reserved(&target) {
            Ok(target)
        } else {
            Err(invalid(format!("`{}` is not a path that a package may write", path.display())).into())
        }
    }

    /// The package's name.
    fn name(&self) -> String {
        self.package.as_ref().map(|package| package.index.name.as_normalized().to_owned()).unwrap_or_default()
    }

    /// Creates the files that are not members of the archive: empty directories, commands of entry points, and the
    /// files that an installer adds to a wheel's `.dist-info`. It is an error if any other listed path is missing.
    pub(super) fn finish(mut self, request: Option<&Request>) -> Result<Linked, LinkError> {
        let Some(mut package) = self.package.take() else {
            return Err(invalid("the archive is empty").into());
        };
        let mut missing: Vec<ListedPath> = package.paths.drain().map(|(_, listed)| listed).collect();
        mlconda_types::sorting::sort_by(&mut missing, |one, other| one.path.cmp(&other.path));
        self.package = Some(package);
        for listed in missing {
            if !listed.is_directory {
                return Err(invalid(format!("`{}` is listed but missing", listed.path.display())).into());
            }
            self.empty_directory(&listed)?;
        }
        self.entry_points()?;
        self.tell_left_out();
        let wheel = self.package.as_ref().and_then(|package| package.wheel.clone());
        if let (Some(wheel), Some(request)) = (wheel, request) {
            self.dist_info(&wheel.dist_info, request)?;
        }
        mlconda_types::sorting::sort_by(&mut self.paths, |one, other| {
            one.relative_path.as_os_str().cmp(other.relative_path.as_os_str())
        });
        match self.package {
            Some(package) => {
                let Self { paths, hard_linked, own, deviations, .. } = self;
                Ok(Linked { package, paths, hard_linked, own, deviations })
            }
            None => Err(invalid("the archive is empty").into()),
        }
    }

    fn empty_directory(&mut self, listed: &ListedPath) -> Result<(), LinkError> {
        let target = self.target(&listed.path)?;
        self.stage.empty_directory(&target)?;
        self.paths.push(PathsEntry {
            path_type: PathType::Directory,
            sha256_in_prefix: None,
            ..path_record(listed, target)
        });
        Ok(())
    }

    /// Writes the commands of a noarch python package.
    fn entry_points(&mut self) -> Result<(), LinkError> {
        let (Some(python), Some(package)) = (self.python, &self.package) else { return Ok(()) };
        if !package.is_noarch_python() {
            return Ok(());
        }
        for entry_point in &package.entry_points {
            let target = Path::new(PythonInfo::COMMANDS).join(&entry_point.command);
            let text = entry::script(&self.stage.prefix, self.stage.platform, entry_point, python);
            let mut file = self.stage.create(&self.stage.claim(&target, self.number)?, 0o755).map_err(disk_error)?;
            file.write_all(text.as_bytes()).map_err(disk_error)?;
            mlconda_system::set_time(file.file(), package.built().unwrap_or(0)).map_err(disk_error)?;
            let hash = sha256(text.as_bytes());
            self.own.executable.insert(target.clone());
            self.own.prefix = Some(self.stage.prefix.clone().into());
            self.paths.push(PathsEntry {
                relative_path: target,
                original_path: None,
                path_type: PathType::UnixPythonEntryPoint,
                no_link: false,
                sha256: Some(hash),
                sha256_in_prefix: Some(hash),
                size_in_bytes: Some(text.len() as u64),
                file_mode: None,
                prefix_placeholder: None,
            });
        }
        Ok(())
    }
}

/// Fails if the installation was asked to stop.
fn check_stop(stop: &AtomicBool) -> std::io::Result<()> {
    match stop.load(Ordering::Relaxed) {
        true => Err(invalid("the installation was stopped")),
        false => Ok(()),
    }
}

fn sha256(bytes: &[u8]) -> Sha256Hash {
    compute_bytes_digest::<Sha256>(bytes)
}
