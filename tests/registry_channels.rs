//! Channels in registries (`oci://`): all commands that use a channel, logins, and registries that lie or refuse.

use std::path::Path;

use insta::assert_snapshot;
use mlconda_test::{
    channel::Channel,
    context::{Outcome, TestContext, argument},
    package::{Archive, Noarch, PackageBuilder},
    registry::{Access, Failure, Registry, RegistryOptions},
};
use serde_json::{Value, json};

use crate::{packages::contents, world};

/// A context, and a registry with the small channel as `mirrors/main`.
fn served(options: RegistryOptions) -> (TestContext, Registry) {
    let (mut world, registry) = (world(), Registry::start(options).unwrap());
    registry.put_channel("mirrors/main", world.channels().main.path()).unwrap();
    world.filter(&registry.host(), "HOST");
    (world, registry)
}

/// A context with a channel of these packages in a registry.
fn with(packages: &[PackageBuilder]) -> (TestContext, Registry) {
    let (mut world, registry) = (world(), Registry::start(RegistryOptions::default()).unwrap());
    Channel::write(world.path().join("channel"), packages, &[]).unwrap();
    registry.put_channel("mirrors/main", &world.path().join("channel")).unwrap();
    world.filter(&registry.host(), "HOST");
    (world, registry)
}

fn one() -> PackageBuilder {
    PackageBuilder::new("one", "1.0").noarch(Noarch::Generic).file("share/one", vec![b'1'; 100_000])
}

/// Writes an environment.yml with a channel and dependencies.
fn environment(world: &TestContext, channel: &str, dependencies: &[&str]) {
    world.write(
        "environment.yml",
        &json!({"name": "x", "channels": [channel], "dependencies": dependencies}).to_string(),
    );
}

fn url(registry: &Registry) -> String {
    format!("oci://{}/mirrors/main", registry.host())
}

fn lock(world: &TestContext) -> Outcome {
    world.mlconda(["lock", "-o", "env.lock"])
}

fn install(world: &TestContext) -> Outcome {
    world.mlconda(["install", "env.lock", "-p", "../prefix"])
}

/// The error and its hint.
fn error(world: &TestContext, outcome: Outcome) -> String {
    let stderr = world.normal(&outcome.failure(1).stderr);
    stderr[stderr.find("error: ").unwrap()..].to_owned()
}

/// Compares an installation from a registry with one from the directory that it mirrors.
fn compare(world: &TestContext, registry: &Registry, install: &[&str]) {
    let prefix = world.path().join("prefix");
    world.mlconda(install).success();
    let found = contents(&prefix);
    fs_err::remove_dir_all(&prefix).unwrap();
    let text = world.read("env.lock");
    world.write("local.lock", &text.replace(&url(registry), &world.channels().main.url()));
    world.mlconda(["install", "local.lock", "-p", "../prefix"]).success();
    let files = |mut all: std::collections::BTreeMap<String, String>| {
        // Records contain the channel.
        all.retain(|path, _| !path.starts_with("conda-meta/"));
        all
    };
    assert_eq!(files(found), files(contents(&prefix)));
    fs_err::remove_dir_all(&prefix).unwrap();
}

const PACKAGES: [&str; 5] = ["tzdata", "python=3.11", "greet", "where=2", "archived"];

#[test]
fn a_channel_in_a_registry_is_one_as_any_other() {
    let (world, registry) = served(RegistryOptions::default());
    environment(&world, &url(&registry), &PACKAGES);
    lock(&world).success();
    let text = world.read("env.lock");
    assert!(text.contains(&format!("{}/noarch/tzdata-2024a", url(&registry))), "{text}");
    compare(&world, &registry, &["install", "env.lock", "-p", "../prefix"]);

    // Unchanged repodata is not sent again.
    registry.forget();
    lock(&world).success();
    let repodata = |method: &str, what: &str| registry.count(method, &format!("repodata.json/{what}"));
    assert_eq!((repodata("GET", "manifests/latest"), repodata("GET", "blobs/")), (2, 0));

    install(&world).success();
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    world.mlconda(["image", "env.lock", "-o", "image.tar", "--tag", "x:1", "--base", "scratch"]).success();
    world.mlconda(["bundle", "env.lock", "-o", "env.bundle"]).success();
    world.mlconda(["fetch", "env.lock"]).success();
    for format in ["conda-lock", "pixi"] {
        let file = if format == "pixi" { "pixi.lock" } else { "conda-lock.yml" };
        world.mlconda(["lock", "--format", format, "-o", file]).success();
        world.mlconda(["install", file, "-p", "other"]).success();
        fs_err::remove_dir_all(world.work().join("other")).unwrap();
    }
    fs_err::remove_dir_all(world.path().join("prefix")).unwrap();
    drop(registry);
    world.mlconda(["install", "env.bundle", "-p", "../prefix"]).success();
    world.mlconda(["install", "env.lock", "--offline", "-p", "other"]).success();
}

