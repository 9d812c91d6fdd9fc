//! Options that every command takes.

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
