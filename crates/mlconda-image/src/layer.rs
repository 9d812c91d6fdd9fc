//! Writes a layer: a compressed tar of some files, with the digests of both.
//!
//! Each layer contains the directories above its files, so that layers do not depend on each other. There the
//! directories have the time 1970-01-01, which does not change with the rest of the environment. The environment's own
//! layer, which is above the others, contains all directories again, with their right times.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use mlconda_install::{
    Stop,
    staged::{self, PackageFiles},
};
use mlconda_oci::{Blob, Content, Descriptor, Digest, media_type};
use mlconda_types::progress::Progress;
use rattler_digest::{Sha256, digest::Digest as _};

use crate::{
    gzip,
    tar::{self, Attributes, TarWriter},
    workspace::{Stored, Workspace},
};

/// The level of gzip, which was chosen by measurement (docs/DESIGN.md). It is a part of the format of layers: with
/// another level, digests change.
const LEVEL: u32 = 3;

/// The compression of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// gzip, which all engines can read.
    #[default]
    Gzip,
    /// No compression.
    None,
}

impl Compression {
    /// The name of the compression, which is also the value of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }

    /// The facts that determine the bytes of a layer, besides its contents.
    fn format(self) -> String {
        match self {
            Self::Gzip => format!("{}, gzip level {LEVEL} of {}", tar::FORMAT, gzip::FORMAT),
            Self::None => tar::FORMAT.to_owned(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media_type::LAYER_GZIP,
            Self::None => media_type::LAYER,
        }
    }
}

/// How to write layers.
#[derive(Clone, Copy)]
pub(crate) struct Writing<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) compression: Compression,
    pub(crate) threads: usize,
    pub(crate) stop: &'a Stop,
    pub(crate) progress: &'a dyn Progress,
}

/// Counts and hashes the bytes that are written through it.
struct Hashing<'a> {
    hash: Sha256,
    size: u64,
    output: &'a mut (dyn Write + Send),
}

impl<'a> Hashing<'a> {
    fn new(output: &'a mut (dyn Write + Send)) -> Self {
        Self { hash: Sha256::new(), size: 0, output }
    }

