//! The tables of all known commands and options of conda, mamba and micromamba. Parsing, `--help` and refusals use
//! them. An unknown option is an error, and is never ignored.

use std::fmt::Write as _;

use super::tool::Tool;
use crate::text::wrapped;

/// A command, under all its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Install,
    Update,
    Remove,
    EnvCreate,
    EnvUpdate,
    EnvRemove,
    EnvList,
    Export,
    List,
    Search,
    Info,
    Clean,
    Run,
    /// Variables of an environment.
    Variables,
    Config,
    Init,
    Activate,
    Deactivate,
    Shell,
    /// A command that is not supported; the text says what to do instead.
    Refused(&'static str),
    /// A command that does nothing here, and succeeds.
    Nothing(&'static str),
}

use Verb::{
    Activate, Clean, Config, Create, Deactivate, EnvCreate, EnvList, EnvRemove, EnvUpdate, Export, Info, Init, Install,
    List, Nothing, Refused, Remove, Run, Search, Shell, Update, Variables,
};

/// The words of each command, the command, and its help. Longer ones come first.
pub(super) const VERBS: &[(&str, Verb, &str)] = &[
    ("create", Create, "create an environment from match specs or files"),
    ("install", Install, "add packages to an environment"),
    ("update", Update, "update packages of an environment, or all with --all"),
    ("upgrade", Update, ""),
    ("remove", Remove, "remove packages, or a whole environment with --all"),
    ("uninstall", Remove, ""),
    ("env create", EnvCreate, "create the environment of an environment.yml"),
    ("env update", EnvUpdate, "install what an environment.yml asks for into an environment"),
    ("env remove", EnvRemove, "remove an environment"),
    ("env list", EnvList, "list the environments"),
    ("env export", Export, "print an environment.yml of the installed packages"),
    ("env config", Variables, "`vars set NAME=VALUE`, `vars unset NAME`, `vars list`: variables of an environment"),
    ("export", Export, ""),
    ("list", List, "list the packages of an environment"),
    ("search", Search, "list the versions of a package in the channels"),
    ("repoquery search", Search, ""),
    ("repoquery", Refused("`mlconda tree` shows what needs what, `mlconda why` why a package is there"), ""),
    ("info", Info, "show directories, platform and environments"),
    ("clean", Clean, "empty mlconda's cache, if there is one"),
    ("run", Run, "run a command in an environment"),
    ("config", Config, "read and write .condarc"),
    ("init", Init, "prepare shells for `conda activate`"),
    ("activate", Activate, "activate an environment in this shell"),
    ("deactivate", Deactivate, "deactivate the active environment"),
    ("shell", Shell, "micromamba's shell hook and init"),
    ("commands", Nothing("`--help` lists the commands"), ""),
    ("plugins", Nothing("mlconda has no plugins"), ""),
    ("notices", Nothing("notices of channels are not read"), ""),
    ("build purge-all", Nothing("nothing was built here"), ""),
    ("build purge", Nothing("nothing was built here"), ""),
    ("tos", Nothing(TERMS), ""),
    ("develop", Refused("`pip install -e DIR` does the same"), ""),
    ("self-update", Nothing("mlconda is updated by copying a newer program"), ""),
    ("tos accept", Nothing(TERMS), ""),
    ("build", Refused(BUILDS), ""),
    ("mambabuild", Refused(BUILDS), ""),
    ("metapackage", Refused(BUILDS), ""),
    ("render", Refused(BUILDS), ""),
    ("debug", Refused(BUILDS), ""),
    ("convert", Refused(BUILDS), ""),
    ("skeleton", Refused("`grayskull` makes recipes, and `rattler-build` makes packages from them"), ""),
    ("smithy", Refused("`conda-smithy` is a program of its own"), ""),
    ("pack", Refused("copy the prefix as it is, `COPY --from=builder /opt/conda/envs/NAME /opt/conda/envs/NAME`"), ""),
    ("compare", Refused("`mlconda diff` compares locks and prefixes"), ""),
    ("sync", Refused("`mlconda install env.lock` makes an environment match its lock"), ""),
    ("doctor", Refused(VERIFY), ""),
    ("check", Refused(VERIFY), ""),
    ("verify", Refused(VERIFY), ""),
    ("inspect", Refused(VERIFY), ""),
    (
        "rename",
        Refused(
            "the path of a prefix is written into its files: create a new environment with `conda create --clone OLD -n NEW`",
        ),
        "",
    ),
    ("index", Refused("mlconda makes no channels: `rattler-index` and `conda-index` do"), ""),
    ("package", Refused("`mlconda verify` lists untracked files; `rattler-build` makes and unpacks packages"), ""),
    ("auth", Refused(LOGINS), ""),
    ("token", Refused(LOGINS), ""),
    ("server", Refused(LOGINS), ""),
    ("repo", Refused(LOGINS), ""),
    ("content-trust", Refused("archives are checked against the hashes of a lock or of the channel"), ""),
    ("lock", Refused("`mlconda lock environment.yml` makes a lock"), ""),
];

const BUILDS: &str = "mlconda builds no packages: `rattler-build` and `conda-build` do";
const VERIFY: &str = "`mlconda verify` compares an environment with its records";
const LOGINS: &str = "logins are read from `~/.netrc`, or from a variable in the channel's URL";
const TERMS: &str = "mlconda does not record accepted terms; the terms of the channels still apply";

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It has an effect.
    Counts,
    /// It is accepted: mlconda already does what it asks for.
    Already,
    /// It is accepted without effect, with a warning.
    Word(&'static str),
    /// It is refused; the text says what to do instead.
    Not(&'static str),
}

use Effect::{Already, Counts, Not, Word};

/// An option: its commands, its names, the name of its value, its effect, and its help.
pub(super) struct Row(
    pub(super) u32,
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) Effect,
    pub(super) &'static str,
);

/// Sets of commands, as bits.
const fn of(verb: Verb) -> u32 {
    match verb {
        Create => 1,
        Install => 1 << 1,
        Update => 1 << 2,
        Remove => 1 << 3,
        EnvCreate => 1 << 4,
        EnvUpdate => 1 << 5,
        EnvRemove => 1 << 6,
        EnvList => 1 << 7,
        Export => 1 << 8,
        List => 1 << 9,
        Search => 1 << 10,
        Info => 1 << 11,
        Clean => 1 << 12,
        Run => 1 << 13,
        Config => 1 << 14,
        Init => 1 << 15,
        Activate | Deactivate => 1 << 16,
        Shell => 1 << 17,
        Nothing(_) | Refused(_) => 1 << 18,
        Variables => 1 << 19,
    }
}

/// Commands that solve specs.
const SPECS: u32 = of(Create) | of(Install) | of(Update);
/// Commands that solve.
const SOLVE: u32 = SPECS | of(EnvCreate) | of(EnvUpdate);
/// Commands that change an environment.
const CHANGE: u32 = SOLVE | of(Remove) | of(EnvRemove);
/// Commands with one environment.
const ONE: u32 = CHANGE | of(Export) | of(List) | of(Run) | of(Activate) | of(Variables);
const ALL: u32 = u32::MAX;
/// Commands that load channels.
const CHANNELS: u32 = SOLVE | of(Search) | of(Remove);

/// The options. One-letter names come first; the program uses the last name.
pub(super) const ROWS: &[Row] = &[
    Row(
        ONE | of(Shell),
        "-n --name",
        "NAME",
        Counts,
        "the environment's name: its prefix is `envs/NAME` under the root prefix; `base` is the root prefix",
    ),
    Row(ONE | of(Shell), "-p --prefix", "DIR", Counts, "the environment's directory"),
    Row(
        CHANNELS | of(Export),
        "-c --channel",
        "CHANNEL",
        Counts,
        "search this channel before the configured ones (repeatable)",
    ),
    Row(CHANNELS | of(Export), "-O --override-channels", "", Counts, "use only the channels of `-c`"),
    Row(
        CHANNELS,
        "--strict-channel-priority",
        "",
        Counts,
        "a package comes from the first channel that has any of its name",
    ),
    Row(
        CHANNELS,
        "--no-channel-priority --disable-channel-priority",
        "",
        Counts,
        "the newest version of all channels is used",
    ),
    Row(CHANNELS, "--no-strict-channel-priority --flexible-channel-priority", "", Counts, ""),
    Row(CHANNELS, "--channel-priority", "MODE", Counts, "strict, flexible or disabled [default: flexible, as conda]"),
    Row(CHANNELS, "--channel-alias", "URL", Counts, ""),
    Row(
        SPECS | of(Remove) | of(EnvCreate) | of(EnvUpdate),
        "-f --file",
        "FILE",
        Counts,
        "match specs, an environment.yml, an @EXPLICIT list, a conda-lock.yml or a pixi.lock (repeatable)",
    ),
    Row(of(Export) | of(Config), "-f --file", "FILE", Counts, "the file to write"),
    Row(of(Create), "--clone", "ENV", Counts, "copy this environment, given by name or directory"),
    Row(
        of(Create) | of(EnvCreate),
        "--no-default-packages",
        "",
        Counts,
        "leave out `create_default_packages` of .condarc",
    ),
    Row(
        of(Create) | of(EnvCreate) | of(EnvUpdate) | of(Remove),
        "--force --force-remove",
        "",
        Counts,
        "replace an existing environment; with `remove`, keep packages that need the removed ones",
    ),
    Row(
        of(Install) | of(Update),
        "--force-reinstall",
        "",
        Counts,
        "link the given packages again, even if they are installed",
    ),
    Row(of(Create), "--force-reinstall", "", Already, ""),
    Row(of(EnvUpdate), "--prune --remove-old", "", Counts, "remove packages that the file does not ask for"),
    Row(SPECS, "--prune", "", Already, ""),
    Row(SPECS, "--no-deps", "", Counts, "install the given packages without dependencies"),
    Row(SPECS, "-o --deps-only --only-deps", "", Counts, "install the dependencies of the given packages only"),
    Row(
        SPECS,
        "--no-update-dependencies --no-update-deps --freeze-installed",
        "",
        Counts,
        "do not change installed packages",
    ),
    Row(SPECS, "--update-dependencies --update-deps", "", Counts, "update the dependencies of the given packages too"),
    Row(of(Install) | of(Update), "-a --all --update-all", "", Counts, "update all packages"),
    Row(SPECS, "-S --satisfied-skip-solve --update-specs", "", Already, ""),
    Row(SPECS, "--no-pin", "", Counts, "ignore conda-meta/pinned"),
    Row(SPECS, "--no-py-pin", "", Counts, "allow another minor version of python"),
    Row(SPECS, "--py-pin", "", Already, ""),
    Row(of(Install), "--revision", "N", Counts, "go back to this revision: `list --revisions` shows them"),
    Row(CHANGE, "--override-frozen", "", Counts, "change an environment even if it is marked as frozen"),
    Row(SOLVE, "--exclude-newer", "DATE", Counts, "leave out packages that are newer, as in 2024-05-31"),
    Row(SOLVE, "--clobber", "", Word("a path that two packages have is reported, and comes from one of them"), ""),
    Row(SOLVE, "--environment-specifier --env-spec --format", "FORMAT", Already, ""),
    Row(of(Remove), "-a --all", "", Counts, "remove the whole environment"),
    Row(of(Remove), "--no-prune --no-prune-deps --keep-env", "", Counts, "keep packages that are no longer needed"),
    Row(of(Remove), "--prune --no-pin --prune-deps", "", Already, ""),
    Row(of(Remove), "--features", "", Not("conda no longer has features: give package names"), ""),
    Row(CHANGE | of(Clean), "-d --dry-run", "", Counts, "print the changes, and do nothing"),
    Row(SOLVE | of(Remove), "--download-only", "", Counts, "download the packages into the cache, and install nothing"),
    Row(SOLVE | of(Remove) | of(Search), "--offline", "", Counts, "do not use the network"),
    Row(
        SOLVE | of(Search) | of(Info) | of(List),
        "--subdir --platform",
        "PLATFORM",
        Counts,
        "use this platform instead of this machine's",
    ),
    Row(
        of(Export),
        "--override-platforms --subdir --platform",
        "PLATFORM",
        Not("an environment has one platform: `mlconda lock --platform` locks for others"),
        "",
    ),
    Row(SOLVE, "--copy --always-copy", "", Counts, "copy files from the cache instead of linking them"),
    Row(SOLVE, "--category", "NAME", Counts, "of a conda-lock.yml, this category besides `main` (repeatable)"),
    Row(SOLVE | of(Remove), "--no-scripts", "", Counts, "do not run scripts of packages"),
    Row(SOLVE, "--no-pyc --no-compile-bytecode", "", Counts, "do not compile python modules"),
    Row(
        SOLVE | of(Remove) | of(Search),
        "--pyc --force-pscheck --repodata-use-zst --no-repodata-use-zst --repodata-use-shards --no-repodata-use-shards --unknown --show-channel-urls --no-show-channel-urls --always-softlink --softlink --shortcuts --no-shortcuts --shortcuts-only --allow-softlinks --no-allow-softlinks --no-lock --allow-uninstall --no-allow-uninstall --allow-downgrade --no-allow-downgrade",
        "",
        Already,
        "",
    ),
    Row(SOLVE, "-m --mkdir", "", Counts, ""),
    Row(SOLVE, "--relocate-prefix", "DIR", Not("install into the prefix where the environment is used"), ""),
    Row(CHANGE | of(Search), "--solver --experimental-solver", "NAME", Word("mlconda has one solver, its own"), ""),
    Row(CHANNELS, "-C --use-index-cache", "", Already, ""),
    Row(
        SOLVE | of(Search) | of(Remove),
        "--repodata-fn --repodata-ttl",
        "VALUE",
        Word("the newest complete repodata is always used"),
        "",
    ),
    Row(CHANNELS, "--use-local", "", Not("give the directory as a channel: `-c file:///path/to/conda-bld`"), ""),
    Row(
        CHANNELS,
        "-k --insecure",
        "",
        Word("certificates are always checked; add trusted ones with `SSL_CERT_FILE`"),
        "",
    ),
    Row(
        ALL,
        "--ssl-verify --ssl_verify --cacert-path --safety-checks --trusted-channels",
        "VALUE",
        Word("certificates and archives are always checked"),
        "",
    ),
    Row(
        ALL,
        "--extra-safety-checks --no-extra-safety-checks --verify-artifacts --retry-clean-cache --no-retry-clean-cache --use-uv",
        "",
        Already,
        "",
    ),
    Row(SOLVE | of(Remove), "--dev --experimental", "", Already, ""),
    Row(of(Info), "--root --base", "", Counts, "print the root prefix"),
    Row(of(Info), "-e --envs", "", Counts, "list the environments"),
    Row(of(Info), "-a --all", "", Already, ""),
    Row(of(Info), "--offline", "", Already, ""),
    Row(of(Info) | of(EnvList) | of(List), "--size", "", Word("`du -sh PREFIX` tells the size of an environment"), ""),
    Row(of(Info), "-s --system --license --unsafe-channels", "", Already, ""),
    Row(of(List), "--explicit", "", Counts, "an @EXPLICIT list of URLs"),
    Row(of(List), "--md5", "", Counts, "with their md5, or sha256 if there is no md5"),
    Row(of(List), "--sha256", "", Counts, "with their sha256"),
    Row(of(List), "-e --export", "", Counts, "name=version=build, one per line"),
    Row(of(List), "-c --canonical", "", Counts, "channel/subdir::name-version-build, one per line"),
    Row(of(List), "-f --full-name", "", Counts, "the regular expression must match the whole name"),
    Row(of(List), "--no-pip", "", Counts, "leave out packages that pip installed"),
    Row(of(List), "--reverse", "", Counts, "in reverse order"),
    Row(of(List), "--show-channel-urls", "", Counts, "with the channel of each package"),
    Row(of(List), "--no-show-channel-urls", "", Already, ""),
    Row(of(List), "--fields", "NAMES", Not("`list --json` has all fields of each package"), ""),
    Row(of(List), "--auth", "", Not("lists contain no logins"), ""),
    Row(of(List), "-r --revisions", "", Counts, "the revisions in the history of the environment"),
    Row(of(Export), "--from-history", "", Counts, "only the specs that were asked for"),
    Row(of(Export), "--no-builds --no-build", "", Counts, "leave out the builds"),
    Row(of(Export), "--ignore-channels", "", Counts, "leave `channels:` out"),
    Row(of(Export), "--explicit", "", Counts, "an @EXPLICIT list of URLs"),
    Row(of(Export), "--format", "FORMAT", Counts, "yaml, json, explicit or requirements"),
    Row(of(Export), "--md5 --no-md5 --channel-subdir", "", Already, ""),
    Row(of(Search), "-i --info", "", Counts, "print all fields of each package"),
    Row(of(Search), "-f --remote --pretty --full-name --spec --skip-flexible-search", "", Already, ""),
    Row(of(Search), "-o --names-only --outdated", "", Not("`update --all --dry-run` shows newer versions"), ""),
    Row(of(Search), "--canonical", "", Not("`search --json` has the channel, the version and the build of each"), ""),
    Row(of(Search), "--reverse-dependency", "", Not("`mlconda why NAME` shows what needs a package"), ""),
    Row(of(Search), "--envs", "", Not("`conda list -n NAME` shows what one environment has"), ""),
    Row(of(Clean), "-a --all", "", Counts, "all of the cache"),
    Row(of(Clean), "-p --packages", "", Counts, "the packages"),
    Row(of(Clean), "-t --tarballs", "", Counts, ""),
    Row(of(Clean), "-f --force-pkgs-dirs", "", Counts, ""),
    Row(of(Clean), "-i --index-cache", "", Counts, "the repodata"),
    Row(of(Clean), "-c -l -s --logfiles --tempfiles --source-cache --locks --trash", "", Counts, ""),
    Row(of(Run), "--cwd", "DIR", Counts, "change to this directory first"),
    Row(of(Run), "-s --live-stream --no-capture-output", "", Already, "output is never captured"),
    Row(of(Run), "-e --env", "NAME=VALUE", Counts, "set this variable (repeatable)"),
    Row(of(Run), "-a --attach", "STREAMS", Already, ""),
    Row(of(Run), "--debug-wrapper-scripts --dev", "", Already, ""),
    Row(of(Run), "-d --detach", "", Not("put `&` after the command in the shell"), ""),
    Row(of(Run), "--clean-env", "", Not("put `env -i` before the command"), ""),
    Row(of(Run), "--label", "NAME", Not("mlconda does not list running commands: leave it out"), ""),
    Row(of(Shell) | of(Init), "-s --shell", "SHELL", Counts, "bash, zsh, fish or posix"),
    Row(ALL, "-r --root-prefix", "DIR", Counts, "the root prefix; its `envs/` holds the named environments"),
    Row(ALL, "--rc-file", "FILE", Counts, ""),
    Row(ALL, "--no-rc --no-env --no-config", "", Counts, "read no .condarc"),
    Row(
        ALL,
        "-y --always-yes --yes",
        "",
        Counts,
        "replace an existing environment; mlconda never asks for confirmation",
    ),
    Row(ALL, "-q --quiet", "", Counts, "print errors only"),
    Row(ALL, "--json", "", Counts, "print the result as JSON on stdout"),
    Row(ALL, "--progress", "FORM", Counts, "the format of stderr: words, or json with one event per line"),
    Row(ALL, "--color", "WHEN", Counts, "when to use colours: auto, always or never"),
    Row(ALL, "--no-color", "", Counts, ""),
    Row(ALL, "-v --debug --trace --verbose", "", Counts, "print more, such as every package that is linked"),
    Row(ALL, "--no-plugins --no-progress-bar", "", Already, ""),
    Row(ALL, "--console --log-level --lock-timeout", "VALUE", Already, ""),
    Row(ALL, "-h --help", "", Counts, "show this"),
    Row(ALL, "-V --version", "", Counts, "show the version"),
];

/// Whether a command has an option.
pub(super) fn takes(verb: Verb, key: &str) -> bool {
    ROWS.iter().any(|row| row.is_of(verb) && row.key() == key)
}

impl Row {
    pub(super) fn is_of(&self, verb: Verb) -> bool {
        self.0 & of(verb) != 0
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.1.split(' ')
    }

    /// The name that the program uses: the last one.
    pub(super) fn key(&self) -> &'static str {
        self.1.rsplit(' ').next().unwrap_or(self.1)
    }
}

