//! Puts the entries of one package into the stage: the place, the prefix, the mode, the time.

mod cached;
mod entry;
pub(super) mod wheel;

use std::{
    borrow::Cow,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rattler::install::{PythonInfo, link::copy_and_replace_placeholders};
use rattler_conda_types::{
    package::FileMode,
    prefix_record::{PathType, PathsEntry},
};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

use self::wheel::Request;
use super::{
    InstallError, OutwardLinks,
    package::{Info, Listed, Package, Placeholder, invalid},
    record::Own,
    stage::{Paths, Stage, is_inside, link_stays_inside},
    unpack::{Entry, Kind, Sink},
};
use crate::system::Linker;

/// A file whose content is read in one piece is written in one piece. Larger ones go through a buffer of this
/// size, in bytes.
const BUFFER: usize = 1 << 20;

/// A file that holds the prefix is changed in memory, and is not larger than this, in bytes.
const LARGEST: u64 = 4 << 30;

/// A file that is to be written.
struct File<'a> {
    content: &'a mut dyn Read,
    size: u64,
    executable: bool,
    modified: i64,
}

/// The linking of one package.
pub(super) struct Linking<'a> {
    stage: &'a Stage,
    /// The package's number in the plan: what the stage knows it by.
    number: usize,
    /// The environment's interpreter, once it is known.
    python: Option<&'a PythonInfo>,
    /// The buffer of the thread.
    buffer: &'a mut Vec<u8>,
    outward_links: OutwardLinks,
    /// How files of the place get here where the package is extracted.
    linker: &'a Linker,
    /// Set when nobody wants the result any more.
    stop: &'a AtomicBool,
    package: Option<Package>,
    /// The directory that the last path went into: the next one's, more often than not.
    entered: PathBuf,
    /// Where paths of a noarch python package went: two of them may want the same place.
    targets: Paths<()>,
    paths: Vec<PathsEntry>,
    hard_linked: u64,
    own: Own,
}

/// What [`Linking`] came to.
pub(super) struct Linked {
    pub(super) package: Package,
    /// The paths in the prefix, for the record, sorted.
    pub(super) paths: Vec<PathsEntry>,
    /// The size in bytes of the files that are hard links to others.
    pub(super) hard_linked: u64,
    /// What else the record is to hold.
    pub(super) own: Own,
}

/// Why linking stopped.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The package is noarch python, and the interpreter is not known yet.
    PythonWanted,
    /// The installation cannot go on.
    Failed(InstallError),
    /// The package's content is not what it should be, or the archive cannot be read.
    Content(std::io::Error),
}

impl LinkError {
    /// Whether the package may be at fault: what is missing, or may not be read, may be so there.
    pub(super) fn is_of_the_package(&self) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Failed(InstallError::File(error)) => {
                matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
            }
            Self::Failed(_) | Self::PythonWanted => false,
        }
    }
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Content(error)
    }
}

impl From<InstallError> for LinkError {
    fn from(error: InstallError) -> Self {
        Self::Failed(error)
    }
}

/// An error of writing to the prefix's disk, not of the package.
fn disk(error: std::io::Error) -> LinkError {
    LinkError::Failed(InstallError::File(error))
}

impl Sink for Linking<'_> {
    type Error = LinkError;

    fn begin(&mut self, info: &Info) -> Result<(), LinkError> {
        let package = info.read()?;
        let paths = package.paths.len();
        self.take(package, paths)
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), LinkError> {
        self.listen()?;
        let listed = self.package.as_mut().and_then(|package| package.paths.remove(&entry.path));
        // What `paths.json` does not list is not linked.
        let Some(listed) = listed.filter(|listed| !listed.is_directory) else { return Ok(()) };
        let target = self.target(&entry.path)?;
        let place = self.stage.root().join(self.claim(&target)?);
        if entry.executable && matches!(entry.kind, Kind::File(_)) {
            self.own.executable.insert(target.clone());
        }
        let entry = match entry.kind {
            Kind::File(content) => {
                let source = File { content, size: entry.size, executable: entry.executable, modified: entry.modified };
                self.file(source, &listed, target, &place)?
            }
            Kind::SoftLink(ref to) => self.soft_link(to, entry.modified, &listed, target, &place)?,
            Kind::HardLink(ref to) => self.same_file(to, &listed, target, &place)?,
        };
        self.paths.push(entry);
        Ok(())
    }
}

