//! Downloads archives on the caller's thread, and unpacks them into the stage on worker threads.
//!
//! Memory use does not depend on the number of packages: each worker has one archive reader and one buffer, the queue
//! is bounded, and large archives are stored in unnamed files.

use std::{
    collections::{HashSet, VecDeque},
    io, panic,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use futures::{StreamExt, stream::FuturesUnordered};
use mlconda_channel::network::Client;
use mlconda_inspect::plan::Plan;
use mlconda_lock::LockedPackage;
use mlconda_prefix::distributions;
use mlconda_types::{
    progress::{Event, Progress},
    slim::Slim,
};
use rattler_conda_types::{
    Subdir,
    prefix_record::{PathType, PathsEntry},
};
use tokio::sync::mpsc;

use super::{
    InstallError, Options, OutwardLinks, Scripts, cache,
    fetch::{self, Hashes},
    left_out,
    link::{LinkError, Linked, Linking, wheel::Request},
    pip, record, record_file,
    script::{self, ScriptKind},
    source::{PackageLocation, PackageOrigin, SourceError, Sources, package_or_disk_error, verify},
    stage::Stage,
    staged_package::{StagedPackage, kept_python},
    unpack::{IdleCores, unpack},
};
use crate::python_info::PythonInfo;

/// A package for a worker to link.
struct LinkJob {
    number: usize,
    place: PackageLocation,
    /// The number of earlier attempts.
    attempt: u32,
}

/// The result of a job.
enum LinkOutcome {
    Finished(Box<StagedPackage>),
    /// A noarch python package cannot be linked yet, because python is not linked.
    PythonWanted(LinkJob),
    /// The package must be fetched again, because it was damaged and removed from the cache, or because the cache is no
    /// longer used.
    Again {
        number: usize,
        attempt: u32,
        damage: Option<String>,
    },
    Failed(InstallError),
}

/// The state that the workers share.
struct LinkState {
    packages: Vec<LockedPackage>,
    /// Facts of the lock about the wheels. The wheels are the last items of `packages`.
    requests: Vec<Request>,
    specs: Vec<String>,
    sources: Sources,
    outward_links: OutwardLinks,
    scripts: Scripts,
    slim: Slim,
    stage: Arc<Stage>,
    python: OnceLock<PythonInfo>,
    jobs: Mutex<mpsc::Receiver<LinkJob>>,
    /// The number of cores of workers that wait for a job.
    idle_cores: IdleCores,
    outcomes: mpsc::UnboundedSender<LinkOutcome>,
    stop: AtomicBool,
}

/// The worker threads. Dropping this stops them and waits for them.
struct LinkThreads {
    shared: Arc<LinkState>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for LinkThreads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic was reported already, and the missing result is noticed.
            let _ = thread.join();
        }
    }
}

