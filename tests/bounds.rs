//! Limits: how much memory and time a package, a lock or a prefix can use, and the messages at the limit.
//!
//! The kernel limits the memory (`ulimit -d`): a program that needs more fails.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use mlconda_test::{
    context::{Outcome, TestContext, argument},
    host_subdir,
    package::{Noarch, PackageBuilder},
    sha256_hex,
};
use serde_json::{Value, json};

use crate::{
    packages::{install, line, lock},
    world,
};

/// A member of an archive: its name, its size in bytes, and the bytes that are repeated to fill it.
pub(crate) type Member<'a> = (&'a str, u64, &'a [u8]);

/// Writes the `.tar.bz2` of a package `name` 1.0 with these metadata and members. Returns its line in a lock.
pub(crate) fn by_hand(world: &TestContext, name: &str, index: &Value, paths: &Value, members: &[Member<'_>]) -> String {
    let (index, paths) = (index.to_string(), paths.to_string());
    let known = [("info/index.json", index.as_bytes()), ("info/paths.json", paths.as_bytes())];
    let known = known.into_iter().filter(|(name, _)| members.iter().all(|(other, ..)| other != name));
    let known: Vec<Member<'_>> = known.map(|(name, text)| (name, text.len() as u64, text)).collect();
    let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    for (name, size, piece) in known.iter().chain(members) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1_700_000_000);
        header.set_size(*size);
        let pieces = piece.repeat((1 << 16) / piece.len().max(1) + 1);
        tar.append_data(&mut header, name, Repeated(&pieces, 0).take(*size)).unwrap();
    }
    let directory = world.path().join("channel").join(host_subdir());
    fs_err::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{name}-1.0-0.tar.bz2"));
    fs_err::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    format!("file://{}#sha256:{}\n", path.display(), sha256_hex(fs_err::read(&path).unwrap()))
}

/// Repeats bytes, starting at an offset.
struct Repeated<'a>(&'a [u8], usize);

impl Read for Repeated<'_> {
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.write(&self.0[self.1..])?;
        self.1 = (self.1 + count) % self.0.len();
        Ok(count)
    }
}

