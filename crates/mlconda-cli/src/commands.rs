//! The command line, and its commands: one file each.

pub(crate) mod bundle;
mod cache;
mod completions;
mod convert;
mod diff;
mod edit;
mod export;
mod fetch;
mod image;
pub(crate) mod info;
pub(crate) mod install;
pub(crate) mod list;
mod lock;
mod man;
pub(crate) mod run;
mod sbom;
mod shell_hook;
mod size;
mod tree;
mod verify;
mod why;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser};

use crate::{context::Context, error::CliError, global::Global, signals, usage};

/// Lock conda environments, and install the locks: fast, verified, and with nothing left over.
#[derive(Debug, Parser)]
#[command(name = "mlconda", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Make a lock on your machine, install it in a Dockerfile:
  mlconda lock environment.yml -o env.lock
  RUN mlconda install env.lock
  ENTRYPOINT [\"mlconda\", \"run\"]

conda's commands work too: create, install SPEC…, update, remove, search, clean, env …, init SHELL, activate, config. \
`mlconda conda --help` lists them, and docs/conda.md describes them. Called as conda, mamba or micromamba (by a link), \
mlconda reads the command lines of that tool.";

/// The command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Init(edit::InitArgs),
    /// Add packages to an environment.yml, and lock it
    ///
    /// The file is changed in place: comments, order and style are kept. If the file lists the package already, its spec is
    /// replaced. The lock changes as little as possible. If a package is unknown or there is no solution, both files stay
    /// unchanged. With -p or -n, the lock is also installed.
    Add(edit::Args),
    /// Remove packages from an environment.yml, and lock it
    ///
    /// The opposite of `add`. (`mlconda remove` works like `conda remove`: it changes an installed environment, not a file.)
    Drop(edit::Args),
    Lock(lock::Args),
    Convert(convert::Args),
    Install(install::Args),
    Image(Box<image::Args>),
    Bundle(bundle::Args),
    Fetch(fetch::Args),
    Cache(cache::Args),
    Run(run::Args),
    ShellHook(shell_hook::Args),
    Diff(diff::Args),
    Verify(verify::Args),
    List(list::Args),
    Export(export::Args),
    Tree(tree::Args),
    Why(why::Args),
    Sbom(sbom::Args),
    Size(size::Args),
    Info(info::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Reads the command line. On wrong usage, this says what is wrong and ends the process with 2.
pub(crate) fn parse(words: Vec<OsString>) -> Arguments {
    Arguments::try_parse_from(words).unwrap_or_else(|error| usage::report(&error, &command_line()))
}

/// All commands and options, for completions and the manual.
fn command_line() -> clap::Command {
    Arguments::command()
}

/// Runs a command.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, CliError> {
    // `run` replaces this process, and its command handles signals itself.
    if !matches!(command, Command::Run(_)) {
        signals::listen(&context.ui)?;
    }
    match command {
        Command::Init(args) => edit::init(args, context),
        Command::Add(args) => edit::add(args, context),
        Command::Drop(args) => edit::drop(args, context),
        Command::Lock(args) => lock::run(args, context),
        Command::Convert(args) => convert::run(args, context),
        Command::Install(args) => install::run(args, context),
        Command::Image(args) => image::run(*args, context),
        Command::Bundle(args) => bundle::run(args, context),
        Command::Fetch(args) => fetch::run(args, context),
        Command::Cache(args) => cache::run(args, context),
        Command::Run(args) => run::run(args, context),
        Command::ShellHook(args) => shell_hook::run(args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Verify(args) => verify::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Tree(args) => tree::run(args, context),
        Command::Why(args) => why::run(args, context),
        Command::Sbom(args) => sbom::run(args, context),
        Command::Size(args) => size::run(args, context),
        Command::Info(args) => info::run(args, context),
        Command::Completions(args) => completions::run(args, context),
        Command::Man(args) => man::run(args, context),
    }
}
