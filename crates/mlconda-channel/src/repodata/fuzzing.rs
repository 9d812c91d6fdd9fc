//! Functions for the fuzz targets (`fuzz/`), for parts that have no public function of their own. They are compiled
//! with `--cfg mlconda_fuzzing` only, and are not part of the library.

use mlconda_types::lenient;
use rattler_conda_types::{Channel, PackageRecord, RepoDataRecord, Subdir};

use super::{
    index::{RepodataIndex, Section},
    msgpack::{MsgpackError, Reader, Token},
    plain_record::{any_version, plain_record},
    records::{PackageRecords, SubdirContext, records_from_json, records_from_shard},
    scan,
    shards::ShardIndex,
};

/// The result of scanning a `repodata.json`.
#[derive(Debug)]
pub struct Scanned {
    /// The base of the package URLs.
    pub base_url: Option<String>,
    /// The removed archives.
    pub removed: Vec<String>,
    /// For each span: the package name, the index of its section in [`SECTIONS`], and the records as a JSON object.
    pub spans: Vec<(String, usize, Vec<u8>)>,
    /// The file names of the readable records, and the number of unreadable ones.
    pub records: (Vec<String>, usize),
}

/// The sections in a `repodata.json`, each as a path of keys.
pub const SECTIONS: [&[&str]; 4] = [&["v3", "conda"], &["packages.conda"], &["v3", "tar.bz2"], &["packages"]];

/// Scans a text. The index is also written and read back.
///
/// # Errors
/// If it cannot be scanned. The error is the message.
pub fn scan(text: &[u8]) -> Result<Scanned, String> {
    let mut copy = Vec::new();
    let index = scan::scan(text, &mut copy).map_err(|error| error.to_string())?;
    assert_eq!(copy, text, "the copy is another text");
    let size = text.len() as u64;
    let index = RepodataIndex::from_bytes(&index.to_bytes(size), size).ok_or("the index is not read back")?;
    let (mut spans, mut files, mut skipped) = (Vec::new(), Vec::new(), 0);
    for name in index.names() {
        let piece = |start: u64, length: u32| {
            let record = &text[usize::try_from(start).unwrap_or(usize::MAX)..][..length as usize];
            [b"{", record, b"}"].concat()
        };
        let pieces: Vec<(Section, Vec<u8>)> =
            index.spans(name).iter().map(|span| (span.section, piece(span.start, span.length))).collect();
        let PackageRecords { records, skipped: others } =
            records_from_json(&context(index.base_url.as_deref())?, name, &index.removed, &pieces);
        files.extend(records.iter().map(|record| file_name(record)));
        skipped += others.count;
        spans.extend(pieces.into_iter().map(|(section, text)| (name.to_owned(), section as usize, text)));
    }
    Ok(Scanned { base_url: index.base_url, removed: index.removed, spans, records: (files, skipped) })
}

fn file_name(record: &RepoDataRecord) -> String {
    record.identifier.to_file_name()
}

fn context(base_url: Option<&str>) -> Result<SubdirContext, String> {
    let url: url::Url = "https://channel.example/c/".parse().map_err(|error| format!("{error}"))?;
    SubdirContext::new(&Channel::from_url(url), Subdir::Linux64, base_url).map_err(|error| error.to_string())
}

/// Converts a MessagePack value to JSON. Also checks that skipping the value ends at the same byte.
///
/// # Errors
/// If it is not a valid value.
pub fn json(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut text, mut reader, mut other) = (Vec::new(), Reader::new(bytes), Reader::new(bytes));
    reader.json(&mut text).map_err(|error| error.to_string())?;
    other.skip().map_err(|error| error.to_string())?;
    assert_eq!(format!("{reader:?}"), format!("{other:?}"), "`skip` ends elsewhere");
    Ok(text)
}

/// The names and hashes in an index of shards.
///
/// # Errors
/// If it is not a valid index.
pub fn shard_index(bytes: &[u8]) -> Result<Vec<(String, [u8; 32])>, String> {
    let index = ShardIndex::read(bytes.to_vec()).map_err(|error| error.to_string())?;
    let found = |name: &str| index.hash(name).map(|hash| (name.to_owned(), *hash));
    index.names().map(|name| found(name).ok_or_else(|| format!("`{name}` is not found"))).collect()
}

/// Checks that the reader without JSON and the library read the same record: for the next value and, if it is a map,
/// for the values in it.
fn compare_records(reader: &mut Reader<'_>, depth: usize) -> Result<(), MsgpackError> {
    let (mut plain, mut text, mut behind) = (*reader, Vec::new(), *reader);
    if let Some(record) = plain_record(&mut plain, &any_version())
        && behind.json(&mut text).is_ok()
    {
        let theirs: PackageRecord = lenient::from_slice(&text).expect("what is plain, the library reads");
        assert_eq!(format!("{record:?}"), format!("{theirs:?}"), "a plain record is another one");
        assert_eq!(format!("{plain:?}"), format!("{behind:?}"), "a plain record ends elsewhere");
    }
    let mut below = *reader;
    if let Token::Map(count) = below.token()?
        && depth < 4
    {
        for _ in 0..count {
            below.skip()?;
            compare_records(&mut below, depth + 1)?;
        }
    }
    reader.skip()
}

/// The file names of the records in a shard.
///
/// # Errors
/// If it is not a valid shard.
pub fn shard(bytes: &[u8], name: &str) -> Result<Vec<String>, String> {
    let _ = compare_records(&mut Reader::new(bytes), 0);
    let found = records_from_shard(&context(None)?, name, bytes)?;
    Ok(found.records.iter().map(|record| file_name(record)).collect())
}

/// The package name in the key of a record.
pub fn name(section: usize, key: &str) -> String {
    let section = [Section::V3Conda, Section::Conda, Section::V3TarBz2, Section::TarBz2][section];
    String::from_utf8_lossy(scan::package_name(section, key.as_bytes())).into_owned()
}
