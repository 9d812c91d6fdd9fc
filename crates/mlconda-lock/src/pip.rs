//! Pinned packages of pip: lines `# pip NAME @ URL …` of the lock, in the syntax of a requirements file (direct
//! references of PEP 508, `--hash` and `--editable` of pip).
//!
//! A package from an index is pinned by the sha256 of its archive, a git repository by its commit, a directory by its
//! path. `docs/lockfile.md` has the grammar.

use std::{
    collections::HashSet,
    fmt::Write,
    path::{Path, PathBuf},
};

use mlconda_prefix::distributions;
use mlconda_python::{SDIST_EXTENSIONS, archive_version, normalize};
use mlconda_types::redact;
use rattler_conda_types::{PrefixRecord, Subdir};
use rattler_digest::{Sha256, Sha256Hash, parse_digest_from_hex};
use url::Url;

use super::{Digest, Expansion, LockedPackage};

/// A package of the `pip:` list, or one that such a package needs, for the lock's platform and python.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPip {
    /// The name, normalized (PEP 503): lower case, with single dashes.
    pub name: String,
    /// The version (PEP 440), if the source contains it.
    pub version: Option<String>,
    /// The source of the package.
    pub source: PipSource,
    /// Its requirements (PEP 508); `None` if they are not known. An @EXPLICIT file does not contain them;
    /// `mlconda::records::complete` looks them up.
    pub requires: Option<Vec<String>>,
    /// The required versions of python (PEP 440), if known. An @EXPLICIT file does not contain them.
    pub requires_python: Option<String>,
    /// The licence, as in its metadata, if known. No lock format contains it.
    pub licence: Option<String>,
}

/// The source of a package of pip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipSource {
    /// A wheel (PEP 427), or the archive of its sources (PEP 625).
    Archive {
        /// The URL of the archive. Its last segment is the file name.
        url: Url,
        /// The expected sha256; locks of other tools may lack it.
        sha256: Option<Sha256Hash>,
        /// Its size in bytes, where known.
        size: Option<u64>,
        /// The origin of the URL.
        origin: ArchiveOrigin,
    },
    /// A commit of a git repository.
    Git {
        /// The repository, as pip writes it: `git+https://…`, without revision and fragment.
        repository: Url,
        /// The commit's hash, in hex.
        commit: String,
        /// The directory in the repository that holds the project.
        subdirectory: Option<String>,
    },
    /// A directory of this machine.
    Directory {
        /// The absolute path. In the file it is relative if possible.
        path: PathBuf,
        /// Whether the environment contains a copy of the directory, or refers to it.
        mode: DirectoryMode,
    },
}

/// The origin of the URL of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveOrigin {
    /// An index: the package was requested by name.
    Index,
    /// The requirement itself. Such packages have a `direct_url.json` (PEP 610).
    Direct,
}

/// How a directory is installed into an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryMode {
    /// As a copy, built during the installation.
    Copied,
    /// As a reference: changes in the directory take effect immediately.
    Editable,
}

impl LockedPip {
    /// The archive's file name, if it is an archive.
    pub fn file_name(&self) -> Option<String> {
        match &self.source {
            PipSource::Archive { url, .. } => file_name(url),
            PipSource::Git { .. } | PipSource::Directory { .. } => None,
        }
    }

