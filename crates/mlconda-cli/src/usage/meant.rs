//! Commands and options of conda, mamba, pixi, uv and pip, and their equivalents in mlconda.

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

/// The hint for an unknown command.
pub(super) fn by_command(word: &str, program: &clap::Command) -> Option<String> {
    find(COMMANDS, word, program)
}

/// The hint for an unknown option.
pub(super) fn by_option(name: &str, program: &clap::Command) -> Option<String> {
    find(OPTIONS, name, program)
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
