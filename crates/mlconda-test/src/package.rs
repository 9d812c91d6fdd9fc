//! A builder of true conda packages.
//!
//! The layout follows what conda-build and rattler-build write, so that a test that passes here says something
//! about packages of the world: `info/index.json`, `info/paths.json` with hashes of every file and the placeholder
//! of each file that has one, `info/files`, `info/about.json`, `info/link.json` for noarch packages. Same builder,
//! same bytes: no clock, no order of the file system. The placeholder is found by looking for it in the contents,
//! as conda-build does.

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

/// The prefix of the build: 255 characters, as conda-build makes it, so that every prefix that is not longer can
/// be written over it in a compiled program.
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

/// The two kinds of package that fit every platform.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Noarch {
    /// Files under `site-packages/` and `python-scripts/` go where the prefix's python wants them.
    Python,
    /// Files go where they say.
    Generic,
}

/// What a package tells about its files.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Paths {
    /// `info/paths.json`.
    Json,
    /// `info/files` and `info/has_prefix`, as packages before 2017.
    Deprecated,
}

/// What lies at a path.
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
    /// Told in `info/paths.json`, absent from the archive.
    ToldDirectory,
}

/// A conda package to be.
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
    /// A package with nothing in it, for the platform that the tests run on, in a `.conda`.
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

    /// The build number, 0 if not said.
    pub fn build_number(mut self, number: u64) -> Self {
        self.build_number = number;
        self
    }

    /// The build string; if not said, one like the usual ones, which ends in the build number.
    pub fn build_string(mut self, build: &str) -> Self {
        self.build_string = Some(build.to_owned());
        self
    }

    /// For one platform, `linux-64` say.
    pub fn subdir(mut self, subdir: &str) -> Self {
        self.subdir = subdir.to_owned();
        self
    }

    /// For every platform.
    pub fn noarch(mut self, noarch: Noarch) -> Self {
        self.noarch = Some(noarch);
        self.subdir = "noarch".to_owned();
        self
    }

    /// In which archive it is written.
    pub fn archive(mut self, archive: Archive) -> Self {
        self.archive = archive;
        self
    }

    /// Tells of its files as packages before 2017 did, without `info/paths.json`.
    pub fn without_paths_json(mut self) -> Self {
        self.paths = Paths::Deprecated;
        self
    }

    /// A match spec that must be met by another package of the environment.
    pub fn depends(mut self, spec: &str) -> Self {
        self.depends.push(spec.to_owned());
        self
    }

    /// A match spec that must be met if the environment has that package.
    pub fn constrains(mut self, spec: &str) -> Self {
        self.constrains.push(spec.to_owned());
        self
    }

    /// Features, which make the solver like the package less.
    pub fn track_features(mut self, features: &str) -> Self {
        self.track_features = Some(features.to_owned());
        self
    }

    /// The place of `site-packages` in the prefix, for a python that has an unusual one (CEP-17).
    pub fn python_site_packages_path(mut self, path: &str) -> Self {
        self.site_packages = Some(path.to_owned());
        self
    }

    /// When it was built, in milliseconds since 1970.
    pub fn timestamp(mut self, milliseconds: u64) -> Self {
        self.timestamp = milliseconds;
        self
    }

    /// A command of a noarch python package: `name = module:function`.
    pub fn entry_point(mut self, entry_point: &str) -> Self {
        self.entry_points.push(entry_point.to_owned());
        self
    }

    /// A file. If [`PLACEHOLDER`] occurs in it, the installer is told to replace it.
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        self.entry(path, Entry::File { contents, executable: false })
    }

    /// A file that can be run.
    pub fn executable(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let contents = contents.as_ref().to_vec();
        self.entry(path, Entry::File { contents, executable: true })
    }

    /// A file of the package that no prefix shares with the cache (`no_link`), for the package changes it.
    pub fn copied(mut self, path: &str) -> Self {
        self.copied.insert(path.to_owned());
        self
    }

    /// A soft link, with its target as it stands in the link.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, Entry::Link { target: target.to_owned() })
    }

    /// An empty directory, in the archive and in `info/paths.json`.
    pub fn directory(self, path: &str) -> Self {
        self.entry(path, Entry::Directory)
    }

    /// An empty directory that only `info/paths.json` tells of, as some builders write it.
    pub fn told_directory(self, path: &str) -> Self {
        self.entry(path, Entry::ToldDirectory)
    }

    fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.files.insert(path.to_owned(), entry);
        self
    }

    /// The subdir that the package belongs in.
    pub fn subdir_name(&self) -> &str {
        &self.subdir
    }

    /// The name of the archive.
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

    /// Name, version and build.
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

    /// Puts the contents into a directory, and returns the paths that belong in the archive.
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

    /// A path as `info/paths.json` tells it.
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
            // conda-build hashes what a link leads to; nothing, if that is not a file of the package.
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

    /// The contents of the file that a link leads to, empty if it leads elsewhere.
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

/// How the placeholder in a file is to be replaced, if it has one.
fn placeholder_mode(contents: &[u8]) -> Option<&'static str> {
    let placeholder = PLACEHOLDER.as_bytes();
    let found = contents.windows(placeholder.len()).any(|window| window == placeholder);
    found.then(|| if contents.contains(&0) { "binary" } else { "text" })
}

/// Writes a file of a package, and returns its path.
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
