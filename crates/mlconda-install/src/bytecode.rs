//! Compiles the byte code of noarch python packages with the environment's own python, before the commit.
//!
//! Packages for one platform contain their byte code. Noarch packages cannot, because they do not know the python
//! version. Modules are compiled in the stage, where python finds its library, so that a killed process leaves nothing
//! incomplete in the prefix. Python only returns the code; the stage writes the files, with their modes and times. The
//! same lock gives the same bytes: the code contains the final prefix, the hash seed is fixed, and modules are compiled
//! independently.

mod built;
mod detect;
mod python;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Child,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, distributions, on_disk::OwnFields};
use mlconda_system::{
    self as system,
    beneath::{PathInfo, PathKind, Root, WayForChildren},
};
use mlconda_types::{
    progress::{Event, Progress, Task},
    slim::Part,
};
use rattler_conda_types::{
    PrefixRecord,
    prefix_record::{PathType, PathsEntry},
};
use rattler_digest::{Sha256, compute_bytes_digest};
use tokio::sync::mpsc;

pub(super) use self::built::compile_built;
use self::python::{Answer, Process, Worker};
use super::{
    Bytecode, InstallError, Options,
    link::wheel,
    record_file, script,
    stage::Stage,
    staged_package::{self, StagedPackage},
};
use crate::python_info::PythonInfo;

/// The script that the environment's python runs.
pub(super) const SCRIPT: &str = include_str!("bytecode.py");

/// The minimum number of modules per worker. Starting a python takes as long as compiling a few modules.
const WORTH_A_WORKER: usize = 16;

/// The largest size of byte code, in bytes. An answer with a larger size is not valid.
const LARGEST: usize = 1 << 30;

/// A python that does not answer within this time is stopped.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// The time limit for one answer.
fn answer_limit(limit: Option<Duration>) -> Duration {
    limit.unwrap_or(LONGEST_SILENCE).min(LONGEST_SILENCE)
}

/// The reason for stopping a python that does not answer.
fn no_answer(limit: Duration) -> String {
    format!("it has not answered for {} seconds", limit.as_secs())
}

impl Bytecode {
    /// The name of the mode for the script.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Skip => None,
            Self::Timestamp => Some("timestamp"),
            Self::CheckedHash => Some("checked-hash"),
            Self::UncheckedHash => Some("unchecked-hash"),
        }
    }
}

impl Compiled {
    /// Adds another result.
    pub(super) fn count(&mut self, other: Self) {
        self.modules += other.modules;
        self.bytes += other.bytes;
        self.failed.extend(other.failed);
        self.broken.extend(other.broken);
        self.unable = self.unable.take().or(other.unable);
    }
}

/// The result of compiling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The number of compiled modules.
    pub modules: usize,
    /// The size of the byte code, in bytes.
    pub bytes: u64,
    /// Modules that cannot be compiled, relative to the prefix, with the reasons. They are templates, or code for
    /// another python.
    pub failed: Vec<(PathBuf, String)>,
    /// Those of the failed modules during which python ended. Another attempt may succeed.
    pub broken: Vec<PathBuf>,
    /// Why python could not compile some or all modules: for example, it is for another machine, or its C library is
    /// missing.
    pub unable: Option<String>,
}

/// A module to compile.
struct Module {
    /// The number of its package in the plan.
    package: usize,
    /// Its path in the record of the package.
    name: PathBuf,
    /// Its final path, relative to the prefix, after links of packages are resolved.
    path: PathBuf,
    /// The modification time, in seconds since 1970.
    modified: i64,
    /// The size in bytes.
    size: u64,
}

/// A result of a worker.
enum CompileOutcome {
    /// The byte code of a module, which is given by its number.
    Compiled(usize, Box<PathsEntry>),
    /// The package contains byte code for the module already.
    OfPackage,
    /// The module cannot be compiled.
    Failed(usize, String),
    /// Python ended while it compiled the module. Another attempt may succeed.
    Broken(usize, String),
    /// Python cannot run.
    Unable(String),
    /// Reading or writing failed.
    Error(InstallError),
}

