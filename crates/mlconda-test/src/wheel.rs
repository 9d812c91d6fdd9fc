//! A builder of wheels (PEP 427) and of source archives (PEP 625), in the form that build back ends write.
//!
//! The zip is written here, byte by byte, because tests need archives that no library writes: with names that lead
//! outside, or with a wrong `RECORD`. The same builder gives the same bytes: they do not depend on the clock.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::{Compression, Crc, write::DeflateEncoder, write::GzEncoder};

/// A file of a wheel.
#[derive(Clone, Debug)]
struct File {
    path: String,
    contents: Vec<u8>,
    /// The Unix mode, with the file type.
    mode: u32,
    recorded: Recorded,
}

/// The line of a file in `RECORD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    Rightly,
    /// With the hash of another file.
    Wrongly,
    Never,
}

/// A builder for a wheel.
#[derive(Clone, Debug)]
pub struct Wheel {
    name: String,
    version: String,
    tags: String,
    pure: bool,
    /// The lines of `METADATA` after name and version.
    metadata: Vec<String>,
    requires_python: Option<String>,
    entry_points: Vec<(String, String)>,
    files: Vec<File>,
}

impl Wheel {
    /// A wheel for every python 3, with only its metadata in it. The name is as written by the project.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tags: "py3-none-any".to_owned(),
            pure: true,
            metadata: Vec::new(),
            requires_python: None,
            entry_points: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Sets the tags of the file name: `cp311-cp311-manylinux_2_17_x86_64`. If the platform is not `any`,
    /// `Root-Is-Purelib` is false.
    pub fn tags(mut self, tags: &str) -> Self {
        self.pure = tags.ends_with("-any");
        self.tags = tags.to_owned();
        self
    }

    /// Sets `Root-Is-Purelib: false`, regardless of the tags.
    pub fn not_pure(mut self) -> Self {
        self.pure = false;
        self
    }

    /// Adds a requirement (PEP 508).
    pub fn requires(self, requirement: &str) -> Self {
        self.metadata(&format!("Requires-Dist: {requirement}"))
    }

    /// Adds an extra with a requirement.
    pub fn extra(self, extra: &str, requirement: &str) -> Self {
        self.metadata(&format!("Provides-Extra: {extra}"))
            .metadata(&format!("Requires-Dist: {requirement}; extra == '{extra}'"))
    }

    /// Sets the required versions of python.
    pub fn requires_python(mut self, versions: &str) -> Self {
        self.requires_python = Some(versions.to_owned());
        self
    }

    /// Adds a line to `METADATA`.
    pub fn metadata(mut self, line: &str) -> Self {
        self.metadata.push(line.to_owned());
        self
    }

    /// Adds an entry point `name = module:function` to a group of `entry_points.txt`: `console_scripts`, `gui_scripts`.
    pub fn entry_point(mut self, group: &str, entry_point: &str) -> Self {
        self.entry_points.push((group.to_owned(), entry_point.to_owned()));
        self
    }

