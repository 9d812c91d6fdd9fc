//! Reads pixi.lock: all environments and platforms of a workspace. Each package is listed once and referred to by URL.
//!
//! Versions 4 to 7 are read here; older versions have conda-lock's format. Packages that pixi builds from source have
//! no archive and no hash; only their names are read. `docs/lockfile.md` lists what is read and written.

mod write;

pub(super) use write::render;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use mlconda_types::{redact, solution::ChannelPriority};
use rattler_conda_types::{GenericVirtualPackage, Subdir};

use super::{
    Lock, LockError, LockKind, LockedPackage, LockedPip, comments,
    document::{Document, Mapping, sort_for_linking},
    file::{LockFile, MAIN_CATEGORY, Part},
    pip::{self, ArchiveOrigin, DirectoryMode},
};
pub(crate) use mlconda_environment::yaml::YamlNode;

/// The versions of the format.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=7;

/// A package of the list `packages:`.
#[derive(Clone)]
enum PixiPackage {
    Conda(LockedPackage),
    Pip(LockedPip),
    /// The name of a package that is built from source.
    Source(String),
}

/// The list `packages:`, indexed by the keys that refer to its items. Each item is parsed when it is first needed.
struct Packages<'d, 'n> {
    document: &'d Document<'d>,
    by_place: HashMap<&'n str, Vec<usize>>,
    items: Vec<(Mapping<'n>, Option<PixiPackage>)>,
}

/// A platform of an environment; since version 7 it has a name of its own.
struct Platform {
    name: Option<String>,
    subdir: Subdir,
    virtual_packages: Vec<GenericVirtualPackage>,
}

/// Reads the locks of a tree.
pub(super) fn read(document: &Document<'_>, root: &YamlNode) -> Result<LockFile, LockError> {
    let root = document.fields(root)?;
    let version = document.required(root, "version")?;
    if !version.parse().is_ok_and(|version| VERSIONS.contains(&version)) {
        let message = format!("`{version}` is not a known version of pixi.lock");
        let node = root.get("version").unwrap_or(root.node);
        return Err(document.fail(node, message, "use a newer mlconda, or lock again with an older pixi"));
    }
    let platforms = platforms(document, root)?;
    let mut packages = Packages::of(document, root)?;
    let mut parts = Vec::new();
    let Some(environments) = root.get("environments") else {
        return Err(document.fail(root.node, "`environments:` is missing here", "lock again: the file is incomplete"));
    };
    for (environment, node) in document.fields(environments)?.iter() {
        let fields = document.fields(node)?;
        let Some(listed) = fields.get("packages") else { continue };
        for (name, selectors) in document.fields(listed)?.iter() {
            let platform = match platforms.get(name) {
                Some(platform) => platform,
                None => {
                    &Platform { name: None, subdir: document.subdir(selectors, name)?, virtual_packages: Vec::new() }
                }
            };
            let mut part = part(document, selectors, platform, &mut packages)?;
            part.environment = environment.to_owned();
            part.lock.channels = channels(document, fields)?;
            let options = fields.get("options").map(|options| document.fields(options)).transpose()?;
            let priority = options.map(|options| document.optional(options, "channel-priority")).transpose()?;
            if priority.flatten() == Some("disabled") {
                part.lock.options.channel_priority = ChannelPriority::Disabled;
            }
            parts.push(part);
        }
    }
    Ok(LockFile { file: document.source.file.to_owned(), kind: LockKind::Pixi, parts })
}

/// The platforms that have a name, by name.
fn platforms<'n>(document: &Document<'_>, root: Mapping<'n>) -> Result<HashMap<&'n str, Platform>, LockError> {
    let mut platforms = HashMap::new();
    for node in document.items(root.get("platforms"))? {
        let fields = document.fields(node)?;
        let name = document.required(fields, "name")?;
        let subdir = document.subdir(node, document.optional(fields, "subdir")?.unwrap_or(name))?;
        let mut virtual_packages = Vec::new();
        for item in document.items(fields.get("virtual-packages"))? {
            let package = comments::virtual_package(document.text(item)?);
            virtual_packages.push(package.map_err(|message| document.fail(item, message, "lock again"))?);
        }
        let own = (subdir.as_str() != name).then(|| name.to_owned());
        platforms.insert(name, Platform { name: own, subdir, virtual_packages });
    }
    Ok(platforms)
}

fn channels(document: &Document<'_>, fields: Mapping<'_>) -> Result<Vec<String>, LockError> {
    let read = |item: &Rc<YamlNode>| {
        let text = document.channel(item)?;
        Ok(url::Url::parse(text).map_or_else(|_| text.to_owned(), |url| redact::url(&url)))
    };
    document.items(fields.get("channels"))?.iter().map(read).collect()
}

/// The packages of an environment on a platform.
fn part<'n>(
    document: &Document<'_>,
    selectors: &'n YamlNode,
    platform: &Platform,
    packages: &mut Packages<'_, 'n>,
) -> Result<Part, LockError> {
    let mut lock = Lock {
        virtual_packages: platform.virtual_packages.clone(),
        expansions: document.expansion.variables.clone(),
        ..Lock::empty(platform.subdir)
    };
    let (mut sources, mut names) = (Vec::new(), HashSet::new());
    for selector in document.items(Some(selectors))? {
        match packages.find(selector, platform.subdir)? {
            PixiPackage::Source(name) => sources.push(name),
            PixiPackage::Pip(package) => {
                if let Some(clash) = package.clash(&mut names) {
                    return Err(locked_twice(document, selector, &package.name, clash, platform.subdir));
                }
                lock.pip.push(package);
            }
            PixiPackage::Conda(package) => {
                if package.subdir != platform.subdir && package.subdir != Subdir::NoArch {
                    let message = format!("the package is for {}, but listed for {}", package.subdir, platform.subdir);
                    return Err(document.fail(selector, message, "lock again: the file is damaged"));
                }
                if !names.insert(package.name.clone()) {
                    return Err(locked_twice(document, selector, &package.name, "is locked twice", platform.subdir));
                }
                lock.packages.push(package);
            }
        }
    }
    sort_for_linking(&mut lock.packages);
    mlconda_types::sorting::sort_by(&mut lock.pip, |one, other| one.name.cmp(&other.name));
    let (environment, category) = (String::new(), MAIN_CATEGORY.to_owned());
    Ok(Part { environment, platform_name: platform.name.clone(), category, lock, sources })
}

