//! Reads a wheel (PEP 427) as an equivalent noarch python package.
//!
//! So the cache, linking, records and byte code only handle one kind of package. All differences are translated here:
//! purelib and platlib become `site-packages/`, scripts become `python-scripts/`, and entry points become those of a
//! `link.json`. Headers and data get names of their own ([`HEADERS`], [`DATA`]), which only linking interprets. Each
//! member is compared with the wheel's `RECORD` while it is read, as PEP 427 requires. The archive's hash is checked
//! before.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
    path::PathBuf,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use mlconda_channel::conda_archive::Source;
use mlconda_prefix::distributions::fields;
use mlconda_python::{archive_version, normalize};
use rattler_conda_types::package::EntryPoint;
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest, digest::Digest as _};
use serde_json::json;
use zip::{ZipArchive, result::ZipError};

use super::{Archive, Entry, EntryKind, Sink, window::Window};
use crate::package::{InfoFiles, Wheel, entry_point, invalid};

/// The directory of headers. Below it is a directory with the distribution's name.
pub(crate) const HEADERS: &str = "python-headers";

/// The directory of files whose paths are relative to the prefix.
pub(crate) const DATA: &str = "python-data";

/// The first characters of a script that python must run (PEP 427). They are replaced like the build prefix of a conda
/// package.
pub(crate) const SHEBANG: &str = "#!python";

/// The largest file of a `.dist-info` that is read as a whole, in bytes.
const LARGEST: u64 = 64 << 20;

/// The largest compression ratio of deflate.
const MOST: u64 = 1032;

type Zip<'a> = ZipArchive<Box<dyn Source + 'a>>;

/// A file of the wheel.
struct Member {
    /// Its index in the archive.
    index: usize,
    /// Its path in the equivalent noarch python package.
    path: String,
    sha256: Sha256Hash,
    size: u64,
    executable: bool,
    modified: i64,
    /// Whether it is a script whose first line must name the prefix's python.
    has_shebang: bool,
}

/// Reads a wheel into a sink.
pub(super) fn unpack<S: Sink>(archive: &Archive, file_name: &str, sink: &mut S) -> Result<(), S::Error> {
    let window: Box<dyn Source + '_> = Box::new(Window::new(archive)?);
    let mut zip = ZipArchive::new(window).map_err(bad_zip)?;
    check_sizes(&mut zip, archive.len()?)?;
    let distribution = Distribution::read(&mut zip, file_name)?;
    let members = distribution.members(&mut zip)?;
    sink.begin(&distribution.info(&members)?)?;
    for member in members {
        let mut content = Checked::new(zip.by_index(member.index).map_err(bad_zip)?, &member)?;
        sink.entry(Entry {
            path: PathBuf::from(member.path),
            kind: EntryKind::File(&mut content),
            size: member.size,
            executable: member.executable,
            modified: member.modified,
        })?;
    }
    Ok(())
}

fn bad_zip(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => invalid(error.to_string()),
    }
}

/// Refuses an archive whose members cannot have their stated sizes, or overlap. Otherwise a small archive could fill a
/// disk.
fn check_sizes(zip: &mut Zip<'_>, archive: u64) -> io::Result<()> {
    let mut compressed = 0_u64;
    for index in 0..zip.len() {
        let member = zip.by_index_data(index).map_err(bad_zip)?;
        compressed = compressed.saturating_add(member.compressed_size());
        if member.size() > member.compressed_size().saturating_mul(MOST) {
            return Err(invalid("a member of the archive is not as large as it says"));
        }
    }
    if zip.has_duplicate_names() || compressed > archive {
        return Err(invalid("the archive has members that lie over each other"));
    }
    Ok(())
}

/// The metadata of a wheel.
struct Distribution {
    /// The name, normalized (PEP 503).
    name: String,
    /// The name as it is written in the metadata.
    spelling: String,
    version: String,
    dist_info: String,
    entry_points: Vec<EntryPoint>,
    /// The paths in `RECORD`, each with its sha256 if it has one.
    record: HashMap<String, Option<Sha256Hash>>,
}

