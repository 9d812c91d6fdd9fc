//! Failures while an image is made: packages that cannot be built, a python that ends early, signals, invalid times.

use std::{
    io::Read,
    process::{Child, Command},
};

use mlconda_test::{
    package::{Noarch, PackageBuilder},
    sha256_hex,
    wheel::Sdist,
};
use rustix::process::{Pid, kill_process};

use super::*;
use crate::packages;

#[test]
fn what_pip_would_have_to_build_is_told_with_the_ways_out() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "pip"]);
    let archive = Sdist::new("built", "1.0").write(&world.path().join("sources")).unwrap();
    let sha256 = sha256_hex(fs_err::read(&archive).unwrap());
    add_lines(&lock, &[format!("# pip built @ file://{} --hash=sha256:{sha256}\n", archive.display())]);
    assert_snapshot!(image(&world, &["env.lock", "-n", "ml"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    Putting 3 packages together for `/opt/conda/envs/ml`
    error: `built-1.0-pypi_0` has no wheel and cannot be built while an image is made
    hint: take versions that have wheels, or build wheels and name them in the `pip:` list. `--skip-scripts` leaves the packages out: a Dockerfile `FROM` that image can build them, with `RUN mlconda install env.lock`
    ");
    assert!(!world.work().join("image.tar").exists());
    let outcome = image(&world, &["env.lock", "-n", "ml", "--skip-scripts"]).success();
    assert!(outcome.stderr.contains("warning: left out, because they have no wheel: `built-1.0-pypi_0`"), "{outcome}");
}

#[test]
fn the_layer_of_a_module_over_which_python_ends_is_not_kept() {
    let world = world();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    let mark = world.write("dies", "");
    let python = format!(
        "#!/bin/sh\necho cpython-311\nwhile read -r time path; do\n\
         case \"$path\" in *deadly*) [ -e '{}' ] && exit 1;; *template*) echo 0; echo 'no module'; continue;; esac\n\
         printf '%s\\n%s' \"${{#path}}\" \"$path\"\ndone\n",
        mark.display()
    );
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python3.11", python);
    let module = PackageBuilder::new("module", "1.0")
        .noarch(Noarch::Python)
        .file("site-packages/deadly.py", "1\n")
        .file("site-packages/template.py", "@\n");
    let plain = PackageBuilder::new("plain", "1.0").file("share/plain", "1\n");
    let lines = [python, module, plain].map(|package| packages::line(&world, &package));
    packages::lock(&world, &[&lines[0], &lines[1], &lines[2]]);
    let make = || image(&world, &["env.lock", "-n", "ml", "--json", "--progress", "json"]).success();
    let first = make();
    let told = "python ended while it compiled a module, whose byte code is left out: \
                `lib/python3.11/site-packages/deadly.py` (python broke off: ";
    assert!(first.stderr.contains(told) && first.stderr.contains("not kept in the cache"), "{first}");
    // A file that no python can compile is a different case.
    assert!(!first.stderr.contains("template.py") && first.stderr.contains("Its layer is not"), "{first}");
    fs_err::remove_file(&mark).unwrap();
    let second = make();
    assert_eq!(written(&second), 1, "{second}");
    assert!(!second.stderr.contains("python ended"), "{second}");
    let place = union(&world, "image.tar").join("opt/conda/envs/ml/lib/python3.11/site-packages/__pycache__");
    assert!(place.join("deadly.cpython-311.pyc").is_file());
    assert_eq!(written(&make()), 0);
}

#[test]
fn a_time_that_no_image_can_have_is_an_error_with_the_range() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    for time in ["-1", "253402207201", "99999999999999999999"] {
        let outcome = image(&world, &["env.lock", "-n", "ml", "--created", time]).failure(2);
        let words = if time.len() < 20 { "is not in 0..=253402207200" } else { "invalid value" };
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
    write_base(&world);
    let arguments = ["image", "env.lock", "-n", "ml", "--tag", "x", "-o", "x.tar", "--base", "docker-archive:base.tar"];
    assert_snapshot!(world.mlconda_with(arguments, &[("SOURCE_DATE_EPOCH", "253402300800")]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `SOURCE_DATE_EPOCH` is `253402300800`, which is not a number of seconds from 0 to 253402207200 (the year 9999)
    hint: unset it, or set it to a number such as that of `date +%s`
    ");
    image(&world, &["env.lock", "-n", "ml", "--created", "253402207200"]).success();
    assert_eq!(read(&world, "image.tar").config["created"], "9999-12-30T22:00:00Z");
}

#[test]
fn zstd_is_refused_with_the_reason() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    assert_snapshot!(image(&world, &["env.lock", "-n", "ml", "--compression", "zstd"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `--compression zstd`: mlconda cannot write zstd
    hint: leave it out: gzip layers are read by all engines. Or write them plain, with `--compression none`, and let `skopeo copy --dest-compress-format zstd` compress them
    ");
}

#[test]
fn what_is_done_is_said() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "links"]);
    let outcome = image(&world, &["env.lock", "-n", "ml"]).success();
    let lines: Vec<&str> =
        outcome.stderr.lines().filter_map(|line| line.split_once(" (").map(|(words, _)| words)).collect();
    assert_eq!(
        lines,
        ["Compressing 2 layers", "Writing 6 blobs", "Made `docker.io/library/small`: 3 layers above the base"],
        "{outcome}"
    );
    let outcome = image(&world, &["env.lock", "-n", "ml", "--progress", "json"]).success();
    let events: Vec<Value> = outcome.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    let expected = ["install-started", "layers-started", "layer-started", "layer-written", "image-write-started"];
    assert!(expected.iter().all(|name| names.contains(name)), "{outcome}");
}

/// Ends a process, whose output is not read.
fn end(mut child: Child, signal: Signal) -> i32 {
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait().unwrap().code().unwrap_or(-1)
}

#[test]
fn an_image_that_nobody_reads_can_be_stopped() {
    let world = world();
    world.write_lock("env.lock", None, &["large"]);
    write_base(&world);
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    let fifo = world.work().join("pipe");
    world.run("mkfifo", &[argument(&fifo)]).success();
    let arguments = ["image", "env.lock", "-n", "ml", "--tag", "x", "--base", "docker-archive:base.tar", "--output"];
    // The first run fills the cache.
    world.mlconda(arguments.iter().chain(&["first.tar"])).success();
    let before = world.tree();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let start = |output: &str| {
            let mut command: Command = world.mlconda_command(arguments.iter().chain(&[output]));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut child = start("-");
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        assert_eq!(end(child, signal), code);
        let child = start("pipe");
        let mut reader = fs_err::File::open(&fifo).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        assert_eq!(end(child, signal), code);
        assert_eq!(tree::difference(&before, &world.tree()), "");
    }
}

/// A sparse file of 1 TiB, so that compressing it does not end before the signal.
#[test]
fn a_signal_while_layers_are_compressed_leaves_nothing() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    write_base(&world);
    let huge = world.work().join("huge");
    fs_err::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    let arguments = ["image", "env.lock", "-n", "ml", "--tag", "x", "--base", "docker-archive:base.tar"];
    world.mlconda(arguments.iter().chain(&["--output", "first.tar"])).success();
    let older = fs_err::read(world.work().join("first.tar")).unwrap();
    fs_err::remove_file(&huge).unwrap();
    let before = world.tree();
    fs_err::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for place in [["--output", "first.tar"], ["--oci-layout", "a/layout"]] {
            let more = [&place[..], &["--copy", "huge:/srv/"]].concat();
            let mut child = crate::stopping::begin(&world, &[&arguments[..], &more].concat());
            crate::stopping_stages::until_open(&mut child, "work/huge");
            let (found, said) = stop(child, signal);
            assert_eq!(found, code, "{said}");
            assert!(said.ends_with("error: stopped; nothing was changed\n"), "{said}");
        }
    }
    assert!(fs_err::read(world.work().join("first.tar")).unwrap() == older);
    fs_err::remove_file(&huge).unwrap();
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

#[test]
fn what_no_container_could_start_with_is_refused() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    for (option, value, remedy) in [
        ("--workdir", "app", "as in `/app`"),
        ("--workdir", "", "as in `/`"),
        ("--user", "a b", "`1000:1000`"),
        ("--user", "", "`1000:1000`"),
        ("--user", "me:", "`1000:1000`"),
        ("--user", "1:2:3", "`1000:1000`"),
    ] {
        let told = image(&world, &["env.lock", "-n", "ml", option, value]).failure(2);
        assert!(told.stderr.contains(option) && told.stderr.contains(remedy), "{told}");
    }
    image(&world, &["env.lock", "-n", "ml", "--user", "me:staff"]).success();
}

#[test]
fn no_copied_file_replaces_one_of_the_environment() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata"]);
    world.write("app/main.py", "1\n");
    let prefix = "/opt/conda/envs/ml";
    let places = ["/share/zoneinfo/Etc/UTC", "/share/zoneinfo/Etc/UTC/", "/share", "/conda-meta/", ""];
    for place in places {
        let told =
            image(&world, &["env.lock", "-n", "ml", "--copy", &format!("app/main.py:{prefix}{place}")]).failure(1);
        assert!(told.stderr.contains("belongs to the environment; name another place"), "{told}");
    }
    fs_err::create_dir(world.work().join("empty")).unwrap();
    for copied in ["app:/share/zoneinfo/Etc/UTC", "empty:/conda-meta/history"] {
        let copied = copied.replacen(':', &format!(":{prefix}"), 1);
        let told = image(&world, &["env.lock", "-n", "ml", "--copy", &copied]).failure(1);
        assert!(told.stderr.contains("belongs to the environment; name another place"), "{told}");
    }
    // Byte code is compiled after the check.
    world.write_lock("py.lock", None, &["greet-2.0", "python-3.11.9"]);
    let package = format!("{prefix}/lib/python3.11/site-packages/greet");
    for place in ["/__pycache__/cli.cpython-311.pyc", "/__pycache__/cli.cpython-311.opt-1.pyc", "/__pycache__"] {
        let told =
            image(&world, &["py.lock", "-n", "ml", "--copy", &format!("app/main.py:{package}{place}")]).failure(1);
        assert!(told.stderr.contains("belongs to the environment; name another place"), "{told}");
    }
    let own = format!("app/main.py:{package}/__pycache__/own.cpython-311.pyc");
    image(&world, &["py.lock", "-n", "ml", "--copy", &own]).success();
    // Other files of the prefix may be added, as a step of a Dockerfile could.
    for place in ["/share/zoneinfo/", "/etc/app", "/bin/"] {
        image(&world, &["env.lock", "-n", "ml", "--copy", &format!("app/main.py:{prefix}{place}")]).success();
    }
    image(&world, &["env.lock", "-n", "ml", "--copy", &format!("app:{prefix}/share")]).success();
    assert!(union(&world, "image.tar").join("opt/conda/envs/ml/share/main.py").is_file());
}
