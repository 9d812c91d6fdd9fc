//! The disk usage of a prefix, by package and by kind of file. [`Owners`], [`debug_symbols`] and [`may_have_symbols`]
//! are public for files at other places, such as in an image.

mod kind;

use std::{
    collections::{HashMap, HashSet},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use mlconda_prefix::{Prefix, PrefixError, distributions, on_disk::module_of};
use mlconda_system::elf;
pub use mlconda_system::elf::debug_symbols;
use rattler_conda_types::PrefixRecord;

pub use self::kind::FileKind;

/// The files of a directory tree with their sizes, and the packages that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The packages, in the order of their records.
    pub packages: Vec<SizedPackage>,
    /// The files, sorted by path. A program with debug symbols has two entries: one for its code and one for its
    /// symbols.
    pub files: Vec<SizedFile>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedPackage {
    /// The name, normalized.
    pub name: String,
    /// The version.
    pub version: String,
    /// Whether it is a distribution that pip installed.
    pub is_pip: bool,
}

/// A file, or the debug symbols of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedFile {
    /// The path, relative to the root of the tree.
    pub path: PathBuf,
    /// The size in bytes. If several hard links lead to one file, the first path has the whole size, and the others
    /// have 0.
    pub bytes: u64,
    /// The purpose of the file.
    pub kind: FileKind,
    /// The index of its package in [`Sizes::packages`]; `None` if no record lists the file.
    pub package: Option<usize>,
}

/// The sum of some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// The size in bytes.
    pub bytes: u64,
    /// The number of files.
    pub files: usize,
}

impl Total {
    /// Adds a file. Debug symbols count as bytes, but not as a file.
    pub fn add(&mut self, file: &SizedFile) {
        self.bytes += file.bytes;
        self.files += usize::from(file.kind != FileKind::DebugSymbols);
    }
}

impl Sizes {
    /// The files of a prefix. Links have no size. Other environments below the prefix (`envs`) are left out.
    ///
    /// # Errors
    /// If a directory or a record cannot be read. A file that disappears meanwhile is left out.
    pub fn of_prefix(prefix: &Prefix) -> Result<Self, PrefixError> {
        let mut records = prefix.records()?;
        records.extend(prefix.distributions()?);
        let mut sizes = Self::default();
        sizes.add_packages(&records);
        let owners = Owners::new(&records);
        let mut walk = Walk { root: prefix.path(), seen: HashSet::new(), files: Vec::new() };
        walk.directory(Path::new(""))?;
        for (path, bytes, debug_symbols) in walk.files {
            let (kind, owner) = (FileKind::of(&path), owners.find(&path));
            sizes.add_file(path, bytes, debug_symbols, kind, owner);
        }
        Ok(sizes)
    }

    /// Adds the packages of these records, but not their files.
    pub fn add_packages(&mut self, records: &[PrefixRecord]) {
        self.packages.extend(records.iter().map(|record| {
            let package = &record.repodata_record.package_record;
            SizedPackage {
                name: package.name.as_normalized().to_owned(),
                version: package.version.to_string(),
                is_pip: distributions::is_distribution(package),
            }
        }));
    }

    /// Adds a file of `bytes` bytes, of which `symbols` are debug symbols.
    pub fn add_file(&mut self, path: PathBuf, bytes: u64, symbols: u64, kind: FileKind, package: Option<usize>) {
        let symbols = symbols.min(bytes);
        self.files.push(SizedFile { path: path.clone(), bytes: bytes - symbols, kind, package });
        if symbols > 0 {
            self.files.push(SizedFile { path, bytes: symbols, kind: FileKind::DebugSymbols, package });
        }
    }

    /// The sum of all files.
    pub fn total(&self) -> Total {
        let mut total = Total::default();
        self.files.iter().for_each(|file| total.add(file));
        total
    }

    /// The size of each package, in the order of [`Sizes::packages`]. One more element at the end is the size of the
    /// files that no record lists.
    pub fn by_package(&self) -> Vec<Total> {
        let mut totals = vec![Total::default(); self.packages.len() + 1];
        self.files.iter().for_each(|file| totals[file.package.unwrap_or(self.packages.len())].add(file));
        totals
    }

    /// The size of each kind of file, in the order of [`FileKind::ALL`].
    pub fn by_kind(&self) -> [Total; FileKind::ALL.len()] {
        let mut totals = [Total::default(); FileKind::ALL.len()];
        self.files.iter().for_each(|file| totals[file.kind as usize].add(file));
        // Symbols do not count as files of their own, but here the number of files with symbols is given.
        let symbols = self.files.iter().filter(|file| file.kind == FileKind::DebugSymbols);
        totals[FileKind::DebugSymbols as usize].files = symbols.count();
        totals
    }
}

/// Whether a file may be a program or a library. Decides by its path and its mode.
pub fn may_have_symbols(path: &Path, mode: u32) -> bool {
    mode & 0o111 != 0 || kind::is_library(path)
}

/// Finds the package that a path of a prefix belongs to.
#[derive(Debug)]
pub struct Owners<'a> {
    paths: HashMap<&'a Path, usize>,
    /// The paths of the records themselves.
    records: HashMap<PathBuf, usize>,
}

impl<'a> Owners<'a> {
    /// Takes the records of a prefix.
    pub fn new(records: &'a [PrefixRecord]) -> Self {
        let mut owners = Self { paths: HashMap::new(), records: HashMap::new() };
        for (number, record) in records.iter().enumerate() {
            let paths = record.paths_data.paths.iter().map(|path| path.relative_path.as_path());
            let files = record.files.iter().map(PathBuf::as_path);
            owners.paths.extend(paths.chain(files).map(|path| (path, number)));
            owners.records.insert(Path::new("conda-meta").join(distributions::record_name(record)), number);
        }
        owners
    }

    /// The package of a path, which is relative to the prefix, as an index into the records. Byte code that python has
    /// written belongs to the package of its module.
    pub fn find(&self, path: &Path) -> Option<usize> {
        let direct = self.paths.get(path).or_else(|| self.records.get(path));
        direct.copied().or_else(|| self.paths.get(module_of(path)?.as_path()).copied())
    }
}

/// A walk through a directory tree.
struct Walk<'a> {
    root: &'a Path,
    /// Files with several hard links that were seen already, by device and inode.
    seen: HashSet<(u64, u64)>,
    /// Path, size in bytes, and the number of bytes that are debug symbols.
    files: Vec<(PathBuf, u64, u64)>,
}

impl Walk<'_> {
    /// Reads a directory and the directories below it, sorted by name.
    fn directory(&mut self, below: &Path) -> io::Result<()> {
        let mut entries = fs_err::read_dir(self.root.join(below))?.collect::<Result<Vec<_>, _>>()?;
        mlconda_types::sorting::sort_by(&mut entries, |one, other| one.file_name().cmp(&other.file_name()));
        for entry in entries {
            let path = below.join(entry.file_name());
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let is_other_environments = below.as_os_str().is_empty() && path == Path::new("envs");
            if metadata.is_dir() && !is_other_environments {
                self.directory(&path)?;
            } else if metadata.is_file() {
                let is_first = metadata.nlink() == 1 || self.seen.insert((metadata.dev(), metadata.ino()));
                let bytes = if is_first { metadata.len() } else { 0 };
                let may_be_elf = bytes > 0 && may_have_symbols(&path, metadata.mode());
                // A file that cannot be read as a program counts as one without symbols.
                let symbols = if may_be_elf { elf::debug_symbols_of(&self.root.join(&path)).unwrap_or(0) } else { 0 };
                self.files.push((path, bytes, symbols));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
