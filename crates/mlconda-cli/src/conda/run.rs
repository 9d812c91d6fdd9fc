//! `run`: the same as `mlconda run`, but finds the environment by conda's rules.

use std::process::ExitCode;

use super::{environments, line::Line};
use crate::{commands, context::Context, error::CliError};

pub(super) fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    if line.operands.is_empty() {
        return Err(CliError::Usage("no command is given: `run -n NAME COMMAND …`".to_owned()));
    }
    let assignment = |text: &str| {
        // A name without a value refers to the existing variable, which the command inherits anyway.
        text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let args = commands::run::Args {
        activated: false,
        prefix: environments::existing(line, context)?,
        cwd: line.value("--cwd").map(Into::into),
        no_scripts: false,
        no_capture_output: true,
        variables: line.values("--env").filter_map(assignment).collect(),
        command: line.operands.clone(),
    };
    commands::run::run(args, context)
}
