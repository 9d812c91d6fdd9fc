//! `conda activate` in shells: the shell functions, the files that define them, and the statements that they evaluate.
//! The functions are small; the library computes the activation, as for `run` and `shell-hook`.

mod files;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use mlconda::{
    activate::{Dialect, activate, deactivate},
    prefix::Prefix,
};

pub(crate) use self::files::{first_shell, write_all};
use crate::{
    commands::shell_hook::{no_shell, speaks_another_language},
    condarc::Condarc,
    context::Context,
    error::CliError,
    settings::PrefixArgs,
};

/// The arguments after the command.
struct Line {
    operands: Vec<OsString>,
    shell: Option<String>,
    prefix: PrefixArgs,
    is_stacked: bool,
}

/// Runs `init`, `activate`, `deactivate`, `shell` or `shell.SHELL`.
pub(crate) fn run(
    tool: &str,
    verb: &str,
    arguments: &[OsString],
    condarc: &Condarc,
    context: &Context,
) -> Result<ExitCode, CliError> {
    if verb == "init" {
        return files::init(tool, arguments, context);
    }
    let mut line = Line::parse(arguments)?;
    if verb == "activate" || verb == "deactivate" {
        return Err(CliError::world(
            format!("`{tool} {verb}` changes the shell that runs it, and this shell has no function for it"),
            format!(
                "run `eval \"$({tool} shell.posix hook)\"` in this shell first, or `{tool} init bash` for all new shells"
            ),
        ));
    }
    let shell = verb.strip_prefix("shell.").map(str::to_owned).or(line.shell.take());
    let action = if line.operands.is_empty() { OsString::new() } else { line.operands.remove(0) };
    let action = action.to_str().unwrap_or_default();
    check_operands(action, &line)?;
    if ["init", "reinit", "deinit"].contains(&action) {
        let typed = shell.into_iter().chain((action == "deinit").then(|| "--reverse".to_owned()));
        return files::init(tool, &typed.map(OsString::from).collect::<Vec<_>>(), context);
    }
    let of_variable = || context.settings.variable("SHELL").and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    let shell = shell.or_else(of_variable).unwrap_or_default();
    let dialect = match shell.as_str() {
        "fish" => Dialect::Fish,
        other if speaks_another_language(other) => return Err(no_shell(other)),
        _ => Dialect::Posix,
    };
    let text = match action {
        "hook" => files::hook(tool, dialect, condarc, context).into_bytes(),
        "activate" => activated(&line, dialect, condarc, context)?,
        "deactivate" => deactivated(dialect, condarc, context)?,
        "reactivate" => match context.settings.raw_variable("CONDA_PREFIX").map(PathBuf::from) {
            Some(prefix) => {
                let again =
                    Line { prefix: PrefixArgs { prefix: Some(prefix), name: None }, operands: Vec::new(), ..line };
                activated(&again, dialect, condarc, context)?
            }
            None => Vec::new(),
        },
        _ => {
            return Err(CliError::world(
                format!("`{}` is not supported", format!("{tool} {verb} {action}").trim_end()),
                "use `hook`, `activate`, `deactivate`, `reactivate` or `init`; `mlconda run -n NAME bash` runs a shell",
            ));
        }
    };
    context.ui.data(text)?;
    Ok(ExitCode::SUCCESS)
}

/// `activate` takes one environment, `deactivate` and `reactivate` take none.
fn check_operands(action: &str, line: &Line) -> Result<(), CliError> {
    let is_named = line.prefix.name.is_some() || line.prefix.prefix.is_some();
    let number = match action {
        "activate" => usize::from(!is_named),
        "deactivate" | "reactivate" => 0,
        _ => return Ok(()),
    };
    match line.operands.get(number) {
        Some(word) if number == 0 && !is_named => {
            Err(CliError::Usage(format!("`{action}` takes no environment, and `{}` is given", word.display())))
        }
        Some(word) => {
            Err(CliError::Usage(format!("`{action}` takes one environment; `{}` is one too many", word.display())))
        }
        None => Ok(()),
    }
}

