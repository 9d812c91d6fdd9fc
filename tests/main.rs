//! The integration tests, by topic.
//!
//! Each test runs the real program in a context of its own (`mlconda_test::context`), with channels that the project
//! generates.

#![allow(clippy::too_many_lines, reason = "a snapshot is as long as what it shows")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod add;
mod archives;
mod bounds;
mod bundle;
mod by_pip;
mod cache;
mod change;
mod channels;
mod conda;
mod conda_config;
mod confined;
mod crash;
#[cfg(target_os = "linux")]
mod displaced;
mod export;
mod faults;
mod fetch;
mod foreign;
mod formats;
mod image;
mod install;
#[cfg(target_os = "linux")]
mod kernels;
mod limits;
mod linked;
mod lock;
mod manual;
mod model;
#[cfg(target_os = "linux")]
mod mounted;
mod networks;
mod others;
mod packages;
mod permitted;
mod pip;
mod pip_add;
mod pip_install;
mod prune;
mod records;
mod registries;
mod registry_channels;
mod remedies;
mod repair;
mod run;
mod schemes;
mod scripts;
mod shell_init;
mod shells;
mod size;
mod size_images;
mod slim;
mod stopping;
mod stopping_stages;
mod streams;
#[cfg(target_os = "linux")]
mod syscalls;
mod terminal;
mod true_python;
mod update;
mod verify;
mod views;

use mlconda_test::context::TestContext;

/// A context for one test.
fn world() -> TestContext {
    TestContext::new(program())
}

/// The program under test: cargo's, or one for another machine that runs in an emulator.
fn program() -> &'static str {
    mlconda_test::machine::program(env!("CARGO_BIN_EXE_mlconda"))
}

/// Copies the program under test, by another process: if this process had the file open for writing, a child of another
/// test could inherit the file descriptor, and the file could not be executed.
fn copy_program(world: &TestContext, to: &std::path::Path) {
    world.run("cp", &[program(), to.to_str().unwrap()]).success();
}

/// A server for the small channels.
fn serve() -> mlconda_test::server::Server {
    mlconda_test::server::Server::serve(mlconda_test::small::shared().directory()).unwrap()
}
