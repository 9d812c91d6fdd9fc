//! `mlconda`: conda environments for container builds.
//!
//! What was typed ([`args`]) becomes what it means ([`settings`]), and a command carries it out with one or
//! two calls of the library. Only [`ui`] prints; only [`report`] makes words of errors.

mod args;
mod changes;
mod commands;
mod conda;
mod condarc;
mod drawing;
mod findings;
mod foreign;
mod habits;
mod locking;
mod progress;
mod remedy;
mod report;
mod selection;
mod settings;
mod shells;
mod signals;
mod ui;
mod view;
mod words;

use std::process::ExitCode;

/// How much room all that runs here has for its calls, in bytes, whatever the shell's limit (`ulimit -s`) is.
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report::bug));
    let thread = std::thread::Builder::new().name("mlconda".to_owned()).stack_size(STACK).spawn(work);
    // Whoever has no room for a thread may have enough here. A panic has ended the process already.
    thread.map_or_else(|_| work(), |thread| thread.join().unwrap_or(ExitCode::from(255)))
}

fn work() -> ExitCode {
    let words = habits::plain(std::env::args_os().collect());
    if let Some(code) = habits::main(&words).or_else(|| conda::main(words)) {
        return code;
    }
    let arguments = args::parse();
    let context = settings::Context::new(&arguments.global);
    match commands::run(arguments.command, &context) {
        Ok(code) => code,
        Err(error) => report::report(&error, &context),
    }
}
