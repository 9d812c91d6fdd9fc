//! Parses the records of a package: from a piece of `repodata.json`, or from a shard (CEP-16).
//!
//! * If a build exists as `.conda` and as `.tar.bz2`, the `.conda` counts. If an archive is in `v3` (CEP-48) and in an
//!   older section, the record in `v3` counts. Removed archives are dropped.
//! * A record that cannot be read, for instance because of an invalid version, is skipped and reported. The other
//!   records still count: channels have had such records for years.

use std::{fmt, sync::Arc};

use foldhash::{HashSet, HashSetExt};
use mlconda_types::lenient;
use rattler_conda_types::{
    Channel, PackageRecord, RepoDataRecord, Subdir, VersionWithSource, package::DistArchiveIdentifier,
};
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use url::Url;

use super::{
    RepodataError,
    base_url::BaseUrl,
    index::Section,
    msgpack::{MsgpackError, Reader, Token},
    plain_record::{any_version, plain_record},
};
use crate::network;

/// The facts that all records of a subdir share.
#[derive(Clone, Debug)]
pub(super) struct SubdirContext {
    subdir_url: Url,
    subdir: Subdir,
    /// The base of the package URLs (CEP-15).
    base: BaseUrl,
    /// The canonical name of the channel.
    channel: String,
}

impl SubdirContext {
    /// The context of a subdir; `base_url` is relative to the subdir.
    ///
    /// # Errors
    /// If `base_url` cannot be joined with a file name, or leads to a less secure scheme.
    pub(crate) fn new(channel: &Channel, subdir: Subdir, base_url: Option<&str>) -> Result<Self, RepodataError> {
        let subdir_url = channel.platform_url(subdir);
        let base = resolve_base_url(&subdir_url, base_url.unwrap_or_default()).map_err(|reason| {
            RepodataError::Broken { subdir: network::redact(&subdir_url), reason: format!("its `base_url` {reason}") }
        })?;
        Ok(Self { subdir_url, subdir, base: BaseUrl::new(base), channel: channel.canonical_name() })
    }

    /// The subdir URL, without secrets.
    pub(crate) fn shown(&self) -> String {
        network::redact(&self.subdir_url)
    }

    /// Whether this URL may be a file of the subdir.
    pub(super) fn contains_url(&self, url: &Url) -> bool {
        url.as_str().starts_with(self.base.as_str())
    }

    /// Makes the record of a file. `identifier` is parsed from `file`; `None` if no URL can end with this name.
    fn record(
        &self,
        file: &str,
        identifier: DistArchiveIdentifier,
        mut record: PackageRecord,
    ) -> Option<Arc<RepoDataRecord>> {
        if file.contains(['/', '\\', ':']) {
            return None;
        }
        let url = self.base.join(file)?;
        if record.subdir.is_empty() {
            record.subdir = self.subdir.as_str().to_owned();
        }
        Some(Arc::new(RepoDataRecord { url, channel: Some(self.channel.clone()), package_record: record, identifier }))
    }
}

/// The first match spec of a record that is too long or too deeply nested to parse.
pub(super) fn oversized_spec(record: &PackageRecord) -> Option<&str> {
    let extra = record.extra_depends.values().flatten();
    let mut specs = record.depends.iter().chain(&record.constrains).chain(extra).map(String::as_str);
    specs.find(|spec| !mlconda_types::dependency::is_within_limits(spec))
}

/// Resolves `base` against the subdir, with a slash at the end. The error is a text.
pub(super) fn resolve_base_url(subdir: &Url, base: &str) -> Result<Url, String> {
    let slashed = |mut url: Url| {
        if !url.cannot_be_a_base() && !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Some(url).filter(|url| !url.cannot_be_a_base())
    };
    let joined = slashed(subdir.clone()).and_then(|subdir| slashed(subdir.join(base).ok()?));
    let joined = joined.ok_or("is not a valid base URL")?;
    network::check_scheme(subdir, &joined).map_err(|error| format!("cannot be followed: {error}"))?;
    Ok(joined)
}

/// Records that were skipped.
#[derive(Clone, Debug, Default)]
pub(super) struct SkippedRecords {
    /// How many.
    pub(super) count: usize,
    /// The first of them by file name, and why it cannot be read.
    pub(super) first: Option<(String, String)>,
}

impl SkippedRecords {
    fn add(&mut self, file: &str, reason: String) {
        self.merge(Self { count: 1, first: Some((file.to_owned(), reason)) });
    }

    /// Adds other skipped records. The result does not depend on the order.
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = [self.first.take(), other.first].into_iter().flatten().min();
    }
}