/// The state that the threads share.
struct CompileState {
    stage: Arc<Stage>,
    /// The path by which the pythons reach the stage.
    way: WayForChildren,
    interpreter: PathBuf,
    mode: &'static str,
    modules: Vec<Module>,
    next: AtomicUsize,
    stop: AtomicBool,
    /// The running pythons, so that one that hangs can be killed.
    processes: Mutex<Vec<Weak<Process>>>,
}

/// The worker threads. Dropping this stops them and waits for them.
struct CompileThreads {
    shared: Arc<CompileState>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Drop for CompileThreads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let processes = std::mem::take(&mut *self.shared.processes.lock().unwrap_or_else(PoisonError::into_inner));
        processes.iter().filter_map(Weak::upgrade).for_each(|process| process.end());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Compiles the new noarch python packages in the stage, and adds the byte code to their records. `is_wanted` selects
/// packages by their number in the plan.
pub(super) async fn compile(
    plan: &Plan,
    prefix: &Prefix,
    stage: &Arc<Stage>,
    finished: &[StagedPackage],
    is_wanted: &(dyn Fn(usize) -> bool + Sync),
    options: &Options,
    progress: &dyn Progress,
) -> Result<Compiled, InstallError> {
    let (Some(mode), Some((python, is_new))) = (options.bytecode.name(), interpreter(plan, finished)) else {
        return Ok(Compiled::default());
    };
    let mut records = records(stage, finished, is_wanted)?;
    let modules = modules(&records, stage, &python)?;
    if modules.is_empty() {
        return Ok(Compiled::default());
    }
    progress.event(Event::BytecodeStarted { modules: modules.len() });
    let workers = options.threads.get().min(modules.len().div_ceil(WORTH_A_WORKER));
    let (next, stop, processes) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::default());
    let way = stage.root.way_for_children()?;
    let (stage, home) = (Arc::clone(stage), if is_new { way.path() } else { prefix.path() });
    let interpreter = home.join(python.path());
    let shared = Arc::new(CompileState { stage, way, interpreter, mode, modules, next, stop, processes });
    let limit = answer_limit(options.script_timeout);
    let (compiled, entries) = run(&shared, workers, limit, progress).await?;
    for (number, entries) in entries {
        if let Some((record, own)) = records.get_mut(&number) {
            add(record, own, entries, &shared.stage.root, finished[number].built)?;
        }
    }
    Ok(compiled)
}

/// The environment's python, and whether it is new. A new one is in the stage, a kept one in the prefix.
fn interpreter(plan: &Plan, finished: &[StagedPackage]) -> Option<(PythonInfo, bool)> {
    let records = finished.iter().map(|package| &package.record.repodata_record.package_record);
    match records.into_iter().find(|record| record.name.as_normalized() == "python") {
        Some(record) => Some((PythonInfo::from_record(record)?, true)),
        None => Some((staged_package::kept_python(plan)?, false)),
    }
}

/// Records by the number of their package in the plan.
type Records = BTreeMap<usize, (PrefixRecord, OwnFields)>;

/// The records of the noarch python packages in the stage, including wheels.
fn records(
    stage: &Stage,
    finished: &[StagedPackage],
    is_wanted: &(dyn Fn(usize) -> bool + Sync),
) -> Result<Records, InstallError> {
    let noarch = |package: &&StagedPackage| {
        package.record.repodata_record.package_record.noarch.is_python() && is_wanted(package.number)
    };
    let mut records = Records::new();
    for package in finished.iter().filter(noarch) {
        let path = Path::new("conda-meta").join(distributions::record_name(&package.record));
        records.insert(package.number, record_file::read(&stage.root, &path)?);
    }
    Ok(records)
}

