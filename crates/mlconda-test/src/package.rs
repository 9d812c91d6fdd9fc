//! A builder of real conda packages.
//!
//! The layout is that of conda-build and rattler-build, so that the tests are valid for real packages:
//! `info/index.json`, `info/paths.json` with the hash of every file and the placeholder of each file that has one,
//! `info/files`, `info/about.json`, and `info/link.json` for noarch packages. The same builder gives the same bytes:
//! they do not depend on the clock or the order of the file system. As in conda-build, the placeholder is searched for
//! in the contents of the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use fs_err::os::unix::fs::symlink;
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::{write_conda_package, write_tar_bz2_package};
use serde_json::{Value, json};

use crate::sha256_hex;

/// The placeholder prefix: 255 characters, as in conda-build, so that any prefix that is not longer can replace it in a
/// compiled program.
pub const PLACEHOLDER: &str = "/home/builder/feedstock/build_artifacts/mlconda-test_1700000000000\
    /_h_env_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_pl\
    acehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_p";
const _: () = assert!(PLACEHOLDER.len() == 255);

/// The two kinds of archive.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Archive {
    /// `.conda`: a zip of two zstd-compressed tars.
    Conda,
    /// `.tar.bz2`: one tar.
    TarBz2,
}

/// The two kinds of noarch packages.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Noarch {
    /// Files under `site-packages/` and `python-scripts/` are installed where the prefix's python expects them.
    Python,
    /// Files are installed at their own paths.
    Generic,
}

/// The metadata files that list the package's files.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Paths {
    /// `info/paths.json`.
    Json,
    /// `info/files` and `info/has_prefix`, as in packages before 2017.
    Deprecated,
}

/// The entry at a path.
#[derive(Clone, Debug, Hash)]
enum Entry {
    File {
        contents: Vec<u8>,
        executable: bool,
    },
    Link {
        target: String,
    },
    Directory,
    /// A directory that is in `info/paths.json`, but not in the archive.
    ToldDirectory,
}

/// A builder for a conda package.
#[derive(Clone, Debug, Hash)]
pub struct PackageBuilder {
    name: String,
    version: String,
    build_string: Option<String>,
    build_number: u64,
    subdir: String,
    noarch: Option<Noarch>,
    archive: Archive,
    paths: Paths,
    depends: Vec<String>,
    constrains: Vec<String>,
    track_features: Option<String>,
    site_packages: Option<String>,
    timestamp: u64,
    entry_points: Vec<String>,
    files: BTreeMap<String, Entry>,
    copied: BTreeSet<String>,
}

