//! `mlconda`: conda environments for container builds.
//!
//! What was typed ([`args`]) becomes what it means ([`settings`]), and a command carries it out with one or
//! two calls of the library. Only [`ui`] prints; only [`report`] makes words of errors.

mod args;
mod changes;
mod commands;
mod drawing;
mod findings;
mod foreign;
mod locking;
mod progress;
mod remedy;
mod report;
mod selection;
mod settings;
mod stop;
mod ui;
mod view;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report::bug));
    let arguments = args::parse();
    let context = settings::Context::new(&arguments.global);
    match commands::run(arguments.command, &context) {
        Ok(code) => code,
        Err(error) => report::report(&error, &context),
    }
}