impl Distribution {
    fn read(zip: &mut Zip<'_>, file_name: &str) -> io::Result<Self> {
        let name = normalize(file_name.split('-').next().unwrap_or_default());
        let version = archive_version(file_name, &name).map_err(invalid)?;
        let dist_info = dist_info(zip, &name)?;
        let wheel = text(zip, &format!("{dist_info}/WHEEL"))?.ok_or_else(|| invalid("it has no `WHEEL`"))?;
        let format = field(&wheel, "Wheel-Version").unwrap_or("1.0");
        if format.split('.').next() != Some("1") {
            return Err(invalid(format!("it is a wheel of version {format}, and only 1 is known")));
        }
        let metadata = text(zip, &format!("{dist_info}/METADATA"))?.ok_or_else(|| invalid("it has no `METADATA`"))?;
        let spelling = field(&metadata, "Name").unwrap_or_default().to_owned();
        if normalize(&spelling) != name {
            return Err(invalid(format!("it says that it is `{spelling}`")));
        }
        if spelling.contains('/') {
            return Err(invalid(format!("`{spelling}` is not a name")));
        }
        let record = text(zip, &format!("{dist_info}/RECORD"))?.ok_or_else(|| invalid("it has no `RECORD`"))?;
        let record = read_record(&record)?;
        let entry_points = text(zip, &format!("{dist_info}/entry_points.txt"))?;
        let entry_points = entry_points.map_or(Ok(Vec::new()), |text| read_entry_points(&text))?;
        Ok(Self { name, spelling, version: version.replace('-', "_"), dist_info, entry_points, record })
    }

    /// The files to install, in the order of the archive.
    fn members(&self, zip: &mut Zip<'_>) -> io::Result<Vec<Member>> {
        let commands: HashSet<String> =
            self.entry_points.iter().map(|each| format!("python-scripts/{}", each.command)).collect();
        let (mut members, mut seen) = (Vec::with_capacity(zip.len()), HashSet::new());
        for index in 0..zip.len() {
            let member = zip.by_index_data(index).map_err(bad_zip)?;
            let name = member.name().map_err(bad_zip)?.into_owned();
            if name.ends_with('/') {
                continue;
            }
            // A script with the name of an entry point would clash with the entry point's command.
            let Some(path) = self.place(&name)?.filter(|path| !commands.contains(path)) else { continue };
            if !seen.insert(path.clone()) {
                return Err(invalid(format!("it has `{name}` twice")));
            }
            let is_script = path.starts_with("python-scripts/");
            let (size, modified) = (member.size(), member.last_modified().and_then(seconds).unwrap_or(EPOCH));
            let executable = is_script || member.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            let has_shebang = is_script && begins_with_shebang(zip, index)?;
            // Not all builders list all files. A file that is not listed is covered by the hash of the archive.
            let sha256 = match self.record.get(&name).copied().flatten() {
                Some(sha256) => sha256,
                None => hash(zip, index)?,
            };
            members.push(Member { index, path, sha256, size, executable, modified, has_shebang });
        }
        Ok(members)
    }

