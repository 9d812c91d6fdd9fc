//! `mlconda`: conda environments for container builds.
//!
//! [`commands`] parses the command line, [`settings`] reads the environment, and a command calls one or two functions
//! of the library. Only [`ui`] prints, only [`settings`] reads the environment, and only [`report`] chooses exit codes.
//! No two modules import each other.
//!
//! Features (`Cargo.toml`) select the commands: whole modules are left out, and this file, [`commands`] and [`hints`]
//! refer only to the existing ones. A module `no_…` replaces a left-out module that other modules call.

#![cfg_attr(
    not(all(feature = "bundle", feature = "conda", feature = "formats", feature = "manual")),
    allow(dead_code, reason = "a helper's only callers may be left out")
)]

#[cfg(feature = "bundle")]
mod bundled;
#[cfg(feature = "bundle")]
mod bundles;
#[cfg(feature = "lock")]
mod by_pip;
mod commands;
#[cfg(feature = "conda")]
mod conda;
#[cfg(feature = "conda")]
mod condarc;
mod context;
mod error;
mod escape;
mod global;
mod hints;
#[cfg(feature = "image")]
mod image_name;
#[cfg(feature = "lock")]
mod lock_diff;
#[cfg(feature = "lock")]
mod lock_or_prefix;
#[cfg(feature = "install")]
mod lock_selection;
#[cfg(feature = "lock")]
mod locking;
#[cfg(all(feature = "install", not(feature = "bundle")))]
mod no_bundles;
#[cfg(not(feature = "install"))]
mod no_signals;
#[cfg(feature = "install")]
mod progress;
mod report;
mod settings;
#[cfg(feature = "conda")]
mod shells;
#[cfg(feature = "install")]
mod signals;
#[cfg(feature = "install")]
mod slim;
mod text;
#[cfg(feature = "lock")]
mod tree_drawing;
mod ui;
mod usage;

#[cfg(all(feature = "install", not(feature = "bundle")))]
use no_bundles as bundles;
#[cfg(not(feature = "install"))]
use no_signals as signals;
use std::process::ExitCode;

/// The stack of the main thread, in bytes, independent of the limit of the shell (`ulimit -s`).
const STACK: usize = 16 << 20;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report::bug));
    let thread = std::thread::Builder::new().name("mlconda".to_owned()).stack_size(STACK).spawn(work);
    // If no thread can be started, this thread does the work. After a panic, the process has already ended.
    thread.map_or_else(|_| work(), |thread| thread.join().unwrap_or(ExitCode::from(255)))
}

fn work() -> ExitCode {
    let words = std::env::args_os().collect();
    #[cfg(feature = "bundle")]
    let words = match bundled::main(words) {
        bundled::Meaning::Words(words) => words,
        bundled::Meaning::Done(code) => return code,
    };
    #[cfg(feature = "conda")]
    let words = conda::shell::without_own_name(words);
    #[cfg(feature = "conda")]
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
