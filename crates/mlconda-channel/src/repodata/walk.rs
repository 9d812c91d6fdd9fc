//! From what is asked for to all that the solver may need: names, their records, the names that these depend on, and so
//! on. Names are fetched side by side, and their records are read on as many threads as there are processors.
//!
//! Of a package that the environment names, the records that it asks for count; of the others, all.

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
    asked::{Asked, Texts},
    fetch::Data,
    index::{self, Section},
    records::{self, LeftOut, Origin, Records},
    shards::{self, Shards},
};
use crate::network::Client;

/// How many shards are asked for at once. A server takes many over one HTTP/2 connection.
pub(super) const REQUESTS: usize = 50;

/// The solver gives pip to every python, as conda does, so that the records of one are needed with those of the other.
const PYTHON: &str = "python";
const PIP: &str = "pip";

/// How many names a thread takes at a time, at most.
const BATCH: usize = 32;

/// A subdir that was loaded.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) data: Data,
    /// Where shards come from, where there are any.
    pub(super) shards: Option<Shards>,
    /// Whether the network may be asked for shards.
    pub(super) may_ask: bool,
    /// What is to be told of it.
    pub(super) note: Option<Event>,
}

/// What a subdir has on a package, not yet read.
pub(super) enum Material {
    Nothing,
    /// It is in the text.
    Text,
    /// A shard, packed.
    Shard(Vec<u8>),
}

impl Source {
    pub(super) fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.data {
            Data::Missing => Box::new(std::iter::empty()),
            Data::Json { index, .. } => Box::new(index.names()),
            Data::Shards(index) => Box::new(index.names()),
        }
    }

    /// Whether it has a package of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        match &self.data {
            Data::Missing => false,
            Data::Json { index, .. } => !index.runs(name).is_empty(),
            Data::Shards(index) => index.hash(name).is_some(),
        }
    }

    pub(super) async fn material(&self, client: &Client, name: &str) -> Result<Material, RepodataError> {
        let (index, shards) = match (&self.data, &self.shards) {
            (Data::Json { index, .. }, _) if index.runs(name).is_empty() => return Ok(Material::Nothing),
            (Data::Json { .. }, _) => return Ok(Material::Text),
            (Data::Shards(index), Some(shards)) => (index, shards),
            _ => return Ok(Material::Nothing),
        };
        let Some(hash) = index.hash(name) else { return Ok(Material::Nothing) };
        match shards.cached(hash) {
            Some(packed) => Ok(Material::Shard(packed)),
            None if self.may_ask => shards.download(client, hash).await.map(Material::Shard),
            None => Err(RepodataError::PackageNotCached { package: name.to_owned() }),
        }
    }

    /// Reads records: of no interest to the network's thread.
    pub(super) fn read(&self, name: &str, material: &Material) -> Result<Records, RepodataError> {
        match (material, &self.data) {
            (Material::Text, Data::Json { text, index }) => {
                let length: u64 = index.runs(name).iter().map(|run| u64::from(run.length)).sum();
                if length > shards::SHARD_LIMIT {
                    return Err(self.broken(name, "they are too long"));
                }
                let mut pieces: Vec<(Section, Vec<u8>)> = Vec::new();
                for run in index.runs(name) {
                    let piece = index::read_run(text, *run).map_err(|error| self.broken(name, &error.to_string()))?;
                    pieces.push((run.section, piece));
                }
                mlconda_types::sorting::sort_by_key(&mut pieces, |(section, _)| *section);
                Ok(records::of_pieces(&self.origin, name, &index.removed, &pieces))
            }
            (Material::Shard(packed), _) => shards::unpack(packed)
                .map_err(|error| error.to_string())
                .and_then(|bytes| records::of_shard(&self.origin, name, &bytes))
                .map_err(|reason| self.broken(name, &reason)),
            _ => Ok(Records::default()),
        }
    }

    /// The record that a spec means by its URL, if it is here.
    pub(super) async fn listed(
        &self,
        client: &Client,
        spec: &MatchSpec,
    ) -> Result<Option<Arc<RepoDataRecord>>, RepodataError> {
        let Some(name) = spec.name.as_exact().map(|name| name.as_normalized()).filter(|name| self.has(name)) else {
            return Ok(None);
        };
        let material = self.material(client, name).await?;
        let records = self.read(name, &material)?.records;
        Ok(records.into_iter().find(|record| spec.matches(record.as_ref())))
    }

    fn broken(&self, name: &str, reason: &str) -> RepodataError {
        RepodataError::Broken { subdir: self.origin.shown(), reason: format!("the records of `{name}`: {reason}") }
    }
}

