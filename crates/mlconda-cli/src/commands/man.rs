//! `mlconda man`: the manual, made of the words of `--help`, so that a static program brings its own.

use std::{path::PathBuf, process::ExitCode};

use clap_mangen::Man;

use crate::{
    args,
    report::CliError,
    settings::Context,
    words::{count, list},
};

/// Print the manual page of mlconda or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The command, as in `lock`
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages into this directory, as `mlconda.1`, `mlconda-lock.1` and so on
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda man lock | man -l -
  mlconda man --directory /usr/local/share/man/man1";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut program = args::command();
    program.build();
    let names: Vec<&str> =
        program.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "help").collect();
    if let Some(directory) = &args.directory {
        let directory = context.settings.absolute(directory);
        fs_err::create_dir_all(&directory)?;
        fs_err::write(directory.join("mlconda.1"), page(&program)?)?;
        for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
            fs_err::write(directory.join(format!("mlconda-{}.1", command.get_name())), page(command)?)?;
        }
        context.ui.say(&format!("{} are in `{}`.", count(names.len() + 1, "page"), directory.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let page = match &args.command {
        None => page(&program)?,
        Some(name) => match program.get_subcommands().find(|command| command.get_name() == name) {
            Some(command) => page(command)?,
            None => return Err(CliError::Usage(format!("there is no command `{name}`, but {}", list(&names)))),
        },
    };
    context.ui.data(page)?;
    Ok(ExitCode::SUCCESS)
}

fn page(command: &clap::Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
