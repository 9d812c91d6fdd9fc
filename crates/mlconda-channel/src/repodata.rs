//! Repodata: loads the records that the solver may choose from.
//!
//! Each subdir of each channel is loaded first (`fetch`), either as the index of its shards (CEP-16) or as a
//! `repodata.json`, compressed or not. A `repodata.json` is scanned once, when it arrives (`scan`). The byte ranges of
//! each package's records are kept in an index beside it (`index`). Then only the reachable records are read: those of
//! the requested names, of the names these depend on, and so on (`reachable`, `records`). So the time and memory of a
//! lock depend on what the environment can reach, not on the size of the channel.
//!
//! The order of the records does not depend on the order in which servers answer, so a solve is reproducible.

mod archive;
mod base_url;
mod cache;
mod dependency_table;
mod error;
mod fetch;
#[cfg(mlconda_fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod load;
mod msgpack;
mod pinned;
mod plain_record;
mod platform_check;
mod reachable;
mod records;
mod scan;
mod shards;
#[cfg(test)]
mod tests;

use mlconda_types::sorting::IntoTree;
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use mlconda_environment::Environment;
use rattler_conda_types::{
    MatchSpec, RepoDataRecord,
    package::{CondaArchiveType, DistArchiveType},
};

use crate::network::Client;
pub use archive::read_index_json;
pub use dependency_table::{DependencyRows, DependencyTable, RecordRow, SpecInterner, VersionGroup};
pub use error::RepodataError;
pub use load::{load, load_with};
pub use pinned::{PinnedPackage, pinned_records};

use reachable::LoadedSubdir;

/// The cache directory, and whether the network may be used.
#[derive(Clone, Debug)]
pub struct RepodataOptions {
    /// The cache directory; created if missing.
    pub cache_directory: PathBuf,
    /// Whether the network may be used.
    pub access: Access,
    /// The current time; the age of cached repodata is measured from it.
    pub now: SystemTime,
}

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Use cached repodata while the channel's `max-age` (at most an hour) lasts; else ask the channel whether it
    /// changed.
    #[default]
    Online,
    /// Always ask the channel whether the cached repodata changed (`--refresh`).
    Refresh,
    /// Use cached repodata of any age, and nothing else (`--offline`). `file://` channels are read as always.
    Offline,
}

/// The records of all channels for one platform and `noarch`, in order of priority.
#[derive(Debug, Default)]
pub struct Repodata {
    /// One list for each subdir of each channel, sorted by file name.
    pub subdirs: Vec<Vec<Arc<RepoDataRecord>>>,
    /// Whether the first list holds packages that are named by the URL of an archive. They may come from any channel.
    pub has_archives: bool,
    /// For each list, the end of each run: the records that have the same name and channel.
    ends: Vec<Vec<usize>>,
    /// For each list, the dependencies of its records.
    table: Vec<DependencyTable>,
    /// The texts of all dependencies and constraints, each stored once.
    pub interner: SpecInterner,
    /// The names of all packages, also of those without a loaded record.
    pub names: PackageNames,
    /// The names whose records were loaded only partly: those that match the environment's own specs.
    pub partial: BTreeSet<String>,
}

impl Repodata {
    /// Makes repodata from records: one list for each subdir of each channel, in order of priority. If a build exists
    /// as `.conda` and as `.tar.bz2`, the `.conda` counts, as in a channel.
    pub fn new(subdirs: impl IntoIterator<Item = Vec<RepoDataRecord>>) -> Self {
        Self::from_shared(subdirs.into_iter().map(|records| records.into_iter().map(Arc::new)))
    }

    /// The same, from records that others hold as well, such as those of a gateway of `rattler_repodata_gateway`. They
    /// are not copied.
    pub fn from_shared(subdirs: impl IntoIterator<Item = impl IntoIterator<Item = Arc<RepoDataRecord>>>) -> Self {
        let subdirs: Vec<_> = subdirs
            .into_iter()
            .map(|records| sorted_by_name(prefer_conda(records.into_iter().collect()).collect()))
            .collect();
        let own = subdirs.iter().flatten().map(|record| name(record).to_owned()).collect();
        let ends = subdirs.iter().map(|records| run_ends(records)).collect();
        let mut interner = SpecInterner::default();
        let table = subdirs.iter().map(|records| interner.intern_records(records.iter().map(AsRef::as_ref))).collect();
        let names = PackageNames { own, subdirs: Arc::default() };
        Self { subdirs, ends, table, interner, names, ..Self::default() }
    }

