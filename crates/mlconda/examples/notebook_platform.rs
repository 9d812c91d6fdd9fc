//! A platform that installs environments for its users: from records without a lock file in between, with its own
//! progress display, and with a time limit.
//!
//! ```sh
//! cargo run --example notebook_platform -- https://conda.anaconda.org/conda-forge /srv/envs/ada python=3.12 numpy
//! ```

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use mlconda::{
    RepoDataRecord, Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    install::{Bytecode, Options, Report, install},
    lock::Lock,
    network::{Client, NetworkOptions},
    plan::Plan,
    prefix::Prefix,
    progress::{Event, Progress},
    repodata::{self, Access, RepodataOptions},
    solve::{SolveOptions, solve},
};

/// The lines on the user's page. Several threads write to it.
#[derive(Default)]
pub(crate) struct Page(Mutex<Vec<String>>);

impl Page {
    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().map(|lines| lines.clone()).unwrap_or_default()
    }
}

impl Progress for Page {
    fn event(&self, event: Event) {
        if let Event::PackageInstalled { package } = event
            && let Ok(mut lines) = self.0.lock()
        {
            lines.push(format!("{package} is there"));
        }
    }
}

/// Solves for these specs, with the records of one channel.
pub(crate) async fn choose(
    channel: &str,
    specs: &[String],
    client: &Client,
    cache: &Path,
) -> mlconda::Result<Vec<RepoDataRecord>> {
    let list = |items: &[String]| items.iter().map(|item| format!("- {item:?}\n")).collect::<String>();
    let text = format!("channels:\n{}dependencies:\n{}", list(&[channel.to_owned()]), list(specs));
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let environment = Environment::parse(&text, Path::new("of the user"), &options)?.for_platform(Subdir::Linux64);
    let host = Host::baseline(Subdir::Linux64);
    let cache = RepodataOptions { cache_directory: cache.to_owned(), access: Access::Online, now: SystemTime::now() };
    let repodata = repodata::load(client, &environment, &host, &cache, &()).await?;
    Ok(solve(&environment, &repodata, &host, &[], &SolveOptions::default())?.0.records)
}

/// Changes a prefix to contain exactly these records. If that takes too long, the future is dropped, and the change is
/// undone.
pub(crate) async fn provide(
    records: &[RepoDataRecord],
    prefix: &Path,
    client: &Client,
    page: &Page,
    longest: Duration,
) -> Result<Report, Box<dyn std::error::Error>> {
    let lock = Lock::of_records(Subdir::Linux64, records)?;
    let prefix = Prefix::open(prefix)?;
    let plan = Plan::new(&lock, &prefix)?;
    let options = Options { bytecode: Bytecode::Skip, ..Options::default() };
    let installed = tokio::time::timeout(longest, install(&plan, client, &prefix, &options, page));
    Ok(installed.await.map_err(|_| format!("it took longer than {} seconds", longest.as_secs()))??)
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [channel, prefix, specs @ ..] = arguments.as_slice() else {
        return Err("usage: notebook_platform CHANNEL PREFIX SPEC…".into());
    };
    let prefix = std::path::absolute(prefix)?;
    let client = Client::new(&NetworkOptions::default())?;
    let records = choose(channel, specs, &client, &std::env::temp_dir().join("repodata")).await?;
    let page = Page::default();
    let report = provide(&records, &prefix, &client, &page, Duration::from_secs(600)).await?;
    page.lines().iter().for_each(|line| println!("{line}"));
    println!("{} packages, {} files", report.linked, report.files);
    Ok(())
}
