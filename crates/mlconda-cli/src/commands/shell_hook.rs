//! `mlconda shell-hook`

use std::process::ExitCode;

use crate::{report::CliError, settings::Context};

/// Print what activates an environment
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args, _context: &Context) -> Result<ExitCode, CliError> {
    todo!()
}
