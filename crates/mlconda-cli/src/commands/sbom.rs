//! `mlconda sbom`: a bill of materials of a lock or an environment.

use std::{path::PathBuf, process::ExitCode};

use mlconda::{
    records::Wanted,
    sbom::{self, Subject},
};

use crate::{
    context::Context,
    error::CliError,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs},
    text::count,
};

/// Write a software bill of materials (SBOM)
///
/// For each package it lists the package URL, version, licence, hashes, download location and dependencies. The same lock
/// gives the same bytes: the time is the build time of the newest package, or SOURCE_DATE_EPOCH, and the serial number is
/// computed from the content.
///
/// An @EXPLICIT lock has no dependencies and licences. They are read from the channels of the lock, then from the
/// environment with the lock's name and the package cache. Those of pip packages are read from their metadata.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A lock, or the prefix of an environment [default: `env.lock` in this directory, else the active environment, else
    /// the only one under the root prefix]
    #[arg(value_name = "LOCK|PREFIX")]
    place: Option<PathBuf>,
    #[command(flatten)]
    view: LockOrPrefixArgs,
    /// The format: CycloneDX 1.6 or SPDX 2.3, both as JSON
    #[arg(long, value_name = "FORMAT", default_value = "cyclonedx")]
    format: Format,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The format of an SBOM.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Format {
    #[value(name = "cyclonedx")]
    CycloneDx,
    Spdx,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda sbom env.lock -o env.cdx.json
  mlconda sbom /opt/conda/envs/ml --format spdx -o ml.spdx.json";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let view = LockOrPrefix::read(args.place.as_deref(), &args.view, Wanted::Licences, context)?;
    let format = match args.format {
        Format::CycloneDx => sbom::Format::CycloneDx,
        Format::Spdx => sbom::Format::Spdx,
    };
    // A lock's file can be anywhere; a prefix is named by its last component.
    let name = view.is_prefix().then(|| view.name());
    let text = sbom::sbom(&view.lock, format, &Subject { name, time: context.settings.source_date_epoch()? });
    let Some(output) = &args.output else {
        context.ui.json_text(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    context.write(output, &text)?;
    let packages = count(view.lock.packages.len() + view.lock.pip.len(), "package");
    context.ui.say(&format!("`{}` lists {packages}.", output.display()));
    Ok(ExitCode::SUCCESS)
}
