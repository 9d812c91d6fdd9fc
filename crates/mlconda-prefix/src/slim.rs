//! Selects the files of a package that are left out of a slim environment.
//!
//! The rules are data (`slim.rules`). The result of [`select`] depends only on the [`Slim`] value and the package's
//! name, dependencies and paths. So a plan can compute from a record what another [`Slim`] value would change.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use mlconda_system::files;
use mlconda_types::{
    dependency,
    slim::{Part, Slim},
};
use rattler_conda_types::{PackageRecord, PrefixRecord, prefix_record::PathType};
use rattler_digest::Sha256Hash;
use serde::{Deserialize, Serialize};

use super::{
    Prefix, PrefixError, distributions,
    on_disk::{OwnFields, module_of},
};

/// The rules, as text.
const TEXT: &str = include_str!("slim.rules");

/// The place of a locale in a pattern.
const LOCALE: &str = "{locale}";

/// The parts that consist of whole files.
const FILES: [Part; 8] =
    [Part::Bytecode, Part::Docs, Part::Headers, Part::Locales, Part::Maps, Part::Static, Part::Stubs, Part::Tests];

/// The first bytes of the sha256 of an empty file.
const EMPTY: [u8; 4] = [0xe3, 0xb0, 0xc4, 0x42];

/// One line of the rules.
struct Rule {
    keeps: bool,
    part: Part,
    package: &'static str,
    pattern: &'static str,
}

impl Rule {
    /// Parses a line; `None` if it is not a rule.
    fn read(line: &'static str) -> Option<Self> {
        let rest = line.split(" # ").next()?;
        let (keeps, rest) = rest.strip_prefix("keep ").map_or((false, rest), |rest| (true, rest));
        let mut words = rest.split_whitespace();
        let (part, package, pattern) = (Part::of_name(words.next()?)?, words.next()?, words.next()?);
        words.next().is_none().then_some(Self { keeps, part, package, pattern })
    }

    fn is_for(&self, name: &str, depends: Option<&[String]>) -> bool {
        match self.package.strip_prefix("needs:") {
            Some(needed) => {
                depends.is_none_or(|depends| depends.iter().any(|spec| dependency::dependency_name(spec) == needed))
            }
            None => self.package == "*" || self.package == name,
        }
    }
}

fn lines() -> impl Iterator<Item = &'static str> {
    TEXT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| lines().filter_map(Rule::read).collect());

/// A file of a package.
#[derive(Clone, Copy, Debug)]
pub struct PackageFile<'a> {
    /// Its path in the prefix.
    pub path: &'a Path,
    /// The hash of its content. Files with equal content may be one file with several names. So all of them are left
    /// out, or none.
    pub sha256: Option<Sha256Hash>,
}

/// The files that are left out of a package: their paths in the prefix, and the part that each belongs to.
pub type Selected = HashMap<PathBuf, Part>;

/// Selects the files that are left out of a package.
///
/// If `depends` is `None`, the dependencies are unknown. Then all rules apply that are limited to packages with some
/// dependency.
pub fn select(slim: &Slim, name: &str, depends: Option<&[String]>, files: &[PackageFile<'_>]) -> Selected {
    let mut selected = Selected::new();
    if slim.keeps(name) {
        return selected;
    }
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| slim.has(rule.part) && rule.is_for(name, depends)).collect();
    let mut modules: Option<HashSet<PathBuf>> = None;
    for file in files {
        let Some(path) = file.path.to_str() else { continue };
        let part = match module_of(file.path).as_deref().and_then(Path::to_str) {
            Some(module) => {
                part_of(slim, &rules, module, &FILES).or_else(|| part_of(slim, &rules, path, &[Part::Bytecode]))
            }
            None => part_of(slim, &rules, path, &FILES),
        };
        let Some(part) = part else { continue };
        if part == Part::Stubs {
            let modules = modules.get_or_insert_with(|| modules_of(files));
            if !modules.contains(&file.path.with_extension("")) {
                continue;
            }
        }
        selected.insert(file.path.to_owned(), part);
    }
    if keep_twins(&mut selected, files) {
        keep_byte_code(&mut selected, files, |path| part_of(slim, &rules, path, &[Part::Bytecode]));
    }
    selected
}

