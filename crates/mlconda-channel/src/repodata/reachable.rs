//! Follows dependencies from the requested specs to all reachable records. Names are fetched concurrently, and records
//! are parsed on as many threads as there are processors.
//!
//! For a package that the environment names, only the matching records are loaded; for other packages, all of them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use futures::{StreamExt, stream::FuturesUnordered};
use mlconda_types::progress::Event;
use rattler_conda_types::{MatchSpec, Matches, PackageName, RepoDataRecord};
use tokio::task::JoinHandle;

use super::{
    RepodataError,
    dependency_table::{DependencyTable, SpecInterner},
    fetch::SubdirData,
    index::{self, Section},
    records::{self, PackageRecords, SkippedRecords, SubdirContext},
    shards::{self, ShardFetcher},
};
use crate::network::Client;

/// How many shards are requested at once. A server can serve many of them over one HTTP/2 connection.
pub(super) const REQUESTS: usize = 50;

/// The solver adds pip to every python, as conda does, so pip is loaded with python.
const PYTHON: &str = "python";
const PIP: &str = "pip";

/// The most names that a thread parses at a time.
const BATCH: usize = 32;

/// A subdir that was loaded.
#[derive(Debug)]
pub(super) struct LoadedSubdir {
    pub(super) context: SubdirContext,
    pub(super) data: SubdirData,
    /// Downloads its shards, if it has any.
    pub(super) shards: Option<ShardFetcher>,
    /// Whether shards may be downloaded.
    pub(super) may_download: bool,
    /// An event to report about it.
    pub(super) note: Option<Event>,
}

/// The data of a package in a subdir, not parsed yet.
pub(super) enum PackageData {
    Nothing,
    /// Its records are in the text of the `repodata.json`.
    Text,
    /// Its compressed shard.
    Shard(Vec<u8>),
}

impl LoadedSubdir {
    pub(super) fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.data {
            SubdirData::Missing => Box::new(std::iter::empty()),
            SubdirData::Json { index, .. } => Box::new(index.names()),
            SubdirData::Shards(index) => Box::new(index.names()),
        }
    }

    /// Whether it has a package of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.data {
            SubdirData::Missing => false,
            SubdirData::Json { index, .. } => !index.spans(name).is_empty(),
            SubdirData::Shards(index) => index.hash(name).is_some(),
        }
    }

    pub(super) async fn package_data(&self, client: &Client, name: &str) -> Result<PackageData, RepodataError> {
        let (index, shards) = match (&self.data, &self.shards) {
            (SubdirData::Json { index, .. }, _) if index.spans(name).is_empty() => return Ok(PackageData::Nothing),
            (SubdirData::Json { .. }, _) => return Ok(PackageData::Text),
            (SubdirData::Shards(index), Some(shards)) => (index, shards),
            _ => return Ok(PackageData::Nothing),
        };
        let Some(hash) = index.hash(name) else { return Ok(PackageData::Nothing) };
        match shards.cached(hash) {
            Some(packed) => Ok(PackageData::Shard(packed)),
            None if self.may_download => shards.download(client, hash).await.map(PackageData::Shard),
            None => Err(RepodataError::PackageNotCached { package: name.to_owned() }),
        }
    }

    /// Parses the records of a package. Call it on a blocking thread.
    pub(super) fn read(&self, name: &str, package_data: &PackageData) -> Result<PackageRecords, RepodataError> {
        match (package_data, &self.data) {
            (PackageData::Text, SubdirData::Json { text, index }) => {
                let length: u64 = index.spans(name).iter().map(|span| u64::from(span.length)).sum();
                if length > shards::SHARD_LIMIT {
                    return Err(self.broken(name, "they are too long"));
                }
                let mut pieces: Vec<(Section, Vec<u8>)> = Vec::new();
                for span in index.spans(name) {
                    let piece = index::read_span(text, *span).map_err(|error| self.broken(name, &error.to_string()))?;
                    pieces.push((span.section, piece));
                }
                mlconda_types::sorting::sort_by_key(&mut pieces, |(section, _)| *section);
                Ok(records::records_from_json(&self.context, name, &index.removed, &pieces))
            }
            (PackageData::Shard(packed), _) => shards::unpack(packed)
                .map_err(|error| error.to_string())
                .and_then(|bytes| records::records_from_shard(&self.context, name, &bytes))
                .map_err(|reason| self.broken(name, &reason)),
            _ => Ok(PackageRecords::default()),
        }
    }

    /// The record of the archive that a spec names by its URL, if this subdir lists it.
    pub(super) async fn record_by_url(
        &self,
        client: &Client,
        spec: &MatchSpec,
    ) -> Result<Option<Arc<RepoDataRecord>>, RepodataError> {
        let Some(name) = spec.name.as_exact().map(|name| name.as_normalized()).filter(|name| self.has(name)) else {
            return Ok(None);
        };
        let package_data = self.package_data(client, name).await?;
        let records = self.read(name, &package_data)?.records;
        Ok(records.into_iter().find(|record| spec.matches(record.as_ref())))
    }

    fn broken(&self, name: &str, reason: &str) -> RepodataError {
        RepodataError::Broken { subdir: self.context.shown(), reason: format!("the records of `{name}`: {reason}") }
    }
}