/// The error of a package that an environment refers to twice.
fn locked_twice(document: &Document<'_>, selector: &YamlNode, name: &str, clash: &str, platform: Subdir) -> LockError {
    document.fail(selector, format!("`{name}` {clash} for {platform}"), "remove one of them, or lock again")
}

impl<'d, 'n> Packages<'d, 'n> {
    fn of(document: &'d Document<'d>, root: Mapping<'n>) -> Result<Self, LockError> {
        let mut packages = Self { document, by_place: HashMap::new(), items: Vec::new() };
        for node in document.items(root.get("packages"))? {
            let fields = document.fields(node)?;
            let place = ["conda", "pypi", "conda_source", "url", "path"].iter().find_map(|key| fields.get(key));
            let Some(place) = place else {
                let help = "a package has `conda:` or `pypi:`; lock again";
                return Err(document.fail(node, "this package is neither of conda nor of pypi", help));
            };
            packages.by_place.entry(document.text(place)?).or_default().push(packages.items.len());
            packages.items.push((fields, None));
        }
        Ok(packages)
    }

    /// The package that an environment refers to.
    fn find(&mut self, selector: &'n YamlNode, platform: Subdir) -> Result<PixiPackage, LockError> {
        let document = self.document;
        let wanted = document.fields(selector)?;
        let place = ["conda", "pypi", "conda_source"].iter().find_map(|key| wanted.get(key)).unwrap_or(selector);
        let candidates = self.by_place.get(document.text(place)?).map(Vec::as_slice).unwrap_or_default();
        // Several items may have one place: packages that are built from source, and packages that are listed once for
        // each platform (versions 4 and 5).
        let same = |index: &&usize, key: &str, value: Option<&str>| {
            let own = self.items[**index].0.get(key).and_then(YamlNode::text);
            value.is_none_or(|value| own.is_none_or(|own| own == value))
        };
        let keys = ["name", "version", "build", "subdir"];
        let fits = |index: &&usize| keys.iter().all(|key| same(index, key, wanted.get(key).and_then(YamlNode::text)));
        let here = |index: &&usize| fits(index) && same(index, "subdir", Some(platform.as_str()));
        let found = candidates.iter().find(here).or_else(|| candidates.iter().find(fits)).or(candidates.first());
        let Some(&index) = found else {
            let message = format!("`{}` is not under `packages:`", document.text(place)?);
            return Err(document.fail(place, message, "lock again: the file is incomplete"));
        };
        let (fields, read) = &mut self.items[index];
        if let Some(known) = read {
            return Ok(known.clone());
        }
        let known = package(document, *fields)?;
        *read = Some(known.clone());
        Ok(known)
    }
}

/// An item of the list `packages:`.
fn package(document: &Document<'_>, fields: Mapping<'_>) -> Result<PixiPackage, LockError> {
    if let Some(node) = fields.get("conda_source") {
        let text = document.text(node)?;
        return Ok(PixiPackage::Source(text.split(['[', ' ']).next().unwrap_or(text).to_owned()));
    }
    let kind = document.optional(fields, "kind")?;
    if let Some(node) = fields.get("pypi").or_else(|| (kind == Some("pypi")).then(|| place(fields)).flatten()) {
        return pypi(document, node, fields).map(PixiPackage::Pip);
    }
    let Some(node) = fields.get("conda").or_else(|| place(fields)) else {
        return Err(document.fail(
            fields.node,
            "this package has no URL or path",
            "lock again: the file is incomplete",
        ));
    };
    let text = document.text(node)?;
    if !text.ends_with(".conda") && !text.ends_with(".tar.bz2") {
        return Ok(PixiPackage::Source(document.optional(fields, "name")?.unwrap_or(text).to_owned()));
    }
    document.package(node, text, fields).map(PixiPackage::Conda)
}

/// The place of a package of version 4 or 5.
pub(crate) fn place<'n>(fields: Mapping<'n>) -> Option<&'n YamlNode> {
    fields.get("url").or_else(|| fields.get("path"))
}

fn pypi(document: &Document<'_>, node: &YamlNode, fields: Mapping<'_>) -> Result<LockedPip, LockError> {
    let is_editable = document.optional(fields, "editable")? == Some("true");
    let text = document.text(node)?;
    let given = pip::PipHints {
        sha256: document.hashes(fields)?.0,
        origin: text.starts_with("direct+").then_some(ArchiveOrigin::Direct),
        mode: is_editable.then_some(DirectoryMode::Editable),
        version: document.optional(fields, "version")?.map(str::to_owned),
    };
    let name = document.required(fields, "name")?;
    let mut package = pip::locate(name, text, given, document.directory(), document.expansion)
        .map_err(|message| document.fail(node, message, "lock again: the file is damaged"))?;
    package.requires = Some(document.texts(fields, "requires_dist")?);
    package.requires_python = document.optional(fields, "requires_python")?.map(str::to_owned);
    Ok(package)
}
