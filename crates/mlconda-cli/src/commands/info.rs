//! `mlconda info`

use std::process::ExitCode;

use crate::{report::CliError, settings::Context};

/// Show the platform, virtual packages, directories, versions and build features
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _context: &Context) -> Result<ExitCode, CliError> {
    todo!()
}
