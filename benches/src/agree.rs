//! Compares the packages that mlconda and rattler's solver choose. mlconda's solver gets only the records that can be
//! in a solution; rattler's gets all records.

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

/// How often the two solutions were the same, or differed.
#[derive(Default)]
struct Count {
    same: usize,
    different: usize,
    /// The different pairs of solutions in which each has a package that is newer than in the other.
    traded: usize,
    both_refuse: usize,
    one_refuses: usize,
}

impl Count {
    /// Counts a pair of solutions. Returns whether they agree.
    fn add(&mut self, ours: Option<&Answer>, theirs: Option<&Answer>) -> bool {
        let agree = match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => ours.urls() == theirs.urls(),
            _ => false,
        };
        let field = match (ours, theirs) {
            (None, None) => &mut self.both_refuse,
            (Some(_), Some(_)) if agree => &mut self.same,
            (Some(ours), Some(theirs)) => {
                self.traded += usize::from(ours.has_newer(theirs) && theirs.has_newer(ours));
                &mut self.different
            }
            _ => &mut self.one_refuses,
        };
        *field += 1;
        agree
    }

    fn all(&self) -> usize {
        self.same + self.different + self.both_refuse + self.one_refuses
    }
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Self { same, different, traded, both_refuse, one_refuses } = self;
        write!(out, "{same} the same, {different} different (in {traded}, each has something newer), ")?;
        write!(out, "{both_refuse} refused by both, {one_refuses} by one")
    }
}

/// The records of a solution.
#[derive(Default)]
struct Answer(Vec<RepoDataRecord>);

impl Answer {
    fn urls(&self) -> BTreeSet<String> {
        self.0.iter().map(|record| record.url.to_string()).collect()
    }

    /// Whether a package is newer than the package of the same name in the other solution.
    fn has_newer(&self, other: &Self) -> bool {
        let age = |record: &RepoDataRecord| {
            let package = &record.package_record;
            (package.version.clone(), package.build_number)
        };
        let by_name: BTreeMap<_, _> = other.0.iter().map(|each| (&each.package_record.name, age(each))).collect();
        self.0.iter().any(|each| by_name.get(&each.package_record.name).is_some_and(|theirs| age(each) > *theirs))
    }
}

/// The results so far, and the time of the solves that had a solution.
#[derive(Default)]
struct Tally {
    count: Count,
    in_place: Count,
    ours: Duration,
    theirs: Duration,
    replaced: Duration,
}

impl Tally {
    /// Solves with all solvers. Returns whether there is a solution.
    fn ask(&mut self, file: &str, environment: &Environment, repodata: &Repodata) -> bool {
        let host = Host::baseline(Subdir::Linux64);
        let start = Instant::now();
        let answer = solve_for_host(environment, repodata, &host, &SolveOptions::default());
        if answer.is_ok() {
            self.ours += start.elapsed();
        }
        let answer = answer.ok().map(|answer| Answer(answer.records));
        let task = AsTask::new(environment, repodata, &host);
        let expected = task.solve(resolvo::Solver, &mut self.theirs);
        // mlconda's solver behind the interface of `rattler_solve`.
        let replaced = task.solve(mlconda::rattler::Solver, &mut self.replaced);
        let mut agree = self.count.add(answer.as_ref(), expected.as_ref());
        agree &= self.in_place.add(replaced.as_ref(), expected.as_ref());
        if !agree {
            println!("{file}:");
        }
        let solved = answer.is_some();
        let expected = expected.unwrap_or_default().urls();
        for (who, answer) in [("mlconda", answer), ("in the place of rattler's", replaced)] {
            let answer = answer.unwrap_or_default().urls();
            answer.difference(&expected).for_each(|url| println!("  {who}: {url}"));
            expected.difference(&answer).for_each(|url| println!("  rattler, and not {who}: {url}"));
        }
        solved
    }
}

/// Compares the solutions for environments, whose channels are directories below one directory; missing channels are
/// left out. An environment without a solution is solved again, with only those lines that have a solution together,
/// and without versions and builds. An unreadable file is an error, and so is a run without any solve: both would look
/// like agreement.
pub(crate) fn agree(arguments: &[String]) -> Outcome<()> {
    let [channels, files @ ..] = arguments else { return Err("--agree CHANNELS FILE…".into()) };
    let (mut tally, mut part, mut loose) = (Tally::default(), Tally::default(), Tally::default());
    let (mut nothing, mut unreadable) = (BTreeMap::new(), 0);
    for file in files {
        let (mut environment, repodata) = match question(Path::new(channels), Path::new(file)) {
            Ok(Question::Of(question)) => *question,
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
        part.ask(&format!("{file}, what goes together"), &together(&environment, &repodata), &repodata);
        for requirement in &mut environment.requirements {
            (requirement.spec.version, requirement.spec.build) = (None, None);
        }
        loose.ask(&format!("{file}, without versions"), &environment, &repodata);
    }
    println!("{} files, {unreadable} that cannot be read", files.len());
    nothing.iter().for_each(|(why, count)| println!("nothing to ask for: {count}, {why}"));
    let tallies = [("as written", &tally), ("refused ones, what goes together", &part), ("without versions", &loose)];
    for (what, tally) in tallies {
        let Tally { count, in_place, ours, theirs, replaced } = tally;
        println!("{what}: {count}; {ours:.1?} against {theirs:.1?}");
        println!("{what}, in its place: {in_place}; {replaced:.1?}");
    }
    let wrong = |count: &Count| count.different + count.one_refuses;
    let wrong: usize = tallies.iter().map(|(_, tally)| wrong(&tally.count) + wrong(&tally.in_place)).sum();
    match (wrong, unreadable, tally.count.all()) {
        (_, _, 0) => Err("nothing was asked".into()),
        (0, 0, _) => Ok(()),
        (0, ..) => Err(format!("{unreadable} files cannot be read").into()),
        _ => Err("they differ".into()),
    }
}

/// The environment with only those lines that have a solution together with the kept lines before them.
fn together(environment: &Environment, repodata: &Repodata) -> Environment {
    let host = Host::baseline(Subdir::Linux64);
    let mut kept = environment.clone();
    kept.requirements.clear();
    // A stack, with the next lines at the end. Lines that have no solution together are split in halves.
    let mut open = vec![environment.requirements.as_slice()];
    while let Some(lines) = open.pop() {
        let before = kept.requirements.len();
        kept.requirements.extend_from_slice(lines);
        if solve_for_host(&kept, repodata, &host, &SolveOptions::default()).is_err() {
            kept.requirements.truncate(before);
            if lines.len() > 1 {
                let (first, second) = lines.split_at(lines.len() / 2);
                open.extend([second, first]);
            }
        }
    }
    kept
}

/// The solve for a file.
enum Question {
    /// An environment, and all records that it can reach.
    Of(Box<(Environment, Repodata)>),
    /// No solve is possible, for this reason.
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
            _ => return Ok(Question::Of(Box::new((environment, repodata)))),
        }
    }
}

/// A solve for `rattler_solve`: all records, with the dependency on pip that mlconda adds to python.
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

    /// Solves. The time is only counted if there is a solution.
    fn solve(&self, mut solver: impl SolverImpl, time: &mut Duration) -> Option<Answer> {
        let start = Instant::now();
        let task = SolverTask {
            specs: self.specs.clone(),
            virtual_packages: self.virtual_packages.clone(),
            ..SolverTask::from_iter(self.subdirs.iter())
        };
        let answer = solver.solve(task).ok()?;
        *time += start.elapsed();
        Some(Answer(answer.records))
    }
}
