//! Measures how fast mlconda locks, against rattler, on a channel of conda-forge's size.
//!
//! The channel is generated from real repodata (see `channel`) and served on loopback, with a `max-age` of one hour;
//! that of public channels is some minutes. So a filled cache is used without a request. Every contender runs as a
//! process of its own under `time`, and the median counts.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads its own command line and environment")]

mod agree;
mod channel;
mod client;
mod gateway;
mod measure;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Instant, SystemTime},
};

use mlconda::{
    Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    lock::Lock,
    network::{Client, NetworkOptions},
    repodata::{self, Access, RepodataOptions},
    solve::solve_for_host,
};
use mlconda_test::server::Server;
use rattler_conda_types::{Channel, PackageName, RepoDataRecord};
use rattler_repodata_gateway::sparse::{PackageFormatSelection, SparseRepoData};

use crate::measure::{Measured, attempt, median};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo bench-lock REPODATA SCRATCH [--form json|zst|shards|cold|file] [--only NAME] [--runs N] [--small]
                        [--mlconda PROGRAM] [--before PROGRAM]
       cargo bench-lock --compare REPODATA.json…
       cargo bench-lock --agree CHANNELS ENVIRONMENT.yml…

REPODATA   a directory with `linux-64/repodata.json.zst` and `noarch/repodata.json.zst`
SCRATCH    a directory for the channel that is grown from it; kept, and used again
--form     json, zst: from the cache, filled from such a channel; shards: likewise; cold: from shards, without a cache;
           file: from files [default: all]
--only     of the environments, only this one
--runs     how often each contender runs [default: 3]
--small    the repodata as it is, not grown
--mlconda  the static program [default: that of `cargo static`]
--before   an earlier program, in the place of rattler
--compare  measures nothing: whether mlconda and rattler read the same records from these files
--agree    measures nothing much: whether mlconda and rattler choose the same packages for these environments, whose
           channels are directories in CHANNELS (conda-forge, main, …)";

/// The number of records in each subdir, about as many as in conda-forge.
const RECORDS: [(&str, usize); 2] = [("linux-64", 500_000), ("noarch", 150_000)];

/// Environments by name, from tiny to large, and one without a solution.
const ENVIRONMENTS: [(&str, &str); 12] = [
    ("one library", "zlib"),
    ("python", "python=3.11"),
    ("python and pip", "python>=3.10 pip setuptools wheel"),
    ("numpy", "python=3.11 numpy"),
    ("web", "python=3.11 flask requests sqlalchemy jinja2"),
    ("notebook", "python=3.11 jupyterlab ipywidgets"),
    ("data", "python=3.11 numpy pandas scipy matplotlib pyarrow"),
    ("geography", "python=3.11 gdal geopandas rasterio xarray dask"),
    ("statistics in R", "r-base r-dplyr r-ggplot2"),
    ("learning", "python=3.11 scikit-learn pandas jupyterlab matplotlib seaborn"),
    (
        "ml, 25 specs",
        "python=3.11 numpy pandas scipy scikit-learn matplotlib seaborn jupyterlab pytorch torchvision transformers \
         datasets xgboost lightgbm pyarrow dask numba sympy networkx statsmodels pillow opencv tqdm requests pytest",
    ),
    ("unsolvable", "python=3.11 numpy=1.19 pandas scipy"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        // The benchmark runs itself as rattler's contender, and to measure the stages of a lock.
        Some("--gateway") => gateway::lock(&arguments[1..]).map(|packages| println!("{packages} packages")),
        Some("--agree") => agree::agree(&arguments[1..]),
        Some("--split") => split(&arguments[1..]),
        Some("--compare") => arguments[1..].iter().try_for_each(|file| compare(Path::new(file))),
        None | Some("-h" | "--help") => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
        Some(_) => Plan::read(&arguments).and_then(|plan| plan.carry_out()),
    };
    measure::exit_code(outcome)
}

/// The command line.
struct Plan {
    repodata: PathBuf,
    scratch: PathBuf,
    forms: Vec<String>,
    only: Option<String>,
    runs: usize,
    small: bool,
    mlconda: PathBuf,
    before: Option<PathBuf>,
}

