//! A signal in each stage of each command, and copies that are stopped in the middle.
//!
//! The tests do not depend on time. A FIFO reports that a script has begun, and the table of open files of a process
//! shows what it reads. A process that does not stop would read for ever, or the many gigabytes of a sparse file.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mlconda_test::{
    context::TestContext,
    package::{Noarch, PackageBuilder},
    sha256_hex, tree,
};
use rustix::process::Signal;

use crate::{
    packages::{line, lock},
    stopping::{begin, stop},
    world,
};

/// Larger than any disk can copy, or any processor can hash, during a test. The file is sparse.
const HUGE: u64 = 1 << 40;

const BOTH: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

/// The path of a FIFO in the context, which is made if it is missing.
fn fifo(world: &TestContext, name: &str) -> PathBuf {
    let place = world.path().join(name);
    if !place.exists() {
        rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    place
}

/// Shell commands that report that they have begun, and then wait for ever for a line.
fn waits(world: &TestContext) -> String {
    format!("echo begun > '{}'\nread word < '{}'\n", fifo(world, "begun").display(), fifo(world, "wait").display())
}

/// Waits until these commands have begun.
fn has_begun(world: &TestContext) {
    assert_eq!(fs_err::read_to_string(fifo(world, "begun")).unwrap(), "begun\n");
}

/// Checks that no process runs these commands any more: then the FIFO has no reader, and opening it without blocking
/// fails.
#[track_caller]
fn nobody_waits(world: &TestContext) {
    use rustix::{
        fs::{Mode, OFlags},
        io::Errno,
    };
    let open = rustix::fs::open(fifo(world, "wait"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    assert_eq!(open.expect_err("somebody still waits"), Errno::NXIO);
}

/// Waits until a process has opened a file whose path ends with `end`.
pub(crate) fn until_open(child: &mut Child, end: &str) {
    let directory = format!("/proc/{}/fd", child.id());
    loop {
        let open = fs_err::read_dir(&directory).into_iter().flatten().flatten();
        if open.filter_map(|entry| fs_err::read_link(entry.path()).ok()).any(|path| path.ends_with(end)) {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "it has ended before it opened `{end}`");
        std::thread::yield_now();
    }
}

/// Makes a file very large and sparse.
fn make_huge(path: &Path) {
    fs_err::OpenOptions::new().write(true).open(path).unwrap().set_len(HUGE).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn verify_while_it_hashes() {
    let world = world();
    let package = PackageBuilder::new("large", "1.0").file("share/huge", "small");
    let lock = lock(&world, &[&line(&world, &package)]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    fs_err::remove_file(lock).unwrap();
    let records = fs_err::read_dir(world.work().join("prefix/conda-meta")).unwrap().map(|entry| entry.unwrap().path());
    let record = records.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "json")).unwrap();
    let text = fs_err::read_to_string(&record).unwrap();
    assert!(text.contains("\"size_in_bytes\":5"), "{text}");
    fs_err::write(&record, text.replace("\"size_in_bytes\":5", &format!("\"size_in_bytes\":{HUGE}"))).unwrap();
    make_huge(&world.work().join("prefix/share/huge"));
    for (signal, code) in BOTH {
        let mut verify = begin(&world, &["verify", "prefix"]);
        until_open(&mut verify, "share/huge");
        let (found, said) = stop(verify, signal);
        assert_eq!((found, said.as_str()), (code, "error: stopped\n"));
    }
}

/// A command that signals can end, in every environment of the tests: a shell ignores SIGINT for background jobs, and
/// its child processes inherit that. If `env` cannot reset this, the command is unchanged.
fn with_signals(world: &TestContext, command: &Command) -> Command {
    let anew = |program: &OsStr| {
        let mut env = world.command("env");
        env.arg("--default-signal=INT").arg(program);
        env
    };
    let can = anew("true".as_ref()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let mut wrapped = if can { anew(command.get_program()) } else { world.command(command.get_program()) };
    wrapped.args(command.get_args());
    wrapped
}

#[test]
fn run_while_an_activation_script_waits() {
    let world = world();
    let script = waits(&world);
    let package = PackageBuilder::new("waits", "1.0").file("etc/conda/activate.d/waits.sh", script);
    lock(&world, &[&line(&world, &package)]);
    world.mlconda(["install", "env.lock", "-p", "prefix", "--no-scripts"]).success();
    for (signal, _) in BOTH {
        let mut run = with_signals(&world, &world.mlconda_command(["run", "-p", "prefix", "true"]));
        let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        has_begun(&world);
        // The process is already a shell, which a signal ends in the usual way.
        let (code, said) = stop(run, signal);
        assert_eq!((code, said.as_str()), (-1, ""));
        nobody_waits(&world);
    }
}

/// Environments that are complete by then stay, and the message says so.
#[test]
fn install_while_an_activation_script_waits() {
    let world = world();
    let package = PackageBuilder::new("waits", "1.0").file("etc/conda/activate.d/waits.sh", waits(&world));
    lock(&world, &[&line(&world, &package)]);
    let arguments = ["install", "env.lock", "-p", "prefix"];
    for (signal, expected) in BOTH {
        let install = begin(&world, &arguments);
        has_begun(&world);
        let (code, said) = stop(install, signal);
        assert_eq!(code, expected, "{said}");
        let prefix = world.work().join("prefix");
        assert!(said.contains("stopping: the change can no longer be undone."), "{said}");
        assert!(said.ends_with(&format!("error: stopped after `{}` was installed\n", prefix.display())), "{said}");
        assert!(prefix.join("conda-meta/history").is_file());
        nobody_waits(&world);
        fs_err::remove_dir_all(prefix).unwrap();
    }
}

#[test]
fn install_while_modules_are_compiled() {
    let world = world();
    let python = format!("#!/bin/sh\n{}", waits(&world));
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", python);
    let module = PackageBuilder::new("module", "1.0").noarch(Noarch::Python).file("site-packages/x.py", "1\n");
    lock(&world, &[&line(&world, &python), &line(&world, &module)]);
    let before = world.tree();
    for (signal, expected) in BOTH {
        let install = begin(&world, &["install", "env.lock", "-p", "prefix"]);
        has_begun(&world);
        let (code, said) = stop(install, signal);
        assert_eq!(code, expected, "{said}");
        assert!(said.ends_with("error: stopped; nothing was changed\n"), "{said}");
        assert_eq!(tree::difference(&before, &world.tree()), "");
        nobody_waits(&world);
    }
}

#[test]
fn lock_while_the_resolver_of_pip_runs() {
    let world = world();
    world.write(
        "environment.yml",
        "channels: [\"${CHANNELS}/main\"]\ndependencies: [python=3.11, pip, {pip: [something]}]\n",
    );
    let uv = world.write("uv", &format!("#!/bin/sh\n{}", waits(&world)));
    world.run("chmod", &["+x", uv.to_str().unwrap()]).success();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    for (signal, expected) in BOTH {
        let mut command = world.mlconda_command(["lock"]);
        let locking = command.env("MLCONDA_UV", &uv).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        has_begun(&world);
        let (code, said) = stop(locking, signal);
        assert_eq!((code, said.as_str()), (expected, "error: stopped; nothing was changed\n"));
        nobody_waits(&world);
        assert!(!world.work().join("env.lock").exists());
    }
}

/// If two environments of one command share files, or if the cache is on another device than the prefix, packages are
/// copied from the cache.
#[cfg(target_os = "linux")]
#[test]
#[allow(clippy::print_stderr, reason = "who runs the tests is to see that one said nothing")]
fn install_while_it_copies_from_another_device() {
    let world = world();
    let device = |path: &Path| fs_err::metadata(path).map(|metadata| metadata.dev()).ok();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: nothing can be made in `/dev/shm`, which is to be the other device");
        return;
    };
    if device(elsewhere.path()) == device(&world.path()) {
        eprintln!("skipped: `/dev/shm` is the same device as the test's directory");
        return;
    }
    let package = PackageBuilder::new("large", "1.0").file("share/huge", "small");
    let text = fs_err::read_to_string(lock(&world, &[&line(&world, &package)])).unwrap();
    for name in ["a", "b"] {
        world.write(&format!("{name}.lock"), &format!("# mlconda lock: 1\n# name: {name}\n{text}"));
    }
    let cache = elsewhere.path().to_str().unwrap();
    let first = ["install", "a.lock", "-p", "first"];
    world.mlconda_with(first, &[("MLCONDA_CACHE_DIR", cache)]).success();
    let inner = |path: &Path, start: &str| {
        let names = fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with(start)).unwrap()
    };
    let package = inner(&inner(elsewhere.path(), "packages-"), "");
    make_huge(&package.join("share/huge"));
    let before = world.tree();
    for arguments in [&["install", "a.lock", "-p", "second"][..], &["install", "a.lock", "b.lock"]] {
        for (signal, expected) in BOTH {
            let mut command = world.mlconda_command(arguments);
            command.env("MLCONDA_CACHE_DIR", cache).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut install = command.spawn().unwrap();
            until_open(&mut install, "share/huge");
            let (code, said) = stop(install, signal);
            assert_eq!(code, expected, "{said}");
            assert!(said.ends_with("error: stopped; nothing was changed\n"), "{said}");
            assert_eq!(tree::difference(&before, &world.tree()), "");
        }
    }
}

/// Untracked files are copied if scripts will run; one of them may be larger than the disk.
#[cfg(target_os = "linux")]
#[test]
fn install_while_it_copies_a_file_of_the_user() {
    let world = world();
    let package = |version| {
        let script = "#!/bin/sh\nexit 0\n";
        let package = PackageBuilder::new("scripted", version).file("share/version", version);
        line(&world, &package.executable("bin/.scripted-post-link.sh", script))
    };
    for (prefix, real) in crate::packages::both_kinds(&world) {
        let prefix = prefix.to_str().unwrap();
        lock(&world, &[&package("1.0")]);
        world.mlconda(["install", "env.lock", "-p", prefix]).success();
        fs_err::write(real.join("mine"), "").unwrap();
        make_huge(&real.join("mine"));
        lock(&world, &[&package("2.0")]);
        for (signal, expected) in BOTH {
            let mut install = begin(&world, &["install", "env.lock", "-p", prefix]);
            until_open(&mut install, "mine");
            let (code, said) = stop(install, signal);
            assert_eq!(code, expected, "{said}");
            assert!(said.ends_with("error: stopped; nothing was changed\n"), "{said}");
            assert_eq!(fs_err::read_to_string(real.join("share/version")).unwrap(), "1.0");
            assert_eq!(fs_err::metadata(real.join("mine")).unwrap().len(), HUGE);
            let names = fs_err::read_dir(&real).unwrap().map(|entry| entry.unwrap().file_name());
            assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("mlconda")));
        }
        fs_err::remove_file(real.join("mine")).unwrap();
    }
}

