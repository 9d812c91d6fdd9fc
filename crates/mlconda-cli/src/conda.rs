//! The command lines of conda, mamba and micromamba, so that existing Dockerfiles and scripts work: under these names
//! (`argv[0]`), and under the name mlconda for commands that mlconda does not have itself. `docs/conda.md` describes
//! what each command does.

mod channels;
mod clean;
mod engine;
mod environments;
mod goal;
mod line;
mod options;
mod remove;
mod revisions;
mod run;
pub(crate) mod shell;
#[cfg(test)]
mod tests;
mod tool;
mod variables;
mod views;

use std::{ffi::OsString, process::ExitCode};

use mlconda::{
    PrefixRecord, Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
};

use self::{line::Line, options::Verb, tool::Tool};
use crate::{
    context::Context,
    error::CliError,
    global::{Color, Global, ProgressForm, WITH_VALUE, wants_events},
    report, settings, shells, signals,
    text::word,
};

/// The version of conda whose command lines are accepted.
const CONDA: &str = "26.1.0";
/// The version of mamba and micromamba.
const MAMBA: &str = "2.5.0";

/// The commands of conda that also work as `mlconda COMMAND`.
const SHARED: &[&str] = &[
    "env",
    "create",
    "remove",
    "uninstall",
    "update",
    "upgrade",
    "search",
    "clean",
    "sync",
    "pack",
    "compare",
    "doctor",
    "rename",
];

/// Runs a command line, if it is one of conda's.
pub(crate) fn main(arguments: Vec<OsString>) -> Option<ExitCode> {
    let (program, arguments) = arguments.split_first()?;
    let tool = match Tool::of(program) {
        Some(tool) => tool,
        None if is_shared(arguments) => Tool::Mlconda,
        None => return None,
    };
    let line = Line::parse(tool, arguments);
    let is_json =
        line.as_ref().map_or_else(|_| arguments.iter().any(|word| word == "--json"), |line| line.has("--json"));
    let mut global = global(line.as_ref().ok());
    if line.is_err() && wants_events(arguments) {
        global.progress = ProgressForm::Json;
    }
    let mut context = Context::new(&global);
    Some(match line.and_then(|line| configured(line, &mut context)) {
        Ok(code) => code,
        Err(error) if is_json => report::report_as_json(&error, &context),
        Err(error) => report::report(&error, &context),
    })
}

/// Runs a command line with conda's configuration.
fn configured(mut line: Line, context: &mut Context) -> Result<ExitCode, CliError> {
    one_of::<ProgressForm>(&line, "--progress")?;
    one_of::<Color>(&line, "--color")?;
    let solves = matches!(
        line.verb,
        Some(Verb::Create | Verb::Install | Verb::Update | Verb::EnvCreate | Verb::EnvUpdate | Verb::Remove)
    );
    let searches = solves || line.verb == Some(Verb::Search);
    // mlconda's own commands, which use the environments that these commands make, do not read the file.
    let has_directories = line.tool != Tool::Mlconda;
    match channels::condarc(&line, context) {
        Ok(condarc) => {
            if condarc.flag("dry_run") == Some(true) && line.verb.is_some_and(|verb| options::takes(verb, "--dry-run"))
            {
                line.options.push(("--dry-run", String::new()));
            }
            if has_directories {
                condarc.apply_directories(&mut context.settings);
            }
            if searches {
                condarc.apply(context);
                context.settings.channel_urls = channels::urls(&line, context)?;
            }
        }
        Err(error) if searches => return Err(error),
        // Installed environments can be used without the file.
        Err(error) => {
            let (message, ..) = report::parts(&error);
            context.ui.warn(&format!("the configuration of conda has no effect: {message}"));
        }
    }
    let code = run(&line, context)?;
    let root = &context.settings.root_prefix;
    let has_files = root.join("etc/profile.d/conda.sh").exists();
    if solves && line.tool != Tool::Mlconda && !has_files && !line.has("--dry-run") {
        // With `-p`, nothing else needs a root prefix, and it may be at a place that this user cannot write to.
        let is_there = root.is_dir() || fs_err::create_dir_all(root).is_ok();
        if is_there && settings::is_writable(root) {
            shells::write_all(context)?;
        }
    }
    Ok(code)
}

