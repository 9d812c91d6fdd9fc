//! Reads the result of the resolver: a `pylock.toml` (PEP 751) for one platform and python.
//!
//! The wheel that fits the target best is selected, else the source archive.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use mlconda_lock::{ArchiveOrigin, DirectoryMode, LockedPip, PipSource, normalize};
use mlconda_python::tags::{Tags, WheelName};
use rattler_digest::{Sha256, parse_digest_from_hex};
use serde::Deserialize;
use url::Url;

use super::toml;

/// The fields of the file that are used.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(rename = "lock-version")]
    version: String,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    requires_python: Option<String>,
    vcs: Option<Vcs>,
    directory: Option<Directory>,
    archive: Option<Archive>,
    sdist: Option<Archive>,
    #[serde(default)]
    wheels: Vec<Archive>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    r#type: String,
    url: Option<String>,
    path: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Directory {
    path: String,
    #[serde(default)]
    editable: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Archive {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: Hashes,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Hashes {
    sha256: Option<String>,
}

impl Archive {
    /// The URL or path of the file, as a URL.
    fn url(&self, directory: &Path) -> Option<Url> {
        match (&self.url, &self.path) {
            (Some(url), _) => Url::parse(url).ok(),
            (None, Some(path)) => Url::from_file_path(absolute(directory, path)).ok(),
            (None, None) => None,
        }
    }

    fn file_name(&self) -> Option<String> {
        let place = self.url.as_deref().or(self.path.as_deref()).unwrap_or_default();
        let last = place.split(['#', '?']).next().and_then(|place| place.rsplit('/').next());
        self.name.clone().or_else(|| last.map(str::to_owned)).map(|name| name.replace("%2B", "+").replace("%2b", "+"))
    }
}

/// The packages of a result.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolvedPackages {
    /// By name.
    pub(super) packages: Vec<LockedPip>,
    /// Packages without a suitable file, and their files.
    pub(super) unfit: Vec<(String, Vec<String>)>,
}

/// The criteria to select a file of a package.
pub(super) struct FileSelection<'a> {
    pub(super) tags: &'a Tags,
    /// The required hashes of a package; empty if there are none.
    pub(super) hashes: &'a dyn Fn(&str) -> Vec<String>,
    /// Whether a package is to be built.
    pub(super) builds: &'a dyn Fn(&str) -> bool,
    /// The directory that relative paths refer to.
    pub(super) directory: &'a Path,
    /// The directory of stub wheels. Packages from here are left out.
    pub(super) given: &'a Path,
}

/// Reads the result of uv.
///
/// # Errors
/// If it is not understood. The error is the message.
pub(super) fn read(text: &str, choice: &FileSelection<'_>) -> Result<ResolvedPackages, String> {
    let value = toml::parse(text).map_err(|line| format!("line {line} is not understood"))?;
    let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if !document.version.starts_with("1.") {
        return Err(format!("its version is {}, and only 1.0 is known", document.version));
    }
    let mut answer = ResolvedPackages::default();
    for package in document.packages {
        let name = normalize(&package.name);
        match source(&package, &name, choice)? {
            FoundFile::Given => {}
            FoundFile::Unfit(files) => answer.unfit.push((name, files)),
            FoundFile::Source(source) => answer.packages.push(LockedPip {
                name,
                version: package.version,
                source,
                requires: None,
                requires_python: package.requires_python,
                licence: None,
            }),
        }
    }
    mlconda_types::sorting::sort_by(&mut answer.packages, |left, right| left.name.cmp(&right.name));
    Ok(answer)
}

enum FoundFile {
    Source(PipSource),
    /// A package that conda provides.
    Given,
    Unfit(Vec<String>),
}

