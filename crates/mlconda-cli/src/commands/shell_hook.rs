//! `mlconda shell-hook`: an activation as statements of a shell.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{
    activate::{Dialect, activate},
    sorting::IntoTree,
};
use serde::Serialize;

use crate::{context::Context, error::CliError, settings::PrefixArgs};

/// Shells that conda supports, but mlconda does not.
pub(crate) const UNSUPPORTED: &[&str] = &["xonsh", "tcsh", "csh", "powershell", "pwsh", "cmd.exe", "nu"];

/// Print the statements that activate an environment in a shell
///
/// Without -p or -n, it takes the active environment ($CONDA_PREFIX), else the only one under the
/// root prefix.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, verbatim_doc_comment)]
pub(crate) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
    /// The shell [default: the one of $SHELL, else posix]
    #[arg(long, value_enum)]
    shell: Option<Shell>,
    /// Print the variables and the scripts as JSON; nothing is run
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
In a shell, and in an image for every login shell:
  eval \"$(mlconda shell-hook -n ml)\"
  mlconda shell-hook -n ml --shell fish | source
  RUN mlconda shell-hook -n ml --shell posix > /etc/profile.d/ml.sh";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Posix,
}

impl Shell {
    /// The shell of `$SHELL`. An unknown shell is treated as a POSIX shell, unless it is known not to be one.
    fn of(path: &str) -> Result<Self, CliError> {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            other if speaks_another_language(other) => Err(no_shell(other)),
            _ => Ok(Self::Posix),
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Fish => Dialect::Fish,
            Self::Bash | Self::Zsh | Self::Posix => Dialect::Posix,
        }
    }
}

/// The activation as JSON for other tools. Bytes that are not UTF-8 are replaced.
#[derive(Serialize)]
struct Hook {
    environment_variables: BTreeMap<String, String>,
    deactivation_scripts: Vec<String>,
    activation_scripts: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let settings = &context.settings;
    let prefix = args.prefix.existing(settings)?;
    let shell = match (args.shell, settings.variable("SHELL")) {
        (Some(shell), _) => shell,
        (None, Some(path)) if !args.json => Shell::of(path)?,
        (None, _) => Shell::Posix,
    };
    let activation = activate(&prefix, settings.surroundings(), shell.dialect())?;
    for name in &activation.ignored {
        context.ui.warn(&format!("the environment's variable `{name}` is ignored: activation sets it"));
    }
    if args.json {
        let text = |path: &PathBuf| path.display().to_string();
        let variables = activation.all_variables();
        context.ui.json(&Hook {
            environment_variables: variables
                .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
                .into_tree(),
            deactivation_scripts: activation.deactivate_scripts.iter().map(text).collect(),
            activation_scripts: activation.activate_scripts.iter().map(text).collect(),
        })?;
    } else {
        context.ui.data(activation.statements(shell.dialect()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a shell is known to have a language that mlconda cannot print.
pub(crate) fn speaks_another_language(shell: &str) -> bool {
    UNSUPPORTED.contains(&shell)
}

/// The error for an unsupported shell.
pub(crate) fn no_shell(shell: &str) -> CliError {
    CliError::world(
        format!("mlconda has no activation for `{shell}`"),
        "bash, zsh, fish and POSIX shells are supported; `mlconda run -n NAME COMMAND` needs no shell",
    )
}
