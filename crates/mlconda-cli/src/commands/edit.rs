//! `mlconda add`, `drop` and `init`: create or change an environment.yml in place, and lock it with as few changes as
//! possible. The file and its lock change together: if there is no solution, both stay unchanged.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use mlconda::{
    edit::{InsertPosition, YamlEditor},
    environment::{Environment, ReadOptions},
    lock::normalize,
};
use serde_json::Value as Json;

use super::{Arguments, lock};
use crate::{
    context::Context,
    error::CliError,
    locking::{self, LockingArgs},
    settings::PrefixArgs,
};

const CONDA: &[&str] = &["dependencies"];
const PIP: &[&str] = &["dependencies", "pip"];

/// The default file name.
const USUAL: &str = "environment.yml";

/// The arguments of `add` and `drop`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Match specs, as in `numpy` or `'pandas>=2'`; to drop a package, its name
    #[arg(value_name = "SPEC", required_unless_present = "pip")]
    specs: Vec<String>,
    /// A line of the `pip:` list (repeatable)
    #[arg(long, value_name = "REQUIREMENT", allow_hyphen_values = true)]
    pip: Vec<String>,
    /// The lock to write [default: the one beside the file, else env.lock]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    prefix: PrefixArgs,
    #[command(flatten)]
    locking: LockingArgs,
    /// Print the new file and the changes of the lock, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Create an environment.yml
///
/// With a shell (`mlconda init bash`), it works like `conda init`: it sets up `conda activate` in the shell.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The match specs [default: python]
    #[arg(value_name = "SPEC")]
    specs: Vec<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = USUAL)]
    file: PathBuf,
    /// The channels, in order (repeatable) [default: conda-forge]
    #[arg(short, long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// The name [default: the name of the directory]
    #[arg(short, long)]
    name: Option<String>,
}

pub(crate) fn add(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    change(args, context, |text, args| {
        let (mut specs, mut lines) = (HashMap::new(), HashMap::new());
        for spec in &args.specs {
            let name = conda_name(spec).map_err(|error| CliError::World { message: error, hint: None })?;
            once(&mut specs, &name, spec)?;
            put(text, CONDA, spec, &name, |line| conda_name(line).ok(), context)?;
        }
        for line in &args.pip {
            let name = pip_name(line).unwrap_or_else(|| line.clone());
            once(&mut lines, &name, line)?;
            put(text, PIP, line, &name, pip_name, context)?;
        }
        Ok(())
    })
}

pub(crate) fn drop(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    change(args, context, |text, args| {
        for spec in &args.specs {
            let name = conda_name(spec).map_err(|error| CliError::World { message: error, hint: None })?;
            take(text, CONDA, &name, |line| conda_name(line).ok())?;
        }
        for line in &args.pip {
            take(text, PIP, &pip_name(line).unwrap_or_else(|| line.clone()), pip_name)?;
        }
        Ok(())
    })
}

/// Rejects a second spec for one package, which would replace the first one.
fn once<'a>(specs: &mut HashMap<String, &'a str>, name: &str, spec: &'a str) -> Result<(), CliError> {
    match specs.insert(name.to_owned(), spec) {
        Some(other) if other != spec => {
            let message =
                format!("`{other}` and `{spec}` are for the same package, and the file has one line for each");
            Err(CliError::world(message, "give one spec; a comma joins two versions, as in `>=1.24,<2`"))
        }
        _ => Ok(()),
    }
}

/// Changes the file in memory, locks it, and writes both.
fn change(
    args: Args,
    context: &Context,
    edit: impl FnOnce(&mut YamlEditor, &Args) -> Result<(), CliError>,
) -> Result<ExitCode, CliError> {
    let settings = &context.settings;
    if args.output.as_ref().is_some_and(|output| output.as_os_str() == "-") {
        let message = "the file and its lock are written together: name the lock, or print both with `--dry-run`";
        return Err(CliError::Usage(message.to_owned()));
    }
    let file = file(&args, context)?;
    let path = settings.absolute(&file);
    let bytes = mlconda::files::read(&path, mlconda::files::LARGEST_TEXT)?;
    let mut text = YamlEditor::new(&bytes, &file)?;
    edit(&mut text, &args)?;
    let new = text.to_text();
    let options = locking::read_options(&args.locking, context);
    let environment = Environment::read_text(&new, &file, &options)?;
    environment.warnings.iter().for_each(|warning| context.ui.warn(&warning.to_string()));
    if args.dry_run {
        context.ui.data(&new)?;
    }
    let output = args.output.clone().unwrap_or_else(|| beside(&file, context));
    let write = || {
        if new.as_bytes() == bytes {
            Ok(())
        } else {
            context.replace(&path, &new, "change the permissions of the file and of its directory")
        }
    };
    let outputs = lock::of_edited(&environment, &output, args.locking.clone(), args.dry_run, &write, context);
    let outputs = outputs.inspect_err(|_| {
        // The lock could not be written, so the file is written back: both must fit together.
        if mlconda::files::read(&path, mlconda::files::LARGEST_TEXT).is_ok_and(|now| now != bytes) {
            let _ = mlconda::files::replace(&path, &bytes, None);
        }
    })?;
    let Some(prefix) = args.prefix.typed(settings)?.filter(|_| !args.dry_run) else { return Ok(ExitCode::SUCCESS) };
    let mut words = vec!["mlconda".into(), "install".into(), "--prefix".into(), prefix.path().to_owned()];
    words.extend(outputs);
    let install = Arguments::try_parse_from(words).map_err(|error| CliError::Usage(error.to_string()))?;
    super::run(install.command, context)
}