/// The records of one package in one subdir.
#[derive(Debug, Default)]
pub(super) struct PackageRecords {
    /// The records, sorted by file name.
    pub(super) records: Vec<Arc<RepoDataRecord>>,
    /// The records that were skipped.
    pub(super) skipped: SkippedRecords,
}

/// Parses the records of a package from pieces of `repodata.json`, in the order of the sections. `removed` is sorted.
pub(super) fn records_from_json(
    context: &SubdirContext,
    name: &str,
    removed: &[String],
    pieces: &[(Section, Vec<u8>)],
) -> PackageRecords {
    let last = pieces.last().map(|(section, _)| *section);
    let mut collector = RecordCollector::new(context, name, removed, Others::Skipped, last);
    if pieces.iter().all(|(section, text)| collector.json(*section, text, ParseMode::Strict).is_ok()) {
        return collector.finish();
    }
    // Most pieces are valid. If one is not, its records are parsed one by one.
    let mut collector = RecordCollector::new(context, name, removed, Others::Skipped, last);
    for (section, text) in pieces {
        if let Err(error) = collector.json(*section, text, ParseMode::Lenient) {
            collector.found.skipped.add(name, error.to_string());
        }
    }
    collector.finish()
}

/// Parses the records of a package from its decompressed shard.
///
/// # Errors
/// If the bytes are not a shard.
pub(super) fn records_from_shard(context: &SubdirContext, name: &str, bytes: &[u8]) -> Result<PackageRecords, String> {
    read_shard(context, name, bytes).map_err(|error| error.to_string())
}

fn read_shard(context: &SubdirContext, name: &str, bytes: &[u8]) -> Result<PackageRecords, MsgpackError> {
    let shard = Shard::read(bytes)?;
    let last = shard.sections.last().map(|(section, _)| *section);
    let mut collector = RecordCollector::new(context, name, &shard.removed, Others::PassedOver, last);
    shard.sections.iter().try_for_each(|(section, reader)| collector.msgpack(*section, *reader))?;
    Ok(collector.finish())
}

/// What to do with records of other packages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// They are ignored: a shard may contain them, too.
    PassedOver,
    /// They are skipped and reported.
    Skipped,
}

/// Collects the records of one package. Sections must be added in order (see [`Section`]).
struct RecordCollector<'a> {
    context: &'a SubdirContext,
    name: &'a str,
    removed: &'a [String],
    others: Others,
    /// The last section that has records. Its records shadow none.
    last: Section,
    conda: HashSet<String>,
    tar_bz2: HashSet<String>,
    /// The version of the last parsed record. The next record often has the same.
    version: VersionWithSource,
    found: PackageRecords,
}

impl<'a> RecordCollector<'a> {
    fn new(
        context: &'a SubdirContext,
        name: &'a str,
        removed: &'a [String],
        others: Others,
        last: Option<Section>,
    ) -> Self {
        Self {
            context,
            name,
            removed,
            others,
            last: last.unwrap_or(Section::TarBz2),
            version: any_version(),
            conda: HashSet::new(),
            tar_bz2: HashSet::new(),
            found: PackageRecords::default(),
        }
    }

    /// Whether the record of a key counts: it is neither removed nor shadowed by an earlier one.
    fn accepts(&self, section: Section, key: &str) -> bool {
        let Ok(stem) = std::str::from_utf8(section.stem(key.as_bytes())) else { return false };
        let extension = section.extension();
        let is_removed =
            self.removed.binary_search_by(|file| file.bytes().cmp(stem.bytes().chain(extension.bytes()))).is_ok();
        if is_removed || self.conda.contains(stem) {
            return false;
        }
        section != Section::TarBz2 || !self.tar_bz2.contains(stem)
    }

    /// Marks the builds that this record shadows.
    fn mark_shadowed(&mut self, section: Section, key: &str) {
        if section == self.last {
            return;
        }
        let stem = String::from_utf8_lossy(section.stem(key.as_bytes())).into_owned();
        match section {
            Section::V3Conda | Section::Conda => self.conda.insert(stem),
            Section::V3TarBz2 => self.tar_bz2.insert(stem),
            // This is the last section.
            Section::TarBz2 => false,
        };
    }

    fn add(&mut self, section: Section, key: &str, record: PackageRecord) {
        let file = match section {
            Section::V3Conda | Section::V3TarBz2 => &format!("{key}{}", section.extension()),
            Section::Conda | Section::TarBz2 => key,
        };
        if record.name.as_normalized() != self.name {
            if self.others == Others::PassedOver {
                return;
            }
            let reason = format!("it is a record of `{}`", record.name.as_normalized());
            return self.found.skipped.add(file, reason);
        }
        if let Some(spec) = oversized_spec(&record) {
            let start: String = spec.chars().take(40).collect();
            let reason = format!("`{start}…` is too long or too deeply nested for a match spec");
            return self.found.skipped.add(file, reason);
        }
        let Some(identifier) = DistArchiveIdentifier::try_from_filename(file) else {
            let reason = "its name is not `name-version-build` and an extension".to_owned();
            return self.found.skipped.add(file, reason);
        };
        match self.context.record(file, identifier, record) {
            Some(record) => {
                self.found.records.push(record);
                self.mark_shadowed(section, key);
            }
            None => self.found.skipped.add(file, "there can be no file of this name".to_owned()),
        }
    }

