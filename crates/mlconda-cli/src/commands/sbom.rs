//! `mlconda sbom`: a bill of materials of a lock or an environment.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    oci,
    records::Wanted,
    sbom::{self, Subject},
};

use crate::{
    context::Context,
    error::CliError,
    image_name,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs},
    progress::Display,
    text::{count, file_of},
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
    /// A lock, the prefix of an environment, or an image with an SBOM, in a registry or a layout (`oci:DIR[:TAG]`) [default:
    /// `env.lock` in this directory, else the active environment, else the only one under the root prefix]
    #[arg(value_name = "LOCK|PREFIX|IMAGE")]
    place: Option<PathBuf>,
    #[command(flatten)]
    view: LockOrPrefixArgs,
    /// The format: CycloneDX 1.6 or SPDX 2.3, both as JSON
    #[arg(long, value_name = "FORMAT", default_value = "cyclonedx")]
    format: Format,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask this registry over `http://` (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", hide_short_help = true)]
    plain_http: Vec<String>,
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
  mlconda sbom /opt/conda/envs/ml --format spdx -o ml.spdx.json
  mlconda sbom registry.example.org/team/ml:1      attached by `mlconda image --sbom`";

impl Format {
    /// The media type of an attached SBOM.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::CycloneDx => "application/vnd.cyclonedx+json",
            Self::Spdx => "application/spdx+json",
        }
    }
}

impl From<Format> for sbom::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::CycloneDx => Self::CycloneDx,
            Format::Spdx => Self::Spdx,
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    if let Some(place) = &args.place
        && let Some(image) = image_name::image_named(place, context)?
    {
        let written = attached(place, &image, &args, context);
        if written.is_err() {
            image_name::tell_if_unclear(place, context);
        }
        return written;
    }
    let view = LockOrPrefix::read(args.place.as_deref(), &args.view, Wanted::Licences, context)?;
    let format = args.format.into();
    // A lock's file can be anywhere; a prefix is named by its last component.
    let name = view.is_prefix().then(|| view.name());
    let left_out = view.left_out()?;
    let subject = Subject { name, time: context.settings.source_date_epoch()?, left_out };
    let text = sbom::sbom(&view.lock, format, &subject);
    let Some(output) = file_of(args.output.as_ref()) else {
        context.ui.json_text(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    context.write(output, &text)?;
    let packages = count(view.lock.packages.len() + view.lock.pip.len(), "package");
    context.ui.say(&format!("`{}` lists {packages}.", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes the SBOM that is attached to an image.
fn attached(place: &Path, image: &oci::Base, args: &Args, context: &Context) -> Result<ExitCode, CliError> {
    let registries = context.settings.registries(&args.plain_http)?;
    let platform = image_name::platform(&args.view)?;
    let display = Display::new(&context.ui);
    let artifact_type = args.format.media_type();
    let wanted = oci::Wanted { artifact_type, platform: &platform, limit: LARGEST_BILL };
    let found = context.block_on_or_end(oci::attached(image, &wanted, &registries, &display))??;
    drop(display);
    for unread in &found.unread {
        context.ui.warn(&format!("skipped: {unread}"));
    }
    let name = place.display();
    let bill = found.bytes.ok_or_else(|| {
        let other = [Format::CycloneDx, Format::Spdx]
            .into_iter()
            .find(|format| found.types.iter().any(|kind| kind == format.media_type()));
        match other {
            Some(Format::Spdx) => {
                CliError::world(format!("`{name}` has an SBOM in the SPDX format"), "use `--format spdx`")
            }
            Some(Format::CycloneDx) => {
                CliError::world(format!("`{name}` has an SBOM in the CycloneDX format"), "leave out `--format`")
            }
            None if !found.unread.is_empty() => CliError::world(
                format!("`{name}` has no SBOM that can be read"),
                "attach it again, with `mlconda image --sbom`",
            ),
            None => CliError::world(
                format!("`{name}` has no SBOM"),
                "`mlconda image --sbom` attaches one; `mlconda sbom LOCK` writes the SBOM of a lock",
            ),
        }
    })?;
    let text = String::from_utf8_lossy(&bill);
    match file_of(args.output.as_ref()) {
        Some(output) => context.write(output, &text)?,
        None => context.ui.json_text(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The limit for an attached SBOM, in bytes.
const LARGEST_BILL: u64 = 64 << 20;