/// The `index.json` of a package.
pub(crate) fn index(name: &str) -> Value {
    json!({"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir()})
}

/// A `paths.json` without paths.
fn nothing() -> Value {
    json!({"paths": [], "paths_version": 1})
}

/// Installs a package with a memory limit, in kB.
fn install_within(world: &TestContext, memory: u64, prefix: &str, line: &str) -> Outcome {
    lock(world, &[line]);
    let command = world.mlconda_command(["install"]);
    let program = argument(Path::new(command.get_program())).to_owned();
    let script = format!("ulimit -d {memory}; exec \"$0\" install env.lock --threads 1 -p {prefix}");
    world.run("/bin/sh", &["-c", &script, &program])
}

#[test]
fn what_is_read_of_info_has_a_limit() {
    let world = world();
    let many: Vec<Value> =
        (0..300_001).map(|number| json!({"_path": number.to_string(), "path_type": "hardlink"})).collect();
    let many = json!({"paths": many, "paths_version": 1});
    let (small, lines) = ("is larger than 1 MiB", "lists more than 300000 paths");
    let together = "is too large: what is read of `info/` has at most 64 MiB";
    for (name, paths, members, message) in [
        ("index", nothing(), vec![("info/index.json", 2 << 20, &b" "[..])], small),
        ("link", nothing(), vec![("info/link.json", 2 << 20, &b" "[..])], small),
        ("spaces", nothing(), vec![("info/paths.json", 65 << 20, &b" "[..])], together),
        (
            "sum",
            nothing(),
            vec![("info/files", 40 << 20, &b"x"[..]), ("info/has_prefix", 40 << 20, &b"x"[..])],
            together,
        ),
        ("lines", nothing(), vec![("info/files", 1 << 20, &b"\n"[..])], lines),
        ("paths", many, vec![], lines),
    ] {
        let package = by_hand(&world, name, &index(name), &paths, &members);
        let outcome = install_within(&world, 300_000, "prefix", &package).failure(1);
        assert!(outcome.stderr.contains(message), "{name}: {outcome}");
        assert!(!world.work().join("prefix").exists());
    }
}

/// The file is larger than the memory, in both cases: if the placeholder is replaced in place, and if the file becomes
/// longer.
#[test]
fn a_large_file_gets_its_prefix_in_little_memory() {
    let world = world();
    let old = format!("/{}", "old".repeat(40));
    let entry = |mode: &str, old: &str| {
        let entry =
            json!({"_path": "share/large", "path_type": "hardlink", "file_mode": mode, "prefix_placeholder": old});
        json!({"paths": [entry], "paths_version": 1})
    };
    let binary = format!("{old}/lib\0{}", "\0".repeat(60_000));
    let package = by_hand(
        &world,
        "binary",
        &index("binary"),
        &entry("binary", &old),
        &[("share/large", 160 << 20, binary.as_bytes())],
    );
    install_within(&world, 100_000, "one", &package).success();
    let content = fs_err::read(world.work().join("one/share/large")).unwrap();
    assert_eq!(content.len(), 160 << 20);
    assert!(content.starts_with(format!("{}/lib\0\0", world.work().join("one").display()).as_bytes()));

    let package = by_hand(&world, "text", &index("text"), &entry("text", "@"), &[("share/large", 2 << 20, b"@")]);
    install_within(&world, 100_000, "two", &package).success();
    let size = fs_err::metadata(world.work().join("two/share/large")).unwrap().len();
    assert_eq!(size, (2 << 20) * world.work().join("two").as_os_str().len() as u64);
    world.mlconda(["verify", "-p", "two"]).success();
}

#[test]
fn a_placeholder_is_not_empty() {
    let world = world();
    let entry = json!({"_path": "x", "path_type": "hardlink", "file_mode": "text", "prefix_placeholder": ""});
    let paths = json!({"paths": [entry], "paths_version": 1});
    let package = by_hand(&world, "empty", &index("empty"), &paths, &[("x", 10, b"x")]);
    let outcome = install(&world, &world.work().join("prefix"), &[&package]).failure(1);
    assert!(outcome.stderr.contains("`x`: a placeholder is empty"), "{outcome}");
}

#[test]
fn a_lock_has_a_limit_of_values() {
    let world = world();
    world.write("conda-lock.yml", &format!("version: 1\npackage: [{}]\n", "[],".repeat(2_000_000)));
    let command = world.mlconda_command(["install"]);
    let program = argument(Path::new(command.get_program())).to_owned();
    let script = "ulimit -d 600000; exec \"$0\" install conda-lock.yml -p prefix";
    let outcome = world.run("/bin/sh", &["-c", script, &program]).failure(1);
    assert!(outcome.stderr.contains("the file has more than 1048576 values"), "{outcome}");
    for name in ["conda-lock.yml", "env.lock"] {
        world.write(name, &format!("@EXPLICIT\nversion: 1\npackage:\n{}", "\n".repeat(2_000_000)));
        let outcome = world.mlconda(["install", name, "-p", "prefix"]).failure(1);
        assert!(outcome.stderr.contains("it has more than 2000000 lines"), "{outcome}");
    }
}

/// A program that exceeds its file size limit gets a write error, and reports it. The signal SIGXFSZ must not end it.
#[test]
fn a_limit_of_the_shell_is_an_error_with_words() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "large"]);
    let before = world.tree();
    let command = world.mlconda_command(["install"]);
    let program = argument(Path::new(command.get_program())).to_owned();
    let script = "ulimit -f 1000; exec \"$0\" install env.lock -p prefix";
    let outcome = world.run("/bin/sh", &["-c", script, &program]).failure(1);
    assert!(outcome.stderr.contains("File too large"), "{outcome}");
    assert!(
        outcome.stderr.contains("hint: the file is larger than a limit of the shell or container (`ulimit -f`)"),
        "{outcome}"
    );
    assert_eq!(mlconda_test::tree::difference(&before, &world.tree()), "");

    let script = "ulimit -s 256; exec \"$0\" install env.lock -p prefix";
    world.run("/bin/sh", &["-c", script, &program]).success();
    let script = "ulimit -s 256; exec \"$0\" lock deep.yml -o /dev/null";
    world.write("deep.yml", &format!("dependencies: {}{}\n", "[".repeat(60), "]".repeat(60)));
    world.run("/bin/sh", &["-c", script, &program]).failure(1);
}