#[test]
fn channels_of_command_lines_and_of_an_alias_may_be_in_registries() {
    let (world, registry) = served(RegistryOptions::default());
    let arguments = ["create", "-p", "../prefix", "--override-channels", "-y", "tzdata", "-c"];
    world.mlconda(arguments.iter().chain(&[url(&registry).as_str()])).success();
    fs_err::remove_dir_all(world.path().join("prefix")).unwrap();
    fs_err::write(world.home().join(".condarc"), format!("channel_alias: oci://{}/mirrors\n", registry.host()))
        .unwrap();
    world.mlconda(arguments.iter().chain(&["main"])).success();
    let listed = world.mlconda(["list", "-p", "../prefix", "--explicit"]).success().stdout;
    assert!(listed.contains(&format!("{}/noarch/tzdata-2024a", url(&registry))), "{listed}");
    let found = world.mlconda(["search", "-c", &url(&registry), "--override-channels", "greet"]).success().stdout;
    assert!(found.contains("greet"), "{found}");
}

#[test]
fn names_and_versions_that_registries_do_not_have_are_found() {
    let noarch = |name: &str, version: &str| PackageBuilder::new(name, version).noarch(Noarch::Generic);
    let (world, registry) = with(&[
        noarch("_mutex", "0.1").file("share/mutex", "m"),
        noarch("epoch", "1!2.0").file("share/epoch", "e"),
        noarch("local", "1.0+cu12").file("share/local", "l").archive(Archive::TarBz2),
    ]);
    environment(&world, &url(&registry), &["_mutex", "epoch", "local"]);
    lock(&world).success();
    install(&world).success();
    for file in ["mutex", "epoch", "local"] {
        assert!(world.path().join("prefix/share").join(file).is_file(), "{file}");
    }
    for request in ["zzz_mutex/manifests/0.1-", "epoch/manifests/1__e__2.0-", "local/manifests/1.0__p__cu12-"] {
        assert_eq!(registry.count("GET", request), 1, "{request}");
    }
}

#[test]
fn a_private_registry_gets_the_login_of_docker_or_of_the_url() {
    for access in [Access::Basic("me".into(), "s3cret".into()), Access::Token("me".into(), "s3cret".into())] {
        let options = RegistryOptions { access, is_private: true, ..RegistryOptions::default() };
        let (world, registry) = served(options);
        environment(&world, &url(&registry), &["tzdata"]);
        let denied = error(&world, lock(&world));
        assert!(denied.contains("no login for it is stored"), "{denied}");
        assert!(denied.contains("log in with `docker login HOST`"), "{denied}");
        fs_err::create_dir_all(world.home().join(".docker")).unwrap();
        let text = json!({"auths": {registry.host(): {"username": "me", "password": "s3cret"}}});
        fs_err::write(world.home().join(".docker/config.json"), text.to_string()).unwrap();
        lock(&world).success();
        // The developer has another home directory.
        install(&world).success();
        fs_err::remove_dir_all(world.home().join(".docker")).unwrap();
        fs_err::remove_dir_all(world.home().join(".cache")).unwrap_or_default();

        let with_login = url(&registry).replace("oci://", "oci://${REGISTRY_USER}:${REGISTRY_PASSWORD}@");
        environment(&world, &with_login, &["tzdata"]);
        let variables = [("REGISTRY_USER", "me"), ("REGISTRY_PASSWORD", "s3cret")];
        world.mlconda_with(["lock", "-o", "env.lock", "-v"], &variables).success();
        let text = world.read("env.lock");
        assert!(text.contains("oci://${REGISTRY_USER}:${REGISTRY_PASSWORD}@") && !text.contains("s3cret"), "{text}");
        world.mlconda_with(["install", "env.lock", "-p", "other"], &variables).success();
        let wrong = [("REGISTRY_USER", "me"), ("REGISTRY_PASSWORD", "wr0ng")];
        fs_err::remove_dir_all(world.home().join(".cache")).unwrap_or_default();
        let refused = world.mlconda_with(["install", "env.lock", "-p", "third"], &wrong).failure(1).stderr;
        assert!(refused.contains("the login of the URL does not allow it") && !refused.contains("wr0ng"), "{refused}");
    }
}