/// What a walk has found in one subdir.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The records, by name and then by file name.
    pub(super) records: Vec<Arc<RepoDataRecord>>,
    /// Where those of each name end.
    pub(super) ends: Vec<usize>,
    /// What they ask for.
    pub(super) asked: Asked,
    /// What was left out.
    pub(super) left_out: LeftOut,
}

impl Found {
    /// Where the records of each name begin and end.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        std::iter::once(0).chain(self.ends.iter().copied()).zip(&self.ends).map(|(start, end)| start..*end)
    }

    fn name(&self, run: &Range<usize>) -> &str {
        self.records[run.start].package_record.name.as_normalized()
    }

    /// With the records of another walk: of a name that has some there, these are in the place of those here.
    pub(crate) fn with(&self, more: &Self) -> Self {
        let mut merged = Self::default();
        let (mut own, mut others) = (self.runs().peekable(), more.runs().peekable());
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

    /// Adds the records of a name that stand here in what was found elsewhere.
    fn add(&mut self, found: &Self, run: Range<usize>) {
        self.asked.extend(found.asked.rows(run.start, run.end));
        self.records.extend_from_slice(&found.records[run]);
        self.ends.push(self.records.len());
    }
}

/// A package with what each subdir has on it.
struct Fetched {
    name: String,
    material: Vec<Material>,
}

/// A package with its records in each subdir, and what they ask for.
struct Read {
    name: String,
    found: Vec<(Records, Asked)>,
}

/// What a thread has read at a time, and what the records ask for.
struct Batch {
    read: Vec<Read>,
    texts: Texts,
}

/// All that a walk has found.
pub(super) struct Walked {
    /// One for each subdir, in their order.
    pub(super) found: Vec<Found>,
    /// What the records ask for.
    pub(super) texts: Texts,
}

/// Follows what is asked for through all subdirs, but for the names that are known already, with all that they lead to.
pub(super) async fn walk(
    client: &Client,
    sources: &Arc<Vec<Source>>,
    specs: impl IntoIterator<Item = MatchSpec>,
    known: HashSet<String>,
) -> Result<Walked, RepodataError> {
    let mut asked: HashMap<String, Vec<MatchSpec>> = HashMap::new();
    for spec in specs {
        if let Some(name) = spec.name.as_exact() {
            asked.entry(name.as_normalized().to_owned()).or_default().push(spec);
        }
    }
    let mut roots: HashSet<&str> = asked.keys().map(String::as_str).collect();
    if roots.contains(PYTHON) {
        roots.insert(PIP);
    }
    let roots: Vec<String> = roots.into_iter().filter(|name| !known.contains(*name)).map(str::to_owned).collect();
    let mut seen = known;
    seen.extend(roots.iter().cloned());
    let asked = Arc::new(asked);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let permits = tokio::sync::Semaphore::new(REQUESTS);
    let mut fetching: FuturesUnordered<_> =
        roots.into_iter().map(|name| fetch(client, sources, &permits, name)).collect();
    let mut fetched: Vec<Fetched> = Vec::new();
    let mut reading: FuturesUnordered<JoinHandle<Result<Batch, RepodataError>>> = FuturesUnordered::new();
    let mut found: BTreeMap<String, Vec<(Records, Asked)>> = BTreeMap::new();
    let mut texts = Texts::default();
    loop {
        // What is here goes to the threads once no more of it is at hand, or there is enough for one.
        while reading.len() < threads && !fetched.is_empty() {
            let count = fetched.len().div_ceil(threads).min(BATCH);
            let batch = fetched.split_off(fetched.len() - count);
            let (sources, asked) = (Arc::clone(sources), Arc::clone(&asked));
            reading.push(tokio::task::spawn_blocking(move || read(&sources, &asked, batch)));
        }
        tokio::select! {
            biased;
            Some(one) = fetching.next() => fetched.push(one?),
            Some(batch) = reading.next() => {
                let Batch { read, texts: of_batch } = joined(batch)?;
                let ids = texts.merge(of_batch, |text| {
                    let name = PackageName::normalized_name_from_matchspec_str(text);
                    let with_it = [name.as_ref(), PIP].into_iter().take(if name == PYTHON { 2 } else { 1 });
                    // Virtual packages are no channel's.
                    for name in with_it.filter(|name| !name.starts_with("__")) {
                        if !seen.contains(name) {
                            seen.insert(name.to_owned());
                            fetching.push(fetch(client, sources, &permits, name.to_owned()));
                        }
                    }
                });
                for Read { name, found: of_name } in read {
                    let renumbered = |(records, asked): (Records, Asked)| (records, asked.renumbered(&ids));
                    found.insert(name, of_name.into_iter().map(renumbered).collect());
                }
            }
            else => break,
        }
    }
    Ok(Walked { found: gather(found, sources.len()), texts })
}

