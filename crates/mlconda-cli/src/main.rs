//! `mlconda`: conda environments for container builds.
//!
//! [`commands`] parses the command line, [`settings`] reads the environment, and a command calls one or two functions of
//! the library. Only [`ui`] prints, only [`settings`] reads the environment, and only [`report`] chooses exit codes.
//! No module imports one that imports it.

mod bundled;
mod bundles;
mod commands;
mod conda;
mod condarc;
mod context;
mod error;
mod escape;
mod global;
mod hints;
mod image_name;
mod lock_diff;
mod lock_or_prefix;
mod lock_selection;
mod locking;
mod progress;
mod report;
mod settings;
mod shells;
mod signals;
mod slim;
mod text;
mod tree_drawing;
mod ui;
mod usage;

use std::process::ExitCode;

/// The stack of the main thread, in bytes, independent of the limit of the shell (`ulimit -s`).
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report::bug));
    let thread = std::thread::Builder::new().name("mlconda".to_owned()).stack_size(STACK).spawn(work);
    // If no thread can be started, this one does the work. A panic has ended the process already.
    thread.map_or_else(|_| work(), |thread| thread.join().unwrap_or(ExitCode::from(255)))
}

fn work() -> ExitCode {
    let words = conda::shell::without_own_name(std::env::args_os().collect());
    let words = match bundled::main(words) {
        bundled::Meaning::Words(words) => words,
        bundled::Meaning::Done(code) => return code,
    };
    if let Some(code) = conda::shell::main(&words).or_else(|| conda::main(words.clone())) {
        return code;
    }
    let arguments = commands::parse(words);
    let context = context::Context::new(&arguments.global);
    match commands::run(arguments.command, &context) {
        Ok(code) => code,
        Err(error) => report::report(&error, &context),
    }
}
