//! Records from what a channel has on a package: from a piece of `repodata.json`, or from a shard (CEP-16).
//!
//! * Of a build that is there as `.conda` and as `.tar.bz2`, the `.conda` counts; of an archive that stands in `v3`
//!   (CEP-48) and in the older lists, the record in `v3`. What is removed is not there.
//! * A record that cannot be read (a version that is none, say) is left out and reported. It must not cost the user the
//!   others: channels have carried such records for years.

use std::{collections::HashSet, fmt, sync::Arc};

use mlconda_types::lenient;
use rattler_conda_types::{Channel, PackageRecord, RepoDataRecord, Subdir, package::DistArchiveIdentifier};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use url::Url;

use super::{RepodataError, index::Section, shards::decode};
use crate::network;

/// What all records of a subdir have in common.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    subdir_url: Url,
    subdir: Subdir,
    /// Where the packages are (CEP-15), with a slash at its end.
    base: Url,
    /// The channel, as the solver compares it.
    channel: String,
}

impl Origin {
    /// What the records of a subdir have in common; `base_url` is relative to it.
    ///
    /// # Errors
    /// If `base_url` is no URL that a file name can follow, or leads to a worse scheme.
    pub(crate) fn new(channel: &Channel, subdir: Subdir, base_url: Option<&str>) -> Result<Self, RepodataError> {
        let subdir_url = channel.platform_url(subdir);
        let base = joined_base(&subdir_url, base_url.unwrap_or_default()).map_err(|reason| RepodataError::Broken {
            subdir: network::redact(&subdir_url),
            reason: format!("its `base_url` {reason}"),
        })?;
        Ok(Self { subdir_url, subdir, base, channel: channel.canonical_name() })
    }

    /// The subdir, without secrets.
    pub(crate) fn shown(&self) -> String {
        network::redact(&self.subdir_url)
    }

    /// Whether a file of this URL may be one of the subdir's.
    pub(super) fn holds(&self, url: &Url) -> bool {
        url.as_str().starts_with(self.base.as_str())
    }

    /// The record of a file; `None` if there can be no such file there.
    fn record(&self, identifier: DistArchiveIdentifier, mut record: PackageRecord) -> Option<Arc<RepoDataRecord>> {
        let file = identifier.to_file_name();
        if file.contains(['/', '\\', ':']) {
            return None;
        }
        let url = self.base.join(&file).ok()?;
        if record.subdir.is_empty() {
            record.subdir = self.subdir.as_str().to_owned();
        }
        Some(Arc::new(RepoDataRecord { url, channel: Some(self.channel.clone()), package_record: record, identifier }))
    }
}

/// A match spec of a record that nobody should parse.
pub(super) fn beyond_reason(record: &PackageRecord) -> Option<&str> {
    let extra = record.extra_depends.values().flatten();
    let mut specs = record.depends.iter().chain(&record.constrains).chain(extra).map(String::as_str);
    specs.find(|spec| !mlconda_types::dependency::is_within_reason(spec))
}

/// What `base` means in a subdir, with a slash at its end, for names to be joined to; else what is wrong with it.
pub(super) fn joined_base(subdir: &Url, base: &str) -> Result<Url, String> {
    let slashed = |mut url: Url| {
        if !url.cannot_be_a_base() && !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Some(url).filter(|url| !url.cannot_be_a_base())
    };
    let joined = slashed(subdir.clone()).and_then(|subdir| slashed(subdir.join(base).ok()?));
    let joined = joined.ok_or("is no URL for files to be at")?;
    network::check_scheme(subdir, &joined).map_err(|error| format!("cannot be followed: {error}"))?;
    Ok(joined)
}

/// What was left out.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    /// How many records.
    pub(super) count: usize,
    /// The first of them by name, and why it cannot be read.
    pub(super) first: Option<(String, String)>,
}

impl LeftOut {
    fn add(&mut self, file: &str, reason: String) {
        self.merge(Self { count: 1, first: Some((file.to_owned(), reason)) });
    }

    /// Adds what was left out elsewhere. The outcome does not depend on the order.
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = [self.first.take(), other.first].into_iter().flatten().min();
    }
}

/// The records of one package in one subdir.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The records, sorted by file name.
    pub(super) records: Vec<Arc<RepoDataRecord>>,
    /// What was left out.
    pub(super) left_out: LeftOut,
}