/// Whether the arguments of mlconda are a command of conda: by the first word, or `install` with match specs instead of
/// files.
fn is_shared(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter();
    let first = loop {
        match words.next().and_then(|word| word.to_str()) {
            Some(option) if WITH_VALUE.contains(&option) => _ = words.next(),
            Some(option) if option.starts_with('-') => {}
            Some(word) => break word,
            None => return false,
        }
    };
    match first {
        "install" => asks_for_specs(words.as_slice()),
        word => SHARED.contains(&word),
    }
}

/// Whether the operands of `mlconda install` are match specs. The values of options are ignored.
fn asks_for_specs(words: &[OsString]) -> bool {
    let arguments: Vec<OsString> = std::iter::once(OsString::from("install")).chain(words.iter().cloned()).collect();
    let operands = match Line::parse(Tool::Mlconda, &arguments) {
        Ok(line) => line.operands,
        Err(_) => words.iter().filter(|word| !word.to_string_lossy().starts_with('-')).cloned().collect(),
    };
    let is_spec = |word: &OsString| word.to_str().is_some_and(|word| !is_file(word) && reads_as_spec(word));
    !operands.is_empty() && operands.iter().all(is_spec)
}

/// Whether a word is a file: an existing one, or one by its extension.
fn is_file(word: &str) -> bool {
    let ends = [".yml", ".yaml", ".lock", ".txt", ".json", ".toml"];
    let is_package = word.ends_with(".conda") || word.ends_with(".tar.bz2");
    !is_package && (ends.iter().any(|end| word.ends_with(end)) || std::path::Path::new(word).exists())
}

fn reads_as_spec(word: &str) -> bool {
    let options = ReadOptions { directory: "/".into(), home: Some("/".into()), ..ReadOptions::default() };
    let is_place = ["/", "./", "../", "~"].iter().any(|start| word.starts_with(start));
    let is_package = word.ends_with(".conda") || word.ends_with(".tar.bz2");
    (!is_place || is_package) && Environment::from_specs(&[word], &options).is_ok()
}

/// The value of an option with a fixed list of values; the last one counts.
fn one_of<T: clap::ValueEnum>(line: &Line, name: &str) -> Result<Option<T>, CliError> {
    let Some(value) = line.value(name) else { return Ok(None) };
    T::from_str(value, false).map(Some).map_err(|_| {
        let known =
            T::value_variants().iter().filter_map(|each| Some(format!("`{}`", each.to_possible_value()?.get_name())));
        CliError::Usage(format!("`{name}` is one of {}, not `{value}`", known.collect::<Vec<_>>().join(", ")))
    })
}

/// The global options of a command line. Values that are wrong are the defaults here, and errors of [`configured`].
fn global(line: Option<&Line>) -> Global {
    let quiet = line.is_some_and(|line| line.has("--quiet"));
    let progress = line.and_then(|line| one_of(line, "--progress").ok().flatten());
    let events = matches!(progress, Some(ProgressForm::Json));
    let color = line.and_then(|line| one_of(line, "--color").ok().flatten()).unwrap_or(Color::Auto);
    Global {
        quiet: quiet && !events,
        verbose: !quiet && line.is_some_and(|line| line.has("--verbose")),
        color: if line.is_some_and(|line| line.has("--no-color")) { Color::Never } else { color },
        progress: if events { ProgressForm::Json } else { ProgressForm::Words },
        root_prefix: line.and_then(|line| line.value("--root-prefix")).map(Into::into),
        is_mamba: line.is_some_and(|line| matches!(line.tool, Tool::Mamba | Tool::Micromamba)),
    }
}

