//! Whether mlconda and rattler's solver choose the same packages. mlconda shows the solver only what can be in a
//! solution; here rattler's gets all there is.

use std::{
    collections::BTreeSet,
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

/// Compares the answers for environments, whose channels are directories under one; what is not there is left out.
pub(crate) fn agree(arguments: &[String]) -> Outcome<()> {
    let [channels, files @ ..] = arguments else { return Err("--agree CHANNELS FILE…".into()) };
    let (mut solved, mut unsolvable, mut differing) = (0, 0, 0);
    let (mut ours, mut theirs, mut in_place) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for file in files {
        let Some((environment, repodata)) = question(Path::new(channels), Path::new(file))? else { continue };
        let host = Host::baseline(Subdir::Linux64);
        let start = Instant::now();
        let answer = solve_for_host(&environment, &repodata, &host, &SolveOptions::default());
        if answer.is_ok() {
            ours += start.elapsed();
        }
        let task = AsTask::new(&environment, &repodata, &host);
        let expected = task.solve(resolvo::Solver, &mut theirs);
        // The same solver as the first, where rattler's would be.
        let replaced = task.solve(mlconda::rattler::Solver, &mut in_place);
        let answer: Option<BTreeSet<String>> = answer.ok().map(|answer| answer.records.iter().map(url).collect());
        match &answer {
            Some(_) => solved += 1,
            None => unsolvable += 1,
        }
        let expected = expected.unwrap_or_default();
        let answers = [("mlconda", answer), ("in the place of rattler's", replaced)];
        let wrong: Vec<_> = answers.into_iter().map(|(who, answer)| (who, answer.unwrap_or_default())).collect();
        if wrong.iter().any(|(_, answer)| *answer != expected) {
            differing += 1;
            println!("{file}:");
        }
        for (who, answer) in wrong {
            answer.difference(&expected).for_each(|url| println!("  {who}: {url}"));
            expected.difference(&answer).for_each(|url| println!("  rattler, and not {who}: {url}"));
        }
    }
    println!(
        "{solved} solved, {unsolvable} unsolvable, {differing} with different answers; {ours:.1?} against {theirs:.1?}; \
         {in_place:.1?} in its place"
    );
    if differing == 0 { Ok(()) } else { Err("they differ".into()) }
}

fn url(record: &RepoDataRecord) -> String {
    record.url.to_string()
}

/// An environment and what it can reach; `None` if nothing of it can be asked for.
fn question(channels: &Path, file: &Path) -> Outcome<Option<(Environment, Repodata)>> {
    let root = format!("file://{}", channels.display());
    let options = ReadOptions {
        directory: "/".into(),
        channel_alias: Some(root.clone()),
        default_channels: vec![format!("{root}/main")],
        ..ReadOptions::default()
    };
    let Ok(environment) = Environment::read(file, &options) else { return Ok(None) };
    let mut environment = environment.for_platform(Subdir::Linux64);
    let is_there = |url: &url::Url| url.to_file_path().is_ok_and(|path| path.is_dir());
    environment.channels.retain(|channel| is_there(channel.base_url.url()));
    environment.requirements.retain(|requirement| {
        requirement.spec.url.is_none()
            && requirement.spec.channel.as_ref().is_none_or(|channel| is_there(channel.base_url.url()))
    });
    let scratch = tempfile::tempdir()?;
    let options =
        RepodataOptions { cache_directory: scratch.path().into(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&NetworkOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = Host::baseline(Subdir::Linux64);
    loop {
        if environment.requirements.is_empty() || environment.all_channels().is_empty() {
            return Ok(None);
        }
        let repodata = runtime.block_on(repodata::load(&client, &environment, &host, &options, &()))?;
        match solve_for_host(&environment, &repodata, &host, &SolveOptions::default()) {
            Err(SolveError::Unknown { packages, .. }) => environment.requirements.retain(|requirement| {
                let name = requirement.spec.name.to_string();
                packages.iter().all(|package| package.name != name)
            }),
            Err(SolveError::Unsupported { .. }) => return Ok(None),
            _ => return Ok(Some((environment, repodata))),
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