/// The records of a package in pieces of `repodata.json`, in the order of their sections. `removed` is sorted.
pub(super) fn of_pieces(origin: &Origin, name: &str, removed: &[String], pieces: &[(Section, Vec<u8>)]) -> Records {
    let mut gatherer = Gatherer::new(origin, name, removed);
    if pieces.iter().all(|(section, text)| gatherer.json(*section, text, Care::None).is_ok()) {
        return gatherer.finish();
    }
    // Most pieces are sound; one that is not is read with more care.
    let mut gatherer = Gatherer::new(origin, name, removed);
    for (section, text) in pieces {
        if let Err(error) = gatherer.json(*section, text, Care::Full) {
            gatherer.found.left_out.add(name, error.to_string());
        }
    }
    gatherer.finish()
}

/// The records of a package in its shard, unpacked.
///
/// # Errors
/// If it is no shard.
pub(super) fn of_shard(origin: &Origin, name: &str, bytes: &[u8]) -> Result<Records, String> {
    let shard = Shard::read(bytes)?;
    let mut gatherer = Gatherer::new(origin, name, &shard.removed);
    gatherer.shard(shard.sections);
    Ok(gatherer.finish())
}

/// Gathers the records of one package. Sections have to come in their order (see [`Section`]).
struct Gatherer<'a> {
    origin: &'a Origin,
    name: &'a str,
    removed: &'a [String],
    conda: HashSet<String>,
    tar_bz2: HashSet<String>,
    found: Records,
}

impl<'a> Gatherer<'a> {
    fn new(origin: &'a Origin, name: &'a str, removed: &'a [String]) -> Self {
        Self { origin, name, removed, conda: HashSet::new(), tar_bz2: HashSet::new(), found: Records::default() }
    }

    /// Whether the record of a key counts: it is not removed, and none that was added puts it in the shade.
    fn takes(&self, section: Section, key: &str) -> bool {
        let Ok(stem) = std::str::from_utf8(section.stem(key.as_bytes())) else { return false };
        let extension = section.extension();
        let is_removed =
            self.removed.binary_search_by(|file| file.bytes().cmp(stem.bytes().chain(extension.bytes()))).is_ok();
        if is_removed || self.conda.contains(stem) {
            return false;
        }
        section != Section::TarBz2 || !self.tar_bz2.contains(stem)
    }

    /// From now on, what this record puts in the shade does not count.
    fn note(&mut self, section: Section, key: &str) {
        let stem = String::from_utf8_lossy(section.stem(key.as_bytes())).into_owned();
        match section {
            Section::V3Conda | Section::Conda => self.conda.insert(stem),
            Section::V3TarBz2 => self.tar_bz2.insert(stem),
            // Nothing comes after these.
            Section::TarBz2 => false,
        };
    }

    fn add(&mut self, section: Section, key: &str, record: PackageRecord) {
        let file = match section {
            Section::V3Conda | Section::V3TarBz2 => &format!("{key}{}", section.extension()),
            Section::Conda | Section::TarBz2 => key,
        };
        if record.name.as_normalized() != self.name {
            let reason = format!("it is a record of `{}`", record.name.as_normalized());
            return self.found.left_out.add(file, reason);
        }
        if let Some(spec) = beyond_reason(&record) {
            let start: String = spec.chars().take(40).collect();
            let reason = format!("`{start}…` is too long or too deeply nested for a match spec");
            return self.found.left_out.add(file, reason);
        }
        let Some(identifier) = DistArchiveIdentifier::try_from_filename(file) else {
            let reason = "its name is not `name-version-build` and an extension".to_owned();
            return self.found.left_out.add(file, reason);
        };
        match self.origin.record(identifier, record) {
            Some(record) => {
                self.found.records.push(record);
                self.note(section, key);
            }
            None => self.found.left_out.add(file, "there can be no file of this name".to_owned()),
        }
    }

    /// Takes the records of a piece of `repodata.json`, an object of file names and records, if all can be read.
    fn json(&mut self, section: Section, text: &[u8], care: Care) -> serde_json::Result<()> {
        Piece { gatherer: self, section, care }.deserialize(&mut serde_json::Deserializer::from_slice(text))
    }

    fn shard(&mut self, sections: Vec<(Section, Vec<(String, Readable)>)>) {
        for (section, records) in sections {
            for (key, record) in records {
                match record {
                    _ if !self.takes(section, &key) => {}
                    // A shard may list other packages too.
                    Ok(record) if record.name.as_normalized() != self.name => {}
                    Ok(record) => self.add(section, &key, record),
                    Err(reason) => self.found.left_out.add(&key, reason),
                }
            }
        }
    }

