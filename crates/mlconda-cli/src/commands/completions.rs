//! `mlconda completions`: prints completion scripts for shells.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::{context::Context, error::CliError};

/// Print a script that lets a shell complete mlconda's commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const AFTER_HELP: &str = "\
For this user, in new shells:
  mlconda completions bash > ~/.local/share/bash-completion/completions/mlconda
  mlconda completions fish > ~/.config/fish/completions/mlconda.fish
  mlconda completions zsh > DIR/_mlconda      with DIR one of $fpath";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command_line(), "mlconda", &mut script);
    context.ui.data(script)?;
    Ok(ExitCode::SUCCESS)
}
