//! conda's commands for shells and configuration: `config`, `init`, `activate`, `deactivate`, `shell` and `shell.bash`.
//! They are the same under every name of the program, except `mlconda init` without a shell, which creates an
//! environment.yml.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::activate::Dialect;

use super::{
    options::{self, Verb},
    tool::Tool,
};
use crate::{
    condarc::{self, Condarc},
    context::Context,
    error::CliError,
    global::{Global, WITH_VALUE},
    report, shells,
};

/// The other names of the program.
pub(crate) const NAMES: [&str; 3] = ["conda", "mamba", "micromamba"];

/// Makes `conda …` of `mlconda conda …`, and of `conda conda …`: a copy of the program with another name does not know
/// that it was mlconda. Options of every command between the two names come behind the second.
pub(crate) fn without_own_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_name = |word: &OsString| NAMES.iter().any(|name| word == name);
    let rest = arguments.get(1..).unwrap_or_default();
    // After another option, the name of conda can be its value.
    let is_global = |word: &OsString| {
        let word = word.to_str().unwrap_or_default();
        let name = word.split('=').next().unwrap_or(word);
        let has_none = ["-q", "--quiet", "-v", "--verbose", "--no-color"].contains(&name);
        !word.starts_with('-') || has_none || WITH_VALUE.contains(&name)
    };
    let is_here = |place: &usize| is_name(&rest[*place]) && rest[..*place].iter().all(is_global);
    if let Some(place) = verb(rest).filter(is_here) {
        arguments[0] = arguments.remove(place + 1);
    }
    arguments
}

fn name(program: &OsString) -> Option<&str> {
    Path::new(program).file_name().and_then(OsStr::to_str)
}

/// Runs a command line, if it is one of these.
pub(crate) fn main(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, rest) = arguments.split_first()?;
    let tool = name(program).and_then(|name| NAMES.into_iter().find(|known| *known == name)).unwrap_or("mlconda");
    let place = verb(rest)?;
    let (before, rest) = (&rest[..place], &rest[place..]);
    let (verb, rest) = rest.split_first()?;
    let verb = verb.to_str()?;
    let shell = verb.strip_prefix("shell.");
    let is_about_shell = shell.is_some() || ["config", "activate", "deactivate", "shell"].contains(&verb);
    let asks_for_file = verb == "init" && tool == "mlconda" && shells::first_shell(rest).is_none();
    let asks_for_help = verb != "config" && shell.is_none() && rest.iter().any(|word| word == "--help" || word == "-h");
    if !(is_about_shell || (verb == "init" && !asks_for_file)) || asks_for_help {
        return None;
    }
    let all = || before.iter().chain(rest);
    // An older spelling of `-r`.
    let old = rest.iter().skip_while(|word| *word != "-p" && *word != "--prefix").nth(1);
    let old = old.filter(|_| verb == "shell" && rest.first().is_some_and(|word| word == "init")).map(PathBuf::from);
    let own = Global::of_words(&arguments[1..]);
    let global = Global { root_prefix: root(all()).or(old), is_mamba: tool.ends_with("mamba"), ..own };
    let mut context = Context::new(&global);
    let outcome = match (verb, shell) {
        (_, Some(shell)) if is_help(rest) => help(program, shell, rest, &context),
        ("config", _) => condarc::config(rest, &context),
        _ => Condarc::read(&context.settings).and_then(|condarc| {
            condarc.apply_directories(&mut context.settings);
            shells::run(tool, verb, rest, &condarc, &context)
        }),
    };
    Some(outcome.unwrap_or_else(|error: CliError| report::report(&error, &context)))
}

/// Whether a shell function passes `activate --help` or `deactivate --help`.
fn is_help(rest: &[OsString]) -> bool {
    let is_verb = |word: &OsString| word == "activate" || word == "deactivate";
    rest.first().is_some_and(is_verb) && rest.iter().any(|word| word == "--help" || word == "-h")
}

/// A statement that prints the help of a command: the shell function evaluates what is printed here.
fn help(program: &OsStr, shell: &str, rest: &[OsString], context: &Context) -> Result<ExitCode, CliError> {
    let verb = if rest[0] == "activate" { Verb::Activate } else { Verb::Deactivate };
    let text = options::help(Tool::of(program).unwrap_or(Tool::Mlconda), Some(verb), context.ui.width());
    let dialect = if shell == "fish" { Dialect::Fish } else { Dialect::Posix };
    context.ui.data([b"printf '%s' ", &*dialect.quote(OsStr::new(&text)), b"\n"].concat())?;
    Ok(ExitCode::SUCCESS)
}

/// The index of the first argument that is not an option.
fn verb(arguments: &[OsString]) -> Option<usize> {
    let mut place = 0;
    loop {
        let word = arguments.get(place)?.to_str()?;
        match word {
            "-r" | "--rc-file" => place += 2,
            option if WITH_VALUE.contains(&option) => place += 2,
            option if option.starts_with('-') => place += 1,
            _ => return Some(place),
        }
    }
}

/// The value of `--root-prefix`.
fn root<'a>(words: impl Iterator<Item = &'a OsString>) -> Option<PathBuf> {
    let mut words = words;
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-r" | "--root-prefix") => return words.next().map(PathBuf::from),
            Some(word) if word.starts_with("--root-prefix=") => {
                return word.split_once('=').map(|(_, path)| path.into());
            }
            _ => {}
        }
    }
    None
}