/// A package with this script.
fn with_script(world: &TestContext, text: &str) -> String {
    line(world, &PackageBuilder::new("scripted", "1.0").executable("bin/.scripted-post-link.sh", text))
}

#[test]
fn of_what_a_script_says_the_end_is_kept() {
    let world = world();
    let text = "i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); done; echo the last word; exit 3";
    let outcome = install(&world, &world.work().join("prefix"), &[&with_script(&world, text)]).failure(1);
    assert!(outcome.stderr.contains("[the last 64 kB]\nline "), "{}", &outcome.stderr[..2000]);
    assert!(outcome.stderr.contains("the last word") && !outcome.stderr.contains("line 1\n"));
    assert!(outcome.stderr.len() < 100_000);
}

#[test]
fn what_a_failing_script_leaves_in_messages_is_shown() {
    let world = world();
    let text = "echo said; echo 'needs a license' > \"$PREFIX/.messages.txt\"; exit 1";
    let outcome = install(&world, &world.work().join("prefix"), &[&with_script(&world, text)]).failure(1);
    assert!(outcome.stderr.contains("said\nand left this message:\nneeds a license\n"), "{outcome}");
    assert!(!world.work().join("prefix").exists());

    // A FIFO without a writer must not block.
    let text = "mkfifo \"$PREFIX/.messages.txt\"; exit 1";
    install(&world, &world.work().join("prefix"), &[&with_script(&world, text)]).failure(1);
    let text = "mkfifo \"$PREFIX/.messages.txt\"";
    install(&world, &world.work().join("prefix"), &[&with_script(&world, text)]).success();
}

/// A symbolic link may point to a secret file, and a directory is not a message.
#[test]
fn a_message_is_a_file() {
    let world = world();
    let prefix = world.work().join("prefix");
    world.write("secret", "hidden words");
    let text = format!("ln -s '{}' \"$PREFIX/.messages.txt\"", world.work().join("secret").display());
    let outcome = install(&world, &prefix, &[&with_script(&world, &text)]).success();
    assert!(!outcome.stderr.contains("hidden words"), "{outcome}");
    assert!(!prefix.join(".messages.txt").is_symlink() && world.work().join("secret").is_file());

    let text = "rm -f \"$PREFIX/.messages.txt\"; mkdir \"$PREFIX/.messages.txt\"";
    let package = PackageBuilder::new("other", "1.0").executable("bin/.other-post-link.sh", text);
    install(&world, &prefix, &[&line(&world, &package)]).success();
}

#[test]
fn a_script_that_does_not_end_is_stopped() {
    let world = world();
    lock(&world, &[&with_script(&world, "echo begun; exec sleep 600")]);
    let arguments = ["install", "env.lock", "-p", "prefix", "--script-timeout", "1"];
    let outcome = world.mlconda(arguments).failure(1);
    let message = "error: the post-link script of `scripted` has not ended within 1 seconds, and was stopped:\nbegun\n";
    assert!(outcome.stderr.contains(message), "{outcome}");
    assert!(outcome.stderr.contains("`--script-timeout SECONDS` waits longer"), "{outcome}");
    assert!(!world.work().join("prefix").exists());
}

#[test]
fn a_python_that_does_not_answer_is_given_up() {
    let world = world();
    let hangs = "#!/bin/sh\necho cpython-311\nexec sleep 600\n";
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", hangs);
    let module = PackageBuilder::new("module", "1.0").noarch(Noarch::Python).file("site-packages/x.py", "1\n");
    lock(&world, &[&line(&world, &python), &line(&world, &module)]);
    let arguments = ["install", "env.lock", "-p", "prefix", "--script-timeout", "1"];
    let outcome = world.mlconda(arguments).success();
    assert!(outcome.stderr.contains("it has not answered for 1 seconds"), "{outcome}");
}