    fn digest(self) -> (Digest, u64) {
        (Digest::from(self.hash.finalize()), self.size)
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writing<'_> {
    /// Writes a layer into the file `name` of the workspace.
    pub(crate) fn write(
        &self,
        name: &str,
        fill: &mut dyn FnMut(&mut TarWriter<'_>) -> io::Result<()>,
    ) -> io::Result<Stored> {
        let path = self.workspace.file(name);
        mlconda_system::remove_if_exists(&path)?;
        let mut file = mlconda_system::create_new(&path, 0o644)?;
        let mut compressed = Hashing::new(&mut file);
        let mut unpacked = None;
        let mut produce = |output: &mut dyn Write| {
            let (mut hash, mut size) = (Sha256::new(), 0);
            let mut tee = Tee { hash: &mut hash, size: &mut size, output };
            let mut writer = TarWriter::new(&mut tee, self.stop, self.progress);
            fill(&mut writer)?;
            writer.finish()?;
            unpacked = Some((Digest::from(hash.finalize()), size));
            Ok(())
        };
        match self.compression {
            Compression::Gzip => gzip::compress(LEVEL, self.threads, &mut compressed, &mut produce)?,
            Compression::None => produce(&mut compressed)?,
        }
        let (digest, size) = compressed.digest();
        let (diff_id, unpacked) = unpacked.ok_or_else(|| io::Error::other("no tar was written"))?;
        Ok(Stored { path, digest, size, diff_id, unpacked, directories: Vec::new() })
    }

    /// Writes the layer of some packages. Their files are below `root` here, and below `prefix` in the image.
    pub(crate) fn packages(
        &self,
        name: &str,
        packages: &[&PackageFiles],
        root: &Path,
        prefix: &Path,
    ) -> io::Result<Stored> {
        let mut paths: Vec<&Path> = packages.iter().flat_map(|package| &package.files).map(PathBuf::as_path).collect();
        mlconda_types::sorting::sort(&mut paths);
        let inside = relative(prefix);
        let stored = self.write(name, &mut |tar| {
            for path in &paths {
                let place = inside.join(path);
                tar.parents(&place, &|directory| above(directory, 0))?;
                tar.file(&place, &root.join(path), &|own| own)?;
            }
            Ok(())
        })?;
        let mut directories: Vec<PathBuf> = Vec::new();
        let mut last = Path::new("");
        for parent in paths.iter().filter_map(|path| path.parent()) {
            if parent != last {
                let above = parent.ancestors().take_while(|path| !path.as_os_str().is_empty());
                directories.extend(above.map(Path::to_owned));
                last = parent;
            }
        }
        mlconda_types::sorting::sort(&mut directories);
        directories.dedup();
        Ok(Stored { directories, ..stored })
    }

    /// A written layer as a blob of an image.
    pub(crate) fn blob(&self, stored: &Stored) -> Blob {
        let descriptor = Descriptor::new(self.compression.media_type(), stored.digest, stored.size);
        Blob { descriptor, content: Content::File(stored.path.clone()) }
    }
}

/// Hashes a tar before it is compressed.
struct Tee<'a> {
    hash: &'a mut Sha256,
    size: &'a mut u64,
    output: &'a mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        *self.size += bytes.len() as u64;
        self.output.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A hash of all inputs of a layer of packages: equal keys mean equal bytes. `modules` describes how byte code is
/// compiled. It is used if a package has modules.
pub(crate) fn key(packages: &[&PackageFiles], prefix: &Path, compression: Compression, modules: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{}\n", compression.format(), prefix.display()));
    if packages.iter().any(|package| package.has_modules) {
        hash.update(modules);
        hash.update(staged::compiler());
    }
    for package in packages {
        hash.update(package.identity);
        for path in &package.files {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(b"\0");
        }
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

/// Converts an absolute path of an image to a path in a tar, which is relative to `/`.
pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The attributes of a directory above the files of a layer. The base image may have the same directory, so the
/// attributes are those that all base images use. `None` for home directories: those of the base must not change.
pub(crate) fn above(directory: &Path, time: i64) -> Option<Attributes> {
    let is_home = directory.parent() == Some(Path::new("home"));
    let mode = match directory.to_str() {
        Some("") => return None,
        Some("tmp" | "var/tmp") => 0o1777,
        Some("root") => 0o700,
        _ if is_home => return None,
        _ => 0o755,
    };
    Some(Attributes { mode, ..Attributes::directory(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer that is always the same. It contains all types of entries, and more than one block of gzip.
    fn write(compression: Compression, threads: usize) -> Stored {
        let directory = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(None, directory.path()).unwrap();
        let stop = Stop::default();
        let writing = Writing { workspace: &workspace, compression, threads, stop: &stop, progress: &() };
        let source = directory.path().join("source");
        fs_err::create_dir(&source).unwrap();
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        let words: Vec<u8> = (0..2_500_000).map(|_| b"import numpy as np\n"[next() as usize % 19]).collect();
        fs_err::write(source.join("large"), words).unwrap();
        fs_err::write(source.join("program"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("program", source.join("link")).unwrap();
        let long = format!("opt/{}/gr\u{fc}n", "long/".repeat(40));
        let stored = writing.write("layer", &mut |tar| {
            for (path, source) in
                [("opt/large", "large"), ("opt/program", "program"), (&long, "large"), ("opt/link", "link")]
            {
                tar.parents(Path::new(path), &|directory| above(directory, 0))?;
                let mode = if source == "program" { 0o755 } else { 0o644 };
                let place = directory.path().join("source").join(source);
                tar.file(Path::new(path), &place, &|_| Attributes { mode, time: 1_700_000_000, owner: (0, 0) })?;
            }
            Ok(())
        });
        stored.unwrap()
    }

    /// If this test fails, the bytes of layers have changed: users get other digests, and cached layers are wrong. If
    /// this is intended, change `FORMAT` of `tar` or `gzip`, and the digests here.
    #[test]
    fn a_layer_has_the_bytes_that_its_format_says() {
        assert_eq!(
            (tar::FORMAT, gzip::FORMAT, LEVEL),
            ("tar 1", "zlib-rs 0.6.8, blocks of 1 MiB", 3),
            "another format has other digests"
        );
        let plain = write(Compression::None, 1);
        assert_eq!((plain.digest, plain.size), (plain.diff_id, plain.unpacked));
        assert_eq!(plain.digest.to_string(), "sha256:de80e9bb94e0ca34d4263155a10d69c1dc1ebb221255cd0565bb9f70b593c5c5");
        for threads in [1, 3] {
            let zipped = write(Compression::Gzip, threads);
            assert_eq!(zipped.diff_id, plain.digest);
            assert_eq!(
                zipped.digest.to_string(),
                "sha256:2107367ffa8a3a1b20c16c372c2ffa9a08f7105a163d8fd80c7aa33e6613d7a0"
            );
        }
    }

    #[test]
    fn the_version_of_the_encoder_is_the_one_in_use() {
        let lock = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock")).unwrap();
        let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"zlib-rs\"")).unwrap();
        let version = entry.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"')).unwrap();
        assert!(gzip::FORMAT.starts_with(&format!("zlib-rs {version},")), "change `FORMAT`: zlib-rs is {version}");
    }

    #[test]
    fn all_that_decides_the_bytes_is_in_the_key() {
        let prefix = Path::new("/opt/env");
        let none = key(&[], prefix, Compression::None, "");
        assert_ne!(none, key(&[], prefix, Compression::Gzip, ""));
        assert_ne!(none, key(&[], Path::new("/opt/other"), Compression::None, ""));
        for part in [gzip::FORMAT, tar::FORMAT, "level 3"] {
            assert!(Compression::Gzip.format().contains(part), "{part}");
        }
        assert!(staged::compiler().contains("marshal.dumps"));
    }
}
