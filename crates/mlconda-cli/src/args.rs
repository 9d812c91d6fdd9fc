//! What was typed.

use clap::{CommandFactory, Parser};

use crate::{commands::Command, report};

/// Lock conda environments, and install the locks: fast, verified, and with nothing left over.
#[derive(Debug, Parser)]
#[command(name = "mlconda", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more: every package that comes in or goes, and what is loaded
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// When to use colours; NO_COLOR and CLICOLOR_FORCE count where this is `auto`
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_short_help = true)]
    pub(crate) color: Color,
    /// How stderr tells what is done: in words, or as JSON, an event a line
    #[arg(long, global = true, value_name = "FORM", default_value = "words", conflicts_with = "quiet")]
    #[arg(hide_short_help = true)]
    pub(crate) progress: ProgressForm,
    /// The directory whose `envs/` holds environments by name [default: $MLCONDA_ROOT, else /opt/conda for
    /// root, else mlconda in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) root_prefix: Option<std::path::PathBuf>,
    /// Whether mamba's variables count: the program was called by its name.
    #[arg(skip)]
    pub(crate) is_mamba: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    Always,
    Never,
}

/// What stderr is for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ProgressForm {
    /// For people: sentences, and on a terminal a bar.
    Words,
    /// For programs: an object a line, typed by its field `event`; `mlconda install --help` lists them.
    Json,
}

const AFTER_HELP: &str = "\
Make a lock on your machine, install it in a Dockerfile:
  mlconda lock environment.yml -o env.lock
  RUN mlconda install env.lock
  ENTRYPOINT [\"mlconda\", \"run\"]

Words of conda's work as they are: create, install SPEC…, update, remove, search, clean, env create, env update, \
env remove, env list, env export; `mlconda create --help` tells more. Called as conda, mamba or micromamba (a link), \
it understands all of their command lines.";

/// Reads the command line; on bad usage, says so and ends the process with 2.
pub(crate) fn parse() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|error| report::usage(&error))
}

/// All that can be typed, for what is made of it besides: completions and the manual.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}
