//! `lock`: the same input gives the same lock; and all errors.

mod failures;
mod network;

use insta::assert_snapshot;
use mlconda_test::{
    channel::Channel,
    context::TestContext,
    foreign_subdir, host_subdir,
    package::{Noarch, PackageBuilder},
    server::{Fault, Server, unreachable_url},
};

use crate::{serve, world};

/// The file names of the archives in a lock, in order, without their extensions.
fn archives(lock: &str) -> String {
    let lines = lock.lines().skip_while(|line| *line != "@EXPLICIT").skip(1);
    let names = lines.map(|line| line.split('#').next().unwrap().rsplit('/').next().unwrap());
    names.map(|name| format!("{}\n", name.trim_end_matches(".conda").trim_end_matches(".tar.bz2"))).collect()
}

/// Locks these dependencies.
fn lock(world: &TestContext, dependencies: &[&str]) -> String {
    world.locked("env.lock", dependencies);
    world.read("env.lock")
}

/// The virtual packages that are assumed for the target are in the lock, and differ between platforms.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn what_users_write_becomes_a_lock() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment.yml"));
    world.lock(&[]).success();
    assert_snapshot!(world.normal(&world.read("env.lock")), @r#"
    # mlconda lock: 1
    # name: ml
    # platform: [HOST]
    # input: sha256:[SHA256]
    # channel: file://[CHANNELS]/main/
    # channel: file://[CHANNELS]/extra/
    # virtual package: __archspec=1=x86_64
    # virtual package: __glibc=2.28=0
    # virtual package: __linux=4.18=0
    # virtual package: __unix=0=0
    # spec: arrays >=1.25,<2
    # spec: file://[CHANNELS]/extra::special=1.2
    # spec: frames==2.1
    # spec: greet=1.1=pyhd8ed1ab_0
    # spec: libarrays[version='>=3.0,<3.2']
    # spec: pip
    # spec: python=3.11
    # spec: where
    # spec: with-variables
    # variable: OMP_NUM_THREADS="1"
    # variable: DATA="/srv/data set"
    # size: [SIZE] with-variables-1.0-hd8ed1ab_0.conda
    # size: [SIZE] libarrays-3.0.1-h4bc722e_0.conda
    # size: [SIZE] python_abi-3.11-8_cp311.conda
    # size: [SIZE] tzdata-2024a-hd8ed1ab_0.conda
    # size: [SIZE] where-2.0-h4bc722e_0.conda
    # size: [SIZE] python-3.11.9-h4bc722e_0_cpython.conda
    # size: [SIZE] special-1.2-hd8ed1ab_0.conda
    # size: [SIZE] arrays-1.26.4-cpu_py311_0.conda
    # size: [SIZE] greet-1.1-pyhd8ed1ab_0.conda
    # size: [SIZE] pip-24.0-pyhd8ed1ab_0.conda
    # size: [SIZE] frames-2.1-pyhd8ed1ab_0.conda
    @EXPLICIT
    file://[CHANNELS]/main/noarch/with-variables-1.0-hd8ed1ab_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/[HOST]/libarrays-3.0.1-h4bc722e_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/noarch/python_abi-3.11-8_cp311.conda#sha256:[SHA256]
    file://[CHANNELS]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/[HOST]/where-2.0-h4bc722e_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/[HOST]/python-3.11.9-h4bc722e_0_cpython.conda#sha256:[SHA256]
    file://[CHANNELS]/extra/noarch/special-1.2-hd8ed1ab_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/[HOST]/arrays-1.26.4-cpu_py311_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/noarch/greet-1.1-pyhd8ed1ab_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/noarch/pip-24.0-pyhd8ed1ab_0.conda#sha256:[SHA256]
    file://[CHANNELS]/main/noarch/frames-2.1-pyhd8ed1ab_0.conda#sha256:[SHA256]
    "#);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment.yml"));
    world.lock(&["-o", "one.lock"]).success();
    world.lock(&["-o", "two.lock"]).success();
    assert_eq!(world.read("one.lock"), world.read("two.lock"));
    // The same with an empty cache.
    fs_err::remove_dir_all(world.developer()).unwrap();
    fs_err::create_dir(world.developer()).unwrap();
    world.lock(&["-o", "three.lock"]).success();
    assert_eq!(world.read("one.lock"), world.read("three.lock"));
}

