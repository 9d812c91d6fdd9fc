//! The metadata of a package: the files of its `info/` directory.
//!
//! An explicit lock contains only the URL and the hash of a package. All other facts that linking needs (paths,
//! placeholder, entry points, kind of noarch, python's `site-packages`; CEP-17 and CEP-20) are read from the package
//! itself, after its hash was checked.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use mlconda_types::file_name_parts;
use rattler_conda_types::{
    PackageRecord,
    package::{
        EntryPoint, FileMode, Files, HasPrefix, IndexJson, NoLink, NoSoftlink, PackageFile, PathType, PathsEntry,
        PathsJson,
    },
};
use rattler_digest::{Md5Hash, Sha256Hash};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::package_paths::PathMap;

/// The largest sum of the sizes of the files in [`InfoFiles::NAMES`], in bytes. These files are held in memory.
const LARGEST: u64 = 64 << 20;

/// The largest size of `index.json` and of `link.json`, in bytes. Those of real packages have at most about 50 kB.
const LARGEST_OF_INDEX: u64 = 1 << 20;

/// The largest number of paths in a package. Real packages have at most about 100,000.
const MOST_PATHS: usize = 300_000;

/// The unparsed files of `info/`, from an archive.
#[derive(Debug, Default)]
pub(super) struct InfoFiles {
    files: HashMap<&'static str, Vec<u8>>,
}

impl InfoFiles {
    /// The files of `info/` that linking reads. The largest one is `paths.json`, which lists each path of the package.
    pub(super) const NAMES: [&str; 7] = [
        "info/index.json",
        "info/paths.json",
        "info/link.json",
        "info/files",
        "info/has_prefix",
        "info/no_link",
        "info/no_softlink",
    ];

    /// The metadata of a wheel. No archive contains this file; it is made when a wheel is read.
    pub(super) const WHEEL: &str = "info/mlconda-wheel.json";

    /// Adds a file that is not in the archive.
    pub(super) fn put(&mut self, name: &'static str, content: Vec<u8>) {
        self.files.insert(name, content);
    }

    /// The paths and contents of the files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, content)| (*name, content.as_slice()))
    }

    /// Whether linking needs the file at a path.
    pub(super) fn is_needed(path: &Path) -> bool {
        Self::NAMES.into_iter().any(|name| Path::new(name) == path)
    }

    /// Reads a file if linking needs it.
    pub(super) fn take(&mut self, path: &Path, size: u64, content: impl Read) -> io::Result<()> {
        let Some(name) = Self::NAMES.into_iter().find(|name| Path::new(name) == path) else {
            return Ok(());
        };
        let is_small = ["info/index.json", "info/link.json"].contains(&name);
        let others: usize = self.files.iter().filter(|(other, _)| **other != name).map(|(_, bytes)| bytes.len()).sum();
        if is_small && size > LARGEST_OF_INDEX {
            return Err(invalid(format!("`{name}` is larger than {} MiB", LARGEST_OF_INDEX >> 20)));
        }
        if size.saturating_add(others as u64) > LARGEST {
            let most = LARGEST >> 20;
            return Err(invalid(format!("`{name}` is too large: what is read of `info/` has at most {most} MiB")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        content.take(size + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(invalid(format!("`{name}` is cut short")));
        }
        let is_lines = !name.ends_with(".json");
        if is_lines && memchr::memchr_iter(b'\n', &bytes).count() > MOST_PATHS {
            return Err(too_many(name));
        }
        self.files.insert(name, bytes);
        Ok(())
    }

    /// Whether the files that linking needs first were read. In nearly all packages, `info/` comes first; otherwise the
    /// archive is read twice.
    pub(super) fn has_index_and_paths(&self) -> bool {
        self.files.contains_key("info/index.json") && self.files.contains_key("info/paths.json")
    }

    /// Parses a JSON file.
    fn json<'a, T: Deserialize<'a>>(&'a self, name: &str) -> io::Result<Option<T>> {
        let read = |bytes: &'a Vec<u8>| {
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("`{name}` cannot be read: {error}")))
        };
        self.files.get(name).map(read).transpose()
    }

    fn parse<T: PackageFile>(&self) -> io::Result<Option<T>> {
        let name = T::package_path();
        let bytes = self.files.iter().find(|(key, _)| Path::new(key) == name).map(|(_, bytes)| bytes);
        bytes
            .map(|bytes| {
                T::from_slice(bytes).map_err(|error| invalid(format!("`{}` cannot be read: {error}", name.display())))
            })
            .transpose()
    }

    /// Parses all files.
    pub(super) fn read(&self) -> io::Result<PackageMetadata> {
        let package = self.read_all_but_paths()?;
        let paths = match self.json::<PathsFile>("info/paths.json")? {
            Some(whole) => whole.paths.0,
            None => {
                let paths = self.deprecated_paths()?.paths;
                paths.into_iter().map(|entry| (entry.relative_path.clone(), entry.into())).collect()
            }
        };
        Ok(PackageMetadata { paths, ..package })
    }

    /// Parses the files, without the list of paths.
    pub(super) fn read_all_but_paths(&self) -> io::Result<PackageMetadata> {
        let index = self.files.get("info/index.json").ok_or_else(|| invalid("it has no `info/index.json`"))?;
        let index: IndexJson = mlconda_types::lenient::from_slice(index)
            .map_err(|error| invalid(format!("`info/index.json` cannot be read: {error}")))?;
        file_name_parts::check(index.name.as_normalized(), &index.version.as_str(), index.build.as_str())
            .map_err(|message| invalid(format!("in `info/index.json`, {message}")))?;
        let entry_points = match self.json::<LinkJson>("info/link.json")?.map(|link| link.noarch) {
            Some(noarch) if noarch.kind == "python" => {
                noarch.entry_points.iter().map(|text| entry_point(text)).collect::<io::Result<_>>()?
            }
            _ => Vec::new(),
        };
        let wheel = self.files.get(Self::WHEEL).map(|text| serde_json::from_slice(text)).transpose()?;
        Ok(PackageMetadata { index, paths: PathMap::default(), entry_points, wheel })
    }

    /// The paths of an old package without `paths.json`. Links are detected later, in the archive.
    fn deprecated_paths(&self) -> io::Result<PathsJson> {
        let files =
            self.parse::<Files>()?.ok_or_else(|| invalid("it has neither `info/paths.json` nor `info/files`"))?;
        PathsJson::from_deprecated(
            files,
            self.parse::<HasPrefix>()?,
            self.parse::<NoLink>()?,
            self.parse::<NoSoftlink>()?,
            |_| Ok(PathType::HardLink),
        )
    }
}