    /// Parses the records of a piece of `repodata.json`, an object with file names as keys.
    fn json(&mut self, section: Section, text: &[u8], mode: ParseMode) -> serde_json::Result<()> {
        SectionSeed { collector: self, section, mode }.deserialize(&mut serde_json::Deserializer::from_slice(text))
    }

    /// Parses the records of a section of a shard, a map with file names as keys.
    fn msgpack(&mut self, section: Section, mut reader: Reader<'_>) -> Result<(), MsgpackError> {
        let mut text = Vec::new();
        for _ in 0..reader.map()? {
            let key = reader.text()?;
            let start = reader;
            if !self.accepts(section, key) {
                reader.skip()?;
            } else if let Some(record) = plain_record(&mut reader, &self.version) {
                self.version.clone_from(&record.version);
                self.add(section, key, record);
            } else {
                text.clear();
                let mut again = start;
                reader = start;
                reader.skip()?;
                let written = again.json(&mut text).map_err(|error| error.to_string());
                match written.and_then(|()| lenient::from_slice(&text).map_err(|error| error.to_string())) {
                    Ok(record) => self.add(section, key, record),
                    Err(reason) => self.found.skipped.add(key, reason),
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> PackageRecords {
        mlconda_types::sorting::sort_by(&mut self.found.records, |one, other| one.url.as_str().cmp(other.url.as_str()));
        // If several records have one URL, the first one is kept.
        self.found.records.dedup_by(|second, first| second.url.as_str() == first.url.as_str());
        self.found
    }
}

/// How records are parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ParseMode {
    /// All at once; one invalid record fails the piece.
    Strict,
    /// Each on its own; invalid records are skipped.
    Lenient,
}

/// Parses one section of a `repodata.json`.
struct SectionSeed<'g, 'a> {
    collector: &'g mut RecordCollector<'a>,
    section: Section,
    mode: ParseMode,
}

impl<'de> DeserializeSeed<'de> for SectionSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SectionSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("records by file name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { collector, section, mode } = self;
        while let Some(key) = map.next_key::<String>()? {
            if !collector.accepts(section, &key) {
                map.next_value::<IgnoredAny>()?;
            } else if mode == ParseMode::Strict {
                let record = map.next_value()?;
                collector.add(section, &key, record);
            } else {
                match lenient::from_slice(map.next_value::<&RawValue>()?.get().as_bytes()) {
                    Ok(record) => collector.add(section, &key, record),
                    Err(error) => collector.found.skipped.add(&key, error.to_string()),
                }
            }
        }
        Ok(())
    }
}

/// A shard: where its sections begin, in order, and the file names of removed archives.
#[derive(Default)]
struct Shard<'b> {
    sections: Vec<(Section, Reader<'b>)>,
    removed: Vec<String>,
}

impl<'b> Shard<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, MsgpackError> {
        let (mut shard, mut reader) = (Self::default(), Reader::new(bytes));
        for _ in 0..reader.map()? {
            match reader.text()? {
                "packages" => shard.add(Section::TarBz2, &mut reader)?,
                "packages.conda" => shard.add(Section::Conda, &mut reader)?,
                "v3" => {
                    for _ in 0..reader.map()? {
                        match reader.text()? {
                            "tar.bz2" => shard.add(Section::V3TarBz2, &mut reader)?,
                            "conda" => shard.add(Section::V3Conda, &mut reader)?,
                            _ => reader.skip()?,
                        }
                    }
                }
                "removed" => {
                    let Token::Array(count) = reader.token()? else { return Err(MsgpackError::Expected("array")) };
                    for _ in 0..count {
                        shard.removed.push(reader.text()?.to_owned());
                    }
                }
                _ => reader.skip()?,
            }
        }
        mlconda_types::sorting::sort(&mut shard.removed);
        mlconda_types::sorting::sort_by_key(&mut shard.sections, |(section, _)| *section);
        Ok(shard)
    }

    fn add(&mut self, section: Section, reader: &mut Reader<'b>) -> Result<(), MsgpackError> {
        let mut ahead = *reader;
        if ahead.map()? > 0 {
            self.sections.push((section, *reader));
        }
        reader.skip()
    }
}