    /// Records its name, and its archive, directory or commit, which contains only one distribution. Returns a message if
    /// another package of the lock already has one of these.
    pub(super) fn clash(&self, seen: &mut HashSet<String>) -> Option<&'static str> {
        let place = match &self.source {
            PipSource::Archive { url, .. } => format!("pip at {}", redact::url(url)),
            PipSource::Git { repository, commit, subdirectory } => {
                let (repository, directory) = (redact::url(repository), subdirectory.as_deref().unwrap_or_default());
                format!("pip at {repository}#{commit}/{directory}")
            }
            PipSource::Directory { path, .. } => format!("pip at {}", path.display()),
        };
        if !seen.insert(format!("pip {}", self.name)) {
            return Some("is locked twice");
        }
        (!seen.insert(place)).then_some("has the archive, directory or commit of another package")
    }

    /// A name like NAME-VERSION-BUILD of conda packages.
    pub fn dist_name(&self) -> String {
        let version = self.version.as_deref().map(|version| format!("-{}", version.replace('-', "_")));
        format!("{}{}-{}", self.name, version.unwrap_or_default(), distributions::BUILD)
    }

    /// Reads the source of a package from a record of a prefix.
    pub(crate) fn from_record(record: &PrefixRecord) -> Option<Self> {
        let (known, package) = (&record.repodata_record, &record.repodata_record.package_record);
        let is_direct = record.files.iter().any(|path| path.ends_with("direct_url.json"));
        let source = if known.url.scheme().starts_with("git+") {
            git(known.url.as_str().strip_prefix("git+")?).ok()?
        } else if is_direct && package.sha256.is_none() && known.url.scheme() == "file" {
            let is_editable = known.url.fragment() == Some("editable");
            let mode = if is_editable { DirectoryMode::Editable } else { DirectoryMode::Copied };
            PipSource::Directory { path: mlconda_system::files::of_url(&known.url)?, mode }
        } else {
            let origin = if is_direct { ArchiveOrigin::Direct } else { ArchiveOrigin::Index };
            PipSource::Archive { url: known.url.clone(), sha256: package.sha256, size: package.size, origin }
        };
        let (name, version) = (package.name.as_normalized().to_owned(), Some(package.version.to_string()));
        Some(Self { name, version, source, requires: None, requires_python: None, licence: None })
    }

    /// A URL that identifies its source.
    pub fn identity(&self) -> Option<Url> {
        match &self.source {
            PipSource::Archive { url, .. } => Some(url.clone()),
            PipSource::Git { repository, commit, subdirectory } => {
                let mut url = repository.clone();
                url.set_path(&format!("{}@{commit}", repository.path()));
                url.set_fragment(subdirectory.as_ref().map(|path| format!("subdirectory={path}")).as_deref());
                Some(url)
            }
            PipSource::Directory { path, mode } => {
                let mut url = Url::from_file_path(path).ok()?;
                url.set_fragment((*mode == DirectoryMode::Editable).then_some("editable"));
                Some(url)
            }
        }
    }

    /// The archive as a package that an installation fetches and verifies (and links, if it is a wheel); `None` without
    /// an archive.
    pub fn as_package(&self) -> Option<LockedPackage> {
        let PipSource::Archive { url, sha256, size, .. } = &self.source else { return None };
        let file_name = self.file_name()?;
        Some(LockedPackage {
            name: self.name.clone(),
            // A record cannot have a version with a dash, because a dash separates the fields in file names.
            version: self.version.as_deref().unwrap_or("0").replace('-', "_"),
            build: distributions::BUILD.to_owned(),
            // It is installed after python, like noarch packages.
            subdir: Subdir::NoArch,
            file_name,
            url: url.clone(),
            digest: sha256.map_or(Digest::Unknown, Digest::Sha256),
            size: *size,
            record: None,
        })
    }

    /// Whether its place tells its version, or that it has none: a directory has one only after the build.
    fn is_version_in_place(&self) -> bool {
        match &self.source {
            PipSource::Archive { .. } => {
                self.file_name().is_some_and(|file| archive_version(&file, &self.name).is_ok())
            }
            PipSource::Git { .. } => false,
            PipSource::Directory { .. } => true,
        }
    }

    /// Whether it is a wheel, which needs no build.
    pub fn is_wheel(&self) -> bool {
        self.file_name().is_some_and(|name| name.ends_with(".whl"))
    }
}