impl Plan {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut rest = arguments.iter();
        let mut plan = Self {
            repodata: std::path::absolute(rest.next().ok_or(USAGE)?)?,
            scratch: std::path::absolute(rest.next().ok_or(USAGE)?)?,
            forms: Vec::new(),
            only: None,
            runs: 3,
            small: false,
            mlconda: PathBuf::new(),
            before: None,
        };
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--form" => plan.forms.push(rest.next().ok_or(USAGE)?.clone()),
                "--only" => plan.only = Some(rest.next().ok_or(USAGE)?.clone()),
                "--runs" => plan.runs = rest.next().ok_or(USAGE)?.parse()?,
                "--small" => plan.small = true,
                "--mlconda" => plan.mlconda = std::path::absolute(rest.next().ok_or(USAGE)?)?,
                "--before" => plan.before = Some(std::path::absolute(rest.next().ok_or(USAGE)?)?),
                _ => return Err(USAGE.into()),
            }
        }
        if plan.mlconda.as_os_str().is_empty() {
            plan.mlconda = measure::static_program()?;
        }
        if plan.forms.is_empty() {
            plan.forms = ["json", "zst", "shards", "cold", "file"].map(str::to_owned).to_vec();
        }
        Ok(plan)
    }

    fn carry_out(&self) -> Outcome<()> {
        let directory = self.scratch.join(if self.small { "small" } else { "grown" });
        let finished = directory.join("finished");
        if !finished.exists() {
            let records = if self.small { RECORDS.map(|(subdir, _)| (subdir, 0)) } else { RECORDS };
            channel::grow(&self.repodata, &directory, &records)?;
            fs_err::write(finished, "")?;
        }
        let other = if self.before.is_some() { "before" } else { "rattler" };
        println!(
            "| form | environment | mlconda | {other} | ratio | ratio | mlconda, peak MB | {other}, peak MB | load | solve | write |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
        for form in &self.forms {
            let served = directory.join(if ["cold", "shards"].contains(&form.as_str()) { "shards" } else { form });
            let served = if form == "file" { directory.join("json") } else { served };
            let server = Server::serve(&served)?;
            server.fresh_for(3600);
            let url = if form == "file" { format!("file://{}", served.display()) } else { server.url("") };
            for (name, specs) in
                ENVIRONMENTS.iter().filter(|(name, _)| self.only.as_deref().is_none_or(|only| only == *name))
            {
                self.contend(form, name, specs, &url)?;
            }
        }
        Ok(())
    }

    /// Runs both contenders in turns.
    fn contend(&self, form: &str, name: &str, specs: &str, url: &str) -> Outcome<()> {
        let scratch = tempfile::Builder::new().prefix("run-").tempdir_in(&self.scratch)?;
        // All environments of a form share a cache, as on a developer's machine.
        let warm = self.scratch.join(format!("cache-{form}-{}", url.replace(['/', ':'], "")));
        let cold = scratch.path().join("cold");
        let file = scratch.path().join("environment.yml");
        fs_err::write(&file, environment(specs, url))?;
        let is_cold = form == "cold";
        let (mut ours, mut theirs, mut answered) = (Vec::new(), Vec::new(), true);
        for round in 0..=self.runs {
            for (measured, is_ours) in [(&mut ours, true), (&mut theirs, false)] {
                if cold.exists() {
                    fs_err::remove_dir_all(&cold)?;
                }
                let cache = if is_cold { &cold } else { &warm };
                let mut command = match &self.before {
                    _ if is_ours => mlconda(&self.mlconda, &file, &cache.join("mlconda"), scratch.path())?,
                    Some(before) => mlconda(before, &file, &cache.join("before"), scratch.path())?,
                    None => rattler(specs, url, cache)?,
                };
                // A solve without a solution is measured, too.
                let (result, has_answer) = attempt(&mut command, scratch.path())?;
                answered &= has_answer;
                // The first round fills the caches.
                if round > 0 {
                    measured.push(result);
                }
            }
        }
        let (ours, theirs) = (median(&ours), median(&theirs));
        let is_split = !is_cold && self.before.is_none();
        let split = if is_split { self.parts(&file, &warm)? } else { String::from(" | | ") };
        let name = if answered { name.to_owned() } else { format!("{name} (no answer)") };
        row(form, &name, ours, theirs, &split);
        Ok(())
    }

    /// The median times of the stages of a lock, from runs of this program with mlconda's library.
    fn parts(&self, file: &Path, cache: &Path) -> Outcome<String> {
        let (mut records, mut times) = (String::new(), [const { Vec::new() }; 3]);
        for _ in 0..self.runs {
            let mut command = Command::new(std::env::current_exe()?);
            let output = command.arg("--split").arg(file).arg(cache.join("mlconda").join("repodata")).output()?;
            let text = String::from_utf8(output.stdout)?;
            let mut words = text.split_whitespace();
            records = words.next().ok_or("no parts")?.to_owned();
            for (times, word) in times.iter_mut().zip(words) {
                times.push(word.parse::<f64>()?);
            }
        }
        let [load, solve, write] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied().unwrap_or_default()
        });
        Ok(format!("{load:.0} ms ({records} records) | {solve:.0} ms | {write:.0} ms"))
    }
}

