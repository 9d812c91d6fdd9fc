//! An installation can always be stopped: whatever it waits for, the first signal ends the wait, and all is as it was.
//!
//! No test knows how long anything takes: the server tells what was asked for, and a FIFO what a script has begun. One that is not
//! stopped waits for ever.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use mlconda_test::{context::TestContext, package::PackageBuilder, server::Fault, tree};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    regressions::{line, lock},
    serve, world,
};

fn begin(world: &TestContext, arguments: &[&str]) -> Child {
    let mut command = world.mlconda_command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends a signal, and gives the exit code and what was said on stderr.
fn stop(child: Child, signal: Signal) -> (i32, String) {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn while_a_server_is_silent() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (world, server) = (world(), serve());
        world.write_lock("env.lock", Some(&server.url("main")), &["tzdata", "large"]);
        let before = world.tree();
        server.fail("large", Fault::Stalled);
        let install = begin(&world, &["install", "env.lock", "-p", "prefix"]);
        server.wait_for("large");
        let (found, said) = stop(install, signal);
        assert_eq!(found, code, "{said}");
        assert!(said.contains("stopping: removing what was written."), "{said}");
        assert!(said.contains("error: stopped; nothing has changed"), "{said}");
        assert_eq!(tree::difference(&before, &world.tree()), "");
    }
}

#[test]
fn while_a_script_sleeps() {
    let world = world();
    let fifo = world.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let text = format!("echo begun > '{}'\nexec sleep 100000\n", fifo.display());
    let package = PackageBuilder::new("sleeps", "1.0").executable("bin/.sleeps-post-link.sh", text);
    lock(&world, &[&line(&world, &package)]);
    let before = world.tree();
    let install = begin(&world, &["install", "env.lock", "-p", "prefix"]);
    assert_eq!(fs_err::read_to_string(&fifo).unwrap(), "begun\n");
    let (code, said) = stop(install, Signal::TERM);
    assert_eq!(code, 143, "{said}");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn while_a_channel_is_silent() {
    let (world, server) = (world(), serve());
    world.write("environment.yml", &format!("channels: [{}]\ndependencies: [tzdata]\n", server.url("main")));
    server.fail("repodata", Fault::Stalled);
    let locking = begin(&world, &["lock"]);
    server.wait_for("repodata");
    let (code, said) = stop(locking, Signal::INT);
    assert_eq!(code, 130, "{said}");
    assert!(!Path::new(&world.work().join("env.lock")).exists());
}

/// What the user names may be a pipe, for which every command waits; the signal ends that.
#[test]
fn while_a_pipe_on_the_command_line_is_silent() {
    let world = world();
    let fifo = world.path().join("pipe.lock");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let name = fifo.to_str().unwrap();
    let before = world.tree();
    for arguments in [
        &["convert", name, "--to", "conda-lock"][..],
        &["verify", name, "-p", "prefix"],
        &["install", name, "-p", "prefix"],
        &["diff", name, name],
        &["sbom", name],
        &["lock", name],
    ] {
        for signal in [Signal::INT, Signal::TERM] {
            let command = begin(&world, arguments);
            // It is open as soon as somebody reads.
            let writer = fs_err::OpenOptions::new().write(true).open(&fifo).unwrap();
            let (code, said) = stop(command, signal);
            assert!([-1, 130, 143].contains(&code), "{code} {said}");
            drop(writer);
        }
    }
    assert_eq!(tree::difference(&before, &world.tree()), "");
}
