//! Reads a lock in YAML as a tree of values with their lines, and reports errors: the common part of conda-lock.yml and
//! pixi.lock. Scalars keep their text (`version: 3.10` is not 3.1), quoted or not.
//!
//! The libraries of these formats are not used: pixi's adds more than a megabyte to the program, and neither of them
//! reports the line of an error.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    rc::Rc,
};

use mlconda_types::{dependency::dependency_name, diagnostic::SourceText, redact, sorting::IntoTree};
use rattler_conda_types::{PackageRecord, Subdir};
use rattler_digest::{Md5, Md5Hash, Sha256, Sha256Hash, parse_digest_from_hex};
use serde_json::{Map, Value as Json};

use super::{Digest, Expansion, LockError, LockedPackage, comments, explicit, normalize, order};
pub(crate) use mlconda_environment::yaml::{self, Value, YamlNode};

/// The fields of a package's record that are numbers. A scalar of any other field is text, even if it looks like a
/// number.
const NUMBERS: &[&str] = &["build_number", "size", "timestamp", "legacy_bz2_size", "indexed_timestamp"];

/// The fields of a package's record that are text, lists of text, or mappings to text.
const WORDS: &[&str] = &[
    "arch",
    "attestations_sha256",
    "constrains",
    "depends",
    "extra_depends",
    "features",
    "flags",
    "legacy_bz2_md5",
    "license",
    "license_family",
    "noarch",
    "platform",
    "purls",
    "python_site_packages_path",
    "run_exports",
    "track_features",
];

/// A file, with the values of variables in it.
pub(crate) struct Document<'a> {
    pub(super) source: SourceText<'a>,
    pub(super) expansion: &'a Expansion,
}

/// A mapping and its place.
#[derive(Clone, Copy)]
pub(super) struct Mapping<'n> {
    pub(super) node: &'n YamlNode,
    entries: &'n [(Rc<YamlNode>, Rc<YamlNode>)],
}

impl<'n> Mapping<'n> {
    /// The value of a key; `None` if it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<&'n YamlNode> {
        let (_, value) = self.entries.iter().find(|(name, _)| name.text() == Some(key))?;
        Some(&**value).filter(|value| !value.is_null())
    }

    /// The keys that are text, with their values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'n str, &'n YamlNode)> + use<'n> {
        self.entries.iter().filter_map(|(key, value)| Some((key.text()?, &**value)))
    }
}

impl<'a> Document<'a> {
    /// The root of the tree.
    pub(super) fn root(&self) -> Result<Rc<YamlNode>, LockError> {
        let document = yaml::parse(self.source).map_err(|diagnostic| self.place(diagnostic))?;
        if let Some(duplicate) = document.duplicates.into_iter().next() {
            return Err(self.place(Box::new(duplicate)));
        }
        document.root.ok_or_else(|| LockError::NotALock {
            file: self.source.file.to_owned(),
            reason: "there is nothing in it".to_owned(),
        })
    }

    /// An error about a value, with its remedy.
    pub(super) fn fail(&self, node: &YamlNode, message: impl Into<String>, help: impl Into<String>) -> LockError {
        self.place(self.source.diagnostic(node.location, node.length, message, help))
    }

    /// Removes a login from the line of an error.
    fn place(&self, mut diagnostic: Box<mlconda_environment::Diagnostic>) -> LockError {
        let words = diagnostic.line.split(' ').map(|word| {
            let url = url::Url::parse(word.trim_matches(['"', '\''])).ok().filter(|_| word.contains("://"));
            url.filter(|url| !redact::secrets(url).is_empty()).map_or_else(|| word.to_owned(), |url| redact::url(&url))
        });
        diagnostic.line = words.collect::<Vec<_>>().join(" ");
        LockError::Place(diagnostic)
    }