/// The first of these parts that a path belongs to.
fn part_of(slim: &Slim, rules: &[&Rule], path: &str, parts: &[Part]) -> Option<Part> {
    let plain = Plain::of(path);
    parts.iter().copied().find(|part| plain.is_part(*part, rules, slim))
}

/// A path whose python library has the same name for all versions and kinds of python.
struct Plain<'a> {
    head: &'static str,
    rest: &'a str,
}

impl<'a> Plain<'a> {
    fn of(path: &'a str) -> Self {
        let library = path.strip_prefix("lib/python").or_else(|| path.strip_prefix("lib/pypy"));
        let library = library.or_else(|| path.strip_prefix("Lib").filter(|rest| rest.starts_with('/')));
        let Some((version, rest)) = library.and_then(|library| library.split_once('/')) else {
            return Self { head: "", rest: path };
        };
        if !version.bytes().all(|byte| byte.is_ascii_digit() || b".t".contains(&byte)) {
            return Self { head: "", rest: path };
        }
        if rest.starts_with("site-packages/") { Self { head: "", rest } } else { Self { head: "stdlib/", rest } }
    }

    /// Whether the path belongs to a part. The last rule of the part that matches decides.
    fn is_part(&self, part: Part, rules: &[&Rule], slim: &Slim) -> bool {
        let fitting = rules.iter().rev().find(|rule| rule.part == part && self.fits(rule.pattern, slim));
        fitting.is_some_and(|rule| !rule.keeps)
    }

    fn fits(&self, pattern: &str, slim: &Slim) -> bool {
        let pattern = match self.head {
            "" => Some(pattern).filter(|pattern| !pattern.starts_with("stdlib/")),
            // A pattern that begins with `**` also matches in the standard library.
            head => pattern.strip_prefix(head).or_else(|| Some(pattern).filter(|pattern| pattern.starts_with("**"))),
        };
        pattern.is_some_and(|pattern| fits(pattern, self.rest, slim))
    }
}

/// Whether a path matches a pattern.
fn fits(pattern: &str, path: &str, slim: &Slim) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        let Some(rest) = rest.strip_prefix('/') else { return !path.is_empty() };
        let below = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(place, _)| place + 1);
        return std::iter::once(0).chain(below).any(|place| fits(rest, &path[place..], slim));
    }
    if let Some(rest) = pattern.strip_prefix(LOCALE) {
        let end = path.find(|each| each == '/' || each == '.' && rest.starts_with('.')).unwrap_or(path.len());
        return end > 0 && !slim.speaks(&path[..end]) && fits(rest, &path[end..], slim);
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let end = path.find('/').unwrap_or(path.len());
        return (0..=end).any(|place| path.is_char_boundary(place) && fits(rest, &path[place..], slim));
    }
    match pattern.find(['*', '{']) {
        None => pattern == path,
        Some(end) => path.strip_prefix(&pattern[..end]).is_some_and(|path| fits(&pattern[end..], path, slim)),
    }
}

