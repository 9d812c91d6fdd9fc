//! `mlconda list`: the packages of an environment.

use std::{borrow::Cow, process::ExitCode};

use mlconda::{PrefixRecord, RepoDataRecord, Subdir, lock::Lock, prefix::UntrackedDistribution};
use serde::Serialize;

use crate::{context::Context, error::CliError, escape, settings::PrefixArgs};

/// List the packages of an environment
///
/// Without -p or -n, it lists the active environment ($CONDA_PREFIX), else the only one under the
/// root prefix.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Print JSON, as `conda list --json` does
    #[arg(long, conflicts_with = "explicit")]
    json: bool,
    /// Print an @EXPLICIT lock: each package's URL and hash, dependencies first
    #[arg(long)]
    explicit: bool,
    /// Only packages whose name contains this
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
}

const AFTER_HELP: &str = "\
The packages of the environment `ml`, and the same as a lock:
  mlconda list -n ml numpy
  mlconda list -n ml --explicit > env.lock";

/// The channel name of packages without a channel, as with conda.
const PYPI: &str = "pypi";

/// A package, in the shape of `conda list --json`.
#[derive(Serialize)]
pub(crate) struct Package<'a> {
    base_url: String,
    build_number: u64,
    pub(crate) build_string: &'a str,
    pub(crate) channel: String,
    pub(crate) dist_name: String,
    pub(crate) name: &'a str,
    pub(crate) platform: &'a str,
    pub(crate) version: String,
}

impl<'a> Package<'a> {
    /// A distribution without a record: pip installed it.
    fn of_untracked(distribution: &'a UntrackedDistribution) -> Self {
        let UntrackedDistribution { name, version } = distribution;
        Self {
            base_url: format!("https://conda.anaconda.org/{PYPI}"),
            build_number: 0,
            build_string: "pypi_0",
            channel: PYPI.to_owned(),
            dist_name: format!("{name}-{version}-pypi_0"),
            name,
            platform: PYPI,
            version: version.clone(),
        }
    }

    fn new(record: &'a PrefixRecord) -> Self {
        let package = &record.repodata_record.package_record;
        let (name, version) = (package.name.as_normalized(), package.version.to_string());
        let is_from_channel = record.repodata_record.channel.as_deref() != Some(PYPI);
        let base_url = if is_from_channel { base_url(record) } else { format!("https://conda.anaconda.org/{PYPI}") };
        Self {
            build_number: package.build_number,
            build_string: package.build.as_str(),
            channel: channel_name(&base_url).to_owned(),
            dist_name: format!("{name}-{version}-{}", package.build),
            name,
            platform: &package.subdir,
            version,
            base_url,
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = args.prefix.existing(&context.settings)?;
    let mut records = prefix.records()?;
    records.extend(prefix.distributions()?);
    // An explicit lock needs a URL, which a distribution of pip does not have.
    let mut untracked = if args.explicit { Vec::new() } else { prefix.untracked(&mut records)? };
    if let Some(filter) = &args.filter {
        records.retain(|record| record.repodata_record.package_record.name.as_normalized().contains(filter.as_str()));
        untracked.retain(|distribution| distribution.name.contains(filter.as_str()));
    }
    if args.explicit {
        context.ui.data(explicit(records)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let packages = packages(&records, &untracked);
    if args.json {
        context.ui.json(&packages)?;
    } else {
        context.ui.text(&table(&packages))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The installed packages, by name.
pub(crate) fn packages<'a>(records: &'a [PrefixRecord], untracked: &'a [UntrackedDistribution]) -> Vec<Package<'a>> {
    let untracked = untracked.iter().map(Package::of_untracked);
    let mut packages: Vec<Package<'_>> = records.iter().map(Package::new).chain(untracked).collect();
    packages.sort_by_key(|package| package.name);
    packages
}

/// Columns as wide as their widest cell; the last one has no padding.
fn table(packages: &[Package<'_>]) -> String {
    let head = ["# Name", "Version", "Build", "Channel"];
    let mut rows: Vec<[Cow<'_, str>; 4]> = vec![head.map(Cow::Borrowed)];
    for package in packages {
        rows.push([package.name, &package.version, package.build_string, &package.channel].map(escape::line));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name, version, build) = (width(0), width(1), width(2));
    rows.iter().map(|[a, b, c, d]| format!("{a:name$}  {b:version$}  {c:build$}  {d}\n")).collect()
}

/// The packages as a lock for their platform; if all are noarch, for this machine's.
fn explicit(records: Vec<PrefixRecord>) -> Result<String, CliError> {
    let is_from_channel = |record: &PrefixRecord| record.repodata_record.channel.as_deref() != Some(PYPI);
    let (records, distributions): (Vec<_>, Vec<_>) = records.into_iter().partition(is_from_channel);
    let records: Vec<RepoDataRecord> = records.into_iter().map(|record| record.repodata_record).collect();
    let subdirs = records.iter().filter_map(|record| record.package_record.subdir.parse::<Subdir>().ok());
    let platform = subdirs.into_iter().find(|subdir| *subdir != Subdir::NoArch).or_else(Subdir::current);
    let lock = Lock::of_records(platform.unwrap_or(Subdir::NoArch), &records)?;
    Ok(lock.with_distributions(&distributions).to_text())
}

/// The channel's URL: the package's, without the subdir and the file name.
fn base_url(record: &PrefixRecord) -> String {
    let url = record.repodata_record.url.as_str();
    url.rsplitn(3, '/').nth(2).unwrap_or(url).to_owned()
}

/// The name of a channel: its path on the hosts where conda looks for named channels, else its URL.
pub(crate) fn channel_name(base_url: &str) -> &str {
    ["https://conda.anaconda.org/", "https://repo.anaconda.com/"]
        .iter()
        .find_map(|host| base_url.strip_prefix(host))
        .unwrap_or(base_url)
}
