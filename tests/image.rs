//! `mlconda image`: the contents of the layers, and that no layer is made twice.

mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
};

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext, argument},
    host_subdir, oci_architecture, tree,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    pip_install::{add as add_lines, line, simple},
    serve,
    stopping::stop,
    world,
};

/// Packages of every kind except those with scripts. Two of them clash.
const KINDS: [&str; 16] = [
    "tzdata",
    "python-3.11.9",
    "pip",
    "greet-2.0",
    "templates",
    "scripts",
    "links",
    "hollow",
    "unicode",
    "where-2.0",
    "archived",
    "with-variables",
    "clash-left",
    "clash-right",
    "ancient",
    "many",
];

/// A base image in the format of `docker save`, with one layer and one file.
fn write_base(world: &TestContext) -> PathBuf {
    let mut layer = tar::Builder::new(Vec::new());
    add(&mut layer, "etc/base", b"base\n");
    let layer = layer.into_inner().unwrap();
    let digest = mlconda_test::sha256_hex(&layer);
    let config = serde_json::json!({
        "architecture": oci_architecture(), "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created_by": "a test"}],
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": ["base:1"], "Layers": ["layer/layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "config.json", config.to_string().as_bytes());
    add(&mut archive, "layer/layer.tar", &layer);
    add(&mut archive, "manifest.json", manifest.to_string().as_bytes());
    let path = world.work().join("base.tar");
    fs_err::write(&path, archive.into_inner().unwrap()).unwrap();
    path
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).unwrap();
}

/// Makes an image of a lock on the test's base, as `image.tar` in the working directory.
fn image(world: &TestContext, more: &[&str]) -> Outcome {
    write_base(world);
    let base = ["image", "--tag", "small", "--output", "image.tar", "--base", "docker-archive:base.tar"];
    world.mlconda(base.iter().chain(more))
}

/// An image that was read back.
struct Read {
    config: Value,
    /// The files of the layers, the lowest first.
    layers: Vec<PathBuf>,
}

/// Unpacks an archive beside it.
fn read(world: &TestContext, archive: &str) -> Read {
    let place = world.path().join(format!("{archive}.unpacked"));
    let _ = fs_err::remove_dir_all(&place);
    fs_err::create_dir(&place).unwrap();
    unpack(world, &world.work().join(archive), &place);
    let json = |path: &Path| -> Value { serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap() };
    let manifest = json(&place.join("manifest.json"));
    let text = |value: &Value| place.join(value.as_str().unwrap());
    Read {
        config: json(&text(&manifest[0]["Config"])),
        layers: manifest[0]["Layers"].as_array().unwrap().iter().map(text).collect(),
    }
}

/// Unpacks a tar as container engines do: with modes and times, and as root with the owners.
fn unpack(world: &TestContext, archive: &Path, place: &Path) {
    world.run("tar", &["-xpf", argument(archive), "-C", argument(place)]).success();
}