/// The text after `# pip `.
pub(super) fn render(package: &LockedPip, directory: Option<&Path>, expansions: &[(String, String)]) -> String {
    let mut text = format!("{} @ ", package.name);
    // Writing to a string cannot fail.
    let _ = match &package.source {
        PipSource::Archive { url, sha256, origin, .. } => {
            text.push_str(&super::expansions::address_without_login(url, expansions));
            if let Some(hash) = sha256 {
                let _ = write!(text, " --hash=sha256:{}", hex::encode(hash));
            }
            text.write_str(if *origin == ArchiveOrigin::Direct { " --direct" } else { "" })
        }
        PipSource::Git { repository, commit, subdirectory } => {
            let fragment = subdirectory.as_ref().map(|path| format!("#subdirectory={path}")).unwrap_or_default();
            let repository = super::expansions::address_without_login(repository, expansions);
            write!(text, "{repository}@{commit}{fragment}")
        }
        PipSource::Directory { path, mode } => {
            let shown = match directory.and_then(|directory| path.strip_prefix(directory).ok()) {
                Some(inner) => format!("./{}", inner.display()),
                None => path.display().to_string(),
            };
            write!(text, "{shown}{}", if *mode == DirectoryMode::Editable { " --editable" } else { "" })
        }
    };
    if let (Some(version), false) = (&package.version, package.is_version_in_place()) {
        let _ = write!(text, " --version={version}");
    }
    text
}

/// Parses the text after `# pip `. Relative paths refer to `directory`.
pub(super) fn parse(text: &str, directory: &Path, expansion: &Expansion) -> Result<LockedPip, String> {
    let (name, rest) = text.split_once(" @ ").ok_or("a package of pip is NAME @ URL")?;
    let (place, options) = split_options(rest.trim());
    let mut given = PipHints::default();
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("--hash", hash) if hash.starts_with("sha256:") => {
                let hash = parse_digest_from_hex::<Sha256>(&hash["sha256:".len()..]);
                given.sha256 = Some(hash.ok_or_else(|| format!("`{option}` has no sha256 of 64 hex digits"))?);
            }
            // An md5 does not protect against forged archives, so it is ignored.
            ("--hash", hash) if hash.starts_with("md5:") => {}
            ("--version", version) => given.version = Some(version.to_owned()),
            _ if option == "--direct" => given.origin = Some(ArchiveOrigin::Direct),
            _ if option == "--editable" => given.mode = Some(DirectoryMode::Editable),
            _ => return Err(format!("`{option}` means nothing for a package of pip")),
        }
    }
    let has_version = given.version.is_some();
    let package = locate(name, place, given, directory, expansion)?;
    match package.source {
        PipSource::Directory { .. } if has_version => Err("`--version` means nothing for a directory".to_owned()),
        _ => Ok(package),
    }
}

/// Facts about a package of pip besides its name and its location.
#[derive(Default)]
pub(super) struct PipHints {
    pub(super) sha256: Option<Sha256Hash>,
    pub(super) origin: Option<ArchiveOrigin>,
    pub(super) mode: Option<DirectoryMode>,
    /// The version, for archives whose names do not contain it.
    pub(super) version: Option<String>,
}

/// A package of pip from its name and its place: the URL of an archive, a repository, or a path.
pub(super) fn locate(
    name: &str,
    place: &str,
    given: PipHints,
    directory: &Path,
    expansion: &Expansion,
) -> Result<LockedPip, String> {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_name(name) || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(format!("`{name}` cannot name a package (PEP 508)"));
    }
    let name = normalize(name);
    let place = super::expansions::expand(place, expansion)?;
    let mut version = given.version.map(|version| checked_version(&version)).transpose()?;
    let mut origin = given.origin.unwrap_or(ArchiveOrigin::Index);
    let source = if let Some(place) = place.strip_prefix("git+") {
        git(place)?
    } else if let Some(mut url) = archive_url(&place, directory)? {
        let file = file_name(&url).ok_or_else(|| format!("`{place}` names no archive"))?;
        let in_url = url.fragment().and_then(|fragment| fragment.strip_prefix("sha256="));
        let sha256 = given.sha256.or(in_url.and_then(parse_digest_from_hex::<Sha256>));
        url.set_fragment(None);
        match archive_version(&file, &name) {
            Ok(of_file) => version = Some(of_file),
            Err(message) if file.ends_with(".whl") || !is_archive(&file) => return Err(message),
            // Only in an index, the name of a source archive always matches the project.
            Err(_) => origin = ArchiveOrigin::Direct,
        }
        PipSource::Archive { url, sha256, size: None, origin }
    } else {
        let path = std::path::absolute(directory.join(&place)).map_err(|error| error.to_string())?;
        let path: PathBuf = path.components().collect();
        // It would be written as the path of an archive, and read back as one.
        if is_archive(&path.to_string_lossy()) {
            return Err(format!("`{}` would be a directory, but is named like an archive", path.display()));
        }
        // The version of a directory is known only when it is built.
        version = None;
        PipSource::Directory { path, mode: given.mode.unwrap_or(DirectoryMode::Copied) }
    };
    Ok(LockedPip { name, version, source, requires: None, requires_python: None, licence: None })
}

