//! The files that define `conda activate` for shells: files in the root prefix, and a block in the shell's startup
//! file.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{activate::Dialect, prefix::Prefix};

use crate::{
    commands::shell_hook::{UNSUPPORTED, no_shell},
    condarc::Condarc,
    context::Context,
    error::CliError,
};

const POSIX: &str = include_str!("conda.sh");
const FISH: &str = include_str!("conda.fish");

/// The first and the last line of the block in a startup file, the same as conda's.
const BEGIN: &str = "# >>> conda initialize >>>";
const END: &str = "# <<< conda initialize <<<";

/// The supported shells, with their startup files in the home directory.
const SHELLS: &[(&str, &str)] =
    &[("bash", ".bashrc"), ("zsh", ".zshrc"), ("fish", ".config/fish/config.fish"), ("posix", ".profile")];

/// The first argument of `init` that is a shell, or an option about shells.
pub(crate) fn first_shell(arguments: &[OsString]) -> Option<&str> {
    let about = ["--all", "--system", "--user", "--no-user", "--reverse", "--install", "-s", "--shell"];
    let is_about =
        |word: &&str| SHELLS.iter().any(|(name, _)| name == word) || UNSUPPORTED.contains(word) || about.contains(word);
    arguments.iter().filter_map(|word| word.to_str()).find(is_about)
}

/// `conda init`: writes the files of the root prefix, and the block in startup files that loads them.
pub(super) fn init(tool: &str, arguments: &[OsString], context: &Context) -> Result<ExitCode, CliError> {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let mut shells = named_shells(&words)?;
    if has(&["--all"]) {
        shells = SHELLS[..3].iter().collect();
    } else if shells.is_empty() {
        shells.push(&SHELLS[0]);
    }
    let (is_dry, reverse) = (has(&["-d", "--dry-run"]), has(&["--reverse"]));
    if !is_dry && !reverse {
        write_all(context)?;
    }
    let home = context
        .settings
        .home
        .clone()
        .ok_or_else(|| CliError::world("there is no home directory", "set `HOME`, or use `init --system`"));
    let mut files: Vec<(PathBuf, Dialect)> = Vec::new();
    if !has(&["--no-user"]) && (!has(&["--system"]) || has(&["--user"])) {
        let home = home?;
        files.extend(shells.iter().map(|(name, file)| (home.join(file), dialect(name))));
    }
    if has(&["--system"]) {
        files.push((PathBuf::from("/etc/profile.d/conda.sh"), Dialect::Posix));
    }
    for (file, dialect) in files {
        let old = match mlconda::files::read(&file, mlconda::files::LARGEST_TEXT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => String::from_utf8(read?).map_err(|_| {
                CliError::world(
                    format!("`{}` is not UTF-8 text", file.display()),
                    "add the lines that `conda shell.posix hook` prints to the file by hand",
                )
            })?,
        };
        let new = with_block(&old, (!reverse).then(|| block(tool, dialect, context)).as_deref());
        let name = file.display();
        if new == old {
            context.ui.say(&format!("no change     {name}"));
        } else if is_dry {
            context.ui.say(&format!("would change  {name}"));
        } else {
            file.parent().map_or(Ok(()), fs_err::create_dir_all)?;
            let by_hand = "change its permissions, or add the lines that `conda shell.posix hook` prints to it by hand";
            context.replace(&file, &new, by_hand)?;
            context.ui.say(&format!("modified      {name}"));
        }
    }
    context.ui.say("For changes to take effect, open a new shell.");
    Ok(ExitCode::SUCCESS)
}

/// The shells among the words of `init`.
fn named_shells(words: &[&str]) -> Result<Vec<&'static (&'static str, &'static str)>, CliError> {
    let (mut shells, mut rest) = (Vec::new(), words.iter());
    while let Some(word) = rest.next() {
        match *word {
            "-r" | "--root-prefix" | "-p" | "--prefix" => drop(rest.next()),
            option if option.starts_with('-') => {}
            word if UNSUPPORTED.contains(&word) => return Err(no_shell(word)),
            word => match SHELLS.iter().find(|(name, _)| *name == word) {
                Some(shell) => shells.push(shell),
                None => {
                    return Err(CliError::Usage(format!(
                        "`{word}` is not a shell: there are bash, zsh, fish and posix"
                    )));
                }
            },
        }
    }
    Ok(shells)
}

fn dialect(shell: &str) -> Dialect {
    if shell == "fish" { Dialect::Fish } else { Dialect::Posix }
}

/// The text of a file with the block, or without it. Other lines stay.
fn with_block(old: &str, block: Option<&str>) -> String {
    let found = old.find(BEGIN).and_then(|start| Some((start, start + old[start..].find(END)? + END.len())));
    match (found, block) {
        (Some((start, end)), Some(block)) => format!("{}{block}{}", &old[..start], &old[end..]),
        (Some((start, end)), None) => format!("{}{}", &old[..start], old[end..].trim_start_matches('\n')),
        (None, Some(block)) => {
            let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
            format!("{old}{gap}{block}\n")
        }
        (None, None) => old.to_owned(),
    }
}

