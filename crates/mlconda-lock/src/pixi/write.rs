//! Writes pixi.lock: version 6, which every pixi since 2024 reads, or version 7 for facts that 6 cannot contain (a
//! platform with a name of its own, `run_exports` of a package, a package of pip without a version).

use std::{collections::BTreeMap, fmt::Write, path::Path};

use indexmap::IndexMap;
use mlconda_types::{redact, solution::ChannelPriority};
use rattler_conda_types::{NoArchType, PackageRecord, Subdir};
use url::Url;

use crate::{
    ArchiveOrigin, DirectoryMode, LockedPackage, LockedPip, Part, PipSource, comments,
    rendering::{PIXI_7, channels, comment_losses, hashes, is_default, record_losses, scalar, without_login},
};

/// The parts as text. Directories below `directory` are written as relative paths.
pub(crate) fn render(parts: &[Part], directory: Option<&Path>, losses: &mut Vec<String>) -> String {
    let version = if parts.iter().any(needs_newest) { 7 } else { 6 };
    let name = if version == 7 { PIXI_7 } else { "pixi.lock" };
    comment_losses(parts, name, losses);
    record_losses(parts, losses);
    find_losses(parts, version, losses);
    let mut text = String::new();
    for part in parts.iter().filter(|part| is_default(part)) {
        text.push_str(&comments::render(&part.lock));
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "version: {version}");
    if version == 7 {
        platforms(parts, &mut text);
    }
    environments(parts, directory, &mut text);
    let mut items: BTreeMap<(&str, &str, String), String> = BTreeMap::new();
    for part in parts {
        for package in &part.lock.packages {
            let place = archive(package);
            items.entry((&package.name, "conda", place.clone())).or_insert_with(|| conda(package, &place, version));
        }
        for package in &part.lock.pip {
            let place = place(package, directory);
            items.entry((&package.name, "pypi", place.clone())).or_insert_with(|| pypi(package, &place, version));
        }
    }
    text.push_str(if items.is_empty() { "packages: []\n" } else { "packages:\n" });
    text.extend(items.into_values());
    text
}

/// Whether a part has facts that version 6 cannot contain.
fn needs_newest(part: &Part) -> bool {
    let known = part.lock.packages.iter().filter_map(|package| package.record.as_ref());
    part.platform_name.is_some()
        || part.lock.pip.iter().any(|package| package.version.is_none())
        || known.into_iter().any(|record| record.run_exports.is_some() || !record.flags.is_empty())
}

fn find_losses(parts: &[Part], version: u32, losses: &mut Vec<String>) {
    let mut say = |found: bool, loss: &str| losses.extend(found.then(|| loss.to_owned()));
    let locks = || parts.iter().map(|part| &part.lock);
    let has_login = |url: &Url| !redact::secrets(url).is_empty();
    say(
        locks().flat_map(|lock| &lock.packages).any(|package| has_login(&package.url)),
        "a pixi.lock has no logins: they are left out of the URLs; give them to `pixi auth login`",
    );
    let has_size = |package: &LockedPip| matches!(package.source, PipSource::Archive { size: Some(_), .. });
    say(locks().flat_map(|lock| &lock.pip).any(has_size), "a pixi.lock has no sizes of python packages");
    let is_editable =
        |package: &LockedPip| matches!(package.source, PipSource::Directory { mode: DirectoryMode::Editable, .. });
    say(
        version == 7 && locks().flat_map(|lock| &lock.pip).any(is_editable),
        "pixi.lock of version 7 cannot mark packages as editable; pixi.toml can",
    );
    say(
        locks().any(|lock| lock.options.channel_priority == ChannelPriority::Flexible),
        "pixi has no flexible channel priority: it is in a comment, which only mlconda reads",
    );
}

/// The URL of a package's archive. pixi does not decode the file name, so it is not percent-encoded.
fn archive(package: &LockedPackage) -> String {
    let address = without_login(&package.url);
    match address.rsplit_once('/') {
        Some((directory, file)) if file.contains('%') => format!("{directory}/{}", package.file_name),
        _ => address,
    }
}

