//! `mlconda run`

use std::process::ExitCode;

use crate::{report::CliError, settings::Context};

/// Become a command in an environment
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _context: &Context) -> Result<ExitCode, CliError> {
    todo!()
}