/// The records that were found in one subdir.
#[derive(Debug, Default)]
pub(super) struct SubdirRecords {
    /// The records, by name and then by file name.
    pub(super) records: Vec<Arc<RepoDataRecord>>,
    /// The end of the records of each name.
    pub(super) ends: Vec<usize>,
    /// Their dependencies.
    pub(super) table: DependencyTable,
    /// The records that were skipped.
    pub(super) skipped: SkippedRecords,
}

impl SubdirRecords {
    /// The range of the records of each name.
    fn name_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        std::iter::once(0).chain(self.ends.iter().copied()).zip(&self.ends).map(|(start, end)| start..*end)
    }

    fn name(&self, run: &Range<usize>) -> &str {
        self.records[run.start].package_record.name.as_normalized()
    }

    /// Merges other records into these. If both have records of a name, the others replace these.
    pub(crate) fn merged_with(&self, more: &Self) -> Self {
        let mut merged = Self::default();
        let (mut own, mut others) = (self.name_ranges().peekable(), more.name_ranges().peekable());
        loop {
            let order = match (own.peek(), others.peek()) {
                (Some(own), Some(other)) => self.name(own).cmp(more.name(other)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return merged,
            };
            if let Some(run) = own.next_if(|_| order.is_le()).filter(|_| order.is_lt()) {
                merged.add(self, run);
            }
            if let Some(run) = others.next_if(|_| order.is_ge()) {
                merged.add(more, run);
            }
        }
    }

    /// Appends the records of one name.
    fn add(&mut self, found: &Self, run: Range<usize>) {
        self.table.extend(found.table.slice(run.start, run.end));
        self.records.extend_from_slice(&found.records[run]);
        self.ends.push(self.records.len());
    }
}

/// A package and its data in each subdir.
struct FetchedPackage {
    name: String,
    package_data: Vec<PackageData>,
}

/// A package and its records in each subdir, with their dependencies.
struct ParsedPackage {
    name: String,
    found: Vec<(PackageRecords, DependencyTable)>,
}

/// The packages that a thread parsed in one go, and the texts of their dependencies.
struct ParsedBatch {
    read: Vec<ParsedPackage>,
    interner: SpecInterner,
}

/// All reachable records.
pub(super) struct ReachableRecords {
    /// One entry for each subdir, in their order.
    pub(super) found: Vec<SubdirRecords>,
    /// The texts of the dependencies.
    pub(super) interner: SpecInterner,
}