/// The help of a command, or the list of commands.
pub(super) fn help(tool: Tool, verb: Option<Verb>, width: usize) -> String {
    let tool = tool.name();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let Some(verb) = verb else {
        let _ = write!(
            text,
            "{}\n\nUsage: {tool} COMMAND [OPTIONS] [SPECS]\n\nCommands:\n",
            wrapped(
                &format!("mlconda, called as {tool}: it understands the command lines of conda, mamba and micromamba."),
                0,
                width
            )
        );
        for (words, _, help) in VERBS.iter().filter(|(.., help)| !help.is_empty()) {
            let _ = writeln!(text, "  {words:<14}{}", wrapped(help, 16, width));
        }
        let _ = write!(
            text,
            "\n`{tool} COMMAND --help` shows its options;\n`mlconda --help` lists mlconda's own commands.\n"
        );
        return text;
    };
    let words = VERBS.iter().find(|(_, known, _)| *known == verb).map_or("", |(words, ..)| words);
    let help = VERBS.iter().find(|(_, known, _)| *known == verb).map_or("", |(.., help)| help);
    let title = format!("{tool} {words}: {help}");
    let _ = write!(text, "{}\n\nOptions:\n", wrapped(title.trim_end_matches(": "), 0, width));
    for row in ROWS.iter().filter(|row| row.is_of(verb) && !row.4.is_empty()) {
        let names: Vec<&str> = row.names().collect();
        let names = format!("{} {}", names.join(", "), row.2);
        let _ = writeln!(text, "  {}\n        {}", wrapped(names.trim_end(), 6, width), wrapped(row.4, 8, width));
    }
    let others = "Other options of conda are accepted if they change nothing here; all others are errors.";
    let _ = writeln!(text, "\n{}", wrapped(others, 0, width));
    text
}