fn block(tool: &str, dialect: Dialect, context: &Context) -> String {
    let (exe, root) = (quoted(exe().as_os_str(), dialect), variables(dialect, context));
    let tool = if tool == "mlconda" { "conda" } else { tool };
    let line = match dialect {
        Dialect::Posix => format!("if [ -x {exe} ]; then\n    eval \"$({exe} {tool} shell.posix hook)\"\nfi"),
        Dialect::Fish => format!("if test -x {exe}\n    {exe} {tool} shell.fish hook | source\nend"),
    };
    format!("{BEGIN}\n# This block is written by `{tool} init`.\n{root}{line}\n{END}")
}

/// The statements that define `conda activate`. As with conda, the base environment is activated, if there is one.
pub(super) fn hook(tool: &str, dialect: Dialect, condarc: &Condarc, context: &Context) -> String {
    let base = Prefix::open(&context.settings.root_prefix).is_ok_and(|prefix| prefix.is_environment());
    let wanted = condarc.flag("auto_activate_base").or(condarc.flag("auto_activate")) != Some(false);
    let is_active = context.settings.raw_variable("CONDA_PREFIX").is_some();
    let activates = tool == "conda" && base && wanted && !is_active;
    functions(dialect, context) + if activates { "conda activate base\n" } else { "" }
}

fn functions(dialect: Dialect, context: &Context) -> String {
    let text = if dialect == Dialect::Fish { FISH } else { POSIX };
    text.replace("@EXE@", &quoted(exe().as_os_str(), dialect)).replace("@VARIABLES@", &variables(dialect, context))
}

/// The statements that set the root prefix, if it is not a default one, and conda's and mamba's variables for the
/// program, if it has their names on `PATH`.
fn variables(dialect: Dialect, context: &Context) -> String {
    let settings = &context.settings;
    let mut variables = Vec::new();
    if let [told] = settings.root_prefixes().as_slice() {
        variables.extend(["MLCONDA_ROOT", "MAMBA_ROOT_PREFIX"].map(|name| (name, told.clone())));
    }
    let same = |one: &Path| {
        let file = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
        file(one).is_some_and(|this| Some(this) == file(&exe()))
    };
    let path = settings.raw_variable("PATH").unwrap_or_default();
    for (name, variable) in [("conda", "CONDA_EXE"), ("micromamba", "MAMBA_EXE")] {
        // Scripts look for `../etc/profile.d/conda.sh` beside the program.
        let own = settings.root_prefix.join("bin");
        let places = std::iter::once(own).chain(std::env::split_paths(path));
        let program = places.map(|directory| directory.join(name)).find(|path| same(path));
        variables.extend(program.filter(|path| path.is_absolute()).map(|path| (variable, path)));
    }
    let statement = |(name, value): (&str, PathBuf)| match dialect {
        Dialect::Posix => format!("export {name}={}\n", quoted(value.as_os_str(), dialect)),
        Dialect::Fish => format!("set -gx {name} {}\n", quoted(value.as_os_str(), dialect)),
    };
    variables.into_iter().map(statement).collect()
}

fn quoted(text: &OsStr, dialect: Dialect) -> String {
    String::from_utf8_lossy(&dialect.quote(text)).into_owned()
}

/// This program.
fn exe() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("mlconda"))
}

/// The hint if a file of the root prefix cannot be written.
const ROOT: &str = "name a root prefix that can be written to, with `--root-prefix` or `MLCONDA_ROOT`";

/// Writes the files that shells and scripts expect in a root prefix. An empty root prefix becomes an environment.
pub(crate) fn write_all(context: &Context) -> Result<(), CliError> {
    let root = &context.settings.root_prefix;
    let of = |name: &str| root.join(name);
    let profile = of("etc/profile.d/conda.sh");
    let sourced = |words: &str| format!(". {} && conda {words}\n", quoted(profile.as_os_str(), Dialect::Posix));
    let posix = functions(Dialect::Posix, context);
    let files = [
        ("etc/profile.d/conda.sh", posix.clone()),
        ("etc/profile.d/mamba.sh", posix),
        ("etc/fish/conf.d/conda.fish", functions(Dialect::Fish, context)),
        ("bin/activate", sourced("activate \"$@\"")),
        // `$@` would be the arguments of the script that sources the file.
        ("bin/deactivate", sourced("deactivate")),
    ];
    // As with conda, there is always a `base`, here without packages. A `base` from an interrupted installation has
    // records and no history, and does not become an environment.
    fs_err::create_dir_all(of("conda-meta"))?;
    if fs_err::read_dir(of("conda-meta"))?.next().is_none() {
        context.replace(&of("conda-meta/history"), "", ROOT)?;
    }
    for (name, text) in files {
        let file = of(name);
        if is_of_package(root, Path::new(name)) || fs_err::read(&file).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        file.parent().map_or(Ok(()), fs_err::create_dir_all)?;
        // The file is replaced, so that nothing is written through a link or into a file of the package cache.
        let _ = fs_err::remove_file(&file);
        context.replace(&file, &text, ROOT)?;
    }
    Ok(())
}

/// Whether a file of the root prefix belongs to a package, as those of conda itself do.
fn is_of_package(root: &Path, name: &Path) -> bool {
    let records = Prefix::open(root).and_then(|prefix| prefix.records()).unwrap_or_default();
    records.iter().any(|record| record.files.iter().any(|file| file == name))
}