/// What a thread has done. It goes on panicking here if it panicked.
pub(super) fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn fetch(
    client: &Client,
    sources: &Arc<Vec<Source>>,
    permits: &tokio::sync::Semaphore,
    name: String,
) -> Result<Fetched, RepodataError> {
    let one = async |source: &Source| {
        let _permit = permits.acquire().await;
        source.material(client, &name).await
    };
    let material = futures::future::try_join_all(sources.iter().map(one)).await?;
    Ok(Fetched { name, material })
}

fn read(
    sources: &[Source],
    asked: &HashMap<String, Vec<MatchSpec>>,
    batch: Vec<Fetched>,
) -> Result<Batch, RepodataError> {
    let mut texts = Texts::default();
    let one = |Fetched { name, material }: Fetched| {
        let mut found = Vec::with_capacity(material.len());
        for (source, material) in sources.iter().zip(&material) {
            let mut records = source.read(&name, material)?;
            if let Some(specs) = asked.get(&name) {
                records.records.retain(|record| specs.iter().any(|spec| spec.matches(record.as_ref())));
            }
            let asked = texts.asked(records.records.iter().map(AsRef::as_ref));
            found.push((records, asked));
        }
        Ok(Read { name, found })
    };
    let read = batch.into_iter().map(one).collect::<Result<_, RepodataError>>()?;
    Ok(Batch { read, texts })
}

/// The names that a record depends on, as specs; those of its extras too: more than is needed does no harm.
pub(super) fn dependencies(record: &RepoDataRecord) -> Vec<MatchSpec> {
    let record = &record.package_record;
    let texts = record.depends.iter().chain(record.extra_depends.values().flatten());
    let names: HashSet<_> = texts.map(|text| PackageName::normalized_name_from_matchspec_str(text)).collect();
    let names = names.into_iter().filter(|name| !name.starts_with("__"));
    names.filter_map(|name| PackageName::try_from(name.into_owned()).ok()).map(MatchSpec::from).collect()
}

fn gather(found: BTreeMap<String, Vec<(Records, Asked)>>, subdirs: usize) -> Vec<Found> {
    let mut gathered: Vec<Found> = std::iter::repeat_with(Found::default).take(subdirs).collect();
    for of_name in found.into_values() {
        for (found, (records, asked)) in gathered.iter_mut().zip(of_name) {
            if !records.records.is_empty() {
                found.records.extend(records.records);
                found.ends.push(found.records.len());
                found.asked.extend(asked.all());
            }
            found.left_out.merge(records.left_out);
        }
    }
    gathered
}
