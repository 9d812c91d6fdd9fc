//! Prints errors, and chooses the exit code: 1 for an error of the user or the machine, 2 for wrong usage, 255 for a
//! bug.

use std::process::ExitCode;

pub(crate) use mlconda::error::chain;

use serde_json::json;

use crate::{context::Context, error::CliError, hints::hint, signals, ui::Ui};

/// Reports a bug, and ends the process with 255. The next installation removes temporary directories of this one.
pub(crate) fn bug(panic: &std::panic::PanicHookInfo<'_>) {
    let text = format!("this is a bug in mlconda: {panic}");
    Ui::before_options(false).error(&text, Some("please report it with the command that you ran"));
    std::process::exit(255);
}

/// Prints an error and gives the exit code.
pub(crate) fn report(error: &CliError, context: &Context) -> ExitCode {
    signals::give_way();
    let (message, hint, code) = parts(error);
    context.ui.error(&message, hint.as_deref());
    ExitCode::from(code)
}

/// Prints an error for people, and on stdout as conda does with `--json`; gives the exit code.
pub(crate) fn report_as_json(error: &CliError, context: &Context) -> ExitCode {
    signals::give_way();
    let (message, ..) = parts(error);
    let value = json!({ "success": false, "error": message, "message": message, "exception_name": "CondaError" });
    match context.ui.json(&value) {
        Ok(()) => report(error, context),
        // Both errors are printed on stderr.
        Err(other) => {
            report(error, context);
            report(&other, context)
        }
    }
}

/// The message, the hint, and the exit code.
pub(crate) fn parts(error: &CliError) -> (String, Option<String>, u8) {
    match error {
        CliError::Library(error) => (chain(error), hint(error), 1),
        CliError::Usage(message) => (message.clone(), None, 2),
        CliError::World { message, hint } => (message.clone(), hint.clone(), 1),
        // The exit code of shells for a program that a signal ended.
        CliError::Stopped(signal) => ("stopped; nothing was changed".to_owned(), None, 128 + signal),
        CliError::StoppedHalfway { signal, message, hint } => (message.clone(), hint.clone(), 128 + signal),
        CliError::Command { message, hint, code } => (message.clone(), hint.clone(), *code),
    }
}