    /// Adds a file. For files below `NAME-VERSION.data`, use [`Self::data`].
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.put(path.to_owned(), contents.as_ref(), 0o10_0644, Recorded::Rightly)
    }

    /// Adds an executable file.
    pub fn executable(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.put(path.to_owned(), contents.as_ref(), 0o10_0755, Recorded::Rightly)
    }

    /// Adds a symbolic link, which wheels must not contain.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.put(path.to_owned(), target.as_bytes(), 0o12_0777, Recorded::Rightly)
    }

    /// Adds a file of a scheme: `scripts`, `data`, `headers`, `purelib`, `platlib`.
    pub fn data(self, scheme: &str, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = format!("{}.data/{scheme}/{path}", self.stem());
        self.put(path, contents.as_ref(), 0o10_0644, Recorded::Rightly)
    }

    /// Adds a file without a line in `RECORD`.
    pub fn unrecorded(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.put(path.to_owned(), contents.as_ref(), 0o10_0644, Recorded::Never)
    }

    /// Adds a file with the hash of another file in `RECORD`.
    pub fn misrecorded(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.put(path.to_owned(), contents.as_ref(), 0o10_0644, Recorded::Wrongly)
    }

    fn put(mut self, path: String, contents: &[u8], mode: u32, recorded: Recorded) -> Self {
        self.files.push(File { path, contents: contents.to_vec(), mode, recorded });
        self
    }

    /// The name as written by the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The required versions of python.
    pub fn python(&self) -> Option<&str> {
        self.requires_python.as_deref()
    }

    /// `NAME-VERSION` in the form of file names.
    pub fn stem(&self) -> String {
        let plain = |text: &str| text.replace(['-', '.', ' '], "_").to_lowercase();
        format!("{}-{}", plain(&self.name), self.version.replace('-', "_"))
    }

    /// The file name of the archive.
    pub fn file_name(&self) -> String {
        format!("{}-{}.whl", self.stem(), self.tags)
    }

    /// `METADATA`, which indexes serve beside the archive (PEP 658).
    pub fn metadata_text(&self) -> String {
        metadata(&self.name, &self.version, self.requires_python.as_deref(), &self.metadata)
    }

    /// `WHEEL`
    fn wheel_text(&self) -> String {
        let mut text = format!("Wheel-Version: 1.0\nGenerator: mlconda-test 1.0\nRoot-Is-Purelib: {}\n", self.pure);
        let mut parts = self.tags.split('-').map(|part| part.split('.').collect::<Vec<_>>());
        if let (Some(pythons), Some(abis), Some(platforms)) = (parts.next(), parts.next(), parts.next()) {
            for python in &pythons {
                for abi in &abis {
                    for platform in &platforms {
                        // Writing to a string cannot fail.
                        let _ = writeln!(text, "Tag: {python}-{abi}-{platform}");
                    }
                }
            }
        }
        text
    }

    fn entry_points_text(&self) -> String {
        let mut groups: Vec<&str> = self.entry_points.iter().map(|(group, _)| group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let section = |group: &str| {
            let lines = self.entry_points.iter().filter(|(of, _)| of == group);
            format!("[{group}]\n{}", lines.map(|(_, line)| format!("{line}\n")).collect::<String>())
        };
        groups.iter().map(|group| section(group)).collect::<Vec<_>>().join("\n")
    }

    /// The bytes of the archive.
    pub fn bytes(&self) -> Vec<u8> {
        let info = format!("{}.dist-info", self.stem());
        let mut wheel = self.clone().file(&format!("{info}/METADATA"), self.metadata_text());
        wheel = wheel.file(&format!("{info}/WHEEL"), self.wheel_text());
        if !self.entry_points.is_empty() {
            wheel = wheel.file(&format!("{info}/entry_points.txt"), self.entry_points_text());
        }
        let record = format!("{info}/RECORD");
        let mut lines = String::new();
        for File { path, contents, recorded, .. } in &wheel.files {
            let told = if *recorded == Recorded::Wrongly { b"something else".as_slice() } else { contents };
            if *recorded != Recorded::Never {
                let digest = rattler_digest::compute_bytes_digest::<rattler_digest::Sha256>(told);
                let _ = writeln!(lines, "{path},sha256={},{}", URL_SAFE_NO_PAD.encode(digest), contents.len());
            }
        }
        let _ = writeln!(lines, "{record},,");
        zip(&wheel.file(&record, lines).files)
    }

    /// Writes the archive into a directory, and returns its path.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs_err::create_dir_all(directory)?;
        let path = directory.join(self.file_name());
        fs_err::write(&path, self.bytes())?;
        Ok(path)
    }
}

/// A builder for a source archive. It contains its own build back end without dependencies, so that building needs no
/// network.
#[derive(Clone, Debug)]
pub struct Sdist {
    name: String,
    version: String,
    requires: Vec<String>,
    metadata: StaticMetadata,
}

/// Whether the metadata is known without a build (PEP 643).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticMetadata {
    /// `PKG-INFO` contains it.
    Told,
    /// Only the build back end knows it.
    Built,
}

impl Sdist {
    /// A source archive with one module of the same name.
    pub fn new(name: &str, version: &str) -> Self {
        let metadata = StaticMetadata::Told;
        Self { name: name.to_owned(), version: version.to_owned(), requires: Vec::new(), metadata }
    }

    /// Adds a requirement (PEP 508).
    pub fn requires(mut self, requirement: &str) -> Self {
        self.requires.push(format!("Requires-Dist: {requirement}"));
        self
    }

    /// Sets whether the metadata is known without a build.
    pub fn static_metadata(mut self, metadata: StaticMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The name as written by the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn module(&self) -> String {
        self.name.replace(['-', '.'], "_").to_lowercase()
    }

    /// The file name of the archive.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tar.gz", self.module(), self.version)
    }

