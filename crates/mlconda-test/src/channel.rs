//! A channel in a directory: packages, and their repodata, made by rattler's indexer in the three forms in which
//! channels offer it (`repodata.json`, `repodata.json.zst`, and CEP-16 shards).

use std::{
    io,
    path::{Path, PathBuf},
};

use rattler_index::{IndexFsConfig, PackageRevisionAssignment, index_fs};

use crate::package::PackageBuilder;

/// A channel in a directory.
#[derive(Clone, Debug)]
pub struct Channel {
    directory: PathBuf,
}

impl Channel {
    /// Writes packages into a directory, and indexes these subdirs: the platform that the tests run on, `noarch`, the
    /// subdirs of the packages, and `subdirs`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(directory: impl Into<PathBuf>, packages: &[PackageBuilder], subdirs: &[&str]) -> io::Result<Self> {
        let channel = Self { directory: directory.into() };
        for subdir in subdirs.iter().chain(&[crate::host_subdir(), "noarch"]) {
            fs_err::create_dir_all(channel.directory.join(subdir))?;
        }
        for package in packages {
            package.write(&channel.directory)?;
        }
        channel.index()?;
        Ok(channel)
    }

    /// An existing channel.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Its `file://` URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    /// Adds packages, and indexes again.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn add(&self, packages: &[PackageBuilder]) -> io::Result<()> {
        for package in packages {
            package.write(&self.directory)?;
        }
        self.index()
    }

    /// The file names of the archives in a subdir, sorted.
    ///
    /// # Errors
    ///
    /// If the subdir cannot be read.
    pub fn archives(&self, subdir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(self.directory.join(subdir))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conda") || name.ends_with(".tar.bz2") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn index(&self) -> io::Result<()> {
        let config = IndexFsConfig {
            channel: self.directory.clone(),
            target_platform: None,
            repodata_patch: None,
            write_zst: true,
            write_shards: true,
            repodata_revisions: Vec::new(),
            package_revision_assignment: PackageRevisionAssignment::default(),
            force: true,
            max_parallel: 2,
            multi_progress: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(index_fs(config)).map_err(|error| io::Error::other(format!("{error:#}")))?;
        let debris = self.directory.join(".tmp");
        if debris.exists() { fs_err::remove_dir_all(debris) } else { Ok(()) }
    }
}