/// The modules to compile, largest first, so that no core is idle at the end.
fn modules(records: &Records, stage: &Stage, python: &PythonInfo) -> Result<Vec<Module>, InstallError> {
    let mut modules: Vec<Module> = Vec::new();
    let is_compiled = |own: &OwnFields| !own.left_out.as_ref().is_some_and(|left| left.has(Part::Bytecode));
    for (package, (record, _)) in records.iter().filter(|(_, (_, own))| is_compiled(own)) {
        for name in record_file::files(record).filter(|path| path.starts_with(&python.site_packages_path)) {
            if name.extension().is_none_or(|extension| extension != "py") {
                continue;
            }
            let path = stage.final_path(name);
            // If packages clash, only the owner of the path is compiled.
            if stage.owner(&path) != Some(*package) {
                continue;
            }
            let there = stage.root.lookup(&path)?.filter(|there| there.kind == PathKind::File);
            if let Some(PathInfo { time: (modified, _), size, .. }) = there {
                modules.push(Module { package: *package, name: name.clone(), path, modified, size });
            }
        }
    }
    mlconda_types::sorting::sort_by(&mut modules, |one, other| {
        other.size.cmp(&one.size).then_with(|| (&one.path, &one.name).cmp(&(&other.path, &other.name)))
    });
    // A package may contain one file under two names.
    modules.dedup_by(|one, other| one.path == other.path);
    Ok(modules)
}

/// Runs the workers. Returns the paths of the byte code by package.
async fn run(
    shared: &Arc<CompileState>,
    workers: usize,
    limit: Duration,
    progress: &dyn Progress,
) -> Result<(Compiled, BTreeMap<usize, Vec<PathsEntry>>), InstallError> {
    let (outcomes, mut outcomes_end) = mpsc::unbounded_channel();
    let mut pool = CompileThreads { shared: Arc::clone(shared), threads: Vec::new() };
    for _ in 0..workers {
        let (shared, outcomes) = (Arc::clone(shared), outcomes.clone());
        let thread = thread::Builder::new().name("compile".to_owned());
        pool.threads.push(thread.spawn(move || shared.run_worker(&outcomes))?);
    }
    drop(outcomes);
    let (mut compiled, mut entries, mut brought) = (Compiled::default(), BTreeMap::<_, Vec<_>>::new(), 0);
    loop {
        let answer = script::wait(outcomes_end.recv(), Some(limit), progress, Task::Bytecode, "python").await;
        let Some(Some(outcome)) = answer else {
            compiled.unable = answer.is_none().then(|| no_answer(limit)).or(compiled.unable);
            break;
        };
        match outcome {
            CompileOutcome::Compiled(number, entry) => {
                compiled.modules += 1;
                compiled.bytes += entry.size_in_bytes.unwrap_or(0);
                entries.entry(shared.modules[number].package).or_default().push(*entry);
            }
            CompileOutcome::OfPackage => brought += 1,
            CompileOutcome::Failed(number, reason) => {
                compiled.failed.push((shared.modules[number].path.clone(), reason))
            }
            CompileOutcome::Broken(number, reason) => {
                compiled.broken.push(shared.modules[number].path.clone());
                compiled.failed.push((shared.modules[number].path.clone(), reason));
            }
            CompileOutcome::Unable(reason) => compiled.unable = Some(reason),
            CompileOutcome::Error(error) => return Err(error),
        }
    }
    // If the other pythons have compiled all modules, the failure of one python does not matter.
    if compiled.modules + compiled.failed.len() + brought == shared.modules.len() {
        compiled.unable = None;
    }
    mlconda_types::sorting::sort(&mut compiled.failed);
    Ok((compiled, entries))
}

