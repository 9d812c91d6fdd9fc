//! An installation can be stopped at any time: the first signal ends every wait, and everything is as before.
//!
//! The tests do not depend on time: the server reports requests, a FIFO reports that a script has begun, and
//! `--progress json` reports the steps of the program. A program that does not stop waits for ever, or has another exit
//! code.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Stdio},
};

use mlconda_test::{
    context::TestContext,
    package::{Noarch, PackageBuilder},
    server::Fault,
    tree,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    packages::{install, line, lock},
    serve, world,
};

pub(crate) fn begin(world: &TestContext, arguments: &[&str]) -> Child {
    let mut command = world.mlconda_command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends a signal. Returns the exit code and stderr.
pub(crate) fn stop(child: Child, signal: Signal) -> (i32, String) {
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
        assert!(said.contains("error: stopped; nothing was changed"), "{said}");
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

/// Writes a channel in which each package depends on the next one, and an environment.yml that requests the first. The
/// last package has a missing dependency.
fn chain(world: &TestContext, length: usize) {
    let records: Vec<String> = (0..length)
        .map(|place| {
            let record = format!("\"name\":\"p{place}\",\"version\":\"1.0\",\"build\":\"0\",\"build_number\":0");
            format!("\"p{place}-1.0-0.tar.bz2\":{{{record},\"depends\":[\"p{}\"],\"subdir\":\"noarch\"}}", place + 1)
        })
        .collect();
    let repodata = format!("{{\"packages\":{{{}}}}}", records.join(","));
    world.write("chain/noarch/repodata.json", &repodata);
    let channel = world.work().join("chain");
    world.write("environment.yml", &format!("channels: [\"file://{}\"]\ndependencies: [p0]\n", channel.display()));
}

/// Waits for an event, and then sends a signal. Returns the exit code and the output after it.
fn stop_at(mut child: Child, event: &str, signal: Signal) -> (i32, String) {
    let mut events = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut said) = (String::new(), String::new());
    while !line.contains(&format!("\"{event}\"")) {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "there was no `{event}`");
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    events.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code().unwrap_or(-1), said)
}

#[test]
fn while_a_solution_or_an_explanation_is_computed() {
    let world = world();
    chain(&world, 5_000);
    fs_err::create_dir_all(world.home().join(".cache/mlconda/repodata")).unwrap();
    let before = world.tree();
    for command in [&["lock"][..], &["install", "environment.yml", "-p", "prefix"]] {
        for (event, signal, code) in [
            ("solve-started", Signal::TERM, 143),
            ("solve-started", Signal::INT, 130),
            ("explaining", Signal::TERM, 143),
            ("explaining", Signal::INT, 130),
        ] {
            let child = begin(&world, &[&["--progress", "json"], command].concat());
            let (found, said) = stop_at(child, event, signal);
            assert_eq!((found, said.contains("\"stopped")), (code, true), "{event}: {said}");
            assert_eq!(tree::difference(&before, &world.tree()), "");
        }
    }
}

/// Without a cache, an installation writes repodata into a temporary directory, which must be removed.
#[test]
fn temporary_files_do_not_stay() {
    let (world, server) = (world(), serve());
    chain(&world, 5_000);
    let channels = format!("channels: [{}, \"file://{}\"]", server.url("main"), world.work().join("chain").display());
    world.write("environment.yml", &format!("{channels}\ndependencies: [tzdata, p0]\n"));
    let before = world.tree();
    for event in ["repodata-started", "solve-started", "explaining"] {
        let command = ["--progress", "json", "install", "environment.yml", "-p", "prefix"];
        let (code, said) = stop_at(begin(&world, &command), event, Signal::TERM);
        assert_eq!(code, 143, "{said}");
        assert_eq!(tree::difference(&before, &world.tree()), "");
    }
    assert!(server.count("repodata") > 0, "there was something to be kept");
}

/// A file argument may be a pipe, on which a command waits.
#[test]
fn while_a_file_is_waited_for() {
    let world = world();
    world.locked("env.lock", &["tzdata"]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let fifo = world.work().join("pipe.yml");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let before = world.tree();
    for command in [
        &["lock", "pipe.yml"][..],
        &["install", "pipe.yml", "-p", "other"],
        &["convert", "pipe.yml", "--to", "pixi"],
        &["tree", "pipe.yml"],
        &["why", "tzdata", "pipe.yml"],
        &["sbom", "pipe.yml"],
        &["verify", "prefix", "pipe.yml"],
        &["diff", "pipe.yml", "env.lock"],
    ] {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let child = begin(&world, command);
            let _writer = fs_err::OpenOptions::new().write(true).open(&fifo).unwrap();
            let (found, said) = stop(child, signal);
            assert_eq!((found, said.as_str()), (code, "error: stopped\n"), "{command:?}");
            assert_eq!(tree::difference(&before, &world.tree()), "");
        }
    }
}

#[test]
fn an_interrupt_ends_a_python_that_hangs() {
    let world = world();
    let late = world.path().join("late");
    let hangs = format!(
        "#!/bin/sh\necho cpython-311\nread question\nkill -INT $PPID\nsleep 20\necho late > '{}'\n",
        late.display()
    );
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", hangs);
    let module = PackageBuilder::new("module", "1.0").noarch(Noarch::Python).file("site-packages/x.py", "1\n");
    let lines = [python, module].map(|package| line(&world, &package));
    install(&world, &world.path().join("prefix"), &[&lines[0], &lines[1]]).failure(130);
    assert!(!late.exists(), "it was waited for");
}
