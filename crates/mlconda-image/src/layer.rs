//! A layer: a tar of some files, compressed, with both digests.
//!
//! Every layer has the directories above its files, so that layers do not depend on each other. Their time there is the
//! beginning of 1970: it must not change with the rest of the environment. The environment's own layer, which lies on top,
//! has all directories once more, with their right times.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use mlconda_install::{Stop, staged::PackageFiles};
use mlconda_oci::{Blob, Content, Descriptor, Digest, media_type};
use rattler_digest::{Sha256, digest::Digest as _};

use crate::{
    gzip,
    tar::{Attributes, TarWriter},
    workspace::{Stored, Workspace},
};

/// The level of gzip. By measurement, see docs/DESIGN.md. A part of the format of layers: another one gives other digests.
const LEVEL: u32 = 3;

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// By gzip, which all engines read.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

impl Compression {
    /// Its name, which is also the name of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::None => "none",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media_type::LAYER_GZIP,
            Self::None => media_type::LAYER,
        }
    }
}

/// How layers are written.
#[derive(Clone, Copy)]
pub(crate) struct Writing<'a> {
    pub(crate) workspace: &'a Workspace,
    pub(crate) compression: Compression,
    pub(crate) threads: usize,
    pub(crate) stop: &'a Stop,
}

/// Counts and hashes what goes through it.
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
    /// Writes a layer into a file of the workspace. `name` is the file's.
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
            let mut writer = TarWriter::new(&mut tee, self.stop);
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

    /// Writes the layer of some packages, whose files are below `root` and come below `prefix`.
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

    /// A layer as a blob of an image.
    pub(crate) fn blob(&self, stored: &Stored) -> Blob {
        let descriptor = Descriptor::new(self.compression.media_type(), stored.digest, stored.size);
        Blob { descriptor, content: Content::File(stored.path.clone()) }
    }
}

/// Hashes a tar on its way.
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

/// What a layer of packages is made of, as a hash: the same key stands for the same bytes. `modules` tells how byte code is
/// compiled, where it is.
pub(crate) fn key(packages: &[&PackageFiles], prefix: &Path, compression: Compression, modules: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{} {LEVEL}\n{}\n", compression.name(), prefix.display()));
    if packages.iter().any(|package| package.has_modules) {
        hash.update(modules);
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

/// A path in an image as one in a tar: relative to `/`.
pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// The attributes of a directory above files. A base has these directories perhaps, and then it gets the attributes that all
/// bases give them; homes of users are the base's.
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
