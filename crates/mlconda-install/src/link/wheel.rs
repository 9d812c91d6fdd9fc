//! The steps of linking that only wheels need: target paths, the shebang lines of scripts, and the files that an
//! installer adds to the `.dist-info` (PEP 376, PEP 610, PEP 627).

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use mlconda_prefix::distributions::{is_record_file, quoted};
use rattler_conda_types::prefix_record::{PathType, PathsEntry};
use rattler_digest::digest::Digest as _;

use super::{FileContent, LinkError, Linking, Sha256, disk_error, path_record};
use crate::{
    package::ListedPath,
    python_info::PythonInfo,
    unpack::wheel::{DATA, HEADERS, SHEBANG, record_hash, sha256},
};

/// How much of a script is read to find its first line, in bytes.
const LONGEST: u64 = 64 << 10;

/// The content of `INSTALLER`.
const INSTALLER: &str = "mlconda\n";

/// Facts of the lock about a wheel that its `.dist-info` must contain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Whether it was requested by name.
    pub(crate) requested: bool,
    /// The text of `direct_url.json`, if the wheel has a URL of its own.
    pub(crate) direct_url: Option<String>,
}

/// Converts a path in a wheel to a path in the prefix.
pub(super) fn target(path: &Path, python: &PythonInfo) -> PathBuf {
    if let Ok(rest) = path.strip_prefix(DATA) {
        return rest.to_owned();
    }
    match path.strip_prefix(HEADERS) {
        Ok(rest) => {
            let (major, minor) = python.short_version;
            Path::new("include").join(format!("python{major}.{minor}")).join(rest)
        }
        Err(_) => python.target(path).into_owned(),
    }
}

impl Linking<'_> {
    /// Writes a script of a wheel whose first line must name the prefix's python.
    pub(super) fn script(
        &mut self,
        source: FileContent<'_>,
        listed: &ListedPath,
        target: PathBuf,
        place: &Path,
    ) -> Result<PathsEntry, LinkError> {
        let mut head = Vec::new();
        source.content.take(LONGEST).read_to_end(&mut head)?;
        let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
        let (line, rest) = head.split_at(end);
        // `#!pythonw` is for scripts without a terminal on Windows, and means python here. Options may follow.
        let options = line.get(SHEBANG.len()..).unwrap_or_default();
        let options = String::from_utf8_lossy(options.strip_prefix(b"w").unwrap_or(options));
        let mut text = self.python.map(|python| self.first_line(python, &options)).unwrap_or_default().into_bytes();
        text.extend_from_slice(rest);
        let mut file = self.stage.create(place, 0o755).map_err(disk_error)?;
        file.write_all(&text).map_err(disk_error)?;
        let (left, mut hash) = (source.size.saturating_sub(head.len() as u64), Sha256::new());
        hash.update(&text);
        let hash = self.copy(source.content, left, &mut file, Some(hash))?;
        mlconda_system::set_time(file.file(), source.modified).map_err(disk_error)?;
        self.own.prefix = Some(self.stage.prefix.clone().into());
        let size = Some(text.len() as u64 + left);
        Ok(PathsEntry { sha256: hash, sha256_in_prefix: hash, size_in_bytes: size, ..path_record(listed, target) })
    }

    /// Writes the files that an installer adds to a wheel's `.dist-info`, the list of all files last.
    pub(super) fn dist_info(&mut self, directory: &str, request: &Request) -> Result<(), LinkError> {
        let Some(python) = self.python else { return Ok(()) };
        let directory = python.site_packages_path.join(directory);
        self.add(directory.join("INSTALLER"), INSTALLER.as_bytes())?;
        if request.requested {
            self.add(directory.join("REQUESTED"), b"")?;
        }
        if let Some(text) = &request.direct_url {
            self.add(directory.join("direct_url.json"), text.as_bytes())?;
        }
        let text = list(&self.paths, &directory.join("RECORD"));
        self.add(directory.join("RECORD"), text.as_bytes())
    }

    fn add(&mut self, target: PathBuf, content: &[u8]) -> Result<(), LinkError> {
        let place = self.claim(&target)?;
        let mut file = self.stage.create(&place, 0o644).map_err(disk_error)?;
        file.write_all(content).map_err(disk_error)?;
        let built = self.package.as_ref().and_then(|package| package.built()).unwrap_or(0);
        mlconda_system::set_time(file.file(), built).map_err(disk_error)?;
        drop(place);
        self.paths.push(written(target, content));
        Ok(())
    }
}

/// The entry in the record of a file that the installation has written.
pub(crate) fn written(target: PathBuf, content: &[u8]) -> PathsEntry {
    let hash = Some(sha256(content));
    PathsEntry {
        relative_path: target,
        original_path: None,
        path_type: PathType::HardLink,
        no_link: false,
        sha256: hash,
        sha256_in_prefix: hash,
        size_in_bytes: Some(content.len() as u64),
        file_mode: None,
        prefix_placeholder: None,
    }
}

/// The text of a `RECORD` at this path. Paths in it are relative to `site-packages`. Byte code has no hash in it, as
/// with pip, because python may write it again.
pub(crate) fn list(paths: &[PathsEntry], place: &Path) -> String {
    let site = place.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let up = "../".repeat(site.components().count());
    let shown = |path: &Path| match path.strip_prefix(site) {
        Ok(inner) => quoted(&inner.to_string_lossy()),
        Err(_) => quoted(&format!("{up}{}", path.display())),
    };
    let line = |entry: &PathsEntry| {
        let path = shown(&entry.relative_path);
        match (entry.path_type, entry.sha256_in_prefix, entry.size_in_bytes) {
            (PathType::PycFile, _, _) | (_, None, _) => format!("{path},,\n"),
            (_, Some(hash), size) => {
                format!("{path},{},{}\n", record_hash(&hash), size.map(|size| size.to_string()).unwrap_or_default())
            }
        }
    };
    let others = paths.iter().filter(|entry| !is_record_file(&entry.relative_path));
    let mut lines: Vec<String> = others.map(line).chain([format!("{},,\n", shown(place))]).collect();
    mlconda_types::sorting::sort(&mut lines);
    lines.concat()
}
