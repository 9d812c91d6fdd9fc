//! Whether mlconda and rattler's solver choose the same packages. mlconda shows the solver only what can be in a
//! solution; here rattler's gets all there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use mlconda::{
    Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    network::{Client, NetworkOptions},
    repodata::{self, Access, Repodata, RepodataOptions},
    solve::{SolveError, SolveOptions, solve_for_host},
};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord};
use rattler_solve::{SolverImpl, SolverTask, resolvo};

use crate::Outcome;

/// How often answers were of which kind.
#[derive(Default)]
struct Count {
    same: usize,
    different: usize,
    both_refuse: usize,
    one_refuses: usize,
}

impl Count {
    /// Counts the two answers; whether they agree.
    fn add(&mut self, ours: Option<&BTreeSet<String>>, theirs: Option<&BTreeSet<String>>) -> bool {
        let field = match (ours, theirs) {
            (None, None) => &mut self.both_refuse,
            (Some(ours), Some(theirs)) if ours == theirs => &mut self.same,
            (Some(_), Some(_)) => &mut self.different,
            _ => &mut self.one_refuses,
        };
        *field += 1;
        ours == theirs
    }

    fn all(&self) -> usize {
        self.same + self.different + self.both_refuse + self.one_refuses
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Self { same, different, both_refuse, one_refuses } = self;
        write!(out, "{same} the same, {different} different, {both_refuse} refused by both, {one_refuses} by one")
    }
}

/// The answers so far, and the time that solves with an answer took.
#[derive(Default)]
struct Tally {
    count: Count,
    in_place: Count,
    ours: Duration,
    theirs: Duration,
    replaced: Duration,
}

impl Tally {
    /// Asks all; whether there is an answer.
    fn ask(&mut self, file: &str, environment: &Environment, repodata: &Repodata) -> bool {
        let host = Host::baseline(Subdir::Linux64);
        let start = Instant::now();
        let answer = solve_for_host(environment, repodata, &host, &SolveOptions::default());
        if answer.is_ok() {
            self.ours += start.elapsed();
        }
        let answer: Option<BTreeSet<String>> = answer.ok().map(|answer| answer.records.iter().map(url).collect());
        let task = AsTask::new(environment, repodata, &host);
        let expected = task.solve(resolvo::Solver, &mut self.theirs);
        // The same solver as the first, where rattler's would be.
        let replaced = task.solve(mlconda::rattler::Solver, &mut self.replaced);
        let mut agree = self.count.add(answer.as_ref(), expected.as_ref());
        agree &= self.in_place.add(replaced.as_ref(), expected.as_ref());
        if !agree {
            println!("{file}:");
        }
        let solved = answer.is_some();
        let expected = expected.unwrap_or_default();
        for (who, answer) in [("mlconda", answer), ("in the place of rattler's", replaced)] {
            let answer = answer.unwrap_or_default();
            answer.difference(&expected).for_each(|url| println!("  {who}: {url}"));
            expected.difference(&answer).for_each(|url| println!("  rattler, and not {who}: {url}"));
        }
        solved
    }
}

/// Compares the answers for environments, whose channels are directories under one; what is not there is left out. What
/// has no answer is asked for again without versions and builds. A file that cannot be read is an error, and so is a run
/// that has asked for nothing: both would look like agreement.
pub(crate) fn agree(arguments: &[String]) -> Outcome<()> {
    let [channels, files @ ..] = arguments else { return Err("--agree CHANNELS FILE…".into()) };
    let (mut tally, mut loose) = (Tally::default(), Tally::default());
    let (mut nothing, mut unreadable) = (BTreeMap::new(), 0);
    for file in files {
        let (mut environment, repodata) = match question(Path::new(channels), Path::new(file)) {
            Ok(Question::Of(environment, repodata)) => (environment, repodata),
            Ok(Question::Nothing(why)) => {
                *nothing.entry(why).or_insert(0) += 1;
                continue;
            }
            Err(error) => {
                unreadable += 1;
                println!("{file}: {error}");
                continue;
            }
        };
        if tally.ask(file, &environment, &repodata) {
            continue;
        }
        for requirement in &mut environment.requirements {
            (requirement.spec.version, requirement.spec.build) = (None, None);
        }
        loose.ask(&format!("{file}, without versions"), &environment, &repodata);
    }
    println!("{} files, {unreadable} that cannot be read", files.len());
    nothing.iter().for_each(|(why, count)| println!("nothing to ask for: {count}, {why}"));
    for (what, tally) in [("as written", &tally), ("refused ones without versions", &loose)] {
        let Tally { count, in_place, ours, theirs, replaced } = tally;
        println!("{what}: {count}; {ours:.1?} against {theirs:.1?}");
        println!("{what}, in its place: {in_place}; {replaced:.1?}");
    }
    let wrong = |count: &Count| count.different + count.one_refuses;
    let wrong: usize = [&tally, &loose].iter().map(|tally| wrong(&tally.count) + wrong(&tally.in_place)).sum();
    match (wrong, unreadable, tally.count.all()) {
        (_, _, 0) => Err("nothing was asked".into()),
        (0, 0, _) => Ok(()),
        (0, ..) => Err(format!("{unreadable} files cannot be read").into()),
        _ => Err("they differ".into()),
    }
}