/// Finds the records that the specs can reach in all subdirs. Names in `known` are not followed.
pub(super) async fn reachable_records(
    client: &Client,
    subdirs: &Arc<Vec<LoadedSubdir>>,
    specs: impl IntoIterator<Item = MatchSpec>,
    known: HashSet<String>,
) -> Result<ReachableRecords, RepodataError> {
    let mut table: HashMap<String, Vec<MatchSpec>> = HashMap::new();
    for spec in specs {
        if let Some(name) = spec.name.as_exact() {
            table.entry(name.as_normalized().to_owned()).or_default().push(spec);
        }
    }
    let mut roots: HashSet<&str> = table.keys().map(String::as_str).collect();
    if roots.contains(PYTHON) {
        roots.insert(PIP);
    }
    let roots: Vec<String> = roots.into_iter().filter(|name| !known.contains(*name)).map(str::to_owned).collect();
    let mut seen = known;
    seen.extend(roots.iter().cloned());
    let table = Arc::new(table);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let permits = tokio::sync::Semaphore::new(REQUESTS);
    let mut fetching: FuturesUnordered<_> =
        roots.into_iter().map(|name| fetch_package(client, subdirs, &permits, name)).collect();
    let mut fetched: Vec<FetchedPackage> = Vec::new();
    let mut reading: FuturesUnordered<JoinHandle<Result<ParsedBatch, RepodataError>>> = FuturesUnordered::new();
    let mut found: BTreeMap<String, Vec<(PackageRecords, DependencyTable)>> = BTreeMap::new();
    let mut interner = SpecInterner::default();
    loop {
        // Give fetched packages to the threads while one is idle.
        while reading.len() < threads && !fetched.is_empty() {
            let count = fetched.len().div_ceil(threads).min(BATCH);
            let batch = fetched.split_off(fetched.len() - count);
            let (subdirs, table) = (Arc::clone(subdirs), Arc::clone(&table));
            reading.push(tokio::task::spawn_blocking(move || parse_batch(&subdirs, &table, batch)));
        }
        tokio::select! {
            biased;
            Some(one) = fetching.next() => fetched.push(one?),
            Some(batch) = reading.next() => {
                let ParsedBatch { read, interner: of_batch } = join_result(batch)?;
                let ids = interner.merge(of_batch, |text| {
                    let name = PackageName::normalized_name_from_matchspec_str(text);
                    let with_it = [name.as_ref(), PIP].into_iter().take(if name == PYTHON { 2 } else { 1 });
                    // Virtual packages are in no channel.
                    for name in with_it.filter(|name| !name.starts_with("__")) {
                        if !seen.contains(name) {
                            seen.insert(name.to_owned());
                            fetching.push(fetch_package(client, subdirs, &permits, name.to_owned()));
                        }
                    }
                });
                for ParsedPackage { name, found: of_name } in read {
                    let renumbered = |(records, table): (PackageRecords, DependencyTable)| (records, table.renumbered(&ids));
                    found.insert(name, of_name.into_iter().map(renumbered).collect());
                }
            }
            else => break,
        }
    }
    Ok(ReachableRecords { found: group_by_subdir(found, subdirs.len()), interner })
}

/// The result of a blocking task. A panic of the task is continued here.
pub(super) fn join_result<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn fetch_package(
    client: &Client,
    subdirs: &Arc<Vec<LoadedSubdir>>,
    permits: &tokio::sync::Semaphore,
    name: String,
) -> Result<FetchedPackage, RepodataError> {
    let one = async |subdir: &LoadedSubdir| {
        let _permit = permits.acquire().await;
        subdir.package_data(client, &name).await
    };
    let package_data = futures::future::try_join_all(subdirs.iter().map(one)).await?;
    Ok(FetchedPackage { name, package_data })
}

fn parse_batch(
    subdirs: &[LoadedSubdir],
    table: &HashMap<String, Vec<MatchSpec>>,
    batch: Vec<FetchedPackage>,
) -> Result<ParsedBatch, RepodataError> {
    let mut interner = SpecInterner::default();
    let one = |FetchedPackage { name, package_data }: FetchedPackage| {
        let mut found = Vec::with_capacity(package_data.len());
        for (subdir, package_data) in subdirs.iter().zip(&package_data) {
            let mut records = subdir.read(&name, package_data)?;
            if let Some(specs) = table.get(&name) {
                records.records.retain(|record| specs.iter().any(|spec| spec.matches(record.as_ref())));
            }
            let table = interner.intern_records(records.records.iter().map(AsRef::as_ref));
            found.push((records, table));
        }
        Ok(ParsedPackage { name, found })
    };
    let read = batch.into_iter().map(one).collect::<Result<_, RepodataError>>()?;
    Ok(ParsedBatch { read, interner })
}

/// The names that a record depends on, as specs. Names of extras are included: loading too much does no harm.
pub(super) fn dependency_specs(record: &RepoDataRecord) -> Vec<MatchSpec> {
    let record = &record.package_record;
    let texts = record.depends.iter().chain(record.extra_depends.values().flatten());
    let names: HashSet<_> = texts.map(|text| PackageName::normalized_name_from_matchspec_str(text)).collect();
    let names = names.into_iter().filter(|name| !name.starts_with("__"));
    names.filter_map(|name| PackageName::try_from(name.into_owned()).ok()).map(MatchSpec::from).collect()
}

fn group_by_subdir(
    found: BTreeMap<String, Vec<(PackageRecords, DependencyTable)>>,
    subdir_count: usize,
) -> Vec<SubdirRecords> {
    let mut gathered: Vec<SubdirRecords> = std::iter::repeat_with(SubdirRecords::default).take(subdir_count).collect();
    for of_name in found.into_values() {
        for (found, (records, table)) in gathered.iter_mut().zip(of_name) {
            if !records.records.is_empty() {
                found.records.extend(records.records);
                found.ends.push(found.records.len());
                found.table.extend(table.as_rows());
            }
            found.skipped.merge(records.skipped);
        }
    }
    gathered
}