    /// The path of a member in the package; `None` for files that the installer writes.
    fn place(&self, name: &str) -> io::Result<Option<String>> {
        // A line break would turn one path into two in `RECORD`, and pip removes the paths in that file.
        let is_bad = |each: char| each == '\\' || each.is_control();
        let is_clean = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(is_bad);
        if !name.split('/').all(is_clean) {
            let shown = name.replace(char::is_control, "?");
            return Err(invalid(format!("`{shown}` is not a path that a wheel may have")));
        }
        let is_installers = |file: &str| {
            ["RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json"].contains(&file)
        };
        if let Some(file) = name.strip_prefix(&self.dist_info).and_then(|rest| rest.strip_prefix('/')) {
            return Ok((!is_installers(file)).then(|| format!("site-packages/{name}")));
        }
        let stem = self.dist_info.strip_suffix(".dist-info").unwrap_or(&self.dist_info);
        let data = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(".data/"));
        Ok(Some(match data.map(|data| data.split_once('/').unwrap_or((data, ""))) {
            None => format!("site-packages/{name}"),
            Some(("purelib" | "platlib", rest)) if !rest.is_empty() => format!("site-packages/{rest}"),
            Some(("scripts", rest)) if !rest.is_empty() => format!("python-scripts/{rest}"),
            Some(("headers", rest)) if !rest.is_empty() => format!("{HEADERS}/{}/{rest}", self.spelling),
            Some(("data", rest)) if !rest.is_empty() => format!("{DATA}/{rest}"),
            Some(_) => return Err(invalid(format!("`{name}` is in a place that no wheel has"))),
        }))
    }

    /// The metadata of the equivalent noarch python package.
    fn info(&self, members: &[Member]) -> io::Result<InfoFiles> {
        // The time for files without a time of their own: commands and records.
        let newest = members.iter().map(|member| member.modified).max().unwrap_or(EPOCH);
        let index = json!({
            "name": self.name, "version": self.version, "build": "pypi_0", "build_number": 0, "depends": [],
            "noarch": "python", "subdir": "pypi", "timestamp": newest.saturating_mul(1000),
        });
        let entry_points: Vec<String> = self.entry_points.iter().map(ToString::to_string).collect();
        let link = json!({
            "noarch": {"type": "python", "entry_points": entry_points}, "package_metadata_version": 1,
        });
        let paths: Vec<_> = members
            .iter()
            .map(|member| {
                let mut path = json!({
                    "_path": member.path, "path_type": "hardlink",
                    "sha256": hex::encode(member.sha256), "size_in_bytes": member.size,
                });
                if member.has_shebang {
                    path["prefix_placeholder"] = json!(SHEBANG);
                    path["file_mode"] = json!("text");
                }
                path
            })
            .collect();
        let mut info = InfoFiles::default();
        info.put("info/index.json", serde_json::to_vec(&index)?);
        info.put("info/link.json", serde_json::to_vec(&link)?);
        info.put("info/paths.json", serde_json::to_vec(&json!({"paths": paths, "paths_version": 1}))?);
        info.put(InfoFiles::WHEEL, serde_json::to_vec(&Wheel { dist_info: self.dist_info.clone() })?);
        Ok(info)
    }
}

/// 1980-01-01, the earliest time in a zip, in seconds since 1970.
const EPOCH: i64 = 315_532_800;

/// Converts a time of a zip, which has no time zone. It is read as UTC, so that the result is the same on all machines.
fn seconds(time: zip::DateTime) -> Option<i64> {
    let of_day = [time.hour(), time.minute(), time.second()].map(i64::from);
    mlconda_types::time::seconds([
        time.year().into(),
        time.month().into(),
        time.day().into(),
        of_day[0],
        of_day[1],
        of_day[2],
    ])
}

/// The only `.dist-info` directory, which must have the name of the distribution.
fn dist_info(zip: &Zip<'_>, name: &str) -> io::Result<String> {
    let mut found = BTreeMap::new();
    for member in zip.file_names() {
        let member = member.map_err(bad_zip)?;
        let top = member.split_once('/').map(|(top, _)| top);
        if let Some(stem) = top.and_then(|top| top.strip_suffix(".dist-info")) {
            found.insert(format!("{stem}.dist-info"), normalize(stem.split('-').next().unwrap_or_default()));
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some((directory, of)), None) if of == name => Ok(directory),
        (Some((directory, _)), None) => Err(invalid(format!("its metadata are those of `{directory}`"))),
        (Some(_), Some(_)) => Err(invalid("it has metadata of several distributions")),
        (None, _) => Err(invalid("it has no `.dist-info` directory")),
    }
}