/// Links all packages of a plan into the stage. The results are in the order of the plan.
pub(super) async fn link_all(
    plan: &Plan,
    client: &Client,
    stage: &Arc<Stage>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<StagedPackage>, InstallError> {
    stage.directory(Path::new("conda-meta"))?;
    let packages = plan.archives();
    let (jobs, jobs_end) = mpsc::channel(options.threads.get() * 2);
    let (outcomes, mut outcomes_end) = mpsc::unbounded_channel();
    let sources = Sources::new(options, &packages);
    let shared = Arc::new(LinkState {
        packages,
        requests: plan.pip.link.iter().map(|wheel| pip::request(wheel, &plan.pip.requested)).collect(),
        specs: plan.specs.clone(),
        sources,
        outward_links: options.outward_links,
        scripts: options.scripts,
        slim: plan.slim.clone(),
        stage: Arc::clone(stage),
        python: kept_python(plan).map_or_else(OnceLock::new, OnceLock::from),
        jobs: Mutex::new(jobs_end),
        idle_cores: IdleCores::default(),
        outcomes,
        stop: AtomicBool::new(false),
    });
    let mut pool = LinkThreads { shared: Arc::clone(&shared), threads: Vec::new() };
    for _ in 0..options.threads.get() {
        let shared = Arc::clone(&shared);
        pool.threads.push(thread::Builder::new().name("link".to_owned()).spawn(move || shared.run_worker())?);
    }
    // `jobs` is moved, so that it is dropped before the threads are waited for. Else they would wait for more jobs.
    coordinate(&shared, client, options, progress, jobs, &mut outcomes_end).await
}

/// Sends archives to the workers and receives their results, until all packages are finished.
///
/// Running downloads are always polled, because a connection that is not read for some time looks dead to the server.
/// New downloads begin only while few archives wait for a worker, so that archives do not pile up.
async fn coordinate(
    shared: &LinkState,
    client: &Client,
    options: &Options,
    progress: &dyn Progress,
    jobs: mpsc::Sender<LinkJob>,
    outcomes: &mut mpsc::UnboundedReceiver<LinkOutcome>,
) -> Result<Vec<StagedPackage>, InstallError> {
    let packages = &shared.packages;
    let mut schedule = schedule(packages).into_iter().peekable();
    let mut fetches = FuturesUnordered::new();
    let (mut ready, mut waiting): (VecDeque<LinkJob>, Vec<LinkJob>) = (VecDeque::new(), Vec::new());
    let mut finished: Vec<StagedPackage> = Vec::with_capacity(packages.len());
    let mut local = HashSet::new();
    while finished.len() < packages.len() {
        let may_begin = |number: &usize| shared.may_begin(*number);
        while fetches.len() < options.downloads.get() && ready.len() < options.threads.get() {
            let Some(number) = schedule.next_if(may_begin) else { break };
            fetches.push(fetch_one(shared, number, 0, client, progress));
        }
        if shared.python.get().is_some() {
            ready.extend(waiting.drain(..));
        } else if finished.len() + waiting.len() == packages.len() {
            let package = waiting.first().map(|job| packages[job.number].file_name.clone());
            return Err(InstallError::NoPython { package: package.unwrap_or_default() });
        }
        tokio::select! {
            // Results come first, because other packages may wait for one of them, python.
            biased;
            outcome = outcomes.recv() => match outcome {
                Some(LinkOutcome::Finished(package)) => {
                    if local.contains(&package.number) {
                        let bytes = package.record.repodata_record.package_record.size.unwrap_or(0);
                        progress.event(Event::Local { bytes });
                    }
                    progress.event(Event::PackageInstalled { package: packages[package.number].file_name.clone() });
                    finished.push(*package);
                }
                Some(LinkOutcome::PythonWanted(job)) => waiting.push(job),
                Some(LinkOutcome::Again { number, attempt, damage }) => {
                    if let Some(reason) = damage {
                        progress.event(Event::CacheDamaged { package: packages[number].file_name.clone(), reason });
                    }
                    local.remove(&number);
                    fetches.push(fetch_one(shared, number, attempt, client, progress));
                }
                Some(LinkOutcome::Failed(error)) => return Err(error),
                None => return Err(stopped()),
            },
            place = jobs.reserve(), if !ready.is_empty() => {
                let place = place.map_err(|_| stopped())?;
                if let Some(job) = ready.pop_front() {
                    place.send(job);
                }
            }
            Some(job) = fetches.next() => {
                let job: LinkJob = job?;
                if !matches!(job.place, PackageLocation::Fetched(..)) {
                    local.insert(job.number);
                }
                ready.push_back(job);
            }
        }
    }
    shared.sources.report(progress);
    mlconda_types::sorting::sort_by_key(&mut finished, |package| package.number);
    Ok(finished)
}

fn stopped() -> InstallError {
    io::Error::other("the installation was stopped").into()
}

/// The order of downloads: python first, because noarch packages wait for it; then the others, the largest first, so
/// that no core is idle at the end; noarch packages last.
fn schedule(packages: &[LockedPackage]) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..packages.len()).collect();
    mlconda_types::sorting::sort_by_key(&mut numbers, |number| {
        let package = &packages[*number];
        let size = std::cmp::Reverse(package.size.unwrap_or(u64::MAX));
        (package.name != "python", package.subdir == Subdir::NoArch, size, *number)
    });
    numbers
}

