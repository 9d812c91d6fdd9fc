//! Parses the records of shards directly from MessagePack, if their fields have the usual types.
//!
//! Nearly all records have them. Others are converted to JSON and parsed by the library, as those of `repodata.json`
//! are (see [`super::records`]). So every record that this module returns is equal to the one that the library would
//! return.

use std::str::FromStr;

use rattler_conda_types::{
    NoArchType, PackageName, PackageRecord, RawNoArchType, VersionWithSource, package::BuildString, utils::TimestampMs,
};
use rattler_digest::{Md5, Sha256, digest::Output};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer, value},
};

use super::msgpack::{Reader, Token};

/// Reads a field; `None` if the library has to parse the record.
type ReadField = fn(&mut Reader<'_>, &mut PackageRecord) -> Option<()>;

/// Assigns a field of a record.
macro_rules! field {
    ($field:ident, $reader:ident => $value:expr) => {
        (stringify!($field), |$reader, record| {
            record.$field = $value;
            Some(())
        })
    };
}

/// The fields of a record, sorted. All others are ignored, as by the library.
const FIELDS: [(&str, ReadField); 27] = [
    field!(arch, reader => optional_text(reader)?),
    ("attestations_sha256", |_, _| None),
    field!(build, reader => BuildString::new_unchecked(reader.text().ok()?)),
    field!(build_number, reader => number(reader)?),
    field!(constrains, reader => texts(reader)?),
    field!(depends, reader => texts(reader)?),
    ("extra_depends", |_, _| None),
    field!(features, reader => optional_text(reader)?),
    ("flags", |_, _| None),
    ("indexed_timestamp", |_, _| None),
    field!(legacy_bz2_md5, reader => md5(reader)?),
    field!(legacy_bz2_size, reader => optional(reader, number)?),
    field!(license, reader => optional_text(reader)?),
    field!(license_family, reader => optional_text(reader)?),
    field!(md5, reader => md5(reader)?),
    field!(name, reader => PackageName::new_unchecked(reader.text().ok()?)),
    field!(noarch, reader => no_arch(reader)?),
    field!(platform, reader => optional_text(reader)?),
    field!(purls, reader => through_json(reader)?),
    field!(python_site_packages_path, reader => optional_text(reader)?),
    field!(run_exports, reader => through_json(reader)?),
    field!(sha256, reader => sha256(reader)?),
    field!(size, reader => optional(reader, number)?),
    field!(subdir, reader => reader.text().ok()?.to_owned()),
    field!(timestamp, reader => optional(reader, timestamp)?),
    field!(track_features, reader => features(reader)?),
    ("version", |reader, record| {
        let text = reader.text().ok()?;
        if record.version.as_str() != text {
            record.version = VersionWithSource::from_str(text).ok()?;
        }
        Some(())
    }),
];

/// The fields that a record must have, as bits of their indices in [`FIELDS`].
const REQUIRED: u32 = 1 << 2 | 1 << 3 | 1 << 15 | 1 << 26;

/// A version to start with, equal to what the library parses.
pub(super) fn any_version() -> VersionWithSource {
    VersionWithSource::new(rattler_conda_types::Version::major(1), "1")
}

/// Parses the next record; `None` if the library has to parse it. Then the position of the reader is undefined.
/// `version` may be any version: if the record has the same text, the text is not parsed again.
pub(super) fn plain_record(reader: &mut Reader<'_>, version: &VersionWithSource) -> Option<PackageRecord> {
    let pairs = reader.map().ok()?;
    let name = PackageName::new_unchecked(String::new());
    let mut record = PackageRecord::new(name, version.clone(), BuildString::new_unchecked(String::new()));
    record.subdir = String::new();
    let (mut seen, mut next) = (0_u32, 0);
    for _ in 0..pairs {
        let key = reader.text().ok()?;
        // Most writers sort the fields, so the search begins after the last field.
        let mut indices = (next..FIELDS.len()).chain(0..next);
        let Some(index) = indices.find(|index| FIELDS[*index].0 == key) else {
            reader.skip().ok()?;
            continue;
        };
        // A duplicate field makes the record invalid.
        if seen & 1 << index != 0 {
            return None;
        }
        seen |= 1 << index;
        next = index + 1;
        FIELDS[index].1(reader, &mut record)?;
    }
    (seen & REQUIRED == REQUIRED).then_some(record)
}

/// Reads the next value; `Some(None)` if it is `nil`.
fn optional<'b, T>(reader: &mut Reader<'b>, read: fn(&mut Reader<'b>) -> Option<T>) -> Option<Option<T>> {
    let mut ahead = *reader;
    if ahead.token().ok()? == Token::Nil {
        *reader = ahead;
        return Some(None);
    }
    read(reader).map(Some)
}

fn optional_text(reader: &mut Reader<'_>) -> Option<Option<String>> {
    optional(reader, |reader| Some(reader.text().ok()?.to_owned()))
}

fn number(reader: &mut Reader<'_>) -> Option<u64> {
    match reader.token().ok()? {
        Token::Unsigned(number) => Some(number),
        _ => None,
    }
}

fn timestamp(reader: &mut Reader<'_>) -> Option<TimestampMs> {
    let number = i64::try_from(number(reader)?).ok()?;
    let deserializer: value::I64Deserializer<value::Error> = number.into_deserializer();
    TimestampMs::deserialize(deserializer).ok()
}

fn texts(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let Token::Array(count) = reader.token().ok()? else { return None };
    // The claimed length is untrusted.
    let mut texts = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        texts.push(reader.text().ok()?.to_owned());
    }
    Some(texts)
}