    fn finish(mut self) -> Records {
        mlconda_types::sorting::sort_by(&mut self.found.records, |one, other| one.url.as_str().cmp(other.url.as_str()));
        self.found
    }
}

/// Whether it is known that a record makes no sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// All are read in one go.
    None,
    /// Each is read on its own.
    Full,
}

/// Reads the records of a piece of `repodata.json`.
struct Piece<'g, 'a> {
    gatherer: &'g mut Gatherer<'a>,
    section: Section,
    care: Care,
}

impl<'de> DeserializeSeed<'de> for Piece<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Piece<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("records by file name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { gatherer, section, care } = self;
        while let Some(key) = map.next_key::<String>()? {
            if !gatherer.takes(section, &key) {
                map.next_value::<IgnoredAny>()?;
            } else if care == Care::None {
                let record = map.next_value()?;
                gatherer.add(section, &key, record);
            } else {
                match lenient::from_slice(map.next_value::<&RawValue>()?.get().as_bytes()) {
                    Ok(record) => gatherer.add(section, &key, record),
                    Err(error) => gatherer.found.left_out.add(&key, error.to_string()),
                }
            }
        }
        Ok(())
    }
}

/// A shard, with its sections in order.
struct Shard<T> {
    sections: Vec<(Section, Vec<(String, T)>)>,
    removed: Vec<String>,
}

/// A record, or why it is none.
type Readable = Result<PackageRecord, String>;

impl Shard<Readable> {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut shard = match decode::<Shard<PackageRecord>>(bytes) {
            Ok(shard) => shard.map(Ok),
            // One of them makes no sense: as values first, and each on its own.
            Err(_) => {
                let shard: Shard<Plain> = decode(bytes).map_err(|error| error.to_string())?;
                shard.map(|plain| lenient::from_value(plain.0).map_err(|error| error.to_string()))
            }
        };
        shard.removed.sort_unstable();
        Ok(shard)
    }
}

impl<T> Shard<T> {
    fn map<U>(self, mut change: impl FnMut(T) -> U) -> Shard<U> {
        let mut changed = |records: Vec<(String, T)>| {
            records.into_iter().map(|(key, record)| (key, change(record))).collect::<Vec<_>>()
        };
        let sections = self.sections.into_iter().map(|(section, records)| (section, changed(records))).collect();
        Shard { sections, removed: self.removed }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shard<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "T: Deserialize<'de>")]
        struct Form<T> {
            #[serde(default = "Entries::none")]
            packages: Entries<T>,
            #[serde(default = "Entries::none", rename = "packages.conda")]
            conda: Entries<T>,
            #[serde(default = "V3::none")]
            v3: V3<T>,
            #[serde(default)]
            removed: Vec<String>,
        }
        #[derive(Deserialize)]
        #[serde(bound = "T: Deserialize<'de>")]
        struct V3<T> {
            #[serde(default = "Entries::none", rename = "tar.bz2")]
            tar_bz2: Entries<T>,
            #[serde(default = "Entries::none")]
            conda: Entries<T>,
        }
        impl<T> V3<T> {
            fn none() -> Self {
                Self { tar_bz2: Entries::none(), conda: Entries::none() }
            }
        }
        let form = Form::deserialize(deserializer)?;
        let sections = vec![
            (Section::V3Conda, form.v3.conda.0),
            (Section::Conda, form.conda.0),
            (Section::V3TarBz2, form.v3.tar_bz2.0),
            (Section::TarBz2, form.packages.0),
        ];
        Ok(Self { sections, removed: form.removed })
    }
}

/// A map as a list.
struct Entries<T>(Vec<(String, T)>);

impl<T> Entries<T> {
    fn none() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("records by file name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(List(std::marker::PhantomData))
    }
}

/// Any value of a shard, as JSON has it: bytes, which hashes are, as hexadecimal digits.
struct Plain(serde_json::Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Plain)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = serde_json::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Self::Value, E> {
        Ok(hex::encode(value).into())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Plain(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = serde_json::Map::new();
        while let Some((key, Plain(value))) = map.next_entry::<String, Plain>()? {
            values.insert(key, value);
        }
        Ok(values.into())
    }
}