fn source(package: &Package, name: &str, choice: &FileSelection<'_>) -> Result<FoundFile, String> {
    let unreadable = || format!("`{name}` has no place that is understood");
    if let Some(vcs) = &package.vcs {
        return git(vcs, choice.directory).map(FoundFile::Source).ok_or_else(unreadable);
    }
    if let Some(directory) = &package.directory {
        let mode = if directory.editable { DirectoryMode::Editable } else { DirectoryMode::Copied };
        return Ok(FoundFile::Source(PipSource::Directory { path: absolute(choice.directory, &directory.path), mode }));
    }
    if let Some(file) = &package.archive {
        let is_given =
            file.path.as_ref().is_some_and(|path| absolute(choice.directory, path).starts_with(choice.given));
        return match is_given {
            true => Ok(FoundFile::Given),
            false => archive(file, ArchiveOrigin::Direct, choice).map(FoundFile::Source).ok_or_else(unreadable),
        };
    }
    let asked = (choice.hashes)(name);
    let is_asked = |file: &&Archive| {
        asked.is_empty() || file.hashes.sha256.as_ref().is_some_and(|hash| asked.contains(&format!("sha256:{hash}")))
    };
    let rank = |file: &&Archive| {
        let file_name = file.file_name()?;
        let wheel = WheelName::parse(&file_name)?;
        let build = wheel.build.map(|(number, rest)| (number, rest.to_owned()));
        Some((choice.tags.rank(&wheel)?, Reverse(build)))
    };
    let mut wheels: Vec<_> = package.wheels.iter().filter_map(|file| Some((rank(&file)?, file))).collect();
    mlconda_types::sorting::sort_by(&mut wheels, |left, right| left.0.cmp(&right.0));
    let wheels = wheels.into_iter().map(|(_, file)| file).filter(|_| !(choice.builds)(name));
    let mut fitting = wheels.chain(&package.sdist);
    match fitting.find(is_asked) {
        Some(file) => archive(file, ArchiveOrigin::Index, choice).map(FoundFile::Source).ok_or_else(unreadable),
        None => {
            let shown = |file: &Archive| match &file.hashes.sha256 {
                Some(hash) if !asked.is_empty() => format!("{} (sha256:{hash})", file.file_name().unwrap_or_default()),
                _ => file.file_name().unwrap_or_default(),
            };
            Ok(FoundFile::Unfit(package.wheels.iter().chain(&package.sdist).map(shown).collect()))
        }
    }
}

fn archive(file: &Archive, origin: ArchiveOrigin, choice: &FileSelection<'_>) -> Option<PipSource> {
    let mut url = file.url(choice.directory)?;
    url.set_fragment(None);
    let sha256 = file.hashes.sha256.as_deref().and_then(parse_digest_from_hex::<Sha256>);
    Some(PipSource::Archive { url, sha256, size: file.size, origin })
}

fn git(vcs: &Vcs, directory: &Path) -> Option<PipSource> {
    let url = match (&vcs.url, &vcs.path) {
        (Some(url), _) => url.clone(),
        (None, Some(path)) => Url::from_file_path(absolute(directory, path)).ok()?.to_string(),
        (None, None) => return None,
    };
    let url = url.split('#').next().unwrap_or(&url).to_owned();
    let repository = Url::parse(&if url.starts_with("git+") { url } else { format!("git+{url}") }).ok()?;
    let is_git = vcs.r#type == "git";
    let (commit, subdirectory) = (vcs.commit_id.to_ascii_lowercase(), vcs.subdirectory.clone());
    is_git.then_some(PipSource::Git { repository, commit, subdirectory })
}