async fn fetch_one(
    shared: &LinkState,
    number: usize,
    attempt: u32,
    client: &Client,
    progress: &dyn Progress,
) -> Result<LinkJob, InstallError> {
    let package = &shared.packages[number];
    let place = match shared.sources.find(package, attempt)? {
        Some(place) => place,
        None => {
            let (archive, hashes) = fetch::download(client, package, &shared.stage.root, progress).await?;
            PackageLocation::Fetched(archive, hashes)
        }
    };
    Ok(LinkJob { number, place, attempt })
}

impl LinkState {
    /// The main loop of a worker: executes jobs until there are no more.
    fn run_worker(&self) {
        let mut buffer = Vec::new();
        loop {
            let idle = self.idle_cores.lend();
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            drop(idle);
            let Some(job) = job.filter(|_| !self.stop.load(Ordering::Relaxed)) else { return };
            // Without this, the caller would wait forever after a panic.
            let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| self.link(job, &mut buffer)));
            let outcome = outcome.unwrap_or_else(|_| LinkOutcome::Failed(io::Error::other("a thread panicked").into()));
            // The receiver is gone if the installation was stopped.
            if self.stop.load(Ordering::Relaxed) || self.outcomes.send(outcome).is_err() {
                return;
            }
        }
    }

    /// Whether the download of a package may begin. Noarch packages are downloaded after python is linked. Before that,
    /// each would occupy an open file or memory.
    fn may_begin(&self, number: usize) -> bool {
        let waits = self.packages[number].subdir == Subdir::NoArch && self.packages[number].name != "python";
        !waits || self.python.get().is_some() || !self.packages.iter().any(|package| package.name == "python")
    }

    fn link(&self, job: LinkJob, buffer: &mut Vec<u8>) -> LinkOutcome {
        let LinkJob { number, place, attempt } = job;
        let package = &self.packages[number];
        let archive = match &place {
            PackageLocation::LocalFile(path) => Some(path.clone()),
            _ => None,
        };
        let place = match self.sources.prepare(place, package, attempt, &self.idle_cores, buffer, &self.stop) {
            Ok(place) => place,
            Err(cause) => return self.retry_or_fail(number, attempt, cause),
        };
        let (size, hashes) = match &place {
            PackageLocation::Extracted(place, _) => cache::archive_size_and_hashes(place),
            PackageLocation::Fetched(archive, hashes) => (archive.len().ok(), *hashes),
            PackageLocation::LocalFile(_) | PackageLocation::Packed(..) | PackageLocation::Cached(_) => <_>::default(),
        };
        let (python, links, linker) =
            (self.python.get(), (self.outward_links, &self.slim), self.sources.linker(&place));
        let mut linking = Linking::new(&self.stage, number, python, buffer, links, linker, &self.stop);
        let (read, origin) = match &place {
            PackageLocation::Extracted(place, origin) => {
                (cache::read(place).map_err(Into::into).and_then(|cached| linking.link_cached(cached)), Some(*origin))
            }
            PackageLocation::Fetched(archive, _) => {
                (unpack(archive, &package.file_name, &self.idle_cores, &self.stop, &mut linking), None)
            }
            PackageLocation::LocalFile(_) | PackageLocation::Packed(..) | PackageLocation::Cached(_) => (Ok(()), None),
        };
        let linked = match read {
            // A local file is closed and opened again later, to keep the number of open files small.
            Err(LinkError::PythonWanted) => {
                let place = match (archive, place) {
                    (Some(path), PackageLocation::Fetched(..)) => PackageLocation::LocalFile(path),
                    (_, place) => place,
                };
                return LinkOutcome::PythonWanted(LinkJob { number, place, attempt });
            }
            Err(error) => Err(error),
            Ok(()) => linking.finish(self.request(number)),
        };
        match (linked.and_then(|linked| self.record(number, linked, (size, hashes), origin)), place) {
            (Ok(finished), _) => LinkOutcome::Finished(Box::new(finished)),
            // The package in the cache may be damaged.
            (Err(error), PackageLocation::Extracted(place, _)) if error.is_of_the_package() => {
                match verify(&place, buffer, &self.stop) {
                    Err(cause) => self.retry_or_fail(number, attempt, cause),
                    Ok(()) => LinkOutcome::Failed(link_failure(package, error)),
                }
            }
            (Err(error), _) => LinkOutcome::Failed(link_failure(package, error)),
        }
    }

    /// Facts of the lock about a wheel; `None` for a conda package.
    fn request(&self, number: usize) -> Option<&Request> {
        self.requests.get(number.checked_sub(self.packages.len() - self.requests.len())?)
    }

    /// Decides whether linking a package is tried again.
    fn retry_or_fail(&self, number: usize, attempt: u32, cause: SourceError) -> LinkOutcome {
        let package = &self.packages[number];
        let (next, damage) = match cause {
            SourceError::Failed(error) => return LinkOutcome::Failed(error),
            SourceError::Unreadable(error) => (self.sources.stop_using_cache(package, error), None),
            SourceError::Damaged(place, source) => {
                let reason = source.to_string();
                (self.sources.discard(package, attempt, &place, source), Some(reason))
            }
        };
        match next {
            Ok(attempt) => LinkOutcome::Again { number, attempt, damage },
            Err(error) => LinkOutcome::Failed(error),
        }
    }

    /// Writes the record of a package. The list of its files can be long, so it is not part of the result.
    fn record(
        &self,
        number: usize,
        mut linked: Linked,
        archive: (Option<u64>, Hashes),
        origin: Option<PackageOrigin>,
    ) -> Result<StagedPackage, LinkError> {
        let package = &self.packages[number];
        let index = &linked.package.index;
        let (name, version) = (index.name.as_normalized(), index.version.as_str());
        if name != package.name.as_str() || version != package.version || index.build != package.build {
            let message = format!("it says that it is `{name}` {version}, build `{}`", index.build);
            return Err(super::package::invalid(message).into());
        }
        self.sources.deviations.note(&package.file_name, &linked.deviations);
        let spec = match self.request(number) {
            Some(request) => request.requested.then_some(package.name.as_str()),
            None => record::requested(&self.specs, &package.name),
        };
        let built = linked.package.built();
        let is_python = linked.package.is_python();
        let shared = if origin.is_some_and(PackageOrigin::shares_storage) { linked.hard_linked } else { 0 };
        let mut own = std::mem::take(&mut linked.own);
        // Only conda packages have link scripts. In a wheel, a file with such a name is an ordinary file.
        let script = script::path(&package.name, ScriptKind::PostLink);
        let post_link = !package.is_distribution() && linked.paths.iter().any(|entry| entry.relative_path == script);
        own.scripts_not_run = post_link && self.scripts == Scripts::Skip;
        let mut record = record::record(package, linked, archive, spec)?;
        let (path, text) =
            (Path::new("conda-meta").join(distributions::record_name(&record)), record_file::render(&record, &own)?);
        self.stage.root.put(&path, &text, built.unwrap_or(0)).map_err(InstallError::from)?;
        if is_python {
            let python = &record.repodata_record.package_record;
            let info = PythonInfo::from_record(python)
                .ok_or_else(|| super::package::invalid(format!("`{}` is no version of python", python.version)))?;
            let _ = self.python.set(info);
        }
        let paths = std::mem::take(&mut record.paths_data.paths);
        let files = std::mem::take(&mut record.files).len();
        let bytes = paths.iter().filter(|entry| is_file(entry)).filter_map(|entry| entry.size_in_bytes).sum();
        let left_out = own.left_out.map(|left| left_out::of_package(left, &paths)).unwrap_or_default();
        Ok(StagedPackage { number, record, built, files, bytes, shared, origin, left_out, post_link })
    }
}

/// Converts the error of a package that could not be linked.
fn link_failure(package: &LockedPackage, error: LinkError) -> InstallError {
    match error {
        // A file name is too long, most likely one in the package.
        LinkError::Failed(InstallError::File(source)) if source.kind() == io::ErrorKind::InvalidFilename => {
            InstallError::Package { package: package.file_name.clone(), source }
        }
        LinkError::Failed(error) => error,
        LinkError::Content(source) => package_or_disk_error(package, source),
        LinkError::PythonWanted => stopped(),
    }
}

/// Whether a path is a regular file. In some packages, soft links have the size of their target.
fn is_file(entry: &PathsEntry) -> bool {
    !matches!(entry.path_type, PathType::SoftLink | PathType::Directory)
}