/// The URL of an archive, which may be a path; `None` for a directory.
fn archive_url(place: &str, directory: &Path) -> Result<Option<Url>, String> {
    if place.contains("://") {
        let url = Url::parse(place.strip_prefix("direct+").unwrap_or(place));
        // The URL is not shown, because it may contain a login.
        let url = url.map_err(|error| format!("its URL cannot be read: {error}"))?;
        return super::expansions::without_host(url).map(Some);
    }
    // `https:/host` would be taken for a directory.
    let scheme = place.split_once(":/").map_or("", |(scheme, _)| scheme);
    if scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(format!("its URL cannot be read: `//` comes after `{scheme}:`"));
    }
    let path = is_archive(place).then(|| std::path::absolute(directory.join(place)).ok()).flatten();
    Ok(path.and_then(|path| super::expansions::file_url(&path)))
}

/// A valid version. It becomes part of paths.
fn checked_version(version: &str) -> Result<String, String> {
    let safe = version.chars().all(|each| each.is_ascii_alphanumeric() || "-_.+!".contains(each));
    match safe && version.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        true => Ok(version.to_owned()),
        false => Err(format!("`{version}` is not a version (PEP 440)")),
    }
}

/// Splits a place from the options after it. Paths may contain spaces.
fn split_options(text: &str) -> (&str, impl Iterator<Item = &str>) {
    let end = text.find(" --").unwrap_or(text.len());
    (text[..end].trim_end(), text[end..].split_whitespace())
}

/// Parses `https://host/repository@COMMIT#subdirectory=DIRECTORY`, or pixi's form
/// `https://host/repository?subdirectory=DIRECTORY#COMMIT`.
fn git(place: &str) -> Result<PipSource, String> {
    let (place, fragment) = place.split_once('#').unwrap_or((place, ""));
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let (repository, commit) = match place.rsplit_once('@') {
        _ if is_commit(fragment) => (place, fragment),
        // The text after the `@` of a login is not a revision.
        Some((repository, revision)) if !revision.contains('/') => (repository, revision),
        _ => return Err(format!("`{place}` names no commit")),
    };
    if !is_commit(commit) {
        return Err(format!("`{commit}` is not the hash of a commit"));
    }
    let repository =
        Url::parse(&format!("git+{repository}")).map_err(|error| format!("`{repository}` is no URL: {error}"))?;
    let said = fragment.split('&').chain(query.split('&')).find_map(|pair| pair.strip_prefix("subdirectory="));
    let subdirectory = said.map(super::decode).transpose()?;
    Ok(PipSource::Git { repository, commit: commit.to_ascii_lowercase(), subdirectory })
}

fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_archive(file: &str) -> bool {
    file.ends_with(".whl") || SDIST_EXTENSIONS.iter().any(|end| file.ends_with(end))
}

