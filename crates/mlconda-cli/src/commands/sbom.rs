//! `mlconda sbom`: a bill of materials of a lock or an environment.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    Subdir, oci,
    records::Wanted,
    sbom::{self, Subject},
};

use crate::{
    context::Context,
    error::CliError,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs},
    progress::Display,
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
    /// The media type, of attached SBOMs.
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
    if let Some(image) = args.place.as_deref().and_then(|place| image_named(place, context)) {
        return attached(&image?, &args, context);
    }
    let view = LockOrPrefix::read(args.place.as_deref(), &args.view, Wanted::Licences, context)?;
    let format = args.format.into();
    // A lock's file can be anywhere; a prefix is named by its last component.
    let name = view.is_prefix().then(|| view.name());
    let left_out = view.left_out()?;
    let subject = Subject { name, time: context.settings.source_date_epoch()?, left_out };
    let text = sbom::sbom(&view.lock, format, &subject);
    let Some(output) = &args.output else {
        context.ui.json_text(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    context.write(output, &text)?;
    let packages = count(view.lock.packages.len() + view.lock.pip.len(), "package");
    context.ui.say(&format!("`{}` lists {packages}.", output.display()));
    Ok(ExitCode::SUCCESS)
}

/// The image that was typed: a text with a transport (`oci:`), or a reference that is not the name of a file.
fn image_named(place: &Path, context: &Context) -> Option<Result<oci::Base, CliError>> {
    let text = place.to_str()?;
    let says = ["docker://", "oci:", "docker-archive:"].iter().any(|scheme| text.starts_with(scheme));
    let is_name = || {
        let reference = text.parse::<oci::Reference>().is_ok();
        let is_file = [".lock", ".yml", ".yaml", ".txt"].iter().any(|end| text.ends_with(end));
        reference && !is_file && text.contains([':', '/']) && !context.settings.absolute(place).exists()
    };
    (says || is_name()).then(|| Ok(oci::Base::parse(text, &context.settings.directory)?))
}

/// Writes the SBOM that is attached to an image.
fn attached(image: &oci::Base, args: &Args, context: &Context) -> Result<ExitCode, CliError> {
    let registries = context.settings.registries(&args.plain_http)?;
    let subdir = args.view.platform().or_else(Subdir::current).unwrap_or(Subdir::Linux64);
    let platform = oci::Platform::of(subdir).or_else(|| oci::Platform::of(Subdir::Linux64));
    let platform = platform.ok_or_else(|| CliError::Usage("no platform".to_owned()))?;
    let display = Display::new(&context.ui);
    let reading = async {
        let found = oci::attached(image, &registries, &platform, &display).await?;
        let types: Vec<String> = found.iter().map(|each| each.artifact_type.clone()).collect();
        match found.into_iter().find(|each| each.artifact_type == args.format.media_type()) {
            Some(bill) => Ok(Ok(bill.blob.bytes(LARGEST_BILL).await?)),
            None => Ok::<_, oci::OciError>(Err(types)),
        }
    };
    let name = args.place.as_deref().unwrap_or(Path::new("")).display();
    let bill = context.block_on_or_signal(reading)??.map_err(|types| {
        let other = [Format::CycloneDx, Format::Spdx]
            .into_iter()
            .find(|format| types.iter().any(|kind| kind == format.media_type()));
        match other {
            Some(Format::Spdx) => {
                CliError::world(format!("`{name}` has an SBOM in the SPDX format"), "use `--format spdx`")
            }
            Some(Format::CycloneDx) => {
                CliError::world(format!("`{name}` has an SBOM in the CycloneDX format"), "leave out `--format`")
            }
            None => CliError::world(
                format!("`{name}` has no SBOM"),
                "`mlconda image --sbom` attaches one; `mlconda sbom LOCK` writes the SBOM of a lock",
            ),
        }
    })?;
    drop(display);
    let text = String::from_utf8_lossy(&bill);
    match &args.output {
        Some(output) => context.write(output, &text)?,
        None => context.ui.json_text(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The limit for an attached SBOM, in bytes.
const LARGEST_BILL: u64 = 64 << 20;
