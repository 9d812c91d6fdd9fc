//! `lock`: the same question, the same answer; and every way in which there is none.

use insta::assert_snapshot;
use mlconda_test::{
    channel::Channel,
    context::TestContext,
    foreign_subdir, host_subdir,
    package::{Noarch, PackageBuilder},
    server::{Fault, Server, unreachable_url},
};

use crate::{serve, world};

/// The archives' names in a lock, in order, without their extension.
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

/// What is assumed of the target is told in the lock, and differs between platforms.
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
    // Also with nothing in the cache.
    fs_err::remove_dir_all(world.developer()).unwrap();
    fs_err::create_dir(world.developer()).unwrap();
    world.lock(&["-o", "three.lock"]).success();
    assert_eq!(world.read("one.lock"), world.read("three.lock"));
}

#[test]
fn a_pip_list_is_refused_if_a_file_is_missing_that_it_names() {
    let world = world();
    world.write("environment.yml", include_str!("../fixtures/environment-pip.yml"));
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:13:12: there is no file `[TEMP]/work/requirements.txt`
       |
    13 |       - -r requirements.txt
       |            ^^^^^^^^^^^^^^^^
       = help: paths are relative to the file that names them
    ");
    assert!(!world.work().join("env.lock").exists());
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
fn offline_uses_what_was_loaded_and_nothing_else() {
    let (mut world, server) = (world(), serve());
    world.filter(&server.url(""), "[SERVER]/");
    let main = server.url("main");
    world.write_environment(&["greet"]);
    let channel = ["-c", main.as_str(), "--override-channels"];
    assert_snapshot!(world.lock(&[&channel[..], &["--offline"]].concat()).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `[SERVER]/main/[HOST]/` is not cached, and network access is disabled
    hint: lock once without `--offline`: what it loads is then cached
    ");
    world.lock(&[&channel[..], &["-o", "online.lock"]].concat()).success();
    server.forget();
    let outcome = world.lock(&[&channel[..], &["--offline"]].concat()).success();
    for subdir in [host_subdir(), "noarch"] {
        let told = format!("Offline: `{main}/{subdir}` as of ");
        let age = outcome.stderr.lines().find_map(|line| line.strip_prefix(&told));
        assert!(age.is_some_and(|age| age == "just now" || age.ends_with(" ago")), "{outcome}");
    }
    assert_eq!(server.count(""), 0);
    assert_eq!(world.read("env.lock"), world.read("online.lock"));
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
    // What the older tool leads to was not loaded, and cannot be now.
    world.write_environment(&["tool=2", "lib=9"]);
    let outcome = world.lock(&[&channel[..], &["--offline", "-o", "new.lock"]].concat()).failure(1);
    let warning = "warning: versions outside the given ranges could not be loaded: no records of `other` are cached";
    assert!(outcome.stderr.contains(warning) && outcome.stderr.contains("lib"), "{outcome}");
}

#[test]
fn every_form_of_repodata_gives_the_same_lock() {
    let (world, server) = (world(), serve());
    let main = server.url("main");
    world.write_environment(&["frames", "greet"]);
    for name in ["shards.lock", "zst.lock", "json.lock"] {
        if name != "shards.lock" {
            server.fail("repodata_shards", Fault::Status(404));
        }
        if name == "json.lock" {
            server.fail(".zst", Fault::Status(404));
        }
        fs_err::remove_dir_all(world.developer()).unwrap();
        fs_err::create_dir(world.developer()).unwrap();
        world.lock(&["-c", &main, "--override-channels", "-o", name]).success();
    }
    assert_eq!(world.read("shards.lock"), world.read("zst.lock"));
    assert_eq!(world.read("shards.lock"), world.read("json.lock"));
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let (world, server) = (world(), serve());
    server.fail("repodata", Fault::UnavailableFirst(1));
    world.write_environment(&["tzdata"]);
    world.lock(&["-c", &server.url("main"), "--override-channels"]).success();
}

#[test]
fn no_such_file() {
    let world = world();
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no `environment.yml` in `[TEMP]/work`
    hint: name the file: `mlconda lock path/to/environment.yml`
    ");
    assert_snapshot!(world.lock(&["absent.yml"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: failed to open file `absent.yml`: No such file or directory (os error [NUMBER])
    hint: check the path, and the directory in which the command runs
    ");
    // What another name hides is found.
    world.write("conda.yaml", "dependencies: [a]\n");
    world.write("docker-compose.yml", "services: {}\n");
    // The hint is a command, which these would make another one.
    world.write("a $(touch b).yml", "dependencies: [a]\n");
    world.write("-o.yml", "dependencies: [a]\n");
    let hint = |outcome: &str| outcome.lines().last().unwrap().to_owned();
    assert_snapshot!(hint(&world.lock(&[]).failure(1).stderr), @"hint: name the file: `mlconda lock conda.yaml`");
    world.write("env.yml", "channels: [b]\ndependencies:\n  - a\n");
    assert_snapshot!(hint(&world.lock(&[]).failure(1).stderr), @"hint: `conda.yaml` and `env.yml` look like one; name the file: `mlconda lock conda.yaml`");
}

#[test]
fn broken_yaml() {
    let world = world();
    world.write("environment.yml", "name: ml\ndependencies:\n  - python\n - pip: [\n");
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:4:2: the YAML is broken: while parsing a block mapping, did not find expected key
      |
    4 |  - pip: [
      |  ^
      = help: check the indentation, the `- ` and the `:` on this line and on the one above it
    ");
}

#[test]
fn a_missing_comma() {
    let world = world();
    world.write_environment(&["python >=3.8 <3.12"]);
    assert_snapshot!(world.lock(&[]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:5:5: `python >=3.8 <3.12` lacks a comma between two version constraints
      |
    5 |   - python >=3.8 <3.12
      |     ^^^^^^^^^^^^^^^^^^
      = help: write `python >=3.8,<3.12`
    ");
}

#[test]
fn an_unknown_package() {
    let world = world();
    world.write_environment(&["python=3.11", "arays"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:6:5: no channel has `arays` for `[HOST]`
      |
    6 |   - arays
      |     ^^^^^
      = help: did you mean `arrays`?
    ");
}

#[test]
fn a_package_that_another_platform_has() {
    let world = world();
    world.write_environment(&["arrays"]);
    assert_snapshot!(world.lock(&["--platform", host_subdir(), "--platform", foreign_subdir()]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:5:5: no channel has `arrays` for `[FOREIGN]`
      |
    5 |   - arrays
      |     ^^^^^^
      = help: check the spelling, and whether the channel that has it is under `channels:`
    hint: `arrays` is there for `[HOST]`: `- sel([HOST]): arrays` asks for it there only
    ");
}

#[test]
fn an_unknown_version() {
    let world = world();
    world.write_environment(&["greet >=3"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    line 5 asks for `greet >=3`, and the versions are 1.0, 1.1 and 2.0
    this line alone has no solution:
      environment.yml:5: greet >=3
    this change gives a solution:
      line 5: `greet` instead of `greet >=3` (gives greet 2.0)
    ");
}

#[test]
fn no_solution() {
    let world = world();
    world.write_environment(&["frames", "legacy"]);
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    no version of `arrays` satisfies all of this:
    ├─ line 5 asks for `frames`
    │  └─ frames 2.0 and 2.1 need `arrays >=1.25` or `arrays >=1.26`
    └─ line 6 asks for `legacy`
       └─ legacy 0.9 needs `arrays <1.25`
    these 2 lines exclude each other:
      environment.yml:5: frames
      environment.yml:6: legacy
    each of these changes gives a solution:
      line 5: without `frames`
      line 6: without `legacy`
    ");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_glibc_of_the_future_has_to_be_declared_and_is_told_when_installing() {
    let world = world();
    world.write_environment(&["needs-future"]);
    assert_snapshot!(world.lock(&["--platform", "linux-64"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    `[HOST]` is assumed to have `__glibc=2.28`, and that is not what is needed:
    └─ line 5 asks for `needs-future`
       └─ needs-future 1.0 needs `__glibc >=9`
    this line alone has no solution:
      environment.yml:5: needs-future
    this change gives a solution:
      `--virtual-package __glibc=9`, if the machine has it (gives needs-future 1.0)
    ");
    world.lock(&["--platform", "linux-64", "--virtual-package", "__glibc=9"]).success();
    assert!(world.read("env.lock").contains("# virtual package: __glibc=9"));
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert!(outcome.stderr.contains("needs `__glibc >=9`"), "{outcome}");
}

/// `extra` has a newer `where`, which `main` hides whatever version is asked for.
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

/// A channel notes when it was told of a package first: here, when the tests were built.
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

/// Locks `tzdata` from a channel at a URL, which fails.
fn fails_with_channel(world: &TestContext, url: &str) -> String {
    world.write_environment(&["tzdata"]);
    world.lock(&["-c", url, "--override-channels"]).failure(1).to_string()
}

#[test]
fn a_channel_that_cannot_be_reached() {
    assert_snapshot!(fails_with_channel(&world(), &unreachable_url().unwrap()), @r"
    exit code 1
    --- stdout
    --- stderr
    error: cannot load repodata from `http://127.0.0.1:[PORT]/[HOST]/`: Connection refused (os error [NUMBER])
    hint: no server listens there: check the address and its port, or try again when the server is up; `--offline` uses cached data
    ");
    let world = world();
    let url = unreachable_url().unwrap();
    world.write("environment.yml", &format!("name: x\nchannels:\n  - {url}\ndependencies: [python]\n"));
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:3:5: cannot load repodata from `http://127.0.0.1:[PORT]/[HOST]/`: Connection refused (os error [NUMBER])
      |
    3 |   - http://127.0.0.1:[PORT]
      |     ^^^^^^^^^^^^^^^^^^^^^^
      = help: no server listens there: check the address and its port, or try again when the server is up; `--offline` uses cached data
    ");
}

#[test]
fn a_channel_that_is_not_there() {
    let (world, server) = (world(), serve());
    world.write("environment.yml", "name: x\nchannels:\n  - ./absent\ndependencies: [python]\n");
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:3:5: there is no channel at `file://[TEMP]/work/absent/`: it has neither `[HOST]` nor `noarch`
      |
    3 |   - ./absent
      |     ^^^^^^^^
      = help: check the spelling; a private channel can answer like this if there is no login
    ");
    assert_snapshot!(fails_with_channel(&world, &server.url("absent")), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no channel at `http://127.0.0.1:[PORT]/absent/`: it has neither `[HOST]` nor `noarch`
    hint: check the spelling; a private channel can answer like this if there is no login
    ");
    assert_snapshot!(fails_with_channel(&world, "./absent"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no channel at `file://[TEMP]/work/absent/`: it has neither `[HOST]` nor `noarch`
    hint: check the spelling; a private channel can answer like this if there is no login
    ");
}

#[test]
fn a_channel_that_is_misspelt() {
    let (world, server) = (world(), serve());
    let message = fails_with_channel(&world, &server.url("conda-frge"));
    assert!(message.ends_with("hint: did you mean `conda-forge`?"), "{message}");
}

#[test]
fn a_mirror_takes_the_channels_place_and_the_lock_names_the_channel() {
    let (world, server) = (world(), serve());
    world.write_environment(&["tzdata"]);
    let lock = |mirrors: &str| {
        let mut command =
            world.mlconda_command(["lock", "-c", "https://channel.example.invalid/main", "--override-channels"]);
        world.outcome(command.env("MLCONDA_MIRRORS", mirrors))
    };
    lock(&format!("https://channel.example.invalid={}", server.url(""))).success();
    assert!(world.read("env.lock").contains("\nhttps://channel.example.invalid/main/noarch/tzdata-2024a"));
    assert_snapshot!(lock("channel=mirror").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: `MLCONDA_MIRRORS` has `channel=mirror`
    hint: a mirror is written `URL=URL`, as in `https://conda.anaconda.org=https://mirror.example.org/conda`
    ");
}

#[test]
fn a_stored_login_is_used_and_locks_know_nothing_of_it() {
    let (world, server) = (world(), serve());
    world.write_environment(&["tzdata"]);
    let file = world.write("credentials.json", r#"{"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "pw"}}}"#);
    let mut command = world.mlconda_command(["lock", "-c", &server.url("main"), "--override-channels"]);
    world.outcome(command.env("RATTLER_AUTH_FILE", &file)).success();
    assert!(server.requests().iter().all(|request| request.headers["authorization"] == "Basic bWU6cHc="));
    assert!(!world.read("env.lock").contains("pw"));
    world.write("credentials.json", "me:pw");
    let mut command = world.mlconda_command(["lock", "-c", &server.url("main"), "--override-channels"]);
    assert_snapshot!(world.outcome(command.env("RATTLER_AUTH_FILE", &file)).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the stored logins in `[TEMP]/work/credentials.json` cannot be read: it is not a JSON object of hosts
    ");
}

#[test]
fn a_channel_that_wants_a_login() {
    let (world, server) = (world(), serve());
    server.fail("", Fault::Status(401));
    assert_snapshot!(fails_with_channel(&world, &server.url("main")), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `http://127.0.0.1:[PORT]/main/[HOST]/` answers 401: the channel asks for a login, or refuses the one it was given
    hint: put the login into the channel's URL as a variable: `https://host/t/$TOKEN/channel` or `https://$USER:$PASSWORD@host/channel`; or store it, in `~/.netrc` or with `pixi auth login`
    ");
}

#[test]
fn repodata_that_breaks_off() {
    let (world, server) = (world(), serve());
    server.fail("repodata_shards", Fault::Status(404));
    server.fail(".zst", Fault::Status(404));
    server.fail("noarch/repodata.json", Fault::Truncated);
    assert_snapshot!(fails_with_channel(&world, &server.url("main")), @r"
    exit code 1
    --- stdout
    --- stderr
    error: cannot load repodata from `http://127.0.0.1:[PORT]/main/noarch/`: the answer broke off
    hint: try again; if it happens again, a proxy or the server closes the connection
    ");
}

#[test]
fn a_lock_that_cannot_be_written() {
    let world = world();
    world.write_environment(&["tzdata"]);
    assert_snapshot!(world.lock(&["-o", "environment.yml/env.lock"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: cannot write the lock `environment.yml/env.lock`: not a directory
    hint: name a file in a directory that can be written to, with `-o`
    ");
}

#[test]
fn a_platform_that_does_not_exist() {
    let world = world();
    world.write_environment(&["tzdata"]);
    let outcome = world.lock(&["--platform", "linux-65"]).failure(2);
    assert!(outcome.stderr.contains("`linux-64`"), "{outcome}");
}

/// Positional or by `-f`, in any mix: one lock for all that they ask for.
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

/// An environment that means a company's mirror without naming it.
#[test]
fn channels_are_found_under_the_alias() {
    let world = world();
    world.write("environment.yml", "channels: [main, nodefaults]\ndependencies: [tzdata]\n");
    let alias = format!("file://{}", world.channels().directory().display());
    world.lock(&["--channel-alias", &alias]).success();
    let one = world.read("env.lock");
    world.write("environment.yml", "dependencies: [tzdata]\n");
    world.lock(&["--channel-alias", &alias, "--default-channel", "main", "-o", "two.lock"]).success();
    assert_eq!(archives(&one), archives(&world.read("two.lock")));
    let variables = [("MLCONDA_CHANNEL_ALIAS", alias.as_str()), ("MLCONDA_DEFAULT_CHANNELS", "nothing-here, main")];
    let outcome = world.mlconda_with(["lock", "--dry-run"], &variables).failure(1);
    assert!(outcome.stderr.contains("nothing-here"), "{outcome}");
    let variables = [variables[0], ("MLCONDA_DEFAULT_CHANNELS", "main")];
    let outcome = world.mlconda_with(["lock", "--dry-run"], &variables).success();
    assert_eq!(archives(&one), archives(&outcome.stdout));
}

#[test]
fn a_build_of_another_platform_is_told_before_it_is_looked_for() {
    let world = world();
    world.write_environment(&["python=3.11", "vs2015_runtime=14.27=h5e58377_2"]);
    let outcome = world.lock(&["--platform", "linux-64"]).failure(1);
    assert!(outcome.stderr.contains("cannot be had for linux-64, but for win"), "{outcome}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let world = world();
    world.write("environment.yml", "channels: [a]\ndependencies:\n  - python >=3.8 <3.12\n  - 3.10\n");
    assert_snapshot!(world.lock(&[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:3:5: `python >=3.8 <3.12` lacks a comma between two version constraints
      |
    3 |   - python >=3.8 <3.12
      |     ^^^^^^^^^^^^^^^^^^
      = help: write `python >=3.8,<3.12`

    environment.yml:4:5: `3.10` is a number to YAML, and a dependency begins with a package's name
      |
    4 |   - 3.10
      |     ^^^^
      = help: write `- NAME=3.10`
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
    assert!(refusal.contains("has another sha256 than the one behind `#`"), "{refusal}");
}

/// As from `<(sed …)`: what is read to see what it is would be gone.
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
    // Nor is one without an end read to the end of the memory.
    let endless = world.mlconda(["lock", "/dev/zero"]).failure(1);
    assert!(endless.stderr.contains("`/dev/zero`: it is larger than"), "{endless}");
}