    /// The files: their paths in the project, and their texts.
    pub fn files(&self) -> Vec<(String, String)> {
        let Self { name, version, .. } = self;
        let module = self.module();
        let (told, dynamic) = match self.metadata {
            StaticMetadata::Told => (metadata(name, version, None, &self.requires), ""),
            // This version of the metadata does not promise to be equal to that of the built wheel.
            StaticMetadata::Built => (format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"), "yes"),
        };
        let project = match dynamic {
            "" => String::new(),
            _ => format!("[project]\nname = \"{name}\"\ndynamic = [\"version\", \"dependencies\"]\n"),
        };
        let backend = BACKEND
            .replace("@MODULE@", &module)
            .replace("@VERSION@", version)
            .replace("@METADATA@", &metadata(name, version, None, &self.requires).replace('\n', "\\n"));
        vec![
            ("PKG-INFO".to_owned(), told),
            (
                "pyproject.toml".to_owned(),
                format!("{project}[build-system]\nrequires = []\nbuild-backend = \"back\"\nbackend-path = [\".\"]\n"),
            ),
            ("back.py".to_owned(), backend),
            (format!("{module}.py"), format!("version = \"{version}\"\n")),
        ]
    }

    /// The bytes of the archive.
    ///
    /// # Panics
    ///
    /// Never: writing to memory cannot fail.
    #[allow(clippy::expect_used, reason = "writing to memory cannot fail")]
    pub fn bytes(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (path, contents) in self.files() {
            let mut header = tar::Header::new_ustar();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            let path = format!("{}-{}/{path}", self.module(), self.version);
            archive.append_data(&mut header, path, contents.as_bytes()).expect("memory");
        }
        archive.into_inner().and_then(GzEncoder::finish).expect("memory")
    }

    /// Writes the archive into a directory, and returns its path.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs_err::create_dir_all(directory)?;
        let path = directory.join(self.file_name());
        fs_err::write(&path, self.bytes())?;
        Ok(path)
    }

    /// Writes the project's files into a directory: what `-e DIRECTORY` installs.
    ///
    /// # Errors
    ///
    /// If they cannot be written.
    pub fn unpack(&self, directory: &Path) -> io::Result<()> {
        fs_err::create_dir_all(directory)?;
        self.files().iter().try_for_each(|(path, contents)| fs_err::write(directory.join(path), contents))
    }
}

/// A build back end (PEP 517, PEP 660) that needs only python.
const BACKEND: &str = r#"import base64, hashlib, os, zipfile

INFO = "@MODULE@-@VERSION@.dist-info"

def files(module):
    return {
        **module,
        INFO + "/METADATA": "@METADATA@",
        INFO + "/WHEEL": "Wheel-Version: 1.0\nGenerator: back\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

def write(directory, module):
    name = "@MODULE@-@VERSION@-py3-none-any.whl"
    record = ""
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files(module).items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text.encode())}\n"
        archive.writestr(INFO + "/RECORD", record + INFO + "/RECORD,,\n")
    return name

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    for path, text in files({}).items():
        path = os.path.join(directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    return INFO

prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel

def build_wheel(directory, config_settings=None, metadata_directory=None):
    with open("@MODULE@.py") as file:
        return write(directory, {"@MODULE@.py": file.read()})

def build_editable(directory, config_settings=None, metadata_directory=None):
    return write(directory, {"@MODULE@.pth": os.getcwd() + "\n"})
"#;

/// The metadata of a distribution, in a version that promises to be equal to that of every wheel built from it (PEP
/// 643).
fn metadata(name: &str, version: &str, python: Option<&str>, lines: &[String]) -> String {
    let python = python.map(|versions| format!("Requires-Python: {versions}\n")).unwrap_or_default();
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n{python}{lines}")
}

/// A zip archive. Files are deflated if that makes them smaller.
fn zip(files: &[File]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for File { path, contents, mode, .. } in files {
        let mut crc = Crc::new();
        crc.update(contents);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        // Writing to memory cannot fail.
        let deflated = encoder.write_all(contents).and_then(|()| encoder.finish()).unwrap_or_default();
        let (method, body) = if deflated.len() < contents.len() { (8u16, &deflated) } else { (0, contents) };
        let mut common = Vec::new();
        // Version needed to extract; flag: the name is UTF-8; method; the time 1980-01-01, the earliest of the format.
        for number in [20, 1 << 11, method, 0, 0x21] {
            common.extend(number.to_le_bytes());
        }
        for number in [crc.sum(), length(body), length(contents)] {
            common.extend(number.to_le_bytes());
        }
        common.extend((length(path.as_bytes()) as u16).to_le_bytes());
        common.extend([0, 0]);
        let offset = length(&archive);
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(path.as_bytes());
        archive.extend(body);
        // Made by Unix, so that the mode is used.
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&common);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(path.as_bytes());
    }
    let (offset, count) = (length(&archive), (files.len() as u16).to_le_bytes());
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count);
    archive.extend(count);
    archive.extend(length(&directory).to_le_bytes());
    archive.extend(offset.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

/// The length of some bytes. The wheels of tests are small.
fn length(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}
