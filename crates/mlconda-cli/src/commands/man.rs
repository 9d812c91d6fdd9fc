//! `mlconda man`: the manual, generated from the texts of `--help`, so that a static program contains its manual.
//!
//! The pages are generated here, because `clap_mangen` would make the program larger than the whole manual.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::{Arg, Command};

use crate::{
    context::Context,
    error::CliError,
    text::{count, list},
};

/// Print the manual page of mlconda or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The command, as in `lock`
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write all pages into this directory, as `mlconda.1`, `mlconda-lock.1` and so on
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    directory: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda man lock | man -l -
  mlconda man --directory /usr/local/share/man/man1";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut program = super::command_line();
    program.build();
    let commands: Vec<&Command> = program.get_subcommands().filter(|command| command.get_name() != "help").collect();
    if let Some(directory) = &args.directory {
        let directory = context.settings.absolute(directory);
        fs_err::create_dir_all(&directory)?;
        fs_err::write(directory.join("mlconda.1"), page(&program, "mlconda"))?;
        for command in &commands {
            let title = format!("mlconda-{}", command.get_name());
            fs_err::write(directory.join(format!("{title}.1")), page(command, &title))?;
        }
        context.ui.say(&format!("{} are in `{}`.", count(commands.len() + 1, "page"), directory.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let page = match &args.command {
        None => page(&program, "mlconda"),
        Some(name) => match commands.iter().find(|command| command.get_name() == name) {
            Some(command) => page(command, &format!("mlconda-{name}")),
            None => {
                let names: Vec<&str> = commands.iter().map(|command| command.get_name()).collect();
                return Err(CliError::Usage(format!("there is no command `{name}`; there are {}", list(&names))));
            }
        },
    };
    context.ui.data(page)?;
    Ok(ExitCode::SUCCESS)
}

/// A page, with the macros of man(7).
fn page(command: &Command, title: &str) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let mut page = format!(".TH {} 1 \"\" \"mlconda {}\"\n", title.to_uppercase(), env!("CARGO_PKG_VERSION"));
    // Writing to a string cannot fail.
    let _ = write!(page, ".SH NAME\n{} \\- {}\n", plain(title), plain(&about));
    let _ = write!(page, ".SH SYNOPSIS\n{}\n", plain(usage.trim_start_matches("Usage: ")));
    // The long text begins with the short one, which was already printed.
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let more = long.strip_prefix(&about).map(str::trim_start).filter(|more| !more.is_empty());
    let _ = write!(page, ".SH DESCRIPTION\n{}\n", plain(more.unwrap_or(&about)).replace("\n\n", "\n.PP\n"));
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(|arg| !arg.is_hide_set()).partition(|arg| arg.is_positional());
    for (section, arguments) in [("ARGUMENTS", positional), ("OPTIONS", options)] {
        if !arguments.is_empty() {
            let _ = writeln!(page, ".SH {section}");
            arguments.into_iter().for_each(|argument| page.push_str(&entry(argument)));
        }
    }
    let commands: Vec<&Command> = command.get_subcommands().collect();
    if !commands.is_empty() {
        page.push_str(".SH COMMANDS\n");
    }
    for command in commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, ".TP\n.B {}\n{}\n", plain(command.get_name()), plain(&about));
        // Commands of commands have no page of their own.
        if title != "mlconda" {
            let own =
                command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help");
            own.for_each(|argument| page.push_str(&entry(argument)));
        }
    }
    if let Some(more) = command.get_after_help() {
        let _ = write!(page, ".SH MORE\n.nf\n{}\n.fi\n", plain(&more.to_string()));
    }
    page
}

/// An argument, with its possible values.
fn entry(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = format!(".TP\n.B {}\n{}\n", plain(&argument.to_string()), plain(&help).replace("\n\n", "\n.sp\n"));
    if let Some(short) = argument.get_short() {
        text = text.replacen(".B ", &format!(".B \\-{short}, "), 1);
    }
    let values = argument.get_possible_values();
    let names: Vec<&str> = values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name()).collect();
    if argument.get_action().takes_values() && !names.is_empty() {
        let _ = writeln!(text, "[{}]", plain(&names.join(", ")));
    }
    if let ([default, ..], true) = (argument.get_default_values(), argument.get_action().takes_values()) {
        let _ = writeln!(text, "[default: {}]", plain(&default.to_string_lossy()));
    }
    text
}

/// A text without troff commands.
fn plain(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    escaped.split('\n').map(line).collect::<Vec<_>>().join("\n")
}