/// The fields of `paths.json` that are read.
#[derive(Deserialize)]
struct PathsFile {
    paths: Counted,
}

/// The paths of `paths.json`. The limit is checked while they are parsed, not afterwards.
struct Counted(PathMap<ListedPath>);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Counted;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a list of paths")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut entries: A) -> Result<Counted, A::Error> {
                let mut paths = PathMap::default();
                while let Some(entry) = entries.next_element::<PathsEntry>()? {
                    if paths.len() == MOST_PATHS {
                        return Err(de::Error::custom(format!("it lists more than {MOST_PATHS} paths")));
                    }
                    let (path, listed) = (entry.relative_path.clone(), ListedPath::from(entry));
                    if let Some(other) = paths.insert(path, listed.clone())
                        && other != listed
                    {
                        let message = format!("`{}` stands there twice", listed.path.display());
                        return Err(de::Error::custom(message));
                    }
                }
                Ok(Counted(paths))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

fn too_many(name: &str) -> io::Error {
    invalid(format!("`{name}` lists more than {MOST_PATHS} paths"))
}

/// The field of `link.json` that is read.
#[derive(Deserialize)]
struct LinkJson {
    noarch: Noarch,
}

#[derive(Deserialize)]
struct Noarch {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    entry_points: Vec<String>,
}

/// Parses an entry point, `command = module:function [extras]`. The extras in brackets have no meaning here, and are
/// ignored, as by pip.
pub(super) fn entry_point(text: &str) -> io::Result<EntryPoint> {
    let shown = || text.escape_debug().to_string();
    let bare = text.split('[').next().unwrap_or(text).trim();
    if bare.contains(char::is_control) {
        return Err(invalid(format!("the entry point `{}` contains a control character", shown())));
    }
    bare.parse().map_err(|error| invalid(format!("the entry point `{}` makes no sense: {error}", shown())))
}

/// A path in `paths.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedPath {
    /// The path in the archive.
    pub(super) path: PathBuf,
    /// Whether it is a directory. Archives contain directories only through the files in them.
    pub(super) is_directory: bool,
    /// Whether the file must be copied, not linked.
    pub(super) no_link: bool,
    /// The sha256 of the file's content in the archive. Packages from before `paths.json` do not have it.
    pub(super) sha256: Option<Sha256Hash>,
    /// The size of the file, in bytes.
    pub(super) size: Option<u64>,
    /// The build prefix, if the file contains it.
    pub(super) placeholder: Option<Placeholder>,
}

/// The build prefix in a file, which is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) mode: FileMode,
    pub(super) text: String,
}

impl From<PathsEntry> for ListedPath {
    fn from(entry: PathsEntry) -> Self {
        Self {
            path: entry.relative_path,
            is_directory: entry.path_type == PathType::Directory,
            no_link: entry.no_link,
            sha256: entry.sha256,
            size: entry.size_in_bytes,
            placeholder: entry
                .prefix_placeholder
                .map(|placeholder| Placeholder { mode: placeholder.file_mode, text: placeholder.placeholder }),
        }
    }
}

/// The parsed metadata of a package.
#[derive(Debug)]
pub(super) struct PackageMetadata {
    /// `info/index.json`
    pub(super) index: IndexJson,
    /// The paths to link, by their path in the archive.
    pub(super) paths: PathMap<ListedPath>,
    /// The commands that linking creates (noarch python).
    pub(super) entry_points: Vec<EntryPoint>,
    /// The metadata that only a wheel has.
    pub(super) wheel: Option<Wheel>,
}

impl PackageMetadata {
    /// Whether the paths of files depend on the environment's python.
    pub(super) fn is_noarch_python(&self) -> bool {
        self.index.noarch.is_python()
    }

    /// Whether this is the interpreter that noarch packages are linked for.
    pub(super) fn is_python(&self) -> bool {
        self.wheel.is_none() && self.index.name.as_normalized() == "python"
    }

    /// The record of the package, with the size and the hashes of its archive.
    pub(super) fn record(
        &self,
        size: Option<u64>,
        sha256: Option<Sha256Hash>,
        md5: Option<Md5Hash>,
    ) -> io::Result<PackageRecord> {
        PackageRecord::from_index_json(self.index.clone(), size, sha256, md5)
            .map_err(|error| invalid(format!("its subdir cannot be told: {error}")))
    }

    /// When the package was built, in seconds since 1970.
    pub(super) fn built(&self) -> Option<i64> {
        self.index.timestamp.as_ref().map(|time| time.jiff_timestamp().as_second())
    }
}

/// An error in the package's content.
pub(super) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// The metadata of a wheel that linking needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wheel {
    /// The name of its `.dist-info` directory.
    pub(crate) dist_info: String,
}