/// The modules of a package that a stub file can describe: `x` for `x.py`, `x/__init__.py` and an extension `x.*.so`.
fn modules_of(files: &[PackageFile<'_>]) -> HashSet<PathBuf> {
    let mut modules = HashSet::new();
    for path in files.iter().map(|file| file.path) {
        let (Some(name), Some(end)) = (path.file_name().and_then(|name| name.to_str()), path.extension()) else {
            continue;
        };
        if end == "py" {
            modules.insert(path.with_extension(""));
            modules.extend(path.parent().filter(|_| name == "__init__.py").map(Path::to_owned));
        } else if end == "so" || end == "pyd" {
            modules.insert(path.with_file_name(name.split('.').next().unwrap_or(name)));
        }
    }
    modules
}

/// Keeps the selected files whose content equals that of a file that stays. Returns whether there were any.
fn keep_twins(selected: &mut Selected, files: &[PackageFile<'_>]) -> bool {
    let before = selected.len();
    if before == 0 {
        return false;
    }
    let hash = |file: &PackageFile<'_>| file.sha256.filter(|hash| !hash.starts_with(&EMPTY));
    let stays = files.iter().filter(|file| !selected.contains_key(file.path)).filter_map(hash);
    let stays: HashSet<Sha256Hash> = stays.collect();
    for file in files {
        if hash(file).is_some_and(|hash| stays.contains(&hash)) {
            selected.remove(file.path);
        }
    }
    selected.len() < before
}

/// Keeps the byte code of modules that were kept in [`keep_twins`], unless it is left out as byte code.
fn keep_byte_code(selected: &mut Selected, files: &[PackageFile<'_>], part: impl Fn(&str) -> Option<Part>) {
    let stays: HashSet<&Path> =
        files.iter().map(|file| file.path).filter(|path| !selected.contains_key(*path)).collect();
    selected.retain(|path, selected| {
        let stays = module_of(path).is_some_and(|module| stays.contains(module.as_path()));
        match path.to_str().and_then(&part).filter(|_| stays) {
            Some(part) => *selected = part,
            None => return !stays,
        }
        true
    });
}

/// The parts that were left out of an installed package, as stored in its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The [`Slim`] value of the installation, in the form of a lock.
    #[serde(default)]
    pub slim: String,
    /// The parts of which files were left out, by their names.
    #[serde(default)]
    pub parts: BTreeMap<String, LeftOutPart>,
    /// The files that were stripped of symbols and debug information, and the number of bytes that were removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stripped: BTreeMap<PathBuf, u64>,
}

/// The files of one part that were left out of an installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutPart {
    /// The number of files.
    #[serde(default)]
    pub files: u64,
    /// Their size in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The paths in the prefix, sorted. For the part `debug`, they are in [`LeftOut::stripped`] instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
}

impl LeftOut {
    /// Adds a file of `bytes` bytes.
    pub fn add(&mut self, part: Part, path: PathBuf, bytes: u64) {
        let told = self.parts.entry(part.name().to_owned()).or_default();
        told.files += 1;
        told.bytes += bytes;
        told.paths.push(path);
    }

    /// Whether the [`Slim`] value of the installation has this part.
    pub fn has(&self, part: Part) -> bool {
        self.slim.split(',').any(|word| word == part.name())
    }

    /// The names of the parts that were left out, each with the number of files and their size in bytes.
    pub fn sizes(&self) -> Vec<(String, (u64, u64))> {
        let parts = self.parts.iter().filter(|(_, told)| told.files > 0);
        let mut sizes: Vec<_> = parts.map(|(name, told)| (name.clone(), (told.files, told.bytes))).collect();
        if !self.stripped.is_empty() {
            let bytes = self.stripped.values().sum();
            sizes.push((Part::Debug.name().to_owned(), (self.stripped.len() as u64, bytes)));
        }
        sizes
    }

    /// The paths of all files that were left out.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.parts.values().flat_map(|part| &part.paths)
    }
}

/// Whether an installed package would have other files if it were installed with `slim`. `own` is the field `mlconda`
/// of its record.
pub fn differs(slim: &Slim, record: &PrefixRecord, own: &OwnFields) -> bool {
    let package = &record.repodata_record.package_record;
    let name = package.name.as_normalized();
    let nothing = LeftOut::default();
    let left = own.left_out.as_ref().unwrap_or(&nothing);
    let before: HashSet<&PathBuf> = left.paths().collect();
    let is_compiled = !left.parts.contains_key(Part::Bytecode.name()) || slim.has(Part::Bytecode);
    if slim.keeps(name) {
        return !before.is_empty() || !left.stripped.is_empty() || !is_compiled;
    }
    let entries = record.paths_data.paths.iter().filter(|entry| entry.path_type != PathType::Directory);
    let hashes: HashMap<&Path, Option<Sha256Hash>> =
        entries.map(|entry| (entry.relative_path.as_path(), entry.sha256.or(entry.sha256_in_prefix))).collect();
    let hash = |path: &PathBuf| hashes.get(path.as_path()).copied().flatten();
    let present = record.files.iter().map(|path| PackageFile { path, sha256: hash(path) });
    let files: Vec<PackageFile<'_>> =
        present.chain(left.paths().map(|path| PackageFile { path, sha256: None })).collect();
    let selected = select(slim, name, depends(package), &files);
    let is_other = match (left.has(Part::Debug), slim.has(Part::Debug)) {
        (false, true) => {
            let may_have = package.noarch.is_none() || distributions::is_distribution(package);
            may_have && record.files.iter().any(|path| may_have_symbols(slim, name, path))
        }
        (true, false) => !left.stripped.is_empty(),
        _ => false,
    };
    is_other || !is_compiled || selected.len() != before.len() || !selected.keys().all(|path| before.contains(path))
}