/// A lock with a static program.
fn mlconda(program: &Path, file: &Path, cache: &Path, scratch: &Path) -> Outcome<Command> {
    let lock = scratch.join("env.lock");
    // An existing lock would be updated, which is another task.
    if lock.exists() {
        fs_err::remove_file(&lock)?;
    }
    let mut command = Command::new(program);
    command.env_clear().env("HOME", scratch).env("PATH", "/usr/bin:/bin").env("MLCONDA_CACHE_DIR", cache);
    command.args(["-q", "lock", "--platform", "linux-64"]).arg(file).arg("-o").arg(lock);
    Ok(command)
}

fn environment(specs: &str, url: &str) -> String {
    let specs: String = specs.split_whitespace().map(|spec| format!("  - \"{spec}\"\n")).collect();
    format!("name: bench\nchannels: [\"{url}\"]\ndependencies:\n{specs}")
}

fn rattler(specs: &str, url: &str, cache: &Path) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--gateway").arg(cache.join("rattler")).arg(url).args(specs.split_whitespace());
    // mlconda adds pip to every python.
    if specs.contains("python") {
        command.arg("pip");
    }
    Ok(command)
}

fn row(form: &str, name: &str, ours: Measured, theirs: Measured, split: &str) {
    println!(
        "| {form} | {name} | {:.3} s | {:.3} s | {:.2} | {:.2} | {:.0} | {:.0} | {split} |",
        ours.wall,
        theirs.wall,
        ours.wall / theirs.wall,
        (ours.user + ours.system) / (theirs.user + theirs.system),
        ours.peak,
        theirs.peak
    );
}

fn split(arguments: &[String]) -> Outcome<()> {
    let [file, cache] = arguments else {
        return Err("--split FILE CACHE".into());
    };
    let environment =
        Environment::read(Path::new(file), &ReadOptions { directory: "/".into(), ..ReadOptions::default() })?;
    let host = Host::baseline(Subdir::Linux64);
    let environment = environment.for_platform(host.platform);
    let options = RepodataOptions { cache_directory: cache.into(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&NetworkOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    let repodata = runtime.block_on(repodata::load(&client, &environment, &host, &options, &()))?;
    let loaded = start.elapsed();
    let solution = solve_for_host(&environment, &repodata, &host, &mlconda::solve::SolveOptions::default());
    let solved = start.elapsed() - loaded;
    if let Ok(solution) = solution {
        Lock::new(&environment, &host, &solution)?.write(&Path::new(file).with_extension("lock"))?;
    }
    let written = start.elapsed() - loaded - solved;
    let [load, solve, write] = [loaded, solved, written].map(|time| time.as_secs_f64() * 1000.0);
    println!("{} {load} {solve} {write}", repodata.len());
    Ok(())
}

/// Reads all records of a `repodata.json` with mlconda and with rattler, and compares them field by field.
fn compare(file: &Path) -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let subdir = scratch.path().join("noarch");
    fs_err::create_dir(&subdir)?;
    std::os::unix::fs::symlink(std::path::absolute(file)?, subdir.join("repodata.json"))?;
    let url = url::Url::from_directory_path(scratch.path()).map_err(|()| "the directory has no URL")?;
    let sparse = SparseRepoData::from_file(Channel::from_url(url.clone()), "noarch", file, None)?;
    let (mut names, mut theirs, mut broken) = (String::new(), Vec::new(), 0);
    for name in sparse.package_names(PackageFormatSelection::PreferConda) {
        names.push_str(&format!("  - {name}\n"));
        match sparse.load_records(&PackageName::new_unchecked(name), PackageFormatSelection::PreferConda) {
            Ok(records) => theirs.extend(records),
            // If the library cannot read one record, it drops all records of the package.
            Err(_) => broken += 1,
        }
    }
    let text = format!("channels: [\"{url}\"]\ndependencies:\n{names}");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let environment = Environment::parse(&text, file, &options)?;
    let options =
        RepodataOptions { cache_directory: scratch.path().into(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&NetworkOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let repodata =
        runtime.block_on(repodata::load(&client, &environment, &Host::baseline(Subdir::NoArch), &options, &()))?;
    let ours: std::collections::HashMap<&str, &RepoDataRecord> =
        repodata.records().map(|record| (record.url.as_str(), record)).collect();
    let differ = theirs.iter().filter(|record| ours.get(record.url.as_str()) != Some(record)).count();
    println!(
        "{}: {} records with mlconda, {} with rattler, which cannot read {broken} packages; {differ} differ",
        file.display(),
        ours.len(),
        theirs.len()
    );
    if differ == 0 && ours.len() >= theirs.len() { Ok(()) } else { Err("they differ".into()) }
}