/// Writes the platforms of the environments.
fn platforms(parts: &[Part], text: &mut String) {
    let mut all: BTreeMap<&str, &Part> = BTreeMap::new();
    for part in parts {
        all.entry(platform(part)).or_insert(part);
    }
    text.push_str("platforms:\n");
    for (name, part) in all {
        let _ = writeln!(text, "- name: {}", scalar(name));
        if part.platform_name.is_some() {
            let _ = writeln!(text, "  subdir: {}", part.lock.platform);
        }
        if !part.lock.virtual_packages.is_empty() {
            text.push_str("  virtual-packages:\n");
        }
        for package in &part.lock.virtual_packages {
            let _ = writeln!(text, "  - {}", scalar(&package.to_string()));
        }
    }
}

fn platform(part: &Part) -> &str {
    part.platform_name.as_deref().unwrap_or(part.lock.platform.as_str())
}

fn environments(parts: &[Part], directory: Option<&Path>, text: &mut String) {
    let mut by_name: IndexMap<&str, Vec<&Part>> = IndexMap::new();
    for part in parts {
        by_name.entry(&part.environment).or_default().push(part);
    }
    text.push_str("environments:\n");
    for (name, mut parts) in by_name {
        mlconda_types::sorting::sort_by_key(&mut parts, |part| platform(part));
        let channels = channels(&parts);
        let _ = writeln!(text, "  {}:", scalar(name));
        text.push_str(if channels.is_empty() { "    channels: []\n" } else { "    channels:\n" });
        for channel in channels {
            let _ = writeln!(text, "    - url: {}", scalar(&channel));
        }
        if parts.iter().any(|part| part.lock.options.channel_priority == ChannelPriority::Disabled) {
            text.push_str("    options:\n      channel-priority: disabled\n");
        }
        text.push_str("    packages:\n");
        for part in parts {
            let conda = part.lock.packages.iter().map(|package| format!("conda: {}", scalar(&archive(package))));
            let pypi = part.lock.pip.iter().map(|package| format!("pypi: {}", scalar(&place(package, directory))));
            let (mut conda, mut pypi): (Vec<_>, Vec<_>) = (conda.collect(), pypi.collect());
            mlconda_types::sorting::sort(&mut conda);
            mlconda_types::sorting::sort(&mut pypi);
            let empty = if conda.is_empty() && pypi.is_empty() { " []" } else { "" };
            let _ = writeln!(text, "      {}:{empty}", scalar(platform(part)));
            conda.iter().chain(&pypi).for_each(|line| _ = writeln!(text, "      - {line}"));
        }
    }
}

fn conda(package: &LockedPackage, place: &str, version: u32) -> String {
    let mut item = Item::new(&format!("conda: {}", scalar(place)));
    let (sha256, md5) = hashes(package);
    // pixi takes a file URL for a path, from which it cannot derive the platform.
    let is_file = package.url.scheme() == "file";
    let Some(record) = &package.record else {
        item.some("subdir", is_file.then_some(package.subdir.as_str()));
        item.some("sha256", sha256.map(hex::encode).as_deref());
        item.some("md5", md5.map(hex::encode).as_deref());
        item.number("size", package.size);
        return item.text;
    };
    let differs = |one: &str, other: &str| (one != other).then(|| one.to_owned());
    item.some("name", differs(record.name.as_source(), &package.name).as_deref());
    item.some("version", differs(&record.version.to_string(), &package.version).as_deref());
    item.some("build", differs(record.build.as_str(), &package.build).as_deref());
    let digits = package.build.rsplit(|each: char| !each.is_ascii_digit()).next().unwrap_or_default();
    let derived = digits.parse().unwrap_or(0);
    item.number("build_number", (record.build_number != derived).then_some(record.build_number));
    item.some("subdir", is_file.then_some(package.subdir.as_str()));
    item.some("noarch", noarch(record, package.subdir));
    item.some("sha256", sha256.map(hex::encode).as_deref());
    item.some("md5", md5.map(hex::encode).as_deref());
    item.some("legacy_bz2_md5", record.legacy_bz2_md5.map(hex::encode).as_deref());
    item.list("depends", &record.depends);
    item.list("constrains", &record.constrains);
    item.lists("extra_depends", &record.extra_depends);
    item.some("features", record.features.as_deref());
    if version == 7 {
        let flags: Vec<String> = record.flags.iter().map(|flag| flag.to_string()).collect();
        item.list("flags", &flags);
    }
    item.list("track_features", &record.track_features);
    item.some("license", record.license.as_deref());
    item.some("license_family", record.license_family.as_deref());
    if let Some(purls) = &record.purls {
        let purls: Vec<String> = purls.iter().map(ToString::to_string).collect();
        if purls.is_empty() { item.line("purls: []") } else { item.list("purls", &purls) }
    }
    if let Some(exports) = record.run_exports.as_ref().filter(|_| version == 7) {
        item.run_exports(exports);
    }
    item.number("size", record.size.or(package.size));
    item.number("legacy_bz2_size", record.legacy_bz2_size);
    let milliseconds = |time: rattler_conda_types::utils::TimestampMs| time.jiff_timestamp().as_millisecond();
    item.number("timestamp", record.timestamp.map(milliseconds));
    if version == 7 {
        item.number("indexed_timestamp", record.indexed_timestamp.map(milliseconds));
    }
    item.some("python_site_packages_path", record.python_site_packages_path.as_deref());
    item.text
}