/// Adds byte code to a package's record.
fn add(
    record: &mut PrefixRecord,
    own: &OwnFields,
    entries: Vec<PathsEntry>,
    root: &Root,
    built: Option<i64>,
) -> Result<(), InstallError> {
    let paths = &mut record.paths_data.paths;
    paths.extend(entries);
    mlconda_types::sorting::sort_by(paths, |one, other| one.relative_path.cmp(&other.relative_path));
    let is_wheel = distributions::is_distribution(&record.repodata_record.package_record);
    if let Some(number) = paths.iter().position(|entry| is_wheel && distributions::is_record_file(&entry.relative_path))
    {
        // pip uninstalls the files in `RECORD`.
        let target = paths[number].relative_path.clone();
        let text = wheel::list(paths, &target);
        root.put(&target, text.as_bytes(), built.unwrap_or(0))?;
        paths[number] = wheel::written(target, text.as_bytes());
    }
    record_file::list_files(record);
    let path = Path::new("conda-meta").join(distributions::record_name(record));
    root.put(&path, &record_file::render(record, own)?, built.unwrap_or(0))?;
    Ok(())
}

impl CompileState {
    /// The main loop of a worker: compiles modules until there are no more.
    fn run_worker(&self, outcomes: &mpsc::UnboundedSender<CompileOutcome>) {
        let mut python = None;
        while !self.stop.load(Ordering::Relaxed) {
            // Start python before taking a module, so that another worker can take it if this fails.
            let mut worker = match python.take().map_or_else(|| Worker::start(self), Ok) {
                Ok(worker) => worker,
                Err(reason) => {
                    let _ = outcomes.send(CompileOutcome::Unable(reason));
                    return;
                }
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(module) = self.modules.get(number) else { return };
            let outcome = match worker.ask(module) {
                Ok(Answer::Code(code)) => self.write(number, &worker.tag, &code).unwrap_or_else(CompileOutcome::Error),
                Ok(Answer::Reason(reason)) => CompileOutcome::Failed(number, reason),
                Err(error) => {
                    // This module made python fail. The next module gets a new python.
                    let _ = outcomes.send(CompileOutcome::Broken(number, format!("python broke off: {error}")));
                    continue;
                }
            };
            python = Some(worker);
            if outcomes.send(outcome).is_err() {
                return;
            }
        }
    }

    /// Registers a running python, so that it is killed together with the workers.
    fn watch(&self, child: Child) -> Arc<Process> {
        let process = Arc::new(Process(Mutex::new(Some(child))));
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.push(Arc::downgrade(&process));
        // The workers may have been stopped before this python was registered.
        if self.stop.load(Ordering::Relaxed) {
            process.end();
        }
        drop(processes);
        process
    }

    /// Why python could not be started.
    fn no_start(&self, error: &io::Error) -> String {
        match (error.kind(), self.interpreter.is_file()) {
            // The dynamic loader is missing.
            (io::ErrorKind::NotFound, true) => "its C library is not here".to_owned(),
            (io::ErrorKind::NotFound, false) => {
                let name = self.interpreter.file_name().unwrap_or_default().to_string_lossy();
                format!("there is no `bin/{name}`")
            }
            _ => error.to_string(),
        }
    }

    /// Writes byte code to the path where python looks for it (PEP 3147), with the time of its module.
    fn write(&self, number: usize, tag: &str, code: &[u8]) -> Result<CompileOutcome, InstallError> {
        let Module { package, name, path, modified, .. } = &self.modules[number];
        let of = |path: &Path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            path.parent().unwrap_or(Path::new("")).join("__pycache__").join(format!("{stem}.{tag}.pyc"))
        };
        let target = of(path);
        if self.stage.owner(&target).is_some() {
            return Ok(CompileOutcome::OfPackage);
        }
        let mut file = self.stage.create(&self.stage.claim(&target, *package)?, 0o644)?;
        file.write_all(code)?;
        system::set_time(file.file(), *modified)?;
        let hash = compute_bytes_digest::<Sha256>(code);
        Ok(CompileOutcome::Compiled(
            number,
            Box::new(PathsEntry {
                // The path is below the same links as that of the module. If a link of another package changes, both
                // move.
                relative_path: of(name),
                original_path: None,
                path_type: PathType::PycFile,
                no_link: false,
                sha256: Some(hash),
                sha256_in_prefix: Some(hash),
                size_in_bytes: Some(code.len() as u64),
                file_mode: None,
                prefix_placeholder: None,
            }),
        ))
    }
}
