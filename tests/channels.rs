//! Channels: no host name stands for local files, and the same rules apply to records from all sources.

use insta::assert_snapshot;
use mlconda_test::{channel::Channel, host_subdir, package::PackageBuilder, server::Server, sha256_hex};

use crate::{serve, world};

/// A host and port without a server.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("localhost:{}", listener.local_addr().unwrap().port())
}

#[test]
fn a_host_called_localhost_is_a_server_and_not_this_machines_files() {
    let (world, directory) = (world(), world().channels().directory().display().to_string());
    for scheme in ["http", "https"] {
        let channel = format!("{scheme}://{}{directory}/main", closed());
        world.write("environment.yml", &format!("channels: [{channel}]\ndependencies: [tzdata]\n"));
        let outcome = world.lock(&[]).failure(1);
        assert!(outcome.stderr.contains("Connection refused"), "{outcome}");
    }
    // With a server, `localhost` is a host like any other.
    let server = serve();
    let channel = server.url("main").replace("127.0.0.1", "localhost");
    world.write("environment.yml", &format!("channels: [{channel}]\ndependencies: [tzdata]\n"));
    world.lock(&[]).success();
    assert!(server.count("repodata") > 0);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert_eq!(server.count("tzdata-"), 1);
}

/// The records of a lock are requested from the host in its URLs. For the host `localhost`, no local archive is read
/// either.
#[test]
fn a_lock_whose_packages_are_at_localhost_reads_no_file() {
    let world = world();
    let place = format!("http://{}{}/main", closed(), world.channels().directory().display());
    world.write_lock("env.lock", Some(&place), &["tzdata"]);
    for command in [&["tree", "env.lock"][..], &["install", "env.lock", "-p", "prefix"]] {
        let outcome = world.mlconda(command);
        assert!(outcome.stderr.contains("Connection refused"), "{outcome}");
    }
}

