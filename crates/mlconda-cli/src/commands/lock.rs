//! `mlconda lock`

use std::process::ExitCode;

use crate::{report::CliError, settings::Context};

/// Solve an environment.yml and pin the answer
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _context: &Context) -> Result<ExitCode, CliError> {
    todo!()
}
