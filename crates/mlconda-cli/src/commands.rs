//! The command line, and its commands: one file each.

#[cfg(feature = "bundle")]
pub(crate) mod bundle;
#[cfg(feature = "install")]
mod cache;
#[cfg(feature = "manual")]
mod completions;
#[cfg(feature = "lock")]
mod convert;
#[cfg(feature = "lock")]
mod diff;
#[cfg(feature = "lock")]
mod edit;
#[cfg(feature = "lock")]
mod export;
#[cfg(feature = "install")]
pub(crate) mod fetch;
#[cfg(feature = "image")]
mod image;
#[cfg(feature = "install")]
pub(crate) mod info;
#[cfg(feature = "install")]
pub(crate) mod install;
#[cfg(feature = "install")]
pub(crate) mod list;
#[cfg(feature = "lock")]
mod lock;
#[cfg(feature = "manual")]
mod man;
#[cfg(feature = "run")]
pub(crate) mod run;
#[cfg(feature = "image")]
mod sbom;
#[cfg(feature = "run")]
pub(crate) mod shell_hook;
#[cfg(feature = "image")]
mod size;
#[cfg(feature = "lock")]
mod tree;
#[cfg(feature = "install")]
mod verify;
#[cfg(feature = "lock")]
mod why;

use std::{ffi::OsString, process::ExitCode};

#[cfg(not(any(feature = "install", feature = "run")))]
compile_error!("a program without commands: choose a feature, such as `run` or `install`");

use clap::{CommandFactory, Parser};

use crate::{context::Context, error::CliError, global, global::Global, signals, usage};

/// Lock conda environments, and install the locks: fast, verified, and with nothing left over.
#[derive(Debug, Parser)]
#[command(name = "mlconda", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(all(feature = "lock", feature = "run"))]
const AFTER_HELP: &str = "\
Make a lock on your machine, install it in a Dockerfile:
  mlconda lock environment.yml -o env.lock
  RUN mlconda install env.lock
  ENTRYPOINT [\"mlconda\", \"run\"]

conda's commands work too: create, install SPEC…, update, remove, search, clean, env …, init SHELL, activate, config. \
`mlconda conda --help` lists them, and docs/conda.md describes them. Called as conda, mamba or micromamba (by a link), \
mlconda reads the command lines of that tool.";
#[cfg(not(all(feature = "lock", feature = "run")))]
const AFTER_HELP: &str = "\
This is a smaller mlconda: it has the commands above. The complete one also locks, and has conda's commands.";

/// The command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "lock")]
    Init(edit::InitArgs),
    #[cfg(feature = "lock")]
    /// Add packages to an environment.yml, and lock it
    ///
    /// The file is changed in place: comments, order and style are kept. If the file lists the package already, its spec is
    /// replaced. The lock changes as little as possible. If a package is unknown or there is no solution, both files stay
    /// unchanged. With -p or -n, the lock is also installed.
    Add(edit::Args),
    #[cfg(feature = "lock")]
    /// Remove packages from an environment.yml, and lock it
    ///
    /// The opposite of `add`. (`mlconda remove` works like `conda remove`: it changes an installed environment, not a file.)
    Drop(edit::Args),
    #[cfg(feature = "lock")]
    Lock(lock::Args),
    #[cfg(feature = "lock")]
    Convert(convert::Args),
    #[cfg(feature = "install")]
    Install(install::Args),
    #[cfg(feature = "image")]
    Image(Box<image::Args>),
    #[cfg(feature = "bundle")]
    Bundle(bundle::Args),
    #[cfg(feature = "install")]
    Fetch(fetch::Args),
    #[cfg(feature = "install")]
    Cache(cache::Args),
    #[cfg(feature = "run")]
    Run(run::Args),
    #[cfg(feature = "run")]
    ShellHook(shell_hook::Args),
    #[cfg(feature = "lock")]
    Diff(diff::Args),
    #[cfg(feature = "install")]
    Verify(verify::Args),
    #[cfg(feature = "install")]
    List(list::Args),
    #[cfg(feature = "lock")]
    Export(export::Args),
    #[cfg(feature = "lock")]
    Tree(tree::Args),
    #[cfg(feature = "lock")]
    Why(why::Args),
    #[cfg(feature = "image")]
    Sbom(sbom::Args),
    #[cfg(feature = "image")]
    Size(size::Args),
    #[cfg(feature = "install")]
    Info(info::Args),
    #[cfg(feature = "manual")]
    Completions(completions::Args),
    #[cfg(feature = "manual")]
    Man(man::Args),
}

/// Parses the command line. On wrong usage, prints the error and ends the process with exit code 2.
pub(crate) fn parse(words: Vec<OsString>) -> Arguments {
    let wants_events = global::wants_events(&words);
    Arguments::try_parse_from(words).unwrap_or_else(|error| usage::report(&error, &command_line(), wants_events))
}

/// All commands and options, for completions and the manual.
fn command_line() -> clap::Command {
    Arguments::command()
}

/// Runs a command.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, CliError> {
    // `run` replaces this process, and the command then handles signals itself.
    #[cfg(feature = "run")]
    let is_run = matches!(command, Command::Run(_));
    #[cfg(not(feature = "run"))]
    let is_run = false;
    if !is_run {
        signals::listen(&context.ui)?;
    }
    match command {
        #[cfg(feature = "lock")]
        Command::Init(args) => edit::init(args, context),
        #[cfg(feature = "lock")]
        Command::Add(args) => edit::add(args, context),
        #[cfg(feature = "lock")]
        Command::Drop(args) => edit::drop(args, context),
        #[cfg(feature = "lock")]
        Command::Lock(args) => lock::run(args, context),
        #[cfg(feature = "lock")]
        Command::Convert(args) => convert::run(args, context),
        #[cfg(feature = "install")]
        Command::Install(args) => install::run(args, context),
        #[cfg(feature = "image")]
        Command::Image(args) => image::run(*args, context),
        #[cfg(feature = "bundle")]
        Command::Bundle(args) => bundle::run(args, context),
        #[cfg(feature = "install")]
        Command::Fetch(args) => fetch::run(args, context),
        #[cfg(feature = "install")]
        Command::Cache(args) => cache::run(args, context),
        #[cfg(feature = "run")]
        Command::Run(args) => run::run(args, context),
        #[cfg(feature = "run")]
        Command::ShellHook(args) => shell_hook::run(args, context),
        #[cfg(feature = "lock")]
        Command::Diff(args) => diff::run(args, context),
        #[cfg(feature = "install")]
        Command::Verify(args) => verify::run(args, context),
        #[cfg(feature = "install")]
        Command::List(args) => list::run(args, context),
        #[cfg(feature = "lock")]
        Command::Export(args) => export::run(args, context),
        #[cfg(feature = "lock")]
        Command::Tree(args) => tree::run(args, context),
        #[cfg(feature = "lock")]
        Command::Why(args) => why::run(args, context),
        #[cfg(feature = "image")]
        Command::Sbom(args) => sbom::run(args, context),
        #[cfg(feature = "image")]
        Command::Size(args) => size::run(args, context),
        #[cfg(feature = "install")]
        Command::Info(args) => info::run(args, context),
        #[cfg(feature = "manual")]
        Command::Completions(args) => completions::run(args, context),
        #[cfg(feature = "manual")]
        Command::Man(args) => man::run(args, context),
    }
}
