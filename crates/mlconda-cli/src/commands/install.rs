//! `mlconda install`

use std::process::ExitCode;

use crate::{report::CliError, settings::Context};

/// Install locks into prefixes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _context: &Context) -> Result<ExitCode, CliError> {
    todo!()
}