/// The text of a [`Slim`] value for the record of a package of this name. `None` if nothing is left out of the package.
pub fn wish(slim: &Slim, name: &str) -> Option<String> {
    (!slim.keeps(name)).then(|| slim.to_string())
}

/// Whether the text of a record has the field `mlconda`.
pub fn is_ours(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"\"mlconda\":").is_some()
}

/// The dependencies of a package, for [`select`]. Those of a distribution are unknown.
pub fn depends(package: &PackageRecord) -> Option<&[String]> {
    (!distributions::is_distribution(package)).then_some(&package.depends)
}

/// Whether a file of a package is searched for symbols to remove.
pub fn may_have_symbols(slim: &Slim, name: &str, path: &Path) -> bool {
    let of_part = |rule: &&Rule| rule.part == Part::Debug && rule.is_for(name, Some(&[]));
    let rules = || RULES.iter().filter(of_part).collect::<Vec<_>>();
    let is_part = |path| Plain::of(path).is_part(Part::Debug, &rules(), slim);
    slim.has(Part::Debug) && !slim.keeps(name) && path.to_str().is_some_and(is_part)
}

/// The [`Slim`] value that an environment was installed with, from its records. `None` if nothing was left out.
/// Unreadable records are ignored.
///
/// # Errors
/// If `conda-meta` cannot be read.
pub fn of_prefix(prefix: &Prefix) -> Result<Option<Slim>, PrefixError> {
    let of_record = |path: PathBuf| {
        let own = files::read(&path, files::LARGEST_RECORD).and_then(|text| own_fields(&text)).ok()?;
        own.left_out?.slim.parse().ok()
    };
    Ok(prefix.all_record_files()?.into_iter().find_map(of_record))
}

/// The parts that were left out of each package of a prefix: the names of the parts, separated by commas, by the name
/// of the package. Names of distributions begin with `pypi:`.
///
/// # Errors
/// If `conda-meta` cannot be read.
pub fn by_package(prefix: &Prefix) -> Result<BTreeMap<String, String>, PrefixError> {
    let of_record = |path: PathBuf| {
        let text = files::read(&path, files::LARGEST_RECORD).ok()?;
        let sizes = own_fields(&text).ok()?.left_out?.sizes();
        let parts: Vec<String> = sizes.into_iter().map(|(part, _)| part).collect();
        let package = super::parse_record(&text).ok()?.repodata_record.package_record;
        let kind = if distributions::is_distribution(&package) { "pypi:" } else { "" };
        (!parts.is_empty()).then(|| ([kind, package.name.as_normalized()].concat(), parts.join(", ")))
    };
    Ok(prefix.all_record_files()?.into_iter().filter_map(of_record).collect())
}

/// The field `mlconda` of a record, if it contains something unusual. If nothing was left out and all scripts ran, the
/// field is not parsed, and the result is empty.
///
/// # Errors
/// As for [`OwnFields::of_record`].
pub fn own_fields(text: &[u8]) -> io::Result<OwnFields> {
    let says = |field: &[u8]| memchr::memmem::find(text, field).is_some();
    match says(b"\"left_out\"") || says(b"\"scripts_not_run\"") {
        true => OwnFields::of_record(text),
        false => Ok(OwnFields::default()),
    }
}

#[cfg(test)]
mod tests;