impl Line {
    fn parse(arguments: &[OsString]) -> Result<Self, CliError> {
        let (mut operands, mut shell, mut prefix, mut is_stacked) = (Vec::new(), None, PrefixArgs::default(), false);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let (name, joined) = match word.to_str().and_then(|word| word.split_once('=')) {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (word.to_str().unwrap_or_default(), None),
            };
            let missing = || CliError::Usage(format!("a value is missing after `{name}`"));
            let mut value = || joined.clone().or_else(|| words.next().cloned()).ok_or_else(missing);
            match name {
                "-s" | "--shell" => shell = Some(value()?.to_string_lossy().into_owned()),
                "-n" | "--name" => prefix.name = Some(value()?.to_string_lossy().into_owned()),
                "-p" | "--prefix" => prefix.prefix = Some(PathBuf::from(value()?)),
                "-r" | "--root-prefix" => drop(value()?),
                "--stack" => is_stacked = true,
                "--no-stack" | "-q" | "--quiet" | "-y" | "--yes" | "-v" | "--verbose" | "--dev" | "--" => {}
                option if option.starts_with('-') => {
                    return Err(CliError::Usage(format!("there is no option `{option}` here")));
                }
                _ => operands.push(word.clone()),
            }
        }
        Ok(Self { operands, shell, prefix, is_stacked })
    }

    /// The environment: given by option or operand, else `base`.
    fn environment(&self, context: &Context) -> Result<Prefix, CliError> {
        let mut named = self.prefix.clone();
        if named.prefix.is_none() && named.name.is_none() {
            match self.operands.first().map(OsString::as_os_str).unwrap_or(OsStr::new("base")) {
                path if path.to_string_lossy().contains('/') || path == "." || path == ".." => {
                    named.prefix = Some(PathBuf::from(path));
                }
                name => named.name = Some(name.to_string_lossy().into_owned()),
            }
        }
        named.existing(&context.settings)
    }
}

/// The statements of an activation, and the prompt.
fn activated(line: &Line, dialect: Dialect, condarc: &Condarc, context: &Context) -> Result<Vec<u8>, CliError> {
    let prefix = line.environment(context)?;
    let mut activation = activate(&prefix, context.settings.surroundings(), dialect)?;
    if line.is_stacked {
        activation.path = mlconda::activate::SearchPath::Prepended {
            bin: prefix.path().join("bin").into_os_string(),
            rest: context.settings.raw_variable("PATH").unwrap_or_default().to_owned(),
        };
    }
    for name in &activation.ignored {
        context.ui.warn(&format!("the environment's variable `{name}` is ignored: activation sets it"));
    }
    let modifier = activation.variables.iter().find(|(name, _)| name == "CONDA_PROMPT_MODIFIER");
    let modifier = modifier.map(|(_, value)| value.clone()).unwrap_or_default();
    Ok([prompt(&modifier, dialect, condarc, context), activation.statements(dialect)].concat())
}

fn deactivated(dialect: Dialect, condarc: &Condarc, context: &Context) -> Result<Vec<u8>, CliError> {
    let Some(activation) = deactivate(context.settings.surroundings(), dialect)? else { return Ok(Vec::new()) };
    let modifier = activation.variables.iter().find(|(name, _)| name == "CONDA_PROMPT_MODIFIER");
    let modifier = modifier.map(|(_, value)| value.clone()).unwrap_or_default();
    Ok([prompt(&modifier, dialect, condarc, context), activation.statements(dialect)].concat())
}

/// The prompt with the environment's name instead of the previous one. A shell without a prompt gets none.
fn prompt(modifier: &OsStr, dialect: Dialect, condarc: &Condarc, context: &Context) -> Vec<u8> {
    let Some(old) = context.settings.variable("PS1").filter(|_| dialect == Dialect::Posix) else { return Vec::new() };
    let known = context.settings.variable("CONDA_PROMPT_MODIFIER").unwrap_or_default();
    let is_wanted = condarc.flag("changeps1") != Some(false) && !old.contains("POWERLINE_COMMAND");
    let new = if is_wanted { modifier.to_string_lossy() } else { "".into() };
    let rest = if known.is_empty() { old.to_owned() } else { old.replacen(known, "", 1) };
    dialect.assign("PS1", OsStr::new(&format!("{new}{rest}")))
}