/// The kind of a noarch package, if pixi cannot derive it from the URL.
fn noarch(record: &PackageRecord, subdir: Subdir) -> Option<&'static str> {
    let derived = match subdir {
        Subdir::NoArch if record.build.as_str().contains("py") => NoArchType::python(),
        Subdir::NoArch => NoArchType::generic(),
        _ => NoArchType::none(),
    };
    match (record.noarch == derived, record.noarch.is_python(), record.noarch.is_generic()) {
        (true, ..) => None,
        (_, true, _) => Some("python"),
        (_, _, true) => Some("generic"),
        _ => None,
    }
}

fn pypi(package: &LockedPip, place: &str, version: u32) -> String {
    let mut item = Item::new(&format!("pypi: {}", scalar(place)));
    item.some("name", Some(&package.name));
    item.some("version", package.version.as_deref());
    if let PipSource::Archive { sha256: Some(sha256), .. } = &package.source {
        item.some("sha256", Some(&hex::encode(sha256)));
    }
    item.list("requires_dist", package.requires.as_deref().unwrap_or_default());
    item.some("requires_python", package.requires_python.as_deref());
    if version < 7 && matches!(package.source, PipSource::Directory { mode: DirectoryMode::Editable, .. }) {
        item.line("editable: true");
    }
    item.text
}

/// The place of a package of pip, in pixi's syntax.
pub(crate) fn place(package: &LockedPip, directory: Option<&Path>) -> String {
    match &package.source {
        PipSource::Archive { url, origin, .. } => {
            let prefix = if *origin == ArchiveOrigin::Direct && url.scheme() != "file" { "direct+" } else { "" };
            format!("{prefix}{}", without_login(url))
        }
        PipSource::Git { repository, commit, subdirectory } => {
            let query = subdirectory.as_ref().map(|path| format!("?subdirectory={path}")).unwrap_or_default();
            format!("{}{query}#{commit}", without_login(repository))
        }
        PipSource::Directory { path, .. } => match directory.and_then(|directory| path.strip_prefix(directory).ok()) {
            Some(inner) => format!("./{}", inner.display()),
            None => path.display().to_string(),
        },
    }
}

/// A list item that is being written.
struct Item {
    text: String,
}

impl Item {
    fn new(first: &str) -> Self {
        Self { text: format!("- {first}\n") }
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "  {line}");
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(&format!("{key}: {}", scalar(value)));
        }
    }

    fn number(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.line(&format!("{key}: {value}"));
        }
    }

    fn list(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.line(&format!("{key}:"));
            values.iter().for_each(|value| self.line(&format!("- {}", scalar(value))));
        }
    }

    fn lists(&mut self, key: &str, values: &BTreeMap<String, Vec<String>>) {
        if !values.is_empty() {
            self.line(&format!("{key}:"));
        }
        for (name, values) in values {
            self.line(&format!("  {}:", scalar(name)));
            values.iter().for_each(|value| self.line(&format!("  - {}", scalar(value))));
        }
    }

    fn run_exports(&mut self, exports: &rattler_conda_types::package::RunExportsJson) {
        let kinds = [
            ("weak", &exports.weak),
            ("strong", &exports.strong),
            ("noarch", &exports.noarch),
            ("weak_constrains", &exports.weak_constrains),
            ("strong_constrains", &exports.strong_constrains),
        ];
        if kinds.iter().all(|(_, specs)| specs.is_empty()) {
            return self.line("run_exports: {}");
        }
        self.line("run_exports:");
        for (kind, specs) in kinds.iter().filter(|(_, specs)| !specs.is_empty()) {
            self.line(&format!("  {kind}:"));
            specs.iter().for_each(|spec| self.line(&format!("  - {}", scalar(spec))));
        }
    }
}