/// If the archive of a lock is a FIFO, no command that reads the lock blocks.
#[test]
fn a_package_of_a_lock_that_is_a_fifo_is_not_waited_for() {
    let world = world();
    let fifo = world.path().join("channel").join(host_subdir()).join("tool-1.0-0.conda");
    fs_err::create_dir_all(fifo.parent().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let line = format!("file://{}#sha256:{}\n", fifo.display(), "0".repeat(64));
    world.write("env.lock", &format!("# platform: {}\n@EXPLICIT\n{line}", host_subdir()));
    for command in [&["tree", "env.lock"][..], &["sbom", "env.lock"], &["why", "tool", "env.lock"]] {
        assert!(world.mlconda(command).code >= 0);
    }
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
    assert!(outcome.stderr.contains("it is a FIFO, not a regular file"), "{outcome}");
}

/// The build string in an archive's file name.
fn build(name: &str) -> &str {
    name.trim_end_matches(".conda").rsplit('-').next().unwrap()
}

/// One rule for repodata, packages and prefixes: an invalid value in a field that only describes a package is ignored.
#[test]
fn an_odd_time_costs_a_package_neither_its_lock_nor_its_installation() {
    let world = world();
    let package = PackageBuilder::new("odd", "1.0").timestamp(u64::MAX).file("share/odd", "odd");
    let archive = package.write(&world.work().join("lab")).unwrap();
    let name = archive.file_name().unwrap().to_string_lossy().into_owned();
    let has_it = |text: &str| text.contains(&u64::MAX.to_string());
    let record = serde_json::json!({
        "name": "odd", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir(),
        "timestamp": u64::MAX, "sha256": sha256_hex(fs_err::read(&archive).unwrap()),
    });
    let record = record.to_string().replace("\"build\":\"0\"", &format!("\"build\":\"{}\"", build(&name)));
    let repodata = format!("{{\"packages.conda\":{{\"{name}\":{record}}}}}");
    world.write(&format!("lab/{}/repodata.json", host_subdir()), &repodata);
    world.write("lab/noarch/repodata.json", "{}");
    let channel = world.work().join("lab");
    world.write("environment.yml", &format!("channels: [\"{}\"]\ndependencies: [odd]\n", channel.display()));
    let locked = world.lock(&["-o", "env.lock"]).success();
    assert!(!locked.stderr.contains("warning"), "{locked}");
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    assert_eq!(world.read("prefix/share/odd"), "odd");
    let record = fs_err::read_dir(world.work().join("prefix/conda-meta")).unwrap();
    let mut record = record.map(|entry| entry.unwrap().path()).filter(|path| path.extension() == Some("json".as_ref()));
    let record = record.next().unwrap();
    // A record of another tool may contain the value.
    let text = fs_err::read_to_string(&record).unwrap();
    assert!(!has_it(&text), "{text}");
    let text = text.replacen("\"name\"", &format!("\"timestamp\": {}, \"name\"", u64::MAX), 1);
    fs_err::write(&record, text).unwrap();
    world.mlconda(["verify", "prefix"]).success();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
}

/// A server may have an empty `repodata.json` for every platform: then the channel still has no packages for it.
#[test]
fn an_empty_platform_is_none_that_a_channel_has_packages_for() {
    let mut world = world();
    let (host, other) = (host_subdir(), mlconda_test::foreign_subdir());
    let package = PackageBuilder::new("python", "3.11.1");
    let channel = Channel::write(world.work().join("lab"), &[package], &[other, "win-64", "win-arm64"]).unwrap();
    let server = Server::serve(channel.path()).unwrap();
    world.filter(&server.url(""), "[CHANNEL]/");
    world.filter(other, "[OTHER]");
    for url in [server.url(""), channel.url()] {
        world.write("environment.yml", &format!("channels: [\"{url}\"]\ndependencies: [python, numpy]\n"));
        let outcome = world.mlconda(["lock", "--platform", other]).failure(1);
        let told = format!("has them for {host} only");
        assert!(outcome.stderr.contains(&told), "{outcome}");
    }
}

/// All lines of a Windows export that have no packages here are reported in one run, and each only once.
#[test]
fn what_a_windows_export_asks_for_in_vain_is_told_in_one_run() {
    let world = world();
    world.write_environment(&[
        "tzdata=2024a=h7840368_1",
        "vs2015_runtime=14.27.29016=h5e58377_2",
        "pywin32=227=py39hb82d6ee_1",
        "tzdat=2024a",
        "wincertstore=0.2=py39hcbf5309_1006",
    ]);
    let outcome = world.mlconda(["lock", "--platform", "linux-64"]).failure(1);
    let told = outcome.stderr.as_str();
    assert_snapshot!(told, @r"
    warning: environment.yml:6:5: `vs2015_runtime=14.27.29016=h5e58377_2` and 2 more lines can be had for win only, not for linux-64: the file seems to be an export from there. Export it with `--no-builds` or `--from-history`, or limit such lines as in `- sel(win): vs2015_runtime`
    error: environment.yml:5:5: no channel has `tzdata=2024a=h7840368_1` for `linux-64`
      |
    5 |   - tzdata=2024a=h7840368_1
      |     ^^^^^^^^^^^^^^^^^^^^^^^
      = help: `tzdata` is there in other versions or builds: ask for fewer details of it

    environment.yml:6:5: no channel has `vs2015_runtime` for `linux-64`
      |
    6 |   - vs2015_runtime=14.27.29016=h5e58377_2
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: it is a package of win: `- sel(win): vs2015_runtime` asks for it there only

    environment.yml:7:5: no channel has `pywin32` for `linux-64`
      |
    7 |   - pywin32=227=py39hb82d6ee_1
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: it is a package of win: `- sel(win): pywin32` asks for it there only

    environment.yml:8:5: no channel has `tzdat` for `linux-64`
      |
    8 |   - tzdat=2024a
      |     ^^^^^^^^^^^
      = help: did you mean `tzdata`?

    environment.yml:9:5: no channel has `wincertstore` for `linux-64`
      |
    9 |   - wincertstore=0.2=py39hcbf5309_1006
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: it is a package of win: `- sel(win): wincertstore` asks for it there only
    ");
}

/// The warning about `==` and the remedy of the error agree.
#[test]
fn an_exact_version_that_nobody_has_gets_one_answer() {
    let world = world();
    world.write_environment(&["python==3.12"]);
    assert_snapshot!(world.mlconda(["lock"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    warning: environment.yml:5:5: `python==3.12` means exactly 3.12.0; if any 3.12 will do, write `python=3.12`
    error: no set of packages for `[HOST]` satisfies what `environment.yml` asks for:
    line 5 asks for `python==3.12`, and the versions are 3.11.8, 3.11.9 and 3.12.4
    this line alone has no solution:
      environment.yml:5: python==3.12
    this change gives a solution:
      line 5: `python=3.12` instead of `python==3.12` (gives python 3.12.4)
    ");
}