fn url(record: &RepoDataRecord) -> String {
    record.url.to_string()
}

/// What a file asks for.
enum Question {
    /// An environment, and all that it can reach.
    Of(Environment, Repodata),
    /// Nothing that can be asked for, and why.
    Nothing(&'static str),
}

fn question(channels: &Path, file: &Path) -> Outcome<Question> {
    let root = format!("file://{}", channels.display());
    let options = ReadOptions {
        directory: "/".into(),
        channel_alias: Some(root.clone()),
        default_channels: vec![format!("{root}/main")],
        ..ReadOptions::default()
    };
    let mut environment = Environment::read(file, &options)?.for_platform(Subdir::Linux64);
    let is_there = |url: &url::Url| url.to_file_path().is_ok_and(|path| path.is_dir());
    environment.channels.retain(|channel| is_there(channel.base_url.url()));
    environment.requirements.retain(|requirement| {
        requirement.spec.url.is_none()
            && requirement.spec.channel.as_ref().is_none_or(|channel| is_there(channel.base_url.url()))
    });
    if environment.all_channels().is_empty() {
        return Ok(Question::Nothing("none of its channels is there"));
    }
    let scratch = tempfile::tempdir()?;
    let options =
        RepodataOptions { cache_directory: scratch.path().into(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&NetworkOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = Host::baseline(Subdir::Linux64);
    loop {
        if environment.requirements.is_empty() {
            return Ok(Question::Nothing("the channels have none of it"));
        }
        let repodata = runtime.block_on(repodata::load(&client, &environment, &host, &options, &()))?;
        match solve_for_host(&environment, &repodata, &host, &SolveOptions::default()) {
            Err(SolveError::Unknown { packages, .. }) => environment.requirements.retain(|requirement| {
                let name = requirement.spec.name.to_string();
                packages.iter().all(|package| package.name != name)
            }),
            Err(SolveError::Unsupported { .. }) => {
                return Ok(Question::Nothing("a spec that mlconda does not support"));
            }
            _ => return Ok(Question::Of(environment, repodata)),
        }
    }
}

/// A question as `rattler_solve` is asked: all records, with the dependency on pip that mlconda adds to python.
struct AsTask {
    specs: Vec<MatchSpec>,
    virtual_packages: Vec<GenericVirtualPackage>,
    subdirs: Vec<Vec<RepoDataRecord>>,
}

impl AsTask {
    fn new(environment: &Environment, repodata: &Repodata, host: &Host) -> Self {
        let has_pip = repodata.records().any(|record| record.package_record.name.as_normalized() == "pip");
        let mut subdirs: Vec<Vec<RepoDataRecord>> = Vec::new();
        for record in repodata.records() {
            let mut record = record.clone();
            if has_pip
                && record.package_record.name.as_normalized() == "python"
                && record.package_record.version.as_str().starts_with(['2', '3'])
            {
                record.package_record.depends.push("pip".to_owned());
            }
            let place = |record: &RepoDataRecord| (record.channel.clone(), record.package_record.subdir.clone());
            match subdirs.last_mut() {
                Some(subdir) if subdir.last().map(place) == Some(place(&record)) => subdir.push(record),
                _ => subdirs.push(vec![record]),
            }
        }
        Self { specs: environment.specs(), virtual_packages: host.virtual_packages.clone(), subdirs }
    }

    /// The URLs of an answer. The time counts if there is one.
    fn solve(&self, mut solver: impl SolverImpl, time: &mut Duration) -> Option<BTreeSet<String>> {
        let start = Instant::now();
        let task = SolverTask {
            specs: self.specs.clone(),
            virtual_packages: self.virtual_packages.clone(),
            ..SolverTask::from_iter(self.subdirs.iter())
        };
        let answer = solver.solve(task).ok()?;
        *time += start.elapsed();
        Some(answer.records.iter().map(url).collect())
    }
}
