//! Channels in buckets: they are rejected, and the message names the alternatives; one of these is tested.

use insta::assert_snapshot;
use mlconda_test::context::TestContext;

use crate::{serve, world};

fn lock(world: &TestContext, channel: &str) -> String {
    world.write("environment.yml", &format!("name: x\nchannels: [\"{channel}\"]\ndependencies: [tzdata]\n"));
    world.mlconda(["lock"]).failure(1).stderr
}

#[test]
fn a_channel_in_a_bucket_is_refused_with_the_ways_round() {
    let world = world();
    assert_snapshot!(world.normal(&lock(&world, "s3://bucket/channel")), @r#"
    error: environment.yml:2:12: cannot load repodata from `s3://bucket/channel/[HOST]/`: `s3://` is not supported, only `https://`, `http://`, `oci://` and `file://`
      |
    2 | channels: ["s3://bucket/channel"]
      |            ^^^^^^^^^^^^^^^^^^^^^
      = help: give the bucket's address over HTTP: `MLCONDA_MIRRORS=s3://BUCKET=https://HOST`; or copy the channel into a directory with `aws s3 sync`, and name that as the channel; or take a bundle along (`mlconda bundle`)
    "#);
    let other = lock(&world, "gs://bucket/channel");
    assert!(other.contains("= help: write a URL with `https://`, or the path of a directory"), "{other}");
}

#[test]
fn a_package_in_one_is_refused_too() {
    let world = world();
    let url = "s3://bucket/channel/linux-64/zlib-1.0-h0_0.conda";
    let sha256 = "0".repeat(64);
    world.write("env.lock", &format!("# platform: noarch\n@EXPLICIT\n{url}#sha256:{sha256}\n"));
    for arguments in [vec!["install", "env.lock", "-p", "prefix"], vec!["fetch", "env.lock"]] {
        let refused = world.mlconda(&arguments).failure(1).stderr;
        assert!(refused.contains("`s3://` is not supported") && refused.contains("aws s3 sync"), "{refused}");
    }
    assert!(!world.work().join("prefix").exists());
    world.write("environment.yml", &format!("name: x\nchannels: [nodefaults]\ndependencies: [\"{url}\"]\n"));
    let refused = world.mlconda(["lock"]).failure(1).stderr;
    assert!(refused.contains("`s3://` is not supported") && refused.contains("aws s3 sync"), "{refused}");
    let refused =
        world.mlconda(["search", "-c", "s3://bucket/channel", "--override-channels", "zlib"]).failure(1).stderr;
    assert!(refused.contains("aws s3 sync"), "{refused}");
}

#[test]
fn a_mirror_over_http_stands_for_it() {
    let (world, server) = (world(), serve());
    for of in ["s3://bucket/channel", "oci://registry.example.org/mirror"] {
        let mirrors = format!("{of}={}", server.url("main"));
        let variables = [("MLCONDA_MIRRORS", mirrors.as_str())];
        world.write("environment.yml", &format!("name: x\nchannels: [\"{of}\"]\ndependencies: [tzdata]\n"));
        world.mlconda_with(["lock", "-o", "env.lock"], &variables).success();
        let text = world.read("env.lock");
        assert!(text.contains(&format!("{of}/noarch/tzdata-2024a")), "the lock means the same elsewhere: {text}");
        world.mlconda_with(["install", "env.lock", "-p", "prefix"], &variables).success();
        assert!(world.work().join("prefix/share/zoneinfo").is_dir());
        fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
    }
}
