//! Reads a bundle: its locks, the places of its archives, and whether all bytes are as they were written.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Write},
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_install::{InstallError, PackedArchives, Stop};
use mlconda_lock::{DEFAULT_ENVIRONMENT, Expansion, Lock, LockFile, LockKind, Part, Selection};
use mlconda_system::{Slice, files};
use mlconda_types::{
    lenient,
    progress::{Event, Progress},
};
use rattler_conda_types::PackageRecord;
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest, digest::Digest as _};

use serde_json::value::RawValue;

use crate::{
    BundleError, Executable,
    format::{self, BLOCK, INDEX, Index, IndexError, Layout, Member, header},
    items::{self, CHANNEL},
    threads,
};

/// The number of bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// A lock of a bundle, and the name of its environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The name of the environment.
    pub name: String,
    /// The lock.
    pub lock: Lock,
}

/// An open bundle. Its archives are read from this file, without unpacking.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    file: Arc<File>,
    /// The program in front of the tar, if the bundle is an executable.
    executable: Option<Executable>,
    /// The offset in the file where the tar begins.
    base: u64,
    index: Index,
    layout: Layout,
}

impl Bundle {
    /// Opens a bundle, without reading its archives. `None` if the path is not a regular file, or not a bundle.
    ///
    /// # Errors
    /// If the bundle is cut short, or if its list of members is not valid.
    pub fn open(path: &Path) -> Result<Option<Self>, BundleError> {
        Self::read(path).map_err(|error| error.of_reading(path))
    }