#[test]
fn anybody_gets_a_token_of_a_public_registry() {
    let access = Access::Token("me".into(), "s3cret".into());
    let (world, registry) = served(RegistryOptions { access, ..RegistryOptions::default() });
    environment(&world, &url(&registry), &["tzdata", "where"]);
    lock(&world).success();
    install(&world).success();
    // One token for each repository.
    assert_eq!(registry.count("GET", "/token"), 2 + 2);
}

#[test]
fn a_mirror_may_be_in_a_registry() {
    let (world, registry) = served(RegistryOptions::default());
    let channel = "https://conda.example.org/main";
    environment(&world, channel, &["tzdata", "where"]);
    let mirror = format!("{channel}={}", url(&registry));
    world.mlconda_with(["lock", "-o", "env.lock"], &[("MLCONDA_MIRRORS", mirror.as_str())]).success();
    let text = world.read("env.lock");
    assert!(text.contains(&format!("{channel}/noarch/tzdata-2024a")), "the lock means the same elsewhere: {text}");
    world.mlconda_with(["install", "env.lock", "-p", "../prefix"], &[("MLCONDA_MIRRORS", mirror.as_str())]).success();
    assert!(world.path().join("prefix/share/zoneinfo").is_dir());
}

#[test]
fn what_a_registry_does_not_have_is_named() {
    let (world, registry) = with(&[one()]);
    let missing = url(&registry).replace("main", "other");
    environment(&world, &missing, &["one"]);
    assert_snapshot!(error(&world, lock(&world)), @r#"
    error: environment.yml:1:25: there is no channel at `oci://HOST/mirrors/other/`: it has neither `[HOST]` nor `noarch`
      |
    1 | {"name":"x","channels":["oci://HOST/mirrors/other"],"dependencies":["one"]}
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: check the spelling; a private channel can answer like this if there is no login
    "#);
    let upper = url(&registry).replace("main", "Main");
    environment(&world, &upper, &["one"]);
    assert_snapshot!(error(&world, lock(&world)), @r#"
    error: environment.yml:1:25: cannot load repodata from `oci://HOST/mirrors/Main/[HOST]/`: `oci://HOST/mirrors/Main/[HOST]/repodata.json.zst` cannot be in a registry: a repository is written in lower case
      |
    1 | {"name":"x","channels":["oci://HOST/mirrors/Main"],"dependencies":["one"]}
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: check the channel's URL: a registry is a channel if it has `SUBDIR/repodata.json` and `SUBDIR/NAME:VERSION-BUILD` below it, as conda-oci-mirror writes them
    "#);
    environment(&world, &url(&registry), &["one"]);
    lock(&world).success();
    let text = world.read("env.lock").replace("one-1.0", "one-1.1");
    world.write("env.lock", &text);
    assert_snapshot!(error(&world, install(&world)), @r#"
    error: cannot get `one-1.1-hd8ed1ab_0.conda` from oci://HOST/mirrors/main/noarch/one-1.1-hd8ed1ab_0.conda
      because: `oci://HOST/mirrors/main/noarch/one-1.1-hd8ed1ab_0.conda` answers 404 Not Found: there is no `HOST/mirrors/main/noarch/one:1.1-hd8ed1ab_0`
    hint: the prefix is unchanged; the server does not have the package any more: lock again
    "#);
    // The registry has no package in the format of the URL.
    let other = world.read("env.lock").replace("one-1.1", "one-1.0").replace(".conda#", ".tar.bz2#");
    world.write("env.lock", &other);
    assert_snapshot!(error(&world, install(&world)), @r#"
    error: cannot get `one-1.0-hd8ed1ab_0.tar.bz2` from oci://HOST/mirrors/main/noarch/one-1.0-hd8ed1ab_0.tar.bz2
      because: `oci://HOST/mirrors/main/noarch/one-1.0-hd8ed1ab_0.tar.bz2` answers 404 Not Found: `HOST/mirrors/main/noarch/one:1.0-hd8ed1ab_0` has no layer with the media type `application/vnd.conda.package.v1`
    hint: the prefix is unchanged; the server does not have the package any more: lock again
    "#);
    assert!(!world.path().join("prefix").exists());
}

/// The manifest of the package `one`, changed.
fn lie(world: &TestContext, registry: &Registry, change: &dyn Fn(&mut Value)) -> String {
    let archive = Channel::at(world.path().join("channel")).archives("noarch").unwrap().remove(0);
    let build = archive.strip_prefix("one-1.0-").unwrap().strip_suffix(".conda").unwrap().to_owned();
    let (repository, tag) = ("mirrors/main/noarch/one", format!("1.0-{build}"));
    let (kind, honest) = registry.manifest(repository, &tag).unwrap();
    let mut manifest: Value = serde_json::from_slice(&honest).unwrap();
    change(&mut manifest);
    registry.put_manifest(repository, &tag, &kind, manifest.to_string().as_bytes());
    let said = install(world).failure(1).stderr;
    registry.put_manifest(repository, &tag, &kind, &honest);
    assert!(!world.path().join("prefix").exists());
    said
}

#[test]
fn a_manifest_that_lies_is_told_of() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    lock(&world).success();
    // Another blob of the registry, whose digest is right.
    let other = registry.put_blob("mirrors/main/noarch/one", b"other");
    let another = lie(&world, &registry, &|manifest| {
        manifest["layers"][1]["digest"] = other.clone().into();
        manifest["layers"][1]["size"] = 5.into();
    });
    assert!(another.contains("only 5 of"), "{another}");
    let short = lie(&world, &registry, &|manifest| manifest["layers"][1]["size"] = 7.into());
    assert!(short.contains("it has more than the 7 bytes expected"), "{short}");
    let long = lie(&world, &registry, &|manifest| manifest["layers"][1]["size"] = (1_u64 << 40).into());
    assert!(long.contains("bytes, not 1099511627776"), "{long}");
    let kind = lie(&world, &registry, &|manifest| manifest["layers"][1]["mediaType"] = "text/plain".into());
    assert!(kind.contains("has no layer with the media type `application/vnd.conda.package.v2`"), "{kind}");
    let digest = lie(&world, &registry, &|manifest| manifest["layers"][1]["digest"] = "md5:12".into());
    assert!(
        digest.contains("`md5:12` is not a sha256 digest: expected `sha256:` and 64 hexadecimal digits"),
        "{digest}"
    );
    let urls = lie(&world, &registry, &|manifest| manifest["layers"][1]["urls"] = json!(["http://x/"]));
    assert!(urls.contains("outside of the registry"), "{urls}");
    let index = lie(&world, &registry, &|manifest| *manifest = json!({"schemaVersion": 2, "manifests": []}));
    assert!(index.contains("has no layer"), "{index}");
    registry.fail("GET", "noarch/one/blobs/", Failure::Corrupted, 100);
    let corrupted = error(&world, install(&world));
    assert!(corrupted.contains("its bytes have the digest"), "{corrupted}");
    registry.recover();
    install(&world).success();
}

#[test]
fn repodata_that_is_not_what_its_manifest_says_is_refused() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    registry.fail("GET", "noarch/repodata.json/blobs/", Failure::Corrupted, 100);
    let corrupted = error(&world, lock(&world));
    assert!(corrupted.contains("its bytes have the digest"), "{corrupted}");
    assert!(!world.work().join("env.lock").exists());
    registry.recover();
    // Only the plain file, or only one that is compressed with gzip.
    let plain = fs_err::read(world.path().join("channel/noarch/repodata.json")).unwrap();
    world.run("gzip", &["-k", argument(&world.path().join("channel/noarch/repodata.json"))]).success();
    let gzip = fs_err::read(world.path().join("channel/noarch/repodata.json.gz")).unwrap();
    for (kind, bytes) in [("repodata.v1+json", plain), ("repodata.v1+json+gzip", gzip)] {
        registry.put_artifact("mirrors/main/noarch/repodata.json", "latest", &[(kind, bytes)]);
        lock(&world).success();
    }
}

#[test]
fn a_registry_that_refuses_or_breaks_off_is_asked_again_where_that_helps() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    registry.fail("GET", "manifests/", Failure::RetryAfter(429, "0"), 1);
    registry.fail("GET", "blobs/", Failure::Status(503), 1);
    lock(&world).success();
    registry.fail("GET", "noarch/one/blobs/", Failure::BreakOff(100), 1);
    install(&world).success();
    let ranged = registry.requests().iter().filter(|request| request.headers.contains_key("range")).count();
    assert_eq!(ranged, 1, "the download goes on where it broke off");
    fs_err::remove_dir_all(world.path().join("prefix")).unwrap();
    fs_err::remove_dir_all(world.home().join(".cache/mlconda")).unwrap_or_default();

    registry.fail("GET", "noarch/one/manifests/", Failure::RetryAfter(429, "3000"), 100);
    assert_snapshot!(error(&world, install(&world)), @r#"
    error: cannot get `one-1.0-hd8ed1ab_0.conda` from oci://HOST/mirrors/main/noarch/one-1.0-hd8ed1ab_0.conda
      because: `oci://HOST/mirrors/main/noarch/one-1.0-hd8ed1ab_0.conda` answers 429 Too Many Requests: TOOMANYREQUESTS status 429, and asks to wait 3000 s
    hint: the prefix is unchanged; too many requests came from here: wait some minutes, and reduce `--downloads`
    "#);
    registry.recover();
    registry.fail("GET", "noarch/one/manifests/", Failure::Status(401), 100);
    assert_snapshot!(error(&world, install(&world)), @r#"
    error: cannot get `one-1.0-hd8ed1ab_0.conda` from oci://HOST/mirrors/main/noarch/one-1.0-hd8ed1ab_0.conda
      because: `HOST` denies the file of a channel `HOST/mirrors/main/noarch/one:1.0-hd8ed1ab_0`: no login for it is stored (it says: UNAUTHORIZED status 401)
    hint: the prefix is unchanged; log in with `docker login HOST` or `podman login HOST`: mlconda reads their logins, or the file that `REGISTRY_AUTH_FILE` names; some registries also answer this if a file does not exist: check the URL
    "#);
    registry.recover();
    registry.fail("GET", "repodata.json/manifests/", Failure::RetryAfter(429, "3000"), 100);
    assert_snapshot!(error(&world, lock(&world)), @r#"
    error: environment.yml:1:25: cannot load repodata from `oci://HOST/mirrors/main/[HOST]/`: `oci://HOST/mirrors/main/[HOST]/repodata.json.zst` answers 429 Too Many Requests: TOOMANYREQUESTS status 429, and asks to wait [TIME]
      |
    1 | {"name":"x","channels":["oci://HOST/mirrors/main"],"dependencies":["one"]}
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: too many requests came from here: wait some minutes, or use a mirror: `MLCONDA_MIRRORS`
    "#);
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    drop(registry);
    let refused = error(&world, lock(&world));
    assert!(refused.contains("cannot reach `http://HOST/v2/") && refused.contains("no server listens"), "{refused}");
    let other = "oci://registry.invalid/mirrors/main";
    environment(&world, other, &["one"]);
    let unknown = error(&world, lock(&world));
    assert!(unknown.contains("cannot reach `https://registry.invalid/v2/"), "{unknown}");
}

#[test]
fn the_size_of_a_package_is_asked_without_the_package() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    lock(&world).success();
    let text = world.read("env.lock");
    assert!(text.contains("# size:"), "{text}");
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("# size:")).collect();
    world.write("env.lock", &(without.join("\n") + "\n"));
    registry.forget();
    world.mlconda(["bundle", "env.lock", "-o", "env.bundle"]).success();
    let asked: Vec<String> = registry.requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(registry.count("GET", "noarch/one/manifests/"), 2, "once for the size, once for the file: {asked:?}");
    assert_eq!(registry.count("GET", "noarch/one/blobs/"), 1, "{asked:?}");
    assert!(Path::new(argument(&world.work().join("env.bundle"))).is_file());
}

#[test]
fn a_file_that_is_gone_is_not_one_that_never_was() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    registry.fail("GET", "noarch/repodata.json/blobs/", Failure::Status(404), 100);
    let gone = error(&world, lock(&world));
    assert!(gone.contains("there is no blob `sha256:"), "{gone}");
    assert!(gone.contains("HOST/mirrors/main/noarch/repodata.json"), "{gone}");
    registry.recover();
    lock(&world).success();
    registry.fail("GET", "noarch/one/blobs/", Failure::Status(404), 100);
    let gone = error(&world, install(&world));
    assert!(gone.contains("there is no blob `sha256:") && !gone.contains("any more"), "{gone}");
}

#[test]
fn what_broke_off_is_asked_again_in_one_place() {
    let (world, registry) = with(&[one()]);
    environment(&world, &url(&registry), &["one"]);
    lock(&world).success();
    registry.forget();
    registry.fail("GET", "noarch/one/blobs/", Failure::BreakOff(10), 1000);
    install(&world).failure(1);
    assert_eq!(registry.count("GET", "noarch/one/blobs/"), 5);
    assert_eq!(registry.count("GET", "noarch/one/manifests/"), 1);
    registry.recover();
    registry.forget();
    fs_err::remove_dir_all(world.home().join(".cache")).unwrap_or_default();
    registry.fail("GET", "noarch/repodata.json/blobs/", Failure::BreakOff(10), 1000);
    lock(&world).failure(1);
    assert_eq!(registry.count("GET", "noarch/repodata.json/blobs/"), 5);
}

#[test]
fn a_broken_file_of_logins_is_named() {
    let access = Access::Basic("me".into(), "s3cret".into());
    let (world, registry) = served(RegistryOptions { access, is_private: true, ..RegistryOptions::default() });
    environment(&world, &url(&registry), &["tzdata"]);
    fs_err::create_dir_all(world.home().join(".docker")).unwrap();
    fs_err::write(world.home().join(".docker/config.json"), "{").unwrap();
    let broken = error(&world, lock(&world));
    assert!(broken.contains(".docker/config.json` cannot be read: it is not a JSON object"), "{broken}");
    assert!(
        broken.contains("correct the file with the logins of registries, or name another one: `REGISTRY_AUTH_FILE`"),
        "{broken}"
    );
}

#[test]
fn a_mirror_that_refuses_is_told_of_before_one_that_lacks_the_channel() {
    let access = Access::Basic("me".into(), "s3cret".into());
    let (mut world, registry) = served(RegistryOptions { access, is_private: true, ..RegistryOptions::default() });
    let empty = Registry::start(RegistryOptions::default()).unwrap();
    world.filter(&empty.host(), "EMPTY");
    environment(&world, "oci://Conda.example.org/main", &["tzdata"]);
    let of = "oci://conda.Example.org/main";
    let mirrors = format!("{of}={} {of}={}", url(&registry), url(&empty));
    let outcome = world.mlconda_with(["lock", "-o", "env.lock"], &[("MLCONDA_MIRRORS", mirrors.as_str())]);
    let denied = error(&world, outcome);
    assert!(denied.contains("no login for it is stored"), "{denied}");
}

#[test]
fn a_channel_without_a_registry_is_told_of() {
    let world = world();
    environment(&world, "oci:///mirrors/main", &["tzdata"]);
    let told = error(&world, lock(&world));
    assert!(told.contains("it names no registry: a channel is `oci://HOST/CHANNEL`"), "{told}");
}
