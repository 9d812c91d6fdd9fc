//! `mlconda run`: activates an environment and becomes a command.
//!
//! The command replaces this process, so it has its pid, signals, exit code and streams. A shell is needed only if
//! packages have activation scripts; the shell is then replaced by the command.

use std::{
    ffi::{OsStr, OsString},
    io::{ErrorKind, Read},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use mlconda::{
    activate::{Activation, CommandError, Dialect, activate, find_command},
    prefix::Prefix,
};

use crate::{context::Context, error::CliError, settings::PrefixArgs, text};

/// The exit code of shells for a command that was found and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit code of shells for a command that was not found.
const NOT_FOUND: u8 = 127;

/// Run a command in an environment
///
/// The command replaces the process: it has the same pid, signals, exit code and streams.
/// Without -p or -n, it takes the active environment ($CONDA_PREFIX), else the only one under the
/// root prefix.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) prefix: PrefixArgs,
    /// Change to this directory first
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Do not run the activation scripts of packages: only set variables, which needs no shell
    #[arg(long)]
    pub(crate) no_scripts: bool,
    /// Accepted because `conda run` has it; output is never captured
    #[arg(long, alias = "live-stream", hide = true)]
    pub(crate) no_capture_output: bool,
    /// The environment is already active: used by the shell that ran the activation scripts
    #[arg(long, hide = true)]
    pub(crate) activated: bool,
    /// Additional variables for the command.
    #[arg(skip)]
    pub(crate) variables: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
On the command line and in a Dockerfile:
  mlconda run -n ml python train.py --epochs 3
  ENTRYPOINT [\"mlconda\", \"run\", \"-n\", \"ml\"]
  SHELL [\"mlconda\", \"run\", \"-n\", \"ml\", \"/bin/sh\", \"-c\"]

Exit codes: the command's own; 127 if it is not found, 126 if it cannot be executed,
1 if there is no such environment.";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let prefix = args.prefix.existing(&context.settings)?;
    if args.activated {
        return become_command(&prefix, &args.command, context);
    }
    let mut activation = activate(&prefix, context.settings.surroundings(), Dialect::Posix)?;
    for name in &activation.ignored {
        context.ui.warn(&format!("the environment's variable `{name}` is ignored: activation sets it"));
    }
    if args.no_scripts {
        activation.activate_scripts.clear();
        activation.deactivate_scripts.clear();
    }
    let directory = args.cwd.as_deref().map(|directory| context.settings.absolute(directory));
    if let Some(directory) = directory.as_deref().filter(|directory| !directory.is_dir()) {
        return Err(CliError::World { message: format!("`{}` is not a directory", directory.display()), hint: None });
    }
    let here = directory.as_deref().unwrap_or(&context.settings.directory);
    let Some((name, arguments)) = args.command.split_first() else {
        return Err(CliError::Usage("no command is given".to_owned()));
    };
    let shell = activation.needs_shell().then(|| shell(&prefix, &activation));
    let mut command = if let Some(Some(shell)) = &shell {
        through_shell(shell, &prefix, &activation, &args.command, context)
    } else {
        let kept = shell
            .map(|_| activation.from_snapshot(&prefix).ok_or_else(|| no_shell(&prefix, &activation)))
            .transpose()?;
        let (activation, unset) = kept.unwrap_or((activation, Vec::new()));
        let file = activation.find(name, here).map_err(|error| not_found(&error, &prefix))?;
        let mut command = Command::new(file);
        command.arg0(name).args(arguments).envs(activation.all_variables());
        unset.iter().for_each(|name| _ = command.env_remove(name));
        command
    };
    command.envs(args.variables);
    if let Some(directory) = &directory {
        command.current_dir(directory);
    }
    let error = command.exec();
    Err(not_executed(Path::new(command.get_program()), &error))
}

/// Replaces the process with a command of the active environment.
fn become_command(prefix: &Prefix, words: &[OsString], context: &Context) -> Result<ExitCode, CliError> {
    let Some((name, arguments)) = words.split_first() else {
        return Err(CliError::Usage("no command is given".to_owned()));
    };
    let path = context.settings.raw_variable("PATH").unwrap_or_default();
    let file = find_command(name, path, &context.settings.directory).map_err(|error| not_found(&error, prefix))?;
    let mut command = Command::new(file);
    command.arg0(name).args(arguments);
    let error = command.exec();
    Err(not_executed(Path::new(command.get_program()), &error))
}

/// A shell that runs the scripts and is then replaced by the command.
fn through_shell(
    shell: &Path,
    prefix: &Prefix,
    activation: &Activation,
    words: &[OsString],
    context: &Context,
) -> Command {
    let mut command = Command::new(shell);
    // The shell calls this program again, which finds the command with the `PATH` of the scripts and reports errors. It
    // is called `mlconda`, because under another name it would read that tool's command line.
    let program =
        context.settings.program.as_deref().filter(|program| program.ends_with("mlconda")).map(Path::as_os_str);
    let own =
        ["run", "--activated", "-p"].map(OsStr::new).into_iter().chain([prefix.path().as_os_str(), OsStr::new("--")]);
    let last: Vec<&OsStr> =
        program.into_iter().flat_map(|program| std::iter::once(program).chain(own.clone())).collect();
    command.arg("-c").arg(activation.program(&last)).arg(shell.file_name().unwrap_or(OsStr::new("sh"))).args(words);
    command
}

/// A shell that can run the scripts, if there is one.
fn shell(prefix: &Prefix, activation: &Activation) -> Option<PathBuf> {
    let own = prefix.path().join("bin/bash");
    let known = ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"].map(PathBuf::from);
    let shell = std::iter::once(own).chain(known).find(|shell| shell.exists());
    shell.or_else(|| activation.find(OsStr::new("sh"), Path::new("/")).ok())
}

fn no_shell(prefix: &Prefix, activation: &Activation) -> CliError {
    let scripts: Vec<&PathBuf> = activation.activate_scripts.iter().chain(&activation.deactivate_scripts).collect();
    let relative = |script: &&PathBuf| script.strip_prefix(prefix.path()).unwrap_or(Path::new("")).to_owned();
    let paths: Vec<PathBuf> = scripts.iter().map(relative).collect();
    let owners = prefix.owners(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let scripts: Vec<String> = scripts
        .into_iter()
        .zip(owners)
        .map(|(script, owner)| match owner {
            Some(package) => format!("`{}` of the package `{package}`", script.display()),
            None => format!("`{}`", script.display()),
        })
        .collect();
    CliError::world(
        format!("there is no shell to run the activation scripts {}", text::enumerate(&scripts)),
        "add `bash` to the environment, or leave out what the scripts set: `mlconda run --no-scripts …`. Without a shell, mlconda \
         knows it only if the environment was installed with a shell and has not changed since, and if the scripts do not depend \
         on who runs them",
    )
}

fn not_found(error: &CommandError, prefix: &Prefix) -> CliError {
    let message = error.to_string();
    match error {
        CommandError::NotFound { searched, near, .. } => {
            let places: Vec<String> = searched.iter().map(|place| place.display().to_string()).collect();
            let near = if near.is_empty() { String::new() } else { format!("there is {}; ", text::list(near)) };
            let hint = Some(format!("{near}searched in {}", text::list(&places)));
            let message = format!("{message} in the environment `{}` or around it", prefix.path().display());
            CliError::Command { message, hint, code: NOT_FOUND }
        }
        CommandError::NoFile(_) => CliError::Command { message, hint: None, code: NOT_FOUND },
        CommandError::NotExecutable(_) => CliError::Command { message, hint: None, code: NOT_EXECUTABLE },
    }
}

/// The error for a command that cannot be executed. If its interpreter is missing, the system reports the file as
/// missing.
fn not_executed(file: &Path, error: &std::io::Error) -> CliError {
    let hint = match (error.kind(), interpreter(file)) {
        (ErrorKind::NotFound, Some(interpreter)) => {
            Some(format!("its interpreter `{}` does not exist", interpreter.display()))
        }
        (ErrorKind::NotFound, None) => {
            Some("the dynamic loader that it needs does not exist on this system".to_owned())
        }
        _ => None,
    };
    let message = format!("cannot execute `{}`: {error}", file.display());
    CliError::Command { message, hint, code: NOT_EXECUTABLE }
}

/// The interpreter that a script's first line names.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    fs_err::File::open(file).ok()?.take(512).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let word = line.split(|byte| byte.is_ascii_whitespace()).next()?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}