fn absolute(directory: &Path, path: &str) -> PathBuf {
    mlconda_environment::requirements::normalize_path(&directory.join(path))
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::Subdir;

    use super::*;
    use mlconda_types::host::Host;

    const TEXT: &str = r#"lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11.5"

[[packages]]
name = "numpy"
version = "1.26.4"
archive = { path = "/work/stubs/numpy-1.26.4-py3-none-any.whl", hashes = { sha256 = "94" } }

[[packages]]
name = "Multi_process"
version = "0.70.19"
sdist = { url = "https://h/multiprocess-0.70.19.tar.gz", hashes = { sha256 = "SHA" } }
wheels = [
    { url = "https://h/multi_process-0.70.19-py39-none-any.whl", size = 9, hashes = { sha256 = "OTHER" } },
    { url = "https://h/multi_process-0.70.19-1-py311-none-any.whl", size = 10, hashes = { sha256 = "SHA" } },
    { url = "https://h/multi_process-0.70.19-2-py311-none-any.whl", size = 11, hashes = { sha256 = "SHA" } },
    { url = "https://h/multi_process-0.70.19-cp312-cp312-win_amd64.whl", size = 12, hashes = { sha256 = "SHA" } },
]

[[packages]]
name = "gitty"
version = "0.5"
vcs = { type = "git", url = "https://h/g.git", requested-revision = "v1", commit-id = "4694d7a14dd7ed0259a9e214d0f23eb100d0138c", subdirectory = "sub" }

[[packages]]
name = "mine"
directory = { path = "../mine", editable = true }

[[packages]]
name = "local"
version = "1.0"
archive = { url = "https://h/local-1.0-py3-none-any.whl#sha256=12", hashes = { sha256 = "SHA" } }

[[packages]]
name = "old"
version = "1.0"
wheels = [{ url = "https://h/old-1.0-cp38-cp38-win_amd64.whl", hashes = { sha256 = "SHA" } }]
"#;

    fn answer(hash: Option<char>, builds: &str) -> ResolvedPackages {
        let text = TEXT.replace("SHA", &"a".repeat(64)).replace("OTHER", &"b".repeat(64));
        let packages = Host::baseline(Subdir::Linux64).virtual_packages;
        let tags = Tags::new(Subdir::Linux64, &packages, "3.11.5", "0_cpython").unwrap();
        let hashes = |name: &str| match hash {
            Some(hash) if name == "multi-process" => vec![format!("sha256:{}", hash.to_string().repeat(64))],
            _ => Vec::new(),
        };
        let builds = |name: &str| name == builds;
        let (directory, given) = (Path::new("/work/here"), Path::new("/work/stubs"));
        read(&text, &FileSelection { tags: &tags, hashes: &hashes, builds: &builds, directory, given }).unwrap()
    }

    fn file(answer: &ResolvedPackages) -> Option<String> {
        answer.packages.iter().find(|package| package.name == "multi-process").and_then(LockedPip::file_name)
    }

    #[test]
    fn each_package_is_read_from_where_it_is() {
        let answer = answer(None, "");
        let place = |source: &PipSource| match source {
            PipSource::Archive { url, size, origin, .. } => format!("{url} {size:?} {origin:?}"),
            PipSource::Git { repository, commit, subdirectory } => format!("{repository} {commit} {subdirectory:?}"),
            PipSource::Directory { path, mode } => format!("{} {mode:?}", path.display()),
        };
        let packages = answer.packages.iter();
        let shown: Vec<String> = packages.map(|each| format!("{} {}", each.name, place(&each.source))).collect();
        assert_eq!(
            shown,
            [
                "gitty git+https://h/g.git 4694d7a14dd7ed0259a9e214d0f23eb100d0138c Some(\"sub\")",
                "local https://h/local-1.0-py3-none-any.whl None Direct",
                "mine /work/mine Editable",
                "multi-process https://h/multi_process-0.70.19-2-py311-none-any.whl Some(11) Index",
            ]
        );
        assert_eq!(answer.unfit, [("old".to_owned(), vec!["old-1.0-cp38-cp38-win_amd64.whl".to_owned()])]);
    }

    #[test]
    fn of_several_wheels_the_best_is_taken_that_has_the_hash() {
        assert_eq!(file(&answer(None, "")).as_deref(), Some("multi_process-0.70.19-2-py311-none-any.whl"));
        assert_eq!(file(&answer(Some('b'), "")).as_deref(), Some("multi_process-0.70.19-py39-none-any.whl"));
        assert_eq!(file(&answer(None, "multi-process")).as_deref(), Some("multiprocess-0.70.19.tar.gz"));
        assert_eq!(file(&answer(Some('c'), "")), None);
    }
}
