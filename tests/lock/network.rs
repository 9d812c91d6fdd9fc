//! Channels on the network: the cache, mirrors, logins, and channels that do not answer.

use insta::assert_snapshot;

use super::*;

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

/// Locks `tzdata` from the channel at a URL. It must fail.
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
    hint: put the login into the channel's URL as a variable: `https://host/t/$TOKEN/channel` or `https://$USER:$PASSWORD@host/channel`; or store it in `~/.netrc` or with `pixi auth login`
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

/// The environment uses channel names, and `channel_alias` maps them to a company's mirror.
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