/// The text of a member, if it exists.
fn text(zip: &mut Zip<'_>, name: &str) -> io::Result<Option<String>> {
    let Some(index) = zip.index_for_name(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    zip.by_index(index).map_err(bad_zip)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(invalid(format!("`{name}` is too large")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The value of a field in a header of lines `Key: value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let head = text.lines().take_while(|line| !line.trim().is_empty());
    let mut values = head.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case(key));
    values.next().map(|(_, value)| value.trim())
}

/// Parses `RECORD`: for each path its sha256. A hash of another kind is ignored. A hash that cannot be parsed is an
/// error.
fn read_record(text: &str) -> io::Result<HashMap<String, Option<Sha256Hash>>> {
    let mut record = HashMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row = fields(line);
        let path = row.first().cloned().unwrap_or_default();
        let damaged = || invalid(format!("`RECORD` has no hash of `{path}` that can be read"));
        let hash = match row.get(1).and_then(|hash| hash.split_once('=')) {
            Some(("sha256", hash)) => {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(hash.trim_end_matches('=')).map_err(|_| damaged())?;
                let bytes: [u8; 32] = bytes.try_into().map_err(|_| damaged())?;
                Some(bytes.into())
            }
            _ => None,
        };
        record.insert(path, hash);
    }
    Ok(record)
}

/// Parses the commands in `entry_points.txt`.
fn read_entry_points(text: &str) -> io::Result<Vec<EntryPoint>> {
    let (mut commands, mut section) = (BTreeMap::new(), "");
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if ["console_scripts", "gui_scripts"].contains(&section) {
            let command = entry_point(line)?;
            commands.insert(command.command.clone(), command);
        }
    }
    Ok(commands.into_values().collect())
}

fn begins_with_shebang(zip: &mut Zip<'_>, index: usize) -> io::Result<bool> {
    let mut head = Vec::new();
    zip.by_index(index).map_err(bad_zip)?.take(SHEBANG.len() as u64).read_to_end(&mut head)?;
    Ok(head == SHEBANG.as_bytes())
}

fn hash(zip: &mut Zip<'_>, index: usize) -> io::Result<Sha256Hash> {
    let (mut file, mut hasher) = (zip.by_index(index).map_err(bad_zip)?, Sha256::new());
    let (mut buffer, mut left) = (vec![0; 64 << 10], file.size());
    while left > 0 {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        left = left.saturating_sub(count as u64);
        hasher.update(&buffer[..count]);
    }
    Ok(hasher.finalize())
}

/// Reads the content of a member, and checks its size and its hash in `RECORD`. The checks are complete at the end.
struct Checked<R> {
    content: R,
    left: u64,
    hasher: Sha256,
    expected: Sha256Hash,
    path: String,
}

impl<R: Read> Checked<R> {
    fn new(content: R, member: &Member) -> io::Result<Self> {
        let (left, hasher) = (member.size, Sha256::new());
        let mut checked = Self { content, left, hasher, expected: member.sha256, path: member.path.clone() };
        if left == 0 {
            checked.check()?;
        }
        Ok(checked)
    }

    fn check(&mut self) -> io::Result<()> {
        // At the end, the zip reader compares the archive's own checksum.
        if self.content.read(&mut [0])? > 0 {
            return Err(invalid(format!("`{}` is larger than it says", self.path)));
        }
        match self.hasher.clone().finalize() == self.expected {
            true => Ok(()),
            false => Err(invalid(format!("`{}` is not what its `RECORD` says", self.path))),
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.content.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("`{}` is cut short", self.path)));
        }
        self.hasher.update(&buffer[..count]);
        self.left -= count as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(count)
    }
}

/// A sha256 in the notation of `RECORD`.
pub(crate) fn record_hash(hash: &Sha256Hash) -> String {
    format!("sha256={}", BASE64_URL_SAFE_NO_PAD.encode(hash))
}

/// The sha256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256Hash {
    compute_bytes_digest::<Sha256>(bytes)
}