/// All layers of an image in one directory.
pub(crate) fn union(world: &TestContext, archive: &str) -> PathBuf {
    let place = world.path().join(format!("{archive}.union"));
    let _ = fs_err::remove_dir_all(&place);
    fs_err::create_dir(&place).unwrap();
    for layer in read(world, archive).layers {
        unpack(world, &layer, &place);
    }
    place
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

#[test]
fn the_layers_are_what_install_puts_at_the_same_prefix() {
    let world = world();
    world.write_lock("env.lock", None, &KINDS);
    let prefix = world.work().join("prefix");
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let installed = tree::archived(&prefix).unwrap();
    fs_err::remove_dir_all(&prefix).unwrap();
    for more in [&[][..], &["--layers", "4"], &["--compression", "none"]] {
        let arguments = [&["env.lock", "-p", argument(&prefix)][..], more].concat();
        let outcome = image(&world, &arguments).success();
        assert!(outcome.stderr.contains("hold `share/clash/shared.txt`; the file of"), "{outcome}");
        let made = tree::archived(&below(&union(&world, "image.tar"), &prefix)).unwrap();
        assert_eq!(tree::difference(&installed, &made), "", "{more:?}");
    }
    // The prefix did not exist during the command, and no leftovers remain.
    assert!(!prefix.exists());
    let left: BTreeSet<String> =
        world.tree().into_keys().filter(|path| path.contains(".mlconda-") || path.contains(".new-")).collect();
    assert_eq!(left, BTreeSet::new());
}

#[test]
fn wheels_are_in_it_too() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "pip"]);
    add_lines(&lock, &[line(&world, &simple("rich", "1.0"), ""), line(&world, &simple("other", "2.0"), "")]);
    let prefix = world.work().join("prefix");
    world.mlconda(["install", argument(&lock), "-p", "prefix"]).success();
    let installed = tree::archived(&prefix).unwrap();
    fs_err::remove_dir_all(&prefix).unwrap();
    image(&world, &[argument(&lock), "-p", argument(&prefix)]).success();
    let made = tree::archived(&below(&union(&world, "image.tar"), &prefix)).unwrap();
    assert_eq!(tree::difference(&installed, &made), "");
}

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let digest = |world: &TestContext, packages: &[&str], more: &[&str]| {
        world.write_lock("env.lock", None, packages);
        image(world, &[&["env.lock", "-n", "ml"][..], more].concat()).success();
        mlconda_test::sha256_hex(fs_err::read(world.work().join("image.tar")).unwrap())
    };
    let (one, other) = (world(), world());
    // Without the packages that clash: their result depends on the order.
    let packages: Vec<&str> = KINDS.into_iter().filter(|name| !name.starts_with("clash")).collect();
    let first = digest(&one, &packages, &["--threads", "1"]);
    let mut reversed = packages.clone();
    reversed.reverse();
    fs_err::create_dir_all(other.home().join(".cache/mlconda")).unwrap();
    // In another directory, with a cache, other threads, and another order of the lines.
    assert_eq!(first, digest(&other, &reversed, &["--threads", "3"]));
    // Once more, from the cache.
    assert_eq!(first, digest(&other, &packages, &[]));
    assert_ne!(first, digest(&other, &packages[1..], &[]));
}

/// How many layers were written, by the events.
fn written(outcome: &Outcome) -> usize {
    outcome.stderr.matches("\"layer-written\"").count()
}