fn features(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    match reader.token().ok()? {
        Token::Array(0) => Some(Vec::new()),
        Token::Text(text) => {
            Some(str::from_utf8(text).ok()?.split([',', ' ']).map(|feature| feature.trim().to_owned()).collect())
        }
        _ => None,
    }
}

fn no_arch(reader: &mut Reader<'_>) -> Option<NoArchType> {
    Some(NoArchType(match reader.token().ok()? {
        Token::Nil | Token::Bool(false) | Token::Text(b"") => None,
        Token::Bool(true) => Some(RawNoArchType::GenericV1),
        Token::Text(b"generic") => Some(RawNoArchType::GenericV2),
        Token::Text(b"python") => Some(RawNoArchType::Python),
        _ => return None,
    }))
}

/// A hash: bytes, or hexadecimal text.
fn hash<'b, const SIZE: usize>(reader: &mut Reader<'b>) -> Option<[u8; SIZE]> {
    match reader.token().ok()? {
        Token::Bytes(bytes) => bytes.try_into().ok(),
        Token::Text(text) => {
            let mut bytes = [0; SIZE];
            hex::decode_to_slice(text, &mut bytes).ok()?;
            Some(bytes)
        }
        _ => None,
    }
}

fn sha256(reader: &mut Reader<'_>) -> Option<Option<Output<Sha256>>> {
    Some(optional(reader, hash::<32>)?.map(Into::into))
}

fn md5(reader: &mut Reader<'_>) -> Option<Option<Output<Md5>>> {
    Some(optional(reader, hash::<16>)?.map(Into::into))
}