/// An archive that is named by its path is hashed first.
#[cfg(target_os = "linux")]
#[test]
fn install_while_it_hashes_an_archive() {
    let world = world();
    let archive = world.path().join("huge-1.0-0.tar.bz2");
    fs_err::write(&archive, "").unwrap();
    make_huge(&archive);
    let digest = sha256_hex("another one");
    lock(&world, &[&format!("file://{}#sha256:{digest}\n", archive.display())]);
    for (signal, expected) in BOTH {
        let mut install = begin(&world, &["install", "env.lock", "-p", "prefix"]);
        until_open(&mut install, "huge-1.0-0.tar.bz2");
        let (code, said) = stop(install, signal);
        assert_eq!(code, expected, "{said}");
        assert!(said.ends_with("error: stopped; nothing was changed\n"), "{said}");
        assert_eq!(fs_err::metadata(world.work().join("prefix")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

/// The signal comes just before the last step of the first of two environments. The first one is completed, and the
/// second one does not begin.
#[cfg(target_os = "linux")]
#[test]
fn what_is_too_late_for_one_environment_stops_before_the_next() {
    use mlconda_test::inject::{self, Calls, Happens};
    let world = world();
    let package = PackageBuilder::new("small", "1.0").file("share/small", "small");
    let text = fs_err::read_to_string(lock(&world, &[&line(&world, &package)])).unwrap();
    for name in ["a", "b"] {
        world.write(&format!("{name}.lock"), &format!("# mlconda lock: 1\n# name: {name}\n{text}"));
    }
    // A prefix that is a link is changed in place; its last rename is that of the history.
    let (real, first) = (world.path().join("real"), world.named_prefix("a"));
    let prepare = || {
        let _ = fs_err::remove_dir_all(world.root_prefix());
        let _ = fs_err::remove_dir_all(&real);
        fs_err::create_dir(&real).unwrap();
        fs_err::create_dir_all(first.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(&real, &first).unwrap();
    };
    let run = |happens| inject::run(&world, &real, Calls::Rename, happens, &["install", "a.lock", "b.lock"]);
    prepare();
    let Some(counted) = run(Happens::Nothing) else { return };
    counted.outcome.success();
    prepare();
    let injected = run(Happens::Signal(counted.calls, 15)).unwrap();
    let outcome = injected.outcome.failure(143);
    assert!(injected.at.is_some_and(|at| at.ends_with("conda-meta/history")), "{outcome}");
    assert!(outcome.stderr.contains("stopping: the change can no longer be undone."), "{outcome}");
    let end = format!("error: stopped after `{}` was installed\n", first.display());
    assert!(outcome.stderr.ends_with(&end), "{outcome}");
    assert!(real.join("conda-meta/history").is_file() && !world.named_prefix("b").exists());
}
