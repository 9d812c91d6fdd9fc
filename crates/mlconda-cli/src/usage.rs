//! Errors of the command line, with hints for commands and options of conda, mamba, pixi, uv and pip.

#[cfg(feature = "install")]
mod meant;
#[cfg(not(feature = "install"))]
mod no_meant;

use clap::error::{ContextKind, ContextValue, ErrorKind};

#[cfg(not(feature = "install"))]
use self::no_meant as meant;
use crate::{text, ui::Ui};

/// Prints a usage error and its hint, or the text of `--help` or `--version`. Ends the process. `program` describes all
/// commands. `wants_events` is whether stderr is for programs.
pub(crate) fn report(error: &clap::Error, program: &clap::Command, wants_events: bool) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let ui = Ui::before_options(wants_events);
    match hint(error, program) {
        Some((message, hint)) => ui.error(&message, Some(&hint)),
        None => ui.usage(&error.render().to_string()),
    }
    std::process::exit(2);
}

/// The commands of each feature, and whether this program has the feature.
const PARTS: [(bool, &str, &[&str]); 6] = [
    (cfg!(feature = "run"), "run", &["run", "shell-hook"]),
    (cfg!(feature = "install"), "install", &["install", "fetch", "cache", "verify", "list", "info"]),
    (cfg!(feature = "lock"), "lock", &["lock", "add", "drop", "init", "convert", "diff", "export", "tree", "why"]),
    (cfg!(feature = "image"), "image", &["image", "size", "sbom"]),
    (cfg!(feature = "bundle"), "bundle", &["bundle"]),
    (cfg!(feature = "conda"), "conda", &["conda", "create", "env", "update", "remove", "search", "clean", "activate"]),
];

/// The error for a command that this program was built without.
fn left_out(word: &str) -> Option<(String, String)> {
    let (_, feature, _) = PARTS.iter().find(|(is_here, _, words)| !is_here && words.contains(&word))?;
    let message = format!("this program was built without `{word}`, which is in its feature `{feature}`");
    Some((message, "use the complete mlconda; `mlconda --help` lists what is here".to_owned()))
}

/// The error, and a hint if the meaning is known.
fn hint(error: &clap::Error, program: &clap::Command) -> Option<(String, String)> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand)?;
            if let Some(left_out) = left_out(word) {
                return Some(left_out);
            }
            let message = format!("`{word}` is not a command of mlconda");
            if let Some(meant) = meant::by_command(word, program) {
                return Some((message, meant));
            }
            let is_file = [".yml", ".yaml", ".lock", ".txt"].iter().any(|end| word.ends_with(end));
            is_file.then(|| (message, format!("a file comes after a command: `mlconda install {}`", text::word(word))))
        }
        ErrorKind::UnknownArgument => {
            let word = context(ContextKind::InvalidArg)?;
            let name = word.split('=').next().unwrap_or(word);
            let is_of_conda = cfg!(feature = "conda")
                && ["-e", "--envs", "--base", "--root"].contains(&name)
                && error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains("mlconda info"));
            let meant = match is_of_conda {
                true => format!("`mlconda conda info {name}` has it"),
                false => meant::by_option(name, program)?,
            };
            Some((format!("there is no option `{name}` for this command"), meant))
        }
        ErrorKind::MissingRequiredArgument => {
            let is_of_install = context(ContextKind::InvalidArg)?.contains("LOCK");
            let message = "no lock or environment.yml is given".to_owned();
            is_of_install
                .then(|| (message, "`mlconda install env.lock`, or `mlconda install environment.yml`".to_owned()))
        }
        _ => None,
    }
}