#[test]
fn what_is_in_the_cache_is_not_made_again() {
    let world = world();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    let packages = ["tzdata", "python-3.11.9", "greet-1.0", "templates", "links", "unicode", "where-1.0", "many"];
    let make = |packages: &[&str]| {
        world.write_lock("env.lock", None, packages);
        image(&world, &["env.lock", "-n", "ml", "--progress", "json", "--json"]).success()
    };
    let first = make(&packages);
    assert!(written(&first) > 4, "{first}");
    assert!(first.stderr.contains("bytecode-started"), "{first}");
    let second = make(&packages);
    assert_eq!(written(&second), 0, "{second}");
    assert!(!second.stderr.contains("bytecode-started"), "{second}");
    // Only the layer of the changed package is made.
    let changed = packages.map(|name| if name == "where-1.0" { "where-2.0" } else { name });
    let third = make(&changed);
    assert_eq!(written(&third), 1, "{third}");
    let digests = |outcome: &Outcome| -> BTreeMap<String, String> {
        let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let layers = value["images"][0]["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| (layer["layer"].to_string(), layer["digest"].to_string())).collect()
    };
    let (before, after) = (digests(&second), digests(&third));
    let differing: Vec<&String> = before.keys().filter(|key| before.get(*key) != after.get(*key)).collect();
    // The layer with the changed package, and the environment's own layer.
    assert_eq!(differing.len(), 2, "{differing:?}");
    // Damaged layers in the cache are detected by their size.
    for entry in fs_err::read_dir(world.home().join(".cache/mlconda/layers-1")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() {
            fs_err::write(path, "cut off").unwrap();
        }
    }
    assert!(written(&make(&changed)) > 4);
}

#[test]
fn scripts_that_cannot_run_are_told() {
    let world = world();
    world.write_lock("env.lock", None, &["after-link-1.0", "links"]);
    assert_snapshot!(image(&world, &["env.lock", "-n", "ml"]).failure(1), @r#"
    exit code 1
    --- stdout
    --- stderr
    Putting 2 packages together for `/opt/conda/envs/ml`
    error: `after-link-1.0-h4bc722e_0` has a post-link script, which cannot run while an image is made
      after-link-1.0-h4bc722e_0: echo "$PKG_NAME $PKG_VERSION was linked into $PREFIX" > "$PREFIX/share/after-link/linked.txt"
    hint: `--skip-scripts` leaves the scripts out, if the packages work without. Else continue in a Dockerfile, where scripts can run: `FROM` this image and `RUN mlconda install env.lock`, or docs/docker.md
    "#);
    assert!(!world.work().join("image.tar").exists());
    let outcome = image(&world, &["env.lock", "-n", "ml", "--skip-scripts"]).success();
    assert!(outcome.stderr.contains("warning: the post-link script of `after-link-1.0-h4bc722e_0` is left out"));
}

#[test]
fn where_packages_have_activation_scripts_the_entry_point_runs_them() {
    let world = world();
    world.write_lock("env.lock", None, &["activated", "with-variables"]);
    image(&world, &["env.lock", "-n", "ml", "--env", "A=b", "--cmd", "sh -c true"]).success();
    let made = read(&world, "image.tar");
    let run = ["/usr/local/bin/mlconda", "run", "-p", "/opt/conda/envs/ml"];
    assert_eq!(made.config["config"]["Entrypoint"], serde_json::json!(run));
    assert_eq!(made.config["config"]["Cmd"], serde_json::json!(["sh", "-c", "true"]));
    assert!(union(&world, "image.tar").join("usr/local/bin/mlconda").is_file());
    // Without such scripts, the image does not contain mlconda.
    world.write_lock("env.lock", None, &["with-variables"]);
    image(&world, &["env.lock", "-n", "ml", "--workdir", "/app", "--user", "7:7", "--expose", "80"]).success();
    let config = read(&world, "image.tar").config["config"].clone();
    assert_snapshot!(serde_json::to_string_pretty(&config).unwrap(), @r#"
    {
      "Env": [
        "PATH=/opt/conda/envs/ml/bin:/usr/bin:/bin",
        "CONDA_PREFIX=/opt/conda/envs/ml",
        "CONDA_DEFAULT_ENV=ml",
        "WITH_VARIABLES=yes"
      ],
      "Cmd": [
        "sh"
      ],
      "WorkingDir": "/app",
      "User": "7:7",
      "ExposedPorts": {
        "80/tcp": {}
      }
    }
    "#);
    assert!(!union(&world, "image.tar").join("usr").exists());
}

#[test]
fn an_image_for_another_platform() {
    let world = world();
    let lock = world.write_lock("own.lock", None, &["tzdata", "unicode"]);
    let text = fs_err::read_to_string(&lock).unwrap();
    let foreign = if cfg!(target_arch = "s390x") { "linux-64" } else { "linux-s390x" };
    world.write("env.lock", &text.replace(host_subdir(), foreign));
    let arguments =
        ["image", "env.lock", "--tag", "small", "--output", "image.tar", "--base", "scratch", "-n", "small"];
    world.mlconda(arguments).success();
    let made = union(&world, "image.tar").join("opt/conda/envs/small");
    assert!(made.join("share/zoneinfo/Etc/UTC").is_file() && made.join("conda-meta/history").is_file());
    assert_eq!(read(&world, "image.tar").config["architecture"], if foreign == "linux-64" { "amd64" } else { "s390x" });
    // For both platforms, the result is an index.
    let arguments = [&["image", "own.lock", "--json"], &arguments[1..]].concat();
    let outcome = world.mlconda(arguments).success();
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(value["images"].as_array().unwrap().len(), 2);
    assert_ne!(value["digest"], value["images"][0]["digest"]);
}

#[test]
fn the_application_is_a_layer_on_top() {
    let world = world();
    world.write_lock("env.lock", None, &["links"]);
    world.write("app/main.py", "print()\n");
    world.write("app/secret.txt", "secret\n");
    world.write("app/data/kept.csv", "1\n");
    world.write("app/data/other.csv", "2\n");
    world.write(".dockerignore", "**/secret.txt\napp/data\n!app/data/kept.csv\n");
    std::os::unix::fs::symlink("main.py", world.work().join("app/link")).unwrap();
    let more = ["env.lock", "-n", "ml", "--copy", "app:/srv/app", "--copy", "app/main.py:/usr/bin/", "--chown", "7:8"];
    image(&world, &[&more[..], &["--created", "1000"]].concat()).success();
    let layer = read(&world, "image.tar").layers.pop().unwrap();
    let listed = world.run("tar", &["--numeric-owner", "--full-time", "--utc", "-tvf", argument(&layer)]).success();
    let lines: Vec<String> =
        listed.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_snapshot!(lines.join("\n"), @r"
    drwxr-xr-x 0/0 0 1970-01-01 00:16:40 srv/
    drwxr-xr-x 7/8 0 1970-01-01 00:16:40 srv/app/
    drwxr-xr-x 7/8 0 1970-01-01 00:16:40 srv/app/data/
    -rw-r--r-- 7/8 2 1970-01-01 00:16:40 srv/app/data/kept.csv
    lrwxrwxrwx 7/8 0 1970-01-01 00:16:40 srv/app/link -> main.py
    -rw-r--r-- 7/8 8 1970-01-01 00:16:40 srv/app/main.py
    drwxr-xr-x 0/0 0 1970-01-01 00:16:40 usr/
    drwxr-xr-x 0/0 0 1970-01-01 00:16:40 usr/bin/
    -rw-r--r-- 7/8 8 1970-01-01 00:16:40 usr/bin/main.py
    ");
    let outcome = image(&world, &["env.lock", "-n", "ml", "--copy", "app/main.py:/bin/"]).failure(1);
    assert!(outcome.stderr.contains("`/bin/main.py` is below a link of most bases"), "{outcome}");
    assert_snapshot!(image(&world, &["env.lock", "-n", "ml", "--copy", "nothing:/x"]).failure(1), @r"
    exit code 1
    --- stdout
    --- stderr
    error: cannot copy `[TEMP]/work/nothing`: failed to query resolved metadata `[TEMP]/work/nothing`: No such file or directory (os error [NUMBER])
    hint: `--copy SRC:DST`: SRC is a file or a directory, relative to this directory
    ");
}

#[test]
fn a_dry_run_is_a_table_of_layers() {
    let world = world();
    world.locked("env.lock", &["tzdata", "python=3.11.9", "large", "links"]);
    let before = world.tree();
    // The width of sizes depends on the version of the compressor.
    let narrow = |outcome: &Outcome| {
        let lines = outcome.to_string();
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(narrow(&world.mlconda(["image", "env.lock", "--dry-run"]).success()), @r"
    exit code 0
    --- stdout
    large [SIZE] large 1.0
    group:1 [SIZE] pip 24.0, python 3.11.9
    group:12 [SIZE] tzdata 2024a
    group:13 [SIZE] links 1.0
    --- stderr
    [HOST]: 5 packages would be in 4 layers; sizes are those of the archives.
    ");
    assert_eq!(tree::difference(&before, &world.tree()), "");
    // The comparison with an earlier image, from its layout.
    write_base(&world);
    let arguments = ["env.lock", "--tag", "small", "--base", "docker-archive:base.tar", "--oci-layout", "images"];
    world.mlconda(["image"].iter().chain(&arguments)).success();
    world.locked("env.lock", &["tzdata", "python=3.11.8", "large", "where"]);
    let arguments = ["image", "env.lock", "--dry-run", "--layers", "10", "--like", "oci:images"];
    assert_snapshot!(narrow(&world.mlconda(arguments).success()), @r"
    exit code 0
    --- stdout
    large [SIZE] kept large 1.0
    group:1 [SIZE] changed pip 24.0, python 3.11.8
    group:2 [SIZE] new where 2.0
    group:12 [SIZE] kept tzdata 2024a
    --- stderr
    [HOST]: 5 packages would be in 4 layers; sizes are those of the archives.
    ");
}

#[test]
fn a_signal_and_a_full_disk_leave_nothing() {
    let (world, server) = (world(), serve());
    world.write_lock("env.lock", Some(&server.url("main")), &["tzdata", "large"]);
    write_base(&world);
    let before = world.tree();
    server.fail("large", mlconda_test::server::Fault::Stalled);
    let arguments = ["image", "env.lock", "-n", "ml", "--tag", "small", "--output", "image.tar"];
    let base = ["--base", "docker-archive:base.tar"];
    let making = crate::stopping::begin(&world, &[&arguments[..], &base[..]].concat());
    server.wait_for("large");
    let (code, said) = stop(making, Signal::TERM);
    assert_eq!(code, 143, "{said}");
    assert_eq!(tree::difference(&before, &world.tree()), "");
    server.recover();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let mut command = world.command("sh");
    command.arg("-c").arg(script).arg(crate::program()).args(arguments).args(base);
    let outcome = world.outcome(command.stdin(Stdio::null())).failure(1);
    assert!(outcome.stderr.contains("error: "), "{outcome}");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}
