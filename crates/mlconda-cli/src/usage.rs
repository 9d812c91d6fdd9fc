//! Errors of the command line, with hints for commands and options of conda, mamba, pixi, uv and pip.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::ui::Ui;

/// Prints what is wrong with the command line and what was meant, or what `--help` and `--version` ask for. Ends the process.
/// `program` describes all commands.
pub(crate) fn report(error: &clap::Error, program: &clap::Command) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let ui = Ui::of_words();
    match hint(error, program) {
        Some((message, hint)) => ui.error(&message, Some(&hint)),
        None => ui.usage(&error.render().to_string()),
    }
    std::process::exit(2);
}

/// The commands that features bring along, and whether they are here.
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

/// Words that are not commands, and what to use instead.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["uninstall", "remove", "rm", "delete"],
        "take its line out of the environment.yml, then `mlconda lock` and `mlconda install env.lock`: packages that are not in the lock are removed",
    ),
    (
        &["upgrade", "update", "up"],
        "`mlconda lock --update NAME` updates packages in the lock; `mlconda install env.lock` installs it",
    ),
    (&["outdated"], "`mlconda lock --update --dry-run` shows what is newer"),
    (&["sync", "restore", "apply"], "`mlconda install env.lock` makes an environment match its lock"),
    (
        &["create", "env"],
        "`mlconda install environment.yml -n NAME` makes an environment; `mlconda lock` and `mlconda install env.lock` pin it",
    ),
    (&["add"], "write the package into the environment.yml, then `mlconda lock` and `mlconda install env.lock`"),
    (
        &["pack", "archive"],
        "`mlconda bundle env.lock -o env.bundle` makes one file of a lock and its packages. Or copy the prefix from one image to the other, to the same path: `COPY --from=build /opt/conda/envs/NAME …`",
    ),
    (
        &["shell", "activate", "hook", "deactivate"],
        "`eval \"$(mlconda shell-hook -n NAME)\"` activates an environment in this shell; `mlconda run -n NAME COMMAND` runs one command in it",
    ),
    (&["exec", "x"], "`mlconda run -n NAME COMMAND` runs a command in an environment"),
    (
        &["freeze", "dump"],
        "`mlconda export` writes an environment.yml of what is installed, and `mlconda lock --from-prefix DIR` a lock",
    ),
    (&["compile", "solve", "relock", "render"], "`mlconda lock environment.yml` solves and pins"),
    (&["pip"], "write it into the environment.yml, in a list `pip:`; or `mlconda run -n NAME pip …`"),
    (&["ls", "show"], "`mlconda list` names what is installed; `mlconda why NAME` tells why"),
    (
        &["check", "doctor"],
        "`mlconda verify` checks what is installed; `mlconda lock --check` tells whether the lock is up to date",
    ),
    (
        &["repoquery", "depends", "graph"],
        "`mlconda tree` shows what needs what; `mlconda tree --invert NAME`, who needs it",
    ),
    (&["whoneeds", "rdepends"], "`mlconda tree --invert NAME` shows who needs it"),
    (&["audit", "licenses"], "`mlconda sbom` makes a bill of materials, which auditing programs read"),
    (
        &["clean", "prune", "gc"],
        "`mlconda cache prune` removes old packages from the cache; an installation leaves only the prefix",
    ),
    (&["download", "pull", "prefetch"], "`mlconda fetch env.lock` brings the packages of a lock into the cache"),
    (&["login", "auth"], "logins are read from `~/.netrc`, and from where pixi and mamba keep them"),
    (&["version"], "`mlconda --version` tells it"),
    (&["build"], "mlconda installs packages; rattler-build and conda-build make them"),
];

/// Options that do not exist, and what to do instead.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["-y", "--yes", "--assume-yes", "--non-interactive"], "leave it out: mlconda never asks for confirmation"),
    (&["--prune"], "leave it out: an installation always removes packages that are not in the lock"),
    (
        &["--frozen", "--frozen-lockfile", "--immutable", "--no-update"],
        "`mlconda install --locked environment.yml` installs the lock, and only if it is up to date",
    ),
    (&["-U", "--upgrade"], "`mlconda lock --update NAME` updates packages in the lock"),
    (
        &["--lockfile", "--lock-file"],
        "a lock is named as it is: `mlconda install env.lock`; `mlconda lock -o env.lock` writes one",
    ),
    (&["--copy", "--always-copy"], "leave it out: without a cache, no file is shared"),
    (&["--solver", "--experimental-solver"], "leave it out: there is one solver"),
    (&["-m", "--md5"], "leave it out: locks have sha256 sums"),
    (&["--micromamba", "--mamba", "--conda"], "leave it out: there is one solver, and it is built in"),
];

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
            if let Some(meant) = find(COMMANDS, word, program) {
                return Some((message, meant));
            }
            let is_file = [".yml", ".yaml", ".lock", ".txt"].iter().any(|end| word.ends_with(end));
            is_file.then(|| (message, format!("a file comes after a command: `mlconda install {word}`")))
        }
        ErrorKind::UnknownArgument => {
            let word = context(ContextKind::InvalidArg)?;
            let name = word.split('=').next().unwrap_or(word);
            Some((format!("there is no option `{name}` for this command"), find(OPTIONS, name, program)?))
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

/// The hint for a word.
fn find(words: &[(&[&str], &str)], word: &str, program: &clap::Command) -> Option<String> {
    let is_command = |name: &str| program.get_subcommands().any(|command| command.get_name() == name);
    let (names, meant) = words.iter().find(|(names, _)| names.contains(&word))?;
    // If a command of mlconda has the same meaning, the hint names it first.
    Some(
        names
            .iter()
            .find(|name| **name != word && is_command(name))
            .map_or_else(|| (*meant).to_owned(), |name| format!("`mlconda {name}` does that; or {meant}")),
    )
}