    pub(super) fn fields<'n>(&self, node: &'n YamlNode) -> Result<Mapping<'n>, LockError> {
        match &node.value {
            Value::Mapping(entries) => Ok(Mapping { node, entries }),
            _ => Err(self.fail(node, "this is not a mapping", "write `key: value`, or lock again")),
        }
    }

    /// The items of a list; empty if the list is missing.
    pub(super) fn items<'n>(&self, node: Option<&'n YamlNode>) -> Result<&'n [Rc<YamlNode>], LockError> {
        match node.map(|node| (node, &node.value)) {
            None => Ok(&[]),
            Some((_, Value::Sequence(items))) => Ok(items),
            Some((node, _)) => Err(self.fail(node, "this is not a list", "write its items as `- item`, or lock again")),
        }
    }

    pub(super) fn text<'n>(&self, node: &'n YamlNode) -> Result<&'n str, LockError> {
        node.text().ok_or_else(|| self.fail(node, "this is not a text", "write one value, or lock again"))
    }

    /// The text of an optional field.
    pub(super) fn optional<'n>(&self, fields: Mapping<'n>, key: &str) -> Result<Option<&'n str>, LockError> {
        fields.get(key).map(|node| self.text(node)).transpose()
    }

    /// The text of a required field.
    pub(super) fn required<'n>(&self, fields: Mapping<'n>, key: &str) -> Result<&'n str, LockError> {
        let missing =
            || self.fail(fields.node, format!("`{key}:` is missing here"), "lock again: the file is incomplete");
        self.text(fields.get(key).ok_or_else(missing)?)
    }

    /// A channel as written: a name or a URL, alone or as `url:`. It must also be valid in a comment.
    pub(super) fn channel<'n>(&self, item: &'n YamlNode) -> Result<&'n str, LockError> {
        let text = match &item.value {
            Value::Mapping(_) => self.required(self.fields(item)?, "url")?,
            _ => self.text(item)?,
        };
        if text.trim().is_empty() {
            return Err(self.fail(item, "this channel has no name", "write its name or its URL, or lock again"));
        }
        if text.contains(comments::is_unseen) {
            return Err(self.fail(
                item,
                "this channel has a character that cannot be seen",
                "write its URL, or lock again",
            ));
        }
        Ok(text)
    }

    /// The texts of a list; empty if the list is missing.
    pub(super) fn texts(&self, fields: Mapping<'_>, key: &str) -> Result<Vec<String>, LockError> {
        let items = self.items(fields.get(key))?;
        items.iter().map(|item| self.text(item).map(str::to_owned)).collect()
    }

    pub(super) fn subdir(&self, node: &YamlNode, text: &str) -> Result<Subdir, LockError> {
        let help = "platforms are named as in `linux-64`, `osx-arm64`, `win-64`";
        text.parse().map_err(|_| self.fail(node, format!("`{text}` is not a platform"), help))
    }

    /// The package of a URL or a path. Its name must match the file name, which becomes part of a path.
    pub(super) fn package(
        &self,
        node: &YamlNode,
        place: &str,
        fields: Mapping<'_>,
    ) -> Result<LockedPackage, LockError> {
        let wrong = |message: String| self.fail(node, message, "name a conda package, or lock again");
        let url = explicit::locate(place, self.directory(), self.expansion).map_err(wrong)?;
        let hashes = match fields.get("hash").map(|hash| &hash.value) {
            Some(Value::Mapping(_)) => fields.get("hash").map(|hash| self.fields(hash)).transpose()?.unwrap_or(fields),
            _ => fields,
        };
        let (sha256, md5) = self.hashes(hashes)?;
        let digest = sha256.map(Digest::Sha256).or(md5.map(Digest::Md5)).unwrap_or(Digest::Unknown);
        let mut package = LockedPackage::from_url(url, digest).map_err(wrong)?;
        // Some tools normalize the names of conda packages as for pip (PEP 503).
        let same = |name: &&str| normalize(name) == normalize(&package.name);
        if let Some(name) = self.optional(fields, "name")?.filter(|name| !same(name)) {
            return Err(wrong(format!("`{}` is not an archive of `{name}`", package.file_name)));
        }
        // A subdir in the URL takes precedence: versions 4 and 5 of pixi.lock list packages under the subdirs of other
        // platforms.
        let mut segments = package.url.path_segments().into_iter().flatten().rev().skip(1);
        let in_url = segments.next().is_some_and(|segment| segment.parse::<Subdir>().is_ok());
        if let Some(subdir) = fields.get("subdir").filter(|_| !in_url) {
            package.subdir = self.subdir(subdir, self.text(subdir)?)?;
        }
        let record = self.record(fields, &package, sha256, md5)?;
        package.agrees(&package.name, &record.version.as_str(), record.build.as_str()).map_err(wrong)?;
        package.size = record.size;
        package.record = Some(record.into());
        Ok(package)
    }

    /// The sha256 and the md5 of an archive, from the fields of these names, or from a field `hash: md5:…`.
    pub(super) fn hashes(&self, fields: Mapping<'_>) -> Result<(Option<Sha256Hash>, Option<Md5Hash>), LockError> {
        let written = |key: &str| fields.get(key).map(|node| Ok::<_, LockError>((node, self.text(node)?))).transpose();
        let (mut sha256, mut md5) = (written("sha256")?, written("md5")?);
        if let Some((node, text)) = written("hash")? {
            match text.split_once(':').unwrap_or(("", text)) {
                ("sha256", hash) => sha256 = Some((node, hash)),
                ("md5", hash) => md5 = Some((node, hash)),
                ("", hash) if hash.len() == 32 => md5 = Some((node, hash)),
                (_, hash) => sha256 = Some((node, hash)),
            }
        }
        let bad = |node: &YamlNode, kind: &str, text: &str| {
            self.fail(node, format!("`{text}` is not a valid {kind}"), "lock again: the file is damaged")
        };
        let sha256 = sha256
            .filter(|(_, text)| !text.is_empty())
            .map(|(node, text)| parse_digest_from_hex::<Sha256>(text).ok_or_else(|| bad(node, "sha256", text)));
        let md5 = md5
            .filter(|(_, text)| !text.is_empty())
            .map(|(node, text)| parse_digest_from_hex::<Md5>(text).ok_or_else(|| bad(node, "md5", text)));
        Ok((sha256.transpose()?, md5.transpose()?))
    }

    /// The record of a package, from the fields of the lock. Missing fields are derived from the URL, as pixi does.
    fn record(
        &self,
        fields: Mapping<'_>,
        package: &LockedPackage,
        sha256: Option<Sha256Hash>,
        md5: Option<Md5Hash>,
    ) -> Result<PackageRecord, LockError> {
        let mut object = Map::new();
        for (key, node) in fields.iter().filter(|(_, node)| !node.is_null()) {
            if WORDS.contains(&key) {
                object.insert(key.to_owned(), words(node));
            } else if NUMBERS.contains(&key) {
                let number: i64 =
                    self.text(node)?.parse().map_err(|_| self.fail(node, "this is not a number", "lock again"))?;
                object.insert(key.to_owned(), number.into());
            }
        }
        // In a conda-lock.yml, the platform is that of the environment, not of the package.
        if fields.get("manager").is_some() {
            object.remove("platform");
        }
        object.insert("name".to_owned(), package.name.as_str().into());
        object.insert("version".to_owned(), self.optional(fields, "version")?.unwrap_or(&package.version).into());
        let build = self.optional(fields, "build")?.unwrap_or(&package.build);
        object.insert("build".to_owned(), build.into());
        object.insert("subdir".to_owned(), package.subdir.as_str().into());
        if !object.contains_key("build_number") {
            let digits = build.rsplit(|each: char| !each.is_ascii_digit()).next().unwrap_or_default();
            object.insert("build_number".to_owned(), digits.parse::<u64>().unwrap_or(0).into());
        }
        if package.subdir == Subdir::NoArch && !object.contains_key("noarch") {
            let kind = if build.contains("py") { "python" } else { "generic" };
            object.insert("noarch".to_owned(), kind.into());
        }
        // conda-lock has a mapping where the other formats have a list.
        for (key, known) in [("dependencies", "depends"), ("constrains", "constrains")] {
            if let Some(dependencies) = fields.get(key) {
                object.insert(known.to_owned(), self.dependencies(dependencies)?.into());
            }
        }
        let mut record: PackageRecord = serde_json::from_value(Json::Object(object)).map_err(|error| {
            let message = format!("the package `{}` is not described as packages are: {error}", package.name);
            self.fail(fields.node, message, "lock again: the file is damaged")
        })?;
        (record.sha256, record.md5) = (sha256, md5);
        Ok(record)
    }

    /// Dependencies as match specs, from a list, or from a mapping of names to versions.
    pub(super) fn dependencies(&self, node: &YamlNode) -> Result<Vec<String>, LockError> {
        if let Value::Sequence(items) = &node.value {
            return items.iter().map(|item| self.text(item).map(str::to_owned)).collect();
        }
        let specs = self.fields(node)?.iter().map(|(name, spec)| {
            let spec = if spec.is_null() { "" } else { self.text(spec)?.trim() };
            Ok(if spec.is_empty() || spec == "*" { name.to_owned() } else { format!("{name} {spec}") })
        });
        specs.collect()
    }

    /// The directory that relative paths in the file refer to.
    pub(super) fn directory(&self) -> &'a Path {
        self.source.file.parent().unwrap_or(Path::new("/"))
    }
}

/// Sorts packages into linking order, by the dependencies in their records. Packages without a record come first.
pub(super) fn sort_for_linking(packages: &mut [LockedPackage]) {
    let known: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).into_tree();
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.iter() {
        let depends = package.record.iter().flat_map(|record| &record.depends).map(|spec| dependency_name(spec));
        let depends = depends.filter(|other| *other != package.name && known.contains(other));
        open.insert(&package.name, depends.into_tree());
    }
    if let Some(depends) = open.get_mut("python") {
        depends.remove("pip");
    }
    let places: HashMap<String, usize> =
        order::order(&mut open).into_iter().enumerate().map(|(place, name)| (name.to_owned(), place)).collect();
    mlconda_types::sorting::sort_by_key(packages, |package| places.get(&package.name).copied().unwrap_or(usize::MAX));
}

/// Converts text, and lists and mappings of text, to JSON.
fn words(node: &YamlNode) -> Json {
    match &node.value {
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::Sequence(items) => items.iter().map(|item| words(item)).collect(),
        Value::Mapping(entries) => {
            entries.iter().filter_map(|(key, value)| Some((key.text()?.to_owned(), words(value)))).collect()
        }
    }
}