    /// Loads every version and build of the requested packages, and all records that these can reach. An explanation
    /// needs them. Only the missing records are read; the repodata is not requested again.
    ///
    /// The future may be dropped: the repodata is unchanged then.
    ///
    /// # Errors
    /// If records cannot be read, as in [`load()`]. The repodata is unchanged then.
    pub async fn add_any_version(&mut self, client: &Client, environment: &Environment) -> Result<(), RepodataError> {
        let (archives, lists) = self.subdirs.split_at(usize::from(self.has_archives));
        let of_any_version = |spec: MatchSpec| match spec.url {
            Some(_) => spec,
            None => MatchSpec { name: spec.name, ..MatchSpec::default() },
        };
        let specs = environment.specs().into_iter().map(of_any_version);
        let specs: Vec<MatchSpec> =
            specs.chain(archives.iter().flatten().flat_map(|archive| reachable::dependency_specs(archive))).collect();
        let loaded = lists.iter().flat_map(|records| records.chunk_by(|one, other| is_same_run(one, other)));
        let whole = loaded.map(|run| name(&run[0])).filter(|name| !self.partial.contains(*name)).map(str::to_owned);
        let whole: HashSet<String> = whole.collect();
        let reachable::ReachableRecords { found, interner } =
            reachable::reachable_records(client, &self.names.subdirs, specs, whole).await?;
        let ids = self.interner.merge(interner, |_| ());
        let first = archives.len();
        for (place, more) in found.into_iter().enumerate().map(|(place, more)| (first + place, more)) {
            let more = reachable::SubdirRecords { table: more.table.renumbered(&ids), ..more };
            let known = reachable::SubdirRecords {
                records: std::mem::take(&mut self.subdirs[place]),
                ends: std::mem::take(&mut self.ends[place]),
                table: std::mem::take(&mut self.table[place]),
                ..reachable::SubdirRecords::default()
            };
            let reachable::SubdirRecords { records, ends, table, .. } = known.merged_with(&more);
            (self.subdirs[place], self.ends[place], self.table[place]) = (records, ends, table);
        }
        self.partial.clear();
        Ok(())
    }

    /// Adds the installed records that no channel has as the last list. Records without a sha256 cannot be pinned and
    /// are left out.
    fn add_installed(&mut self, installed: &[RepoDataRecord]) {
        let hashes: HashSet<_> = self.records().filter_map(|record| record.package_record.sha256).collect();
        let is_new =
            |record: &&RepoDataRecord| record.package_record.sha256.is_some_and(|hash| !hashes.contains(&hash));
        let of_channel = |record: &RepoDataRecord| {
            let channel = record.url.as_str().rsplitn(3, '/').nth(2).map(|channel| format!("{channel}/"));
            Arc::new(RepoDataRecord { channel, ..record.clone() })
        };
        let records = sorted_by_name(installed.iter().filter(is_new).map(of_channel).collect());
        if records.is_empty() {
            return;
        }
        self.names.own.extend(records.iter().map(|record| name(record).to_owned()));
        self.ends.push(run_ends(&records));
        self.table.push(self.interner.intern_records(records.iter().map(AsRef::as_ref)));
        self.subdirs.push(records);
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.subdirs.iter().map(Vec::len).sum()
    }

    /// Whether a channel has a package of this name, even if none of its records was loaded.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The names of all packages of the channels, even of those without a loaded record.
    pub fn package_names(&self) -> BTreeSet<&str> {
        self.names.to_set()
    }

    /// Iterates over the records by channel, in runs of the same name and channel. Yields the index of the list, the
    /// records of the run, and their rows of the dependency table.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &[Arc<RepoDataRecord>], DependencyRows<'_>)> {
        self.subdirs.iter().zip(&self.ends).zip(&self.table).enumerate().flat_map(
            |(place, ((records, ends), table))| {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                starts.zip(ends).map(move |(start, end)| (place, &records[start..*end], table.slice(start, *end)))
            },
        )
    }

    /// Iterates over the records, channel by channel.
    pub fn records(&self) -> impl Iterator<Item = &RepoDataRecord> {
        self.subdirs.iter().flatten().map(AsRef::as_ref)
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The names of packages. The tens of thousands of names of whole channels are not copied: they are seldom needed.
#[derive(Debug, Default)]
pub struct PackageNames {
    own: BTreeSet<String>,
    subdirs: Arc<Vec<LoadedSubdir>>,
}

impl PackageNames {
    /// Whether a channel has a package of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.own.contains(name) || self.subdirs.iter().any(|subdir| subdir.has(name))
    }

    /// All names, sorted.
    pub fn to_set(&self) -> BTreeSet<&str> {
        self.own.iter().map(String::as_str).chain(self.subdirs.iter().flat_map(LoadedSubdir::names)).into_tree()
    }
}

/// The end of each run of records with the same name and channel.
fn run_ends(records: &[Arc<RepoDataRecord>]) -> Vec<usize> {
    let runs = records.chunk_by(|one, other| is_same_run(one, other));
    let add = |end: &mut usize, run: &[Arc<RepoDataRecord>]| {
        *end += run.len();
        Some(*end)
    };
    runs.scan(0, add).collect()
}

/// Whether two records have the same name and channel.
pub fn is_same_run(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    name(one) == name(other) && one.channel == other.channel
}

/// Drops the `.tar.bz2` records of builds that also exist as `.conda`.
fn prefer_conda(records: Vec<Arc<RepoDataRecord>>) -> impl Iterator<Item = Arc<RepoDataRecord>> {
    let build = |record: &RepoDataRecord| (record.channel.clone(), record.identifier.identifier.clone());
    let is_conda = |record: &&Arc<RepoDataRecord>| {
        record.identifier.archive_type == DistArchiveType::Conda(CondaArchiveType::Conda)
    };
    let condas: HashSet<_> = records.iter().filter(is_conda).map(|record| build(record)).collect();
    records.into_iter().filter(move |record| is_conda(&record) || !condas.contains(&build(record)))
}

fn sorted_by_name(mut records: Vec<Arc<RepoDataRecord>>) -> Vec<Arc<RepoDataRecord>> {
    mlconda_types::sorting::sort_by(&mut records, |left, right| {
        (name(left), left.url.as_str()).cmp(&(name(right), right.url.as_str()))
    });
    records
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}