/// A path's record, as its package describes it.
fn plain(listed: &Listed, target: PathBuf) -> PathsEntry {
    PathsEntry {
        relative_path: target,
        // Other tools take this for the path of a file that gave way to another package's.
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
    pub(super) fn new(
        stage: &'a Stage,
        number: usize,
        python: Option<&'a PythonInfo>,
        buffer: &'a mut Vec<u8>,
        outward_links: OutwardLinks,
        linker: &'a Linker,
        stop: &'a AtomicBool,
    ) -> Self {
        let (package, entered, paths, own) = (None, PathBuf::new(), Vec::new(), Own::default());
        let (targets, hard_linked) = (Paths::default(), 0);
        Self {
            stage,
            number,
            python,
            buffer,
            outward_links,
            linker,
            stop,
            package,
            entered,
            targets,
            paths,
            hard_linked,
            own,
        }
    }

    /// Begins with a package, or begins anew.
    fn take(&mut self, package: Package, paths: usize) -> Result<(), LinkError> {
        if package.is_noarch_python() && self.python.is_none() {
            return Err(LinkError::PythonWanted);
        }
        self.targets.clear();
        self.paths.clear();
        self.hard_linked = 0;
        self.own = Own::default();
        self.paths.reserve(paths);
        self.package = Some(package);
        Ok(())
    }

    /// Gives up if nobody wants the result any more.
    fn listen(&self) -> Result<(), LinkError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(invalid("the installation was stopped").into()),
            false => Ok(()),
        }
    }

    /// Claims a path of the prefix, and tells where in the stage it is to be written.
    fn claim<'b>(&mut self, target: &'b Path) -> Result<Cow<'b, Path>, LinkError> {
        if self.package.as_ref().is_some_and(Package::is_noarch_python)
            && self.targets.insert(target.to_owned(), ()).is_some()
        {
            return Err(invalid(format!("two of its paths are to be `{}`", target.display())).into());
        }
        if let Some(parent) = target.parent()
            && parent.as_os_str() != self.entered.as_os_str()
        {
            self.stage.directory(parent)?;
            self.entered.clear();
            self.entered.push(parent);
        }
        Ok(self.stage.claim_inside(target, self.number)?)
    }

    /// Where a path of the archive goes in the prefix.
    fn target(&self, path: &Path) -> Result<PathBuf, LinkError> {
        let noarch = self.package.as_ref().is_some_and(Package::is_noarch_python);
        let target = match self.python.filter(|_| noarch) {
            Some(python) if self.package.as_ref().is_some_and(|package| package.wheel.is_some()) => {
                wheel::target(path, python)
            }
            Some(python) => python.get_python_noarch_target_path(path).into_owned(),
            None => path.to_owned(),
        };
        let reserved = |name: &str| name == "conda-meta" || name.starts_with(".mlconda-");
        let first = target.components().next().and_then(|first| first.as_os_str().to_str());
        if is_inside(&target) && !first.is_some_and(reserved) {
            Ok(target)
        } else {
            Err(invalid(format!("`{}` is not a path that a package may write", path.display())).into())
        }
    }

    fn file(
        &mut self,
        source: File<'_>,
        listed: &Listed,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let is_of_a_wheel = self.package.as_ref().is_some_and(|package| package.wheel.is_some());
        if is_of_a_wheel && listed.placeholder.is_some() {
            return self.script(source, listed, target, place);
        }
        let File { content, size, executable, modified } = source;
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = self.stage.create(place, mode).map_err(disk)?;
        let record = match &listed.placeholder {
            None => {
                self.copy(content, size, &mut file)?;
                PathsEntry { size_in_bytes: Some(size), ..plain(listed, target) }
            }
            Some(Placeholder { mode: kind, text }) => {
                let original = read_whole(content, size, &listed.path)?;
                let kind = *kind;
                self.check_length(kind, text, &target)?;
                self.buffer.clear();
                let (prefix, platform) = (&self.stage.prefix, &self.stage.platform);
                copy_and_replace_placeholders(&original, &mut *self.buffer, text, prefix, platform, kind)?;
                file.write_all(self.buffer).map_err(disk)?;
                self.own.prefix = Some(prefix.into());
                PathsEntry {
                    // A package from before `paths.json` does not tell the hash.
                    sha256: Some(listed.sha256.unwrap_or_else(|| sha256(&original))),
                    sha256_in_prefix: Some(sha256(self.buffer)),
                    size_in_bytes: Some(size),
                    file_mode: Some(kind),
                    prefix_placeholder: Some(text.clone()),
                    ..plain(listed, target)
                }
            }
        };
        crate::system::set_time(file.file(), modified).map_err(disk)?;
        drop(file);
        // macOS runs a changed program only if it is signed anew.
        if record.file_mode == Some(FileMode::Binary)
            && record.sha256 != record.sha256_in_prefix
            && let Some(signed) = crate::system::sign_again(place, self.stage.platform).map_err(disk)?
        {
            return Ok(PathsEntry { sha256_in_prefix: Some(signed), ..record });
        }
        Ok(record)
    }

    /// Copies a file's content; a small one in one piece.
    fn copy(&mut self, content: &mut dyn Read, size: u64, file: &mut fs_err::File) -> Result<(), LinkError> {
        let mut left = size;
        self.buffer.resize(BUFFER, 0);
        while left > 0 {
            self.listen()?;
            let piece = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            content.read_exact(&mut self.buffer[..piece])?;
            file.write_all(&self.buffer[..piece]).map_err(disk)?;
            left -= piece as u64;
        }
        Ok(())
    }

    /// A text file grows with the prefix; a binary has only the room that the placeholder takes.
    fn check_length(&self, kind: FileMode, placeholder: &str, path: &Path) -> Result<(), LinkError> {
        let (prefix, room) = (self.stage.prefix.len(), placeholder.len());
        if kind == FileMode::Binary && prefix > room && !self.stage.platform.is_windows() {
            let path = path.to_owned();
            return Err(InstallError::PrefixTooLong { path, prefix, room }.into());
        }
        Ok(())
    }

    fn soft_link(
        &mut self,
        to: &Path,
        modified: i64,
        listed: &Listed,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        if self.outward_links == OutwardLinks::Refuse && !link_stays_inside(&target, to) {
            let package = self.package.as_ref().map(|package| package.index.name.as_normalized().to_owned());
            let package = package.unwrap_or_default();
            return Err(InstallError::OutwardLink { package, path: target, to: to.to_owned() }.into());
        }
        fs_err::os::unix::fs::symlink(to, place).map_err(disk)?;
        crate::system::set_link_time(place, modified).map_err(disk)?;
        self.own.links.insert(target.clone(), to.to_owned());
        // The package's hash is that of what the link led to. What it leads to here may be another package's.
        Ok(PathsEntry { path_type: PathType::SoftLink, sha256_in_prefix: None, ..plain(listed, target) })
    }

    /// The same content as a path that came before.
    fn same_file(
        &mut self,
        to: &Path,
        listed: &Listed,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let source = self.target(to)?;
        let Some(known) = self.paths.iter().find(|entry| entry.relative_path == source).cloned() else {
            return Err(invalid(format!(
                "`{}` is the same file as `{}`, which is missing",
                target.display(),
                to.display()
            ))
            .into());
        };
        fs_err::hard_link(self.stage.place(&source, self.number), place).map_err(disk)?;
        if self.own.executable.contains(&source) {
            self.own.executable.insert(target.clone());
        }
        Ok(PathsEntry { relative_path: target, no_link: listed.no_link, ..known })
    }

    /// What `paths.json` lists and the archive does not hold as files: empty directories; then the commands of
    /// entry points, and what a wheel's `.dist-info` gets. Anything else missing is damage.
    pub(super) fn finish(mut self, request: Option<&Request>) -> Result<Linked, LinkError> {
        let Some(mut package) = self.package.take() else {
            return Err(invalid("the archive is empty").into());
        };
        let mut missing: Vec<Listed> = package.paths.drain().map(|(_, listed)| listed).collect();
        crate::sorting::sort_by(&mut missing, |one, other| one.path.cmp(&other.path));
        self.package = Some(package);
        for listed in missing {
            if !listed.is_directory {
                return Err(invalid(format!("`{}` is listed but missing", listed.path.display())).into());
            }
            self.empty_directory(&listed)?;
        }
        self.entry_points()?;
        let wheel = self.package.as_ref().and_then(|package| package.wheel.clone());
        if let (Some(wheel), Some(request)) = (wheel, request) {
            self.dist_info(&wheel.dist_info, request)?;
        }
        crate::sorting::sort_by(&mut self.paths, |one, other| {
            one.relative_path.as_os_str().cmp(other.relative_path.as_os_str())
        });
        match self.package {
            Some(package) => Ok(Linked { package, paths: self.paths, hard_linked: self.hard_linked, own: self.own }),
            None => Err(invalid("the archive is empty").into()),
        }
    }

    fn empty_directory(&mut self, listed: &Listed) -> Result<(), LinkError> {
        let target = self.target(&listed.path)?;
        self.stage.directory(&target)?;
        self.paths.push(PathsEntry { path_type: PathType::Directory, sha256_in_prefix: None, ..plain(listed, target) });
        Ok(())
    }

    /// Writes the commands of a noarch python package.
    fn entry_points(&mut self) -> Result<(), LinkError> {
        let (Some(python), Some(package)) = (self.python, &self.package) else { return Ok(()) };
        if !package.is_noarch_python() {
            return Ok(());
        }
        for entry_point in &package.entry_points {
            let target = python.bin_dir.join(&entry_point.command);
            let text = entry::script(&self.stage.prefix, self.stage.platform, entry_point, python);
            let place = self.stage.root().join(self.stage.claim(&target, self.number)?);
            let mut file = self.stage.create(&place, 0o755).map_err(disk)?;
            file.write_all(text.as_bytes()).map_err(disk)?;
            crate::system::set_time(file.file(), package.built().unwrap_or(0)).map_err(disk)?;
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

/// A file's content, as long as it says.
fn read_whole(content: &mut dyn Read, size: u64, path: &Path) -> Result<Vec<u8>, LinkError> {
    if size > LARGEST {
        return Err(invalid(format!("`{}` is too large for a file that holds the prefix", path.display())).into());
    }
    let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(1 << 28));
    content.take(size + 1).read_to_end(&mut whole)?;
    match whole.len() as u64 == size {
        true => Ok(whole),
        false => Err(invalid(format!("`{}` has another size", path.display())).into()),
    }
}

fn sha256(bytes: &[u8]) -> Sha256Hash {
    compute_bytes_digest::<Sha256>(bytes)
}
