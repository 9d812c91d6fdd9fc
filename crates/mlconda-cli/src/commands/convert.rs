//! `mlconda convert`: a lock in another format.

use std::{path::PathBuf, process::ExitCode};

use mlconda::{
    lock::{LockError, LockFormat, LockKind, SourcePackages, Written},
    records::Wanted,
    repodata::Access,
};

use super::export::warn_of_logins;
use crate::{
    context::Context,
    error::CliError,
    lock_or_prefix,
    lock_selection::{self, SelectionArgs},
    text::file_of,
};

/// Write a lock in another format
///
/// Reads a lock of any kind, which is detected by its content: @EXPLICIT (of mlconda, conda, mamba, conda-lock or pixi),
/// conda-lock.yml, pixi.lock, or the packages of a prefix. Every package stays pinned; nothing is solved. A warning lists
/// what the other format cannot contain.
///
/// An explicit lock has no dependencies, and the other formats need them. They are read from the channels of the lock,
/// then from the environment with the lock's name and the package cache. A warning names packages that were not found.
///
/// An explicit lock is for one platform and environment. A conda-lock.yml gets all platforms and categories, a pixi.lock
/// all platforms and environments, unless options select some.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The lock: a file, or the directory of an environment
    #[arg(value_name = "LOCK")]
    input: PathBuf,
    /// The format: `explicit`, `conda-lock` or `pixi`
    #[arg(long, value_name = "FORMAT")]
    to: LockFormat,
    /// Only this platform
    #[arg(long, value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platform: Option<mlconda::Subdir>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Look for missing records in the cache and in local channels only, not on the network
    #[arg(long)]
    offline: bool,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  mlconda convert pixi.lock --to explicit --platform linux-64 -o env.lock
  mlconda convert pixi.lock --to explicit --platform linux-64 --environment gpu
  mlconda convert conda-lock.yml --to pixi -o pixi.lock
  mlconda convert conda-lock.yml --to explicit --platform osx-arm64 --dev
  mlconda convert env.lock --to conda-lock -o conda-lock.yml
  mlconda convert /opt/conda/envs/ml --to pixi      the packages that are installed";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut file = lock_selection::read(&args.input, context)?;
    let chosen = args.selection.selection(args.platform, SourcePackages::LeaveOut);
    if file.kind == LockKind::Explicit && args.to == LockFormat::Explicit {
        context
            .ui
            .say(&format!("`{}` is already an explicit lock; it is written in mlconda's form", args.input.display()));
    }
    if args.to != LockFormat::Explicit {
        let access = if args.offline { Access::Offline } else { Access::Online };
        let from = (std::slice::from_ref(&args.input), access);
        for part in &mut file.parts {
            let missing = lock_or_prefix::complete(&mut part.lock, None, Wanted::Dependencies, from, context)?;
            // The writer lists missing packages with its other losses.
            missing.reasons.iter().for_each(|reason| context.ui.warn(&reason.to_string()));
        }
    }
    // A pixi.lock contains no logins.
    if args.to != LockFormat::Pixi {
        file.parts.iter().take(1).for_each(|part| warn_of_logins(&part.lock, context));
    }
    let Some(output) = file_of(args.output.as_ref()) else {
        let rendered = file.render(args.to, &chosen, Some(&context.settings.directory))?;
        rendered.losses.iter().for_each(|loss| context.ui.warn(loss));
        context.ui.data(rendered.text)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (written, losses) = context
        .whole(|| file.write(&context.settings.absolute(output), args.to, &chosen))?
        .map_err(|error| match error {
            LockError::File(error) => CliError::world(
                format!("cannot write `{}`: {}", output.display(), error.kind()),
                "name a file in a directory that can be written to, with `-o`",
            ),
            other => other.into(),
        })?;
    losses.iter().for_each(|loss| context.ui.warn(loss));
    let (from, to) = (args.input.display(), output.display());
    context.ui.say(&match written {
        Written::Changed => format!("`{from}` is converted to `{to}`."),
        Written::UpToDate => format!("`{to}` has the same content as `{from}` already."),
    });
    Ok(ExitCode::SUCCESS)
}