/// The file name of an archive. It becomes a local file name, so it must not lead to another directory.
fn file_name(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let is_bad = |each: char| each == '/' || each == '\\' || each.is_control();
    super::decode(segment).ok().filter(|name| !name.is_empty() && !name.starts_with('.') && !name.contains(is_bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn read(text: &str) -> Result<LockedPip, String> {
        parse(text, Path::new("/project"), &Expansion::default())
    }

    #[test]
    fn a_place_that_is_no_url_is_not_taken_for_a_directory() {
        for place in ["htt(s://h/a-1-py3-none-any.whl", "https://h:x/a-1.tar.gz", "https://", "direct+://h/a-1.zip"] {
            let error = read(&format!("a @ {place}")).unwrap_err();
            assert!(error.starts_with("its URL cannot be read: "), "{place}: {error}");
        }
        // A directory is written without these endings.
        for place in ["./a-1-py3-none-any.whl/.", "a-1.tar.gz/", "/opt/a-1.zip/./"] {
            let error = read(&format!("a @ {place}")).unwrap_err();
            assert!(error.ends_with("would be a directory, but is named like an archive"), "{error}");
        }
        assert!(matches!(read("a @ ./htt(s:/dir").unwrap().source, PipSource::Directory { .. }));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            format!("wandb @ https://files.example.org/w/wandb-0.15.1-py3-none-any.whl --hash=sha256:{SHA}"),
            format!("odd @ https://files.example.org/odd-1%212.0-py3-none-any.whl --hash=sha256:{SHA} --direct"),
            format!("docopt @ https://files.example.org/docopt-0.6.2.tar.gz --hash=sha256:{SHA}"),
            format!("tool @ git+https://git.example.org/a/tool.git@{COMMIT}#subdirectory=python/tool"),
            "mine @ ./src/my tool --editable".to_owned(),
            "here @ ./".to_owned(),
            "elsewhere @ /opt/elsewhere".to_owned(),
            "tool @ https://h/tool/archive/v1.0.zip --direct --version=1.0".to_owned(),
            format!("tool @ git+https://h/tool.git@{COMMIT}#subdirectory=a --version=1.0+cu118"),
        ] {
            let package = read(&text).unwrap();
            assert_eq!(render(&package, Some(Path::new("/project")), &[]), text);
        }
        let archive = read("tool @ https://h/tool/archive/v1.0.zip").unwrap();
        assert_eq!(archive.version, None, "the name of the archive is not one of an index");
        let versions = ["wandb @ https://h/wandb-0.15.1-py3-none-any.whl", "a-b @ https://h/A.B-1.0.tar.gz"];
        let versions = versions.map(|text| read(text).unwrap().version.unwrap());
        assert_eq!(versions, ["0.15.1", "1.0"]);
        let known = read("a-b @ https://h/A.B-1.0.tar.gz --version=2").unwrap();
        assert_eq!(known.version.as_deref(), Some("1.0"), "the name of the archive tells the version");
    }

    #[test]
    fn a_login_is_not_written() {
        let package = read("a @ https://me:secret@h/a-1.0-py3-none-any.whl").unwrap();
        assert_eq!(render(&package, None, &[]), "a @ https://h/a-1.0-py3-none-any.whl");
        let variables = [("PASSWORD".to_owned(), "secret".to_owned())];
        let shown = render(&package, None, &variables);
        assert_eq!(shown, "a @ https://me:${PASSWORD}@h/a-1.0-py3-none-any.whl");
    }

    #[test]
    fn bad_lines_are_named() {
        let complaint = |text: &str| read(text).unwrap_err();
        assert_eq!(complaint("a"), "a package of pip is NAME @ URL");
        assert!(complaint("../b @ https://h/b-1-py3-none-any.whl").contains("cannot name a package"));
        assert!(complaint("a @ https://h/b-1-py3-none-any.whl").contains("not an archive of `a`"));
        assert!(complaint("a @ https://h/..%2F..%2Fa-1.0.tar.gz").contains("names no archive"));
        assert!(complaint("a @ https://h/a-1.0-py3-none-any%2F..%2Fb.whl").contains("names no archive"));
        assert!(complaint("a @ https://h/a-..-py3-none-any.whl").contains("not a version"));
        assert!(complaint("a @ https://h/a-1.0.exe").contains("neither a wheel nor an archive"));
        assert!(complaint("a @ https://h/a-1.0.tar.gz --hash=sha256:12").contains("no sha256"));
        assert!(complaint("a @ https://h/main.zip --version=1/2").contains("`1/2` is not a version"));
        assert!(complaint("a @ https://h/main.zip --version").contains("`` is not a version"));
        assert_eq!(complaint("a @ ./a --version=1"), "`--version` means nothing for a directory");
        assert!(complaint("a @ git+https://h/a@main").contains("not the hash of a commit"));
        assert!(complaint("a @ ./a --no-deps").contains("`--no-deps` means nothing"));
    }
}