impl PackageBuilder {
    /// An empty package for the platform that the tests run on, as `.conda`.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            build_string: None,
            build_number: 0,
            subdir: crate::host_subdir().to_owned(),
            noarch: None,
            archive: Archive::Conda,
            paths: Paths::Json,
            depends: Vec::new(),
            constrains: Vec::new(),
            track_features: None,
            site_packages: None,
            timestamp: 1_700_000_000_000,
            entry_points: Vec::new(),
            files: BTreeMap::new(),
            copied: BTreeSet::new(),
        }
    }

    /// Sets the build number; the default is 0.
    pub fn build_number(mut self, number: u64) -> Self {
        self.build_number = number;
        self
    }

    /// Sets the build string; the default is a usual one, which ends with the build number.
    pub fn build_string(mut self, build: &str) -> Self {
        self.build_string = Some(build.to_owned());
        self
    }

    /// Sets the platform, for example `linux-64`.
    pub fn subdir(mut self, subdir: &str) -> Self {
        self.subdir = subdir.to_owned();
        self
    }

    /// Makes it a noarch package.
    pub fn noarch(mut self, noarch: Noarch) -> Self {
        self.noarch = Some(noarch);
        self.subdir = "noarch".to_owned();
        self
    }

    /// Sets the kind of archive.
    pub fn archive(mut self, archive: Archive) -> Self {
        self.archive = archive;
        self
    }

    /// Lists its files as packages before 2017 did, without `info/paths.json`.
    pub fn without_paths_json(mut self) -> Self {
        self.paths = Paths::Deprecated;
        self
    }

    /// Adds a dependency: a match spec that another package of the environment must satisfy.
    pub fn depends(mut self, spec: &str) -> Self {
        self.depends.push(spec.to_owned());
        self
    }

    /// Adds a constraint: a match spec that must be satisfied if the environment has that package.
    pub fn constrains(mut self, spec: &str) -> Self {
        self.constrains.push(spec.to_owned());
        self
    }

    /// Sets track features, which give the package a lower priority in the solve.
    pub fn track_features(mut self, features: &str) -> Self {
        self.track_features = Some(features.to_owned());
        self
    }

    /// Sets the path of `site-packages` in the prefix, for a python with an unusual one (CEP-17).
    pub fn python_site_packages_path(mut self, path: &str) -> Self {
        self.site_packages = Some(path.to_owned());
        self
    }

    /// Sets the time of the build, in milliseconds since 1970.
    pub fn timestamp(mut self, milliseconds: u64) -> Self {
        self.timestamp = milliseconds;
        self
    }

    /// Adds an entry point of a noarch python package: `name = module:function`.
    pub fn entry_point(mut self, entry_point: &str) -> Self {
        self.entry_points.push(entry_point.to_owned());
        self
    }

    /// Adds a file. If it contains [`PLACEHOLDER`], the metadata says that the installer must replace it.
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        self.entry(path, Entry::File { contents, executable: false })
    }

    /// Adds an executable file.
    pub fn executable(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        self.entry(path, Entry::File { contents, executable: true })
    }

    /// Marks a file as one that must be copied into the prefix, never linked to the cache (`no_link`), because the
    /// package changes it.
    pub fn copied(mut self, path: &str) -> Self {
        self.copied.insert(path.to_owned());
        self
    }

    /// Adds a symbolic link with this target.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, Entry::Link { target: target.to_owned() })
    }

    /// Adds an empty directory, in the archive and in `info/paths.json`.
    pub fn directory(self, path: &str) -> Self {
        self.entry(path, Entry::Directory)
    }

    /// Adds an empty directory that is only in `info/paths.json`, as some builders write it.
    pub fn told_directory(self, path: &str) -> Self {
        self.entry(path, Entry::ToldDirectory)
    }

    fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.files.insert(path.to_owned(), entry);
        self
    }

    /// The subdir of the package.
    pub fn subdir_name(&self) -> &str {
        &self.subdir
    }

    /// The file name of the archive.
    pub fn file_name(&self) -> String {
        let extension = match self.archive {
            Archive::Conda => "conda",
            Archive::TarBz2 => "tar.bz2",
        };
        format!("{}.{extension}", self.stem())
    }

    /// Writes the package into its subdir of a channel, and returns the archive's path.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(&self, channel: &Path) -> io::Result<PathBuf> {
        let tree = tempfile::tempdir()?;
        let mut paths = self.lay_out(tree.path())?;
        for (name, value) in self.info()? {
            paths.push(put(tree.path(), &format!("info/{name}"), &value, false)?);
        }
        let subdir = channel.join(&self.subdir);
        fs_err::create_dir_all(&subdir)?;
        let archive = subdir.join(self.file_name());
        let file = fs_err::File::create(&archive)?.into_file();
        match self.archive {
            Archive::Conda => {
                let level = CompressionLevel::Numeric(3);
                write_conda_package(file, tree.path(), &paths, level, Some(1), &self.stem(), None, None)?;
            }
            Archive::TarBz2 => {
                write_tar_bz2_package(file, tree.path(), &paths, CompressionLevel::Numeric(1), None, None)?;
            }
        }
        Ok(archive)
    }

    /// Name, version and build, joined by dashes.
    fn stem(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.build())
    }

    fn build(&self) -> String {
        let tag = match self.noarch {
            Some(Noarch::Python) => "pyhd8ed1ab",
            Some(Noarch::Generic) => "hd8ed1ab",
            None => "h4bc722e",
        };
        self.build_string.clone().unwrap_or_else(|| format!("{tag}_{}", self.build_number))
    }

    /// Writes the contents into a directory, and returns the paths for the archive.
    fn lay_out(&self, tree: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for (name, entry) in &self.files {
            let path = tree.join(name);
            match entry {
                Entry::File { contents, executable } => {
                    put(tree, name, contents, *executable)?;
                }
                Entry::Link { target } => {
                    fs_err::create_dir_all(path.parent().unwrap_or(tree))?;
                    symlink(target, &path)?;
                }
                Entry::Directory => fs_err::create_dir_all(&path)?,
                Entry::ToldDirectory => continue,
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// The files of `info/`.
    fn info(&self) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
        let files: String = self.files.keys().map(|path| format!("{path}\n")).collect();
        let mut info = vec![
            ("index.json", pretty(&self.index_json())?),
            (
                "about.json",
                pretty(&json!({"summary": format!("test package {}", self.name), "license": "BSD-3-Clause"}))?,
            ),
            ("files", files.into_bytes()),
        ];
        match self.paths {
            Paths::Json => {
                let paths: Vec<Value> = self.files.iter().map(|(path, entry)| self.path_json(path, entry)).collect();
                info.push(("paths.json", pretty(&json!({"paths": paths, "paths_version": 1}))?));
            }
            Paths::Deprecated => info.push(("has_prefix", self.has_prefix().into_bytes())),
        }
        let noarch = match self.noarch {
            Some(Noarch::Python) => json!({"type": "python", "entry_points": self.entry_points}),
            Some(Noarch::Generic) => json!({"type": "generic"}),
            None => return Ok(info),
        };
        info.push(("link.json", pretty(&json!({"noarch": noarch, "package_metadata_version": 1}))?));
        Ok(info)
    }

    fn index_json(&self) -> Value {
        let mut index = json!({
            "build": self.build(),
            "build_number": self.build_number,
            "constrains": self.constrains,
            "depends": self.depends,
            "license": "BSD-3-Clause",
            "name": self.name,
            "subdir": self.subdir,
            "timestamp": self.timestamp,
            "version": self.version,
        });
        if let Some(noarch) = self.noarch {
            index["noarch"] = json!(if noarch == Noarch::Python { "python" } else { "generic" });
        } else if let Some((platform, arch)) = self.subdir.split_once('-') {
            index["arch"] = json!(if arch == "64" { "x86_64" } else { arch });
            index["platform"] = json!(platform);
        }
        if let Some(features) = &self.track_features {
            index["track_features"] = json!(features);
        }
        if let Some(path) = &self.site_packages {
            index["python_site_packages_path"] = json!(path);
        }
        index
    }

    /// The entry of a path in `info/paths.json`.
    fn path_json(&self, path: &str, entry: &Entry) -> Value {
        match entry {
            Entry::File { contents, .. } => {
                let mut json = json!({
                    "_path": path,
                    "path_type": "hardlink",
                    "sha256": sha256_hex(contents),
                    "size_in_bytes": contents.len(),
                });
                if let Some(mode) = placeholder_mode(contents) {
                    json["file_mode"] = json!(mode);
                    json["prefix_placeholder"] = json!(PLACEHOLDER);
                }
                if self.copied.contains(path) {
                    json["no_link"] = json!(true);
                }
                json
            }
            // conda-build hashes the file that a link points to; if that is not in the package, it hashes an empty
            // text.
            Entry::Link { target } => {
                let followed = self.followed(path, target);
                json!({
                    "_path": path,
                    "path_type": "softlink",
                    "sha256": sha256_hex(followed),
                    "size_in_bytes": followed.len(),
                })
            }
            Entry::Directory | Entry::ToldDirectory => json!({"_path": path, "path_type": "directory"}),
        }
    }

    /// The contents of the file that a link points to; empty if it is not in the package.
    fn followed(&self, path: &str, target: &str) -> &[u8] {
        let mut place = Path::new(path).parent().unwrap_or(Path::new("")).to_path_buf();
        for component in Path::new(target).components() {
            match component {
                std::path::Component::ParentDir => {
                    place.pop();
                }
                other => place.push(other),
            }
        }
        match place.to_str().and_then(|place| self.files.get_key_value(place)) {
            Some((_, Entry::File { contents, .. })) => contents,
            Some((place, Entry::Link { target })) if place != path => self.followed(place, target),
            _ => &[],
        }
    }

    /// The lines of `info/has_prefix`.
    fn has_prefix(&self) -> String {
        let lines = self.files.iter().filter_map(|(path, entry)| match entry {
            Entry::File { contents, .. } => {
                Some(format!("\"{PLACEHOLDER}\" {} \"{path}\"\n", placeholder_mode(contents)?))
            }
            _ => None,
        });
        lines.collect()
    }
}

/// The mode of the placeholder in a file (`text` or `binary`), if there is one.
fn placeholder_mode(contents: &[u8]) -> Option<&'static str> {
    let placeholder = PLACEHOLDER.as_bytes();
    let found = contents.windows(placeholder.len()).any(|window| window == placeholder);
    found.then(|| if contents.contains(&0) { "binary" } else { "text" })
}

/// Writes a file of a package, and returns its relative path.
fn put(tree: &Path, name: &str, contents: &[u8], executable: bool) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = tree.join(name);
    fs_err::create_dir_all(path.parent().unwrap_or(tree))?;
    fs_err::write(&path, contents)?;
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    Ok(path)
}

fn pretty(value: &Value) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(value)?)
}