    fn read(path: &Path) -> Result<Option<Self>, BundleError> {
        // A pipe is not opened, because it can be opened only once.
        if !fs_err::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        let Ok(file) = files::open(path) else { return Ok(None) };
        let file = Arc::new(file.into_parts().0);
        let size = file.metadata()?.len();
        let executable = Executable::find(&file, path)?;
        let base = executable.as_ref().map_or(0, Executable::base);
        let tar = Slice::new(Arc::clone(&file), base, size.saturating_sub(base));
        let cut = |expected| BundleError::CutShort { file: path.to_owned(), found: size, expected };
        let text = match format::read_index(tar.reader()) {
            Ok(Some(text)) => text,
            Ok(None) => match &executable {
                // The file ends too early: only its beginning exists.
                Some(executable) if size < executable.end() => return Err(cut(Some(executable.end()))),
                Some(_) => return Err(BundleError::damaged(path, "there is no bundle after the program")),
                None => return Ok(None),
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(cut(executable.as_ref().map(Executable::end)));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(BundleError::damaged(path, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let index = Index::parse(&text).map_err(|error| match error {
            IndexError::Format(found) => BundleError::Format { file: path.to_owned(), found },
            IndexError::Invalid(reason) => BundleError::damaged(path, format!("its list of members: {reason}")),
        })?;
        // The list must have exactly the form that `render` writes, because the places of the members are computed from
        // it.
        if index.render().as_bytes() != text {
            return Err(BundleError::damaged(path, "its list of members is not as mlconda writes it"));
        }
        if executable.as_ref().is_some_and(|executable| !executable.has_index(&text)) {
            return Err(BundleError::damaged(path, "its list of members is not the one that was written"));
        }
        let layout = index.layout().map_err(|error| BundleError::damaged(path, error.to_string()))?;
        let end = base + layout.end;
        if size < end {
            return Err(cut(Some(end)));
        }
        if executable.as_ref().is_some_and(|executable| executable.end() != end) {
            return Err(BundleError::damaged(path, "its size is not the one that was written"));
        }
        Ok(Some(Self { path: path.to_owned(), file, executable, base, index, layout }))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program in front of the tar, if the bundle is an executable.
    pub fn executable(&self) -> Option<&Executable> {
        self.executable.as_ref()
    }

    /// The number of its archives.
    pub fn packages(&self) -> usize {
        self.index.members.iter().filter(|member| is_archive(&member.path)).count()
    }

    /// The size of the tar in bytes.
    pub fn size(&self) -> u64 {
        self.layout.end
    }

    /// The locks of the bundle, one part for each environment and platform.
    ///
    /// # Errors
    /// If a lock was changed, or names an archive that is not in the bundle.
    pub fn locks(&self) -> Result<LockFile, BundleError> {
        self.read_locks().map_err(|error| error.of_reading(&self.path))
    }

    fn read_locks(&self) -> Result<LockFile, BundleError> {
        let there: HashSet<Sha256Hash> = self.archive_places().into_keys().collect();
        let mut records = self.records()?;
        let numbers: HashMap<&str, usize> = self.index.members.iter().map(|it| it.path.as_str()).zip(0..).collect();
        let mut parts = Vec::with_capacity(self.index.locks.len());
        for entry in &self.index.locks {
            let place = *numbers
                .get(entry.path.as_str())
                .ok_or_else(|| BundleError::damaged(&self.path, format!("it has no `{}`", entry.path)))?;
            let text = self.text(place)?;
            let read = LockFile::parse(&text, &self.path, &Expansion::default())?;
            let mut lock = read.select(&Selection::default())?;
            if lock.platform != entry.platform {
                let reason = format!("`{}` is a lock for {}, not {}", entry.path, lock.platform, entry.platform);
                return Err(BundleError::damaged(&self.path, reason));
            }
            for (number, (path, package, _)) in items::archives(&lock)?.into_iter().enumerate() {
                if let (Some(locked), Some(record)) = (lock.packages.get_mut(number), records.get_mut(&path)) {
                    locked.record = record.read();
                }
                if items::sha256(&package).is_none_or(|hash| !there.contains(&hash)) {
                    return Err(BundleError::NoArchive {
                        file: self.path.clone(),
                        lock: entry.path.clone(),
                        package: package.file_name,
                    });
                }
            }
            let environment = entry.environment.clone();
            parts.push(Part { environment, ..Part::new(lock) });
        }
        // If there is only one environment, its name need not be given, so it is the default name.
        if parts.windows(2).all(|pair| pair[0].environment == pair[1].environment) {
            parts.iter_mut().for_each(|part| DEFAULT_ENVIRONMENT.clone_into(&mut part.environment));
        }
        Ok(LockFile { file: self.path.clone(), kind: LockKind::Explicit, parts })
    }

    /// The records in the repodata of the bundle, by the paths of their archives.
    fn records(&self) -> Result<HashMap<String, Record>, BundleError> {
        let (mut records, mut left) = (HashMap::new(), files::LARGEST_LOCK);
        for (number, member) in self.index.members.iter().enumerate() {
            let Some(directory) = member.path.strip_suffix("repodata.json").filter(|path| is_in_channel(path)) else {
                continue;
            };
            left = left
                .checked_sub(member.size)
                .ok_or_else(|| BundleError::damaged(&self.path, "its repodata are too large"))?;
            let broken =
                |error: serde_json::Error| BundleError::damaged(&self.path, format!("`{}`: {error}", member.path));
            let Repodata { packages, conda } = serde_json::from_str(&self.text(number)?).map_err(broken)?;
            let lists = packages.into_iter().chain(conda);
            records.extend(lists.map(|(file, record)| (format!("{directory}{file}"), Record::Text(record))));
        }
        Ok(records)
    }

    /// The archives of the bundle, for [`Options::archives`](mlconda_install::Options::archives).
    pub fn archives(&self) -> PackedArchives {
        PackedArchives::new(self.path.clone(), Arc::clone(&self.file), self.archive_places())
    }

    fn archive_places(&self) -> HashMap<Sha256Hash, (u64, u64)> {
        let members = self.index.members.iter().zip(&self.layout.places);
        let archives = members.filter(|(member, _)| is_archive(&member.path));
        archives.map(|(member, place)| (member.sha256, (self.base + place, member.size))).collect()
    }

    /// Reads a small member, and checks its hash.
    fn text(&self, number: usize) -> Result<String, BundleError> {
        let member = &self.index.members[number];
        if member.size > files::LARGEST_LOCK {
            return Err(BundleError::damaged(&self.path, format!("`{}` is too large", member.path)));
        }
        let mut bytes = Vec::new();
        self.slice(number).reader().read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).ok().filter(|text| compute_bytes_digest::<Sha256>(text) == member.sha256);
        text.ok_or_else(|| self.changed(member))
    }

    fn slice(&self, number: usize) -> Slice {
        let place = self.base + self.layout.places[number];
        Slice::new(Arc::clone(&self.file), place, self.index.members[number].size)
    }

    fn changed(&self, member: &Member) -> BundleError {
        BundleError::damaged(&self.path, format!("`{}` is not what was put into it", member.path))
    }

    /// Compares all bytes with the list of members. If there is a program, the list is compared with the hash behind
    /// the program. Returns the number of bytes.
    ///
    /// # Errors
    /// If a byte was changed, or if `stop` was requested.
    pub fn verify(&self, threads: NonZero<usize>, stop: &Stop, progress: &dyn Progress) -> Result<u64, BundleError> {
        let (size, end) = (self.file.metadata()?.len(), self.base + self.layout.end);
        if size > end {
            return Err(BundleError::damaged(&self.path, format!("it has {} bytes after its end", size - end)));
        }
        progress.event(Event::VerifyStarted { files: self.index.members.len(), bytes: end });
        // One more piece than members: the program, and the end of the tar.
        let pieces = self.index.members.len() + 1;
        let done = threads::each(pieces, threads, stop, &|number| self.verify_one(number, stop, progress));
        done.map(|_| end).map_err(|error| error.of_reading(&self.path))
    }

    fn verify_one(&self, number: usize, stop: &Stop, progress: &dyn Progress) -> Result<(), BundleError> {
        let Some(member) = self.index.members.get(number) else {
            if let Some(executable) = &self.executable {
                executable.verify(&self.file, &self.path)?;
            }
            let index = self.index.render().len() as u64;
            self.verify_around(INDEX, index, self.layout.index)?;
            return self.verify_zeros(self.layout.end - format::END, format::END);
        };
        let (slice, mut hasher) = (self.slice(number), Sha256::default());
        let (mut buffer, mut reader) = (vec![0; BUFFER], slice.reader());
        loop {
            match reader.read(&mut buffer)? {
                _ if stop.is_requested() => return Err(InstallError::Stopped.into()),
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    progress.event(Event::Verified { bytes: count as u64 });
                }
            }
        }
        if hasher.finalize() != member.sha256 {
            return Err(self.changed(member));
        }
        self.verify_around(&member.path, member.size, self.layout.places[number])
    }

    /// Compares the header in front of a member, and the zeros after it.
    fn verify_around(&self, path: &str, size: u64, place: u64) -> Result<(), BundleError> {
        let expected = header(path, size)?;
        let mut found = vec![0; expected.len()];
        let begin = self.base + place - expected.len() as u64;
        Slice::new(Arc::clone(&self.file), begin, expected.len() as u64).reader().read_exact(&mut found)?;
        if found != expected {
            return Err(BundleError::damaged(&self.path, format!("the header of `{path}` is not as it was written")));
        }
        self.verify_zeros(place + size, size.next_multiple_of(BLOCK) - size)
    }

    fn verify_zeros(&self, place: u64, size: u64) -> Result<(), BundleError> {
        let mut found = Vec::new();
        Slice::new(Arc::clone(&self.file), self.base + place, size).reader().read_to_end(&mut found)?;
        match found.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(BundleError::damaged(&self.path, "there is something between its members")),
        }
    }

    /// Writes the tar, without the program in front of it.
    ///
    /// # Errors
    /// If the bundle cannot be read, the output cannot be written, or `stop` was requested.
    pub fn extract(&self, output: &mut dyn Write, stop: &Stop) -> io::Result<()> {
        let slice = Slice::new(Arc::clone(&self.file), self.base, self.layout.end);
        let (mut reader, mut buffer) = (slice.reader(), vec![0; BUFFER]);
        loop {
            match reader.read(&mut buffer)? {
                _ if stop.is_requested() => return Err(io::ErrorKind::Interrupted.into()),
                0 => return output.flush(),
                count => output.write_all(&buffer[..count])?,
            }
        }
    }
}

/// The fields of repodata that are needed here.
#[derive(serde::Deserialize)]
struct Repodata {
    #[serde(default)]
    packages: HashMap<String, Box<RawValue>>,
    #[serde(default, rename = "packages.conda")]
    conda: HashMap<String, Box<RawValue>>,
}

/// The record of a package. It is parsed when a lock contains the package.
enum Record {
    Text(Box<RawValue>),
    Read(Option<Arc<PackageRecord>>),
}

impl Record {
    /// Parses the record. `None` if it is not valid, as if it did not exist.
    fn read(&mut self) -> Option<Arc<PackageRecord>> {
        if let Self::Text(text) = self {
            *self = Self::Read(lenient::from_slice(text.get().as_bytes()).ok().map(Arc::new));
        }
        match self {
            Self::Read(record) => record.clone(),
            Self::Text(_) => None,
        }
    }
}

/// Whether a member is in the directory of conda packages.
fn is_in_channel(path: &str) -> bool {
    path.strip_prefix(CHANNEL).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a member is a package's archive.
fn is_archive(path: &str) -> bool {
    is_in_channel(path) && !path.ends_with("/repodata.json")
        || path.strip_prefix(items::PYPI).is_some_and(|rest| rest.starts_with('/'))
}