#[test]
fn the_first_channel_that_has_a_package_is_the_one() {
    let world = world();
    world.write(
        "environment.yml",
        "channels: ['${CHANNELS}/main', '${CHANNELS}/extra']\ndependencies: [where, special]\n",
    );
    world.lock(&[]).success();
    assert_snapshot!(archives(&world.read("env.lock")), @r"
    where-2.0-h4bc722e_0
    special-1.2-hd8ed1ab_0
    ");
    world.write("environment.yml", "channels: ['${CHANNELS}/main']\ndependencies: [where]\n");
    let extra = world.channels().extra.url();
    world.lock(&["-c", &extra]).success();
    assert_snapshot!(archives(&world.read("env.lock")), @"where-9.0-h4bc722e_0");
}

#[test]
fn another_platform_is_locked_on_any_machine() {
    let world = world();
    world.write_environment(&["where", "tzdata"]);
    world.lock(&["--platform", foreign_subdir()]).success();
    let lock = world.read("env.lock");
    assert!(lock.contains(&format!("/{}/where-2.0-", foreign_subdir())) && !lock.contains(host_subdir()), "{lock}");
    world.lock(&["--platform", foreign_subdir(), "--platform", host_subdir()]).success();
    assert_eq!(world.read(&format!("env.{}.lock", foreign_subdir())), lock);
    assert!(world.read(&format!("env.{}.lock", host_subdir())).contains(host_subdir()));
}

#[test]
fn what_platforms_have_in_common_is_loaded_once() {
    let (world, server) = (world(), serve());
    server.fresh_for(600);
    world.write_environment(&["where"]);
    let main = server.url("main");
    let platforms = ["--platform", foreign_subdir(), "--platform", host_subdir()];
    let args = [&["-c", main.as_str(), "--override-channels"], &platforms[..]].concat();
    world.lock(&args).success();
    assert_eq!(server.count("noarch/repodata"), 1, "{:?}", server.requests());
    server.fail("noarch/", Fault::Status(404));
    let outcome = world.lock(&[&args[..], &["--refresh"]].concat()).success();
    assert_eq!(outcome.stderr.matches("has no `noarch`").count(), 1, "{outcome}");
}

#[test]
fn a_gpu_is_there_if_it_is_declared() {
    let world = world();
    assert!(lock(&world, &["arrays=1.26"]).contains("arrays-1.26.4-cpu_py311_0"));
    world.lock(&["--virtual-package", "__cuda=12.4"]).success();
    assert!(world.read("env.lock").contains("arrays-1.26.4-cuda_py311_1"));
    world.write_environment(&["gpu"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    `[HOST]` is assumed to have no `__cuda`, and it is needed:
    └─ line 5 asks for `gpu`
       └─ gpu 1.0 needs `__cuda >=11`
    this line alone has no solution:
      environment.yml:5: gpu
    this change gives a solution:
      `--virtual-package __cuda=11`, if the machine has it (gives gpu 1.0)
    ");
    let mut command = world.mlconda_command(["lock"]);
    world.outcome(command.env("CONDA_OVERRIDE_CUDA", "12.4")).success();
}

#[test]
fn a_dry_run_prints_the_lock_and_writes_nothing() {
    let world = world();
    let written = lock(&world, &["greet"]);
    fs_err::remove_file(world.work().join("env.lock")).unwrap();
    assert_eq!(world.lock(&["--dry-run"]).success().stdout, written);
    assert!(!world.work().join("env.lock").exists());
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn json_is_for_programs() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.normal(&world.lock(&["--json"]).success().stdout), @r#"
    {
      "locks": [
        {
          "file": "env.lock",
          "written": true,
          "name": "small",
          "platform": "[HOST]",
          "input": "[SHA256]",
          "channels": [
            "file://[CHANNELS]/main/"
          ],
          "specs": [
            "tzdata"
          ],
          "virtual_packages": [
            "__archspec=1=x86_64",
            "__glibc=2.28=0",
            "__linux=4.18=0",
            "__unix=0=0"
          ],
          "variables": {},
          "slim": "none",
          "download_size": [SIZE],
          "packages": [
            {
              "name": "tzdata",
              "version": "2024a",
              "build": "hd8ed1ab_0",
              "subdir": "noarch",
              "channel": "file://[CHANNELS]/main/",
              "url": "file://[CHANNELS]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda",
              "sha256": "[SHA256]",
              "size": [SIZE]
            }
          ],
          "pip_requirements": [],
          "pip": []
        }
      ]
    }
    "#);
}

#[test]
fn reasons_that_lack_records_say_so() {
    let (world, directory) = (world(), tempfile::tempdir().unwrap());
    let package = |name: &str, version: &str| PackageBuilder::new(name, version).noarch(Noarch::Generic);
    let tools = [package("tool", "2").depends("lib"), package("tool", "1").depends("other")];
    let packages = [&tools[..], &[package("lib", "1"), package("other", "1")]].concat();
    Channel::write(directory.path().join("main"), &packages, &[host_subdir()]).unwrap();
    let server = Server::serve(directory.path()).unwrap();
    let channel = ["-c".to_owned(), server.url("main"), "--override-channels".to_owned()];
    let channel: Vec<&str> = channel.iter().map(String::as_str).collect();
    world.write_environment(&["tool=2"]);
    world.lock(&channel).success();
    // The records that the older tool needs were not loaded, and cannot be loaded offline.
    world.write_environment(&["tool=2", "lib=9"]);
    let outcome = world.lock(&[&channel[..], &["--offline", "-o", "new.lock"]].concat()).failure(1);
    let warning = "warning: versions outside the given ranges could not be loaded: no records of `other` are cached";
    assert!(outcome.stderr.contains(warning) && outcome.stderr.contains("lib"), "{outcome}");
}

/// `extra` has a newer `where`, which `main` hides for every requested version.
#[test]
fn the_order_of_channels_means_what_the_option_says() {
    let world = world();
    world.write(
        "environment.yml",
        "channels: ['${CHANNELS}/main', '${CHANNELS}/extra']\ndependencies:\n  - where >=3\n",
    );
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    no version of `where` will do:
    ├─ line 3 asks for `where >=3`
    └─ where 9.0 is in `file://[CHANNELS]/extra`, behind a channel that has `where`, too
    this line alone has no solution:
      environment.yml:3: where >=3
    each of these changes gives a solution:
      line 3: `where` instead of `where >=3` (gives where 2.0)
      line 3: `file://[CHANNELS]/extra::where >=3` instead of `where >=3` (gives where 9.0)
      `--channel-priority flexible` (gives where 9.0)
    ");
    world.lock(&["--channel-priority", "flexible"]).success();
    let lock = world.read("env.lock");
    assert!(lock.contains("# channel priority: flexible\n") && lock.contains("where-9.0"), "{lock}");
    assert!(!world.lock(&["--channel-priority", "loose"]).failure(2).stdout.contains("where"));
}

#[test]
fn python_comes_without_pip_if_that_is_asked_for() {
    let world = world();
    assert!(archives(&lock(&world, &["python=3.11"])).contains("pip-24.0"));
    world.lock(&["--no-pip"]).success();
    let lock = world.read("env.lock");
    assert!(lock.contains("# pip: not added\n") && !archives(&lock).contains("pip-"), "{lock}");
}

/// The cutoff uses the time at which a channel has indexed a package: here, when the tests were built.
#[test]
fn what_is_newer_than_a_date_is_left_out_and_the_lock_says_so() {
    let world = world();
    world.write_environment(&["tzdata"]);
    let refused = world.lock(&["--exclude-newer", "2023-11-13"]).failure(1).to_string();
    assert!(refused.contains("tzdata 2024a is newer than 2023-11-13T23:59:59Z"), "{refused}");
    assert!(refused.contains("this change gives a solution:\n  `--exclude-newer 20"), "{refused}");
    world.lock(&["--exclude-newer", "2999-12-31T12:00:00+01:00"]).success();
    assert!(world.read("env.lock").contains("# exclude newer: 2999-12-31T11:00:00Z\n"));
    assert_snapshot!(world.lock(&["--exclude-newer", "last week"]).failure(2), @"
    exit code 2
    --- stdout
    --- stderr
    error: invalid value 'last week' for '--exclude-newer <DATE>': `last week` is neither a date nor a time: expected a date as in `2024-05-31`, or a time as in `2024-05-31T12:00:00Z`

    For more information, try '--help'.
    ");
}

/// Several files, positional or with `-f`, give one lock for all of their specs.
#[test]
fn several_files_are_locked_as_one_environment() {
    let world = world();
    world.write("base.yml", "name: base-and-more\nchannels: ['${CHANNELS}/main']\ndependencies: [python=3.11]\n");
    world.write("train.yml", "channels: ['${CHANNELS}/main']\ndependencies: [arrays]\nvariables: {A: b}\n");
    world.write("pins.yml", "dependencies: [arrays<1.26]\n");
    world.lock(&["base.yml", "train.yml", "-f", "pins.yml"]).success();
    let lock = world.read("env.lock");
    let head = lock.lines().filter(|line| ["# name", "# spec", "# variable"].iter().any(|key| line.starts_with(key)));
    assert_snapshot!(head.collect::<Vec<_>>().join("\n"), @r#"
    # name: base-and-more
    # spec: arrays
    # spec: arrays<1.26
    # spec: python=3.11
    # variable: A="b"
    "#);
    assert!(archives(&lock).contains("arrays-1.25"), "{lock}");
    world.mlconda(["install", "base.yml", "train.yml", "-f", "pins.yml", "--dry-run"]).success();
    world.write("other.yml", "channels: ['${CHANNELS}/extra']\ndependencies: [special]\n");
    assert_snapshot!(world.lock(&["base.yml", "other.yml"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: other.yml:1:1: these channels (file://[CHANNELS]/extra) and those of `base.yml` (file://[CHANNELS]/main) have no common order: neither list is a part of the other
      |
    1 | channels: ['file://[CHANNELS]/extra']
      | ^^^^^^^^
      = help: write the same `channels:` in both files, or leave them out of one
    ");
}

#[test]
fn a_package_named_by_its_path_is_pinned_by_what_it_is_and_installs() {
    let world = world();
    let own = PackageBuilder::new("own", "1.0").subdir("noarch").depends("tzdata").file("share/own.txt", "own");
    let archive = own.write(&world.work().join("pkgs")).unwrap();
    let path = format!("./pkgs/noarch/{}", archive.file_name().unwrap().display());
    let lock = lock(&world, &[&path]);
    assert_eq!(archives(&lock), "tzdata-2024a-hd8ed1ab_0\nown-1.0-h4bc722e_0\n");
    let digest = mlconda_test::sha256_hex(fs_err::read(&archive).unwrap());
    assert!(lock.contains(&format!("file://{}#sha256:{digest}\n", archive.display())), "{lock}");
    world.mlconda(["install", "env.lock"]).success();
    assert!(world.named_prefix("small").join("share/own.txt").exists());

    world.write_environment(&[&format!("{path}#{}", "0".repeat(64))]);
    let refusal = world.lock(&[]).failure(1).to_string();
    assert!(refusal.contains("its sha256 is [SHA256], but its URL has [SHA256]"), "{refusal}");
}

/// As with `<(sed …)`: a pipe can be read only once, so it must not be read just to detect its format.
#[test]
fn an_environment_comes_through_a_pipe() {
    let world = world();
    world.write_environment(&["greet=1.1"]);
    let mut source = std::process::Command::new("cat");
    let mut source =
        source.arg(world.work().join("environment.yml")).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut command = world.mlconda_command(["lock", "/dev/stdin", "-o", "piped.lock"]);
    world.outcome(command.stdin(source.stdout.take().unwrap())).success();
    source.wait().unwrap();
    assert!(world.read("piped.lock").contains("/greet-1.1-"));
    // A file without an end is not read into memory either.
    let endless = world.mlconda(["lock", "/dev/zero"]).failure(1);
    assert!(endless.stderr.contains("`/dev/zero`: it is larger than"), "{endless}");
}