/// Reads the next value with the library.
fn through_json<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Option<T> {
    let mut text = Vec::new();
    reader.json(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use mlconda_types::lenient;
    use proptest::{prelude::*, sample::select};
    use serde_json::{Map, Value, json};

    use super::*;

    /// The record from this module, and the record that the library parses from JSON.
    fn both_ways(bytes: &[u8]) -> (Option<String>, Result<String, String>) {
        let (mut text, mut reader) = (Vec::new(), Reader::new(bytes));
        reader.json(&mut text).unwrap();
        let theirs = lenient::from_slice::<PackageRecord>(&text);
        let mut reader = Reader::new(bytes);
        let ours = plain_record(&mut reader, &any_version());
        // The debug texts are compared, because equal versions may be written differently.
        (ours.map(|record| format!("{record:?}")), theirs.map(|r| format!("{r:?}")).map_err(|error| error.to_string()))
    }

    fn packed(record: &Value) -> Vec<u8> {
        rmp_serde::to_vec_named(record).unwrap()
    }

    fn whole() -> Value {
        json!({
            "arch": "x86_64", "build": "h1_0", "build_number": 3, "constrains": ["a <2"], "depends": ["b", "c >=1.0,<2"],
            "features": null, "legacy_bz2_md5": "0".repeat(32), "legacy_bz2_size": 7, "license": "MIT",
            "license_family": null, "md5": "ab".repeat(16), "name": "tool", "noarch": "python", "platform": "linux",
            "purls": ["pkg:pypi/tool"], "python_site_packages_path": "lib/python3.13/site-packages",
            "run_exports": {"weak": ["tool >=1"]}, "sha256": "cd".repeat(32), "size": 99, "subdir": "noarch",
            "timestamp": 1_700_000_000_000_u64, "track_features": "x, y", "version": "1.00", "unknown": {"a": [1, {}]},
        })
    }

    /// If the library gets a new field, it must be read here, too: this does not compile with an unknown field.
    #[test]
    fn all_fields_of_the_library_are_known() {
        let PackageRecord {
            arch: _,
            attestations_sha256: _,
            build: _,
            build_number: _,
            constrains: _,
            depends: _,
            extra_depends: _,
            features: _,
            flags: _,
            indexed_timestamp: _,
            legacy_bz2_md5: _,
            legacy_bz2_size: _,
            license: _,
            license_family: _,
            md5: _,
            name: _,
            noarch: _,
            platform: _,
            purls: _,
            python_site_packages_path: _,
            run_exports: _,
            sha256: _,
            size: _,
            subdir: _,
            timestamp: _,
            track_features: _,
            version: _,
        } = plain_record(&mut Reader::new(&packed(&whole())), &any_version()).unwrap();
        assert!(FIELDS.is_sorted_by_key(|(field, _)| *field));
    }

    #[test]
    fn usual_records_need_no_library() {
        let (ours, theirs) = both_ways(&packed(&whole()));
        assert_eq!(ours, theirs.ok());
        assert!(ours.is_some());
        let least = json!({"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": []});
        let (ours, theirs) = both_ways(&packed(&least));
        assert_eq!(ours, theirs.ok());
        assert!(ours.is_some());
    }

    #[test]
    fn a_version_with_the_text_of_the_last_one_is_the_last_one() {
        let record = |version: &str, last: &VersionWithSource| {
            let record = json!({"name": "tool", "version": version, "build": "0", "build_number": 0, "depends": []});
            plain_record(&mut Reader::new(&packed(&record)), last).map(|record| record.version)
        };
        let debug = |version: VersionWithSource| format!("{version:?}");
        assert_eq!(record("1", &any_version()).map(debug), "1".parse().ok().map(debug), "the one to begin with");
        let first = record("1.0", &any_version()).unwrap();
        assert_eq!(debug(first.clone()), debug("1.0".parse().unwrap()));
        for (text, found) in [("1.0", Some("1.0")), ("1.00", Some("1.00")), ("7", Some("7")), ("!", None), ("", None)] {
            assert_eq!(record(text, &first).map(|version| version.as_str().into_owned()).as_deref(), found);
        }
        let without = packed(&json!({"name": "tool", "build": "0", "build_number": 0, "depends": []}));
        assert!(plain_record(&mut Reader::new(&without), &first).is_none(), "the version of another record");
    }

    #[test]
    fn hashes_are_bytes_or_text_of_their_length() {
        let record = |value: &[u8]| {
            let least = json!({"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": []});
            let mut bytes = packed(&least);
            // Adds one to the number of pairs in the map.
            bytes[0] += 1;
            [&bytes, b"\xa6sha256".as_slice(), value].concat()
        };
        let bytes = record(&[&[0xc4, 32][..], &[0xab; 32]].concat());
        let text = record(&[&[0xd9, 64], "AB".repeat(32).as_bytes()].concat());
        for usual in [bytes, text] {
            let (ours, theirs) = both_ways(&usual);
            assert!(ours.as_deref().is_some_and(|record| record.contains("171, 171")), "{ours:?}");
            assert_eq!(ours, theirs.ok());
        }
        let short = record(&[&[0xc4, 31][..], &[0xab; 31]].concat());
        let (ours, theirs) = both_ways(&short);
        assert_eq!((ours, theirs.is_err()), (None, true));
    }

    #[test]
    fn a_field_twice_is_left_to_the_library() {
        let mut bytes =
            packed(&json!({"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": []}));
        bytes[0] += 1;
        bytes.extend(b"\xa4name\xa4tool");
        assert_eq!(both_ways(&bytes).0, None);
    }

    /// Values of all kinds, including the usual values of the fields.
    fn value() -> impl Strategy<Value = Value> {
        let usual = whole().as_object().unwrap().values().cloned().collect::<Vec<_>>();
        let odd = [
            json!(null),
            json!(true),
            json!(false),
            json!(""),
            json!("generic"),
            json!("!"),
            json!(" 1.0 "),
            json!("é"),
            json!(-1),
            json!(0.5),
            json!(253_402_300_799_i64),
            json!(253_402_300_800_i64),
            json!(u64::MAX),
            json!([]),
            json!({}),
            json!([1, 2]),
            json!([["a"]]),
            json!({"a": ["b"]}),
            json!(["a", null]),
        ];
        select([usual, odd.to_vec()].concat())
    }

    proptest! {
        #[test]
        fn a_record_is_the_one_that_the_library_reads(
            others in prop::collection::vec((select(FIELDS.map(|(field, _)| field).to_vec()), value()), 0..4),
            missing in prop::option::weighted(0.2, select(FIELDS.map(|(field, _)| field).to_vec())),
        ) {
            let mut record: Map<String, Value> = whole().as_object().unwrap().clone();
            record.extend(others.into_iter().map(|(field, value)| (field.to_owned(), value)));
            if let Some(field) = missing {
                record.remove(field);
            }
            let (ours, theirs) = both_ways(&packed(&Value::Object(record)));
            if let Some(ours) = ours {
                prop_assert_eq!(Ok(ours), theirs);
            }
        }
    }
}