/// The file to change, which must exist.
fn file(args: &Args, context: &Context) -> Result<PathBuf, CliError> {
    match args.locking.files.as_slice() {
        [file] => Ok(file.clone()),
        [] => {
            let usual = [USUAL, "environment.yaml"].map(PathBuf::from);
            let here = usual.into_iter().find(|file| context.settings.absolute(file).is_file());
            here.ok_or_else(|| {
                let directory = context.settings.directory.display();
                let hint = "give the file with `-f FILE`, or create one: `mlconda init`";
                CliError::world(format!("there is no `{USUAL}` in `{directory}`"), hint)
            })
        }
        _ => Err(CliError::Usage("only one file can be changed at a time: give `-f` once".to_owned())),
    }
}

/// The lock beside a file.
fn beside(file: &Path, context: &Context) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let names = [format!("{stem}.lock"), "env.lock".into(), "conda-lock.yml".into(), "pixi.lock".into()];
    let mut places = names.iter().map(|name| file.with_file_name(name));
    let there = places.find(|place| context.settings.absolute(place).is_file());
    there.unwrap_or_else(|| file.with_file_name("env.lock"))
}

/// The package name of a match spec.
fn conda_name(spec: &str) -> Result<String, String> {
    let options = ReadOptions { directory: "/".into(), home: Some("/".into()), ..ReadOptions::default() };
    let environment = Environment::from_specs(&[spec], &options).map_err(|error| error.to_string())?;
    let name = environment.requirements.first().and_then(|requirement| requirement.spec.name.as_exact().cloned());
    Ok(name.map_or_else(|| spec.to_owned(), |name| name.as_normalized().to_owned()))
}

/// The project name of a line for pip; `None` for options and archives.
fn pip_name(line: &str) -> Option<String> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(line.len());
    let is_name = end > 0 && !line.starts_with('-') && !line[end..].starts_with([':', '/', '\\']);
    is_name.then(|| normalize(&line[..end]))
}

/// The indices of the lines for a package in a list.
fn lines(
    text: &YamlEditor,
    path: &[&str],
    name: &str,
    of: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(usize, String)>, CliError> {
    let json = text.to_json()?;
    let list = path.iter().try_fold(&json, |json, key| match json {
        Json::Array(items) => items.iter().find_map(|item| item.get(*key)),
        json => json.get(*key),
    });
    let items = list.and_then(Json::as_array).cloned().unwrap_or_default();
    let lines = items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?.to_owned())));
    Ok(lines.filter(|(_, line)| line == name || of(line).is_some_and(|known| known == *name)).collect())
}

/// Adds a line to a list, or replaces the line for the same package.
fn put(
    text: &mut YamlEditor,
    path: &[&str],
    line: &str,
    name: &str,
    of: impl Fn(&str) -> Option<String>,
    context: &Context,
) -> Result<(), CliError> {
    match lines(text, path, name, of)?.as_slice() {
        [] => text.insert(path, line, InsertPosition::Last)?,
        [(_, old), ..] if line.eq_ignore_ascii_case(name) || old == line => {
            context.ui.say(&format!("`{old}` is already in the file"));
        }
        [(index, _)] => text.replace(path, *index, line)?,
        _ => {
            let message = format!("the file asks for `{name}` more than once");
            return Err(CliError::world(message, "change the lines by hand, and run `mlconda lock`"));
        }
    }
    Ok(())
}

/// Removes all lines for a package from a list.
fn take(text: &mut YamlEditor, path: &[&str], name: &str, of: impl Fn(&str) -> Option<String>) -> Result<(), CliError> {
    let found = lines(text, path, name, of)?;
    if found.is_empty() {
        let list = path.last().copied().unwrap_or_default();
        let message = format!("the list `{list}` does not ask for `{name}`");
        return Err(CliError::world(
            message,
            "a dependency of another package is removed together with that package; `mlconda why` shows which",
        ));
    }
    for (index, _) in found.into_iter().rev() {
        text.remove(path, index)?;
    }
    Ok(())
}

/// Creates an environment.yml.
pub(crate) fn init(args: InitArgs, context: &Context) -> Result<ExitCode, CliError> {
    let path = context.settings.absolute(&args.file);
    let name = args.file.display();
    if args.file.as_os_str() == "-" {
        return Err(CliError::Usage("an environment.yml is not written to stdout: name a file with `-f`".to_owned()));
    }
    if path.exists() {
        return Err(CliError::world(
            format!("`{name}` already exists"),
            "add packages with `mlconda add SPEC`; to set up `conda activate`, give the shell: `mlconda init bash`",
        ));
    }
    let directory = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let own = args.name.or(directory).filter(|name| mlconda::environment::is_name(name));
    let mut text = YamlEditor::new(b"", &args.file)?;
    text.set(&["name"], &Json::from(own.unwrap_or_else(|| "env".to_owned())))?;
    let or = |told: Vec<String>, usual: &str| if told.is_empty() { vec![usual.to_owned()] } else { told };
    for channel in or(args.channels, "conda-forge") {
        text.insert(&["channels"], &channel, InsertPosition::Last)?;
    }
    let (specs, mut known) = (or(args.specs, "python"), HashMap::new());
    for spec in &specs {
        let name = conda_name(spec).map_err(|error| CliError::World { message: error, hint: None })?;
        once(&mut known, &name, spec)?;
        text.insert(CONDA, spec, InsertPosition::Last)?;
    }
    context.replace(&path, &text.to_text(), "change the permissions of the directory")?;
    context
        .ui
        .say(&format!("`{name}` is created; add packages with `mlconda add SPEC`, and lock it with `mlconda lock`"));
    Ok(ExitCode::SUCCESS)
}