fn run(line: &Line, context: &Context) -> Result<ExitCode, CliError> {
    let has_help = line.has("--help") || (line.verb.is_none() && !line.has("--version"));
    if has_help {
        context.ui.data(options::help(line.tool, line.verb, context.ui.width()))?;
        return Ok(ExitCode::SUCCESS);
    }
    line.remarks.iter().for_each(|remark| context.ui.warn(remark));
    let Some(verb) = line.verb else {
        let own = env!("CARGO_PKG_VERSION");
        context.ui.data(match line.tool {
            Tool::Conda | Tool::Mlconda => format!("conda {CONDA} (mlconda {own})\n"),
            Tool::Mamba | Tool::Micromamba => format!("{MAMBA} (mlconda {own})\n"),
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(root) = line.value("--root-prefix").filter(|root| context.settings.absolute(root.as_ref()).is_file()) {
        let message = format!("`-r` names the root prefix, and `{root}` is a file");
        return Err(CliError::world(message, format!("name a file of match specs with `--file {}`", word(root))));
    }
    if !matches!(verb, Verb::Run) {
        signals::listen(&context.ui)?;
    }
    if let Some(number) = line.value("--revision") {
        return revisions::restore(number, line, context);
    }
    match verb {
        Verb::Create | Verb::Install | Verb::Update | Verb::EnvCreate | Verb::EnvUpdate => {
            engine::run(line, verb, context)
        }
        Verb::Remove => remove::run(line, context),
        Verb::EnvRemove => remove::environment(line, context),
        Verb::EnvList => environments::show(line, context),
        Verb::Info => environments::info(line, context),
        Verb::List if line.has("--revisions") => revisions::list(line, context),
        Verb::List => views::list(line, context),
        Verb::Export => views::export(line, context),
        Verb::Search => views::search(line, context),
        Verb::Clean => clean::run(line, context),
        Verb::Run => run::run(line, context),
        Verb::Variables => variables::run(line, context),
        Verb::Config | Verb::Init | Verb::Activate | Verb::Deactivate | Verb::Shell => Err(CliError::world(
            format!("`{}` is not here yet", line.command()),
            "`mlconda shell-hook` prints what activates an environment, and `mlconda run` runs a command in one",
        )),
        Verb::Nothing(why) => {
            context.ui.say(why);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Refused(instead) => Err(CliError::world(format!("`{}` is not supported", line.command()), instead)),
    }
}

/// The output of `conda info --json`.
pub(crate) fn info_as_json(context: &Context) -> Result<serde_json::Value, CliError> {
    let line = Line::parse(Tool::Conda, &["info".into()])?;
    let mut context = Context { ui: context.ui.clone(), settings: context.settings.clone() };
    channels::condarc(&line, &context)?.apply_directories(&mut context.settings);
    environments::info_as_json(&line, &context)
}

/// Whether a package is part of conda itself: in the root prefix, mlconda replaces it.
fn is_own(name: &str) -> bool {
    ["conda", "mamba", "micromamba", "conda-libmamba-solver", "libmamba", "libmambapy"].contains(&name)
}

/// The platform of an environment: that of its first package that is not noarch, else that of the host.
fn platform_of(records: &[PrefixRecord], host: &Host) -> Subdir {
    let subdirs = records.iter().filter_map(|record| record.repodata_record.package_record.subdir.parse().ok());
    subdirs.into_iter().find(|subdir| *subdir != Subdir::NoArch).unwrap_or(host.platform)
}

/// The text of a match spec as given, for a record or the history, without secrets in the URL of an archive.
pub(crate) fn shown(requirement: &mlconda::environment::Requirement) -> String {
    match &requirement.spec.url {
        Some(url) => mlconda::network::redact(url),
        None => requirement.text.clone(),
    }
}
