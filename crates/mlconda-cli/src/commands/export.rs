//! `mlconda export`: writes an environment.yml of the installed packages.

use std::{path::PathBuf, process::ExitCode};

use mlconda::{
    Subdir,
    export::{self, Detail},
    lock::Lock,
    prefix::Prefix,
};

use crate::{
    by_pip::{self, Purpose},
    context::Context,
    error::CliError,
    settings::PrefixArgs,
    text::file_of,
};

/// Write an environment.yml of what is installed
///
/// Packages that pip installed are listed under `pip:`, as `name==version` or with their URL. Without a prefix, it exports
/// the active environment ($CONDA_PREFIX), else the only one under the root prefix.
///
/// By default, every package has its version and build, which exist for one platform only. `--no-builds` leaves out the
/// builds. `--from-history` lists only the match specs that were asked for, without their dependencies. For an
/// environment that must stay the same, write a lock instead: `mlconda lock`, or `--explicit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The prefix: the directory of the environment
    #[arg(value_name = "PREFIX", conflicts_with_all = ["prefix", "name"])]
    place: Option<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Only the match specs that were asked for, as they were given
    #[arg(long, conflicts_with_all = ["no_builds", "explicit"])]
    from_history: bool,
    /// Leave out the builds
    #[arg(long, conflicts_with = "explicit")]
    no_builds: bool,
    /// An @EXPLICIT lock instead: each package's URL and hash, dependencies first
    #[arg(long)]
    explicit: bool,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  mlconda export -n ml                             name=version=build of every package
  mlconda export /opt/conda/envs/ml --no-builds    name=version, for another platform say
  mlconda export --from-history -o environment.yml
  mlconda export -n ml --explicit -o env.lock      a lock, to be installed elsewhere as it is";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let named = PrefixArgs { prefix: args.place.clone().or(args.prefix.prefix.clone()), ..args.prefix.clone() };
    let prefix = named.existing(&context.settings)?;
    let text = text(&args, &prefix, context)?;
    let Some(output) = file_of(args.output.as_ref()) else {
        context.ui.data(text)?;
        return Ok(ExitCode::SUCCESS);
    };
    context.write(output, &text)?;
    context.ui.say(&format!("`{}` is exported to `{}`.", prefix.path().display(), output.display()));
    Ok(ExitCode::SUCCESS)
}

/// The text of the exported file.
fn text(args: &Args, prefix: &Prefix, context: &Context) -> Result<String, CliError> {
    let detail = match () {
        () if args.from_history => Detail::History,
        () if args.no_builds => Detail::Versions,
        () => Detail::Builds,
    };
    let export = export::export(prefix, detail)?;
    if args.explicit {
        let lock = explicit(prefix, export.name)?;
        by_pip::warn(prefix, Purpose::Lock, context)?;
        warn_of_logins(&lock, context);
        return Ok(lock.to_text());
    }
    if export.is_masked() {
        context.ui.warn(
            "the URL of a channel contains a login, which is written as `********`: put an environment variable \
             there, as in `https://host/t/$TOKEN/channel`",
        );
    }
    Ok(export.to_yaml())
}

/// The packages as a lock for their platform; if all are noarch, for this machine's.
fn explicit(prefix: &Prefix, name: Option<String>) -> Result<Lock, CliError> {
    let records: Vec<_> = prefix.records()?.into_iter().map(|record| record.repodata_record).collect();
    let subdirs = records.iter().filter_map(|record| record.package_record.subdir.parse::<Subdir>().ok());
    let platform = subdirs.into_iter().find(|subdir| *subdir != Subdir::NoArch).or_else(Subdir::current);
    let lock = Lock::of_records(platform.unwrap_or(Subdir::NoArch), &records)?;
    let lock = lock.with_distributions(&prefix.distributions()?);
    let slim = mlconda::prefix::slim::of_prefix(prefix)?.unwrap_or_default();
    Ok(Lock { name, variables: prefix.variables()?, slim, ..lock })
}

/// Warns about logins. In mlconda's own records, they are masked, so an installation needs them from elsewhere. Records
/// of other tools may contain them.
pub(super) fn warn_of_logins(lock: &Lock, context: &Context) {
    let (masked, exposed) = (lock.masked(), lock.exposed());
    let exposed: Vec<&str> = exposed.into_iter().filter(|package| !masked.contains(package)).collect();
    let of = |packages: &[&str]| match packages {
        [first, others @ ..] if !others.is_empty() => format!("`{first}` and of {} more", others.len()),
        packages => format!("`{}`", packages.concat()),
    };
    if !masked.is_empty() {
        context.ui.warn(&format!(
            "`********` replaces a login in the URL of {}: an installation needs a stored login for the host, or an \
             environment variable there, as in `https://host/t/${{TOKEN}}/channel`",
            of(&masked)
        ));
    }
    if !exposed.is_empty() {
        context.ui.warn(&format!(
            "the lock shows a login in the URL of {}: put an environment variable in its place, as in \
             `https://host/t/${{TOKEN}}/channel`",
            of(&exposed)
        ));
    }
}
