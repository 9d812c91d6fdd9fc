//! Options that every command takes.

use std::ffi::OsString;

/// The options of every command that have a value.
#[cfg(feature = "conda")]
pub(crate) const WITH_VALUE: [&str; 3] = ["--color", "--progress", "--root-prefix"];

/// Whether stderr is for programs. This reads the words of a command line that cannot be parsed.
pub(crate) fn wants_events(words: &[OsString]) -> bool {
    let is_followed = |words: &[OsString]| words[0] == "--progress" && words[1] == "json";
    words.windows(2).any(is_followed) || words.iter().any(|word| word == "--progress=json")
}

/// The value of an option of a command line that is not parsed; the last one counts.
#[cfg(any(feature = "bundle", feature = "conda"))]
fn value<'a>(words: &'a [OsString], option: &str) -> Option<&'a str> {
    let followed = |place: usize| words.get(place + 1)?.to_str();
    let mut values =
        words.iter().enumerate().filter_map(|(place, word)| match word.to_str()?.strip_prefix(option)? {
            "" => followed(place),
            rest => rest.strip_prefix('='),
        });
    values.next_back()
}

#[cfg(any(feature = "bundle", feature = "conda"))]
impl Global {
    /// The options of a command line that is not parsed yet. Values that are wrong are the defaults.
    pub(crate) fn of_words(words: &[OsString]) -> Self {
        let has = |names: &[&str]| words.iter().any(|word| names.iter().any(|name| word == name));
        let color = value(words, "--color").and_then(|value| clap::ValueEnum::from_str(value, false).ok());
        let events = wants_events(words);
        let quiet = has(&["-q", "--quiet"]);
        Self {
            quiet: quiet && !events,
            verbose: !quiet && has(&["-v", "--verbose"]),
            color: if has(&["--no-color"]) { Color::Never } else { color.unwrap_or(Color::Auto) },
            progress: if events { ProgressForm::Json } else { ProgressForm::Words },
            root_prefix: None,
            is_mamba: false,
        }
    }
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more: every package that is linked or unlinked, and the repodata that is loaded
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    /// When to use colours; `auto` follows NO_COLOR, CLICOLOR_FORCE and the terminal
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_short_help = true)]
    pub(crate) color: Color,
    /// The format of stderr: `words` for people, or `json`, one event per line
    #[arg(long, global = true, value_name = "FORM", default_value = "words", conflicts_with = "quiet")]
    #[arg(hide_short_help = true)]
    pub(crate) progress: ProgressForm,
    /// The directory whose `envs/` holds the named environments [default: $MLCONDA_ROOT, else /opt/conda for
    /// root, else mlconda in the user's data directory]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) root_prefix: Option<std::path::PathBuf>,
    /// Whether the program was called as mamba or micromamba, so that mamba's variables are read.
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

/// The format of stderr.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ProgressForm {
    /// For people: sentences, and a progress bar on a terminal.
    Words,
    /// For programs: one object per line, with its type in `event`; `mlconda install --help` lists the types.
    Json,
}
