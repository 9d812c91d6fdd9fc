//! Readers of a bundle other than `install`: images of several platforms, views of its packages, and pixi-unpack.

use mlconda_test::{host_subdir, server::Server};
use serde_json::Value;

use super::{bundle, served, unpacked};
use crate::pip_install::{add, line as wheel_line, simple};

#[test]
fn an_image_of_one_for_several_platforms_is_an_index() {
    let (world, server) = served(&["tzdata", "unicode"]);
    let foreign = if cfg!(target_arch = "s390x") { "linux-64" } else { "linux-s390x" };
    let named = world.read("env.lock").replace("# platform", "# mlconda lock: 1\n# name: ml\n# platform");
    world.write("env.lock", &named);
    world.write("foreign.lock", &named.replace(host_subdir(), foreign));
    bundle(&world, &["env.lock", "foreign.lock", "-o", "all.bundle"]).success();
    let image = |files: &[&str], output: &str, more: &[&str]| {
        let arguments = ["--base", "scratch", "-n", "ml", "--tag", "ml", "--no-compile-bytecode"];
        world.mlconda([&["image"], files, &arguments[..], &["--oci-layout", output], more].concat())
    };
    image(&["env.lock", "foreign.lock"], "locks", &[]).success();
    drop(server);
    let platforms = ["--platform", host_subdir(), "--platform", foreign];
    image(&["all.bundle"], "bundle", &platforms).success();
    image(&["all.bundle"], "bill", &[&platforms[..], &["--sbom"]].concat()).success();
    let both = |place: &str| -> Value {
        let index: Value = serde_json::from_str(&world.read(&format!("{place}/index.json"))).unwrap();
        index["manifests"][0]["digest"].clone()
    };
    assert_eq!(both("locks"), both("bundle"));
    // An image of one of its platforms.
    image(&["all.bundle"], "one", &["--platform", foreign]).success();
    assert_ne!(both("one"), both("bundle"));
}

#[test]
fn what_wheels_in_it_say_of_themselves_is_read_in_it() {
    let (world, server) = served(&["tzdata", "python-3.11.9"]);
    // A wheel without a licence, and with a dependency.
    let wheel = simple("tool", "1.0").requires("helper >=1");
    let wheels = Server::serve(world.path().join("wheels")).unwrap();
    let lines = [wheel, simple("helper", "2.0")].map(|wheel| {
        let line = wheel_line(&world, &wheel, "");
        line.replace(&format!("file://{}/", world.path().join("wheels").display()), &wheels.url(""))
    });
    add(&world.work().join("env.lock"), &lines);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    drop(server);
    wheels.forget();
    let tree = world.mlconda(["tree", "env.bundle"]).success();
    assert!(tree.stdout.contains("helper") && tree.stderr.is_empty(), "{tree}");
    let why = world.mlconda(["why", "helper", "env.bundle"]).success();
    assert!(why.stdout.contains("tool") && why.stderr.is_empty(), "{why}");
    assert!(world.mlconda(["sbom", "env.bundle"]).success().stdout.contains("helper"));
    world.mlconda(["convert", "env.bundle", "--to", "pixi", "-o", "pixi.lock"]).success();
    let converted = world.read("pixi.lock");
    assert!(converted.contains("- helper >=1") || converted.contains("- helper>=1"), "{converted}");
    assert_eq!(wheels.requests().len(), 0, "{:?}", wheels.requests());
}

/// The requirements of `pixi-unpack` 0.7, from its source: every directory of `channel` has valid repodata, the
/// archives are in the subdirs of their records, and `pypi` contains wheels.
#[test]
fn what_pixi_unpack_reads_is_there() {
    let (world, _server) = served(&["tzdata", "python-3.11.9", "archived"]);
    add(&world.work().join("env.lock"), &[wheel_line(&world, &simple("tool", "1.0"), "")]);
    bundle(&world, &["env.lock", "-o", "env.bundle"]).success();
    let directory = unpacked(&world, "env.bundle");
    let json = |path: &str| -> Value { serde_json::from_slice(&fs_err::read(directory.join(path)).unwrap()).unwrap() };
    let metadata = json("pixi-pack.json");
    assert_eq!((&metadata["version"], &metadata["platform"]), (&"1".into(), &host_subdir().into()));
    let names = |path: &str| -> Vec<String> {
        let entries = fs_err::read_dir(directory.join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut found = Vec::new();
    for subdir in names("channel") {
        let repodata = json(&format!("channel/{subdir}/repodata.json"));
        assert_eq!(repodata["info"]["subdir"], subdir.as_str());
        for list in ["packages", "packages.conda"] {
            for (file, record) in repodata[list].as_object().unwrap() {
                for field in ["name", "version", "build", "build_number", "subdir", "depends", "sha256", "size"] {
                    assert!(!record[field].is_null(), "{file} has no {field}");
                }
                let archive = directory.join("channel").join(record["subdir"].as_str().unwrap()).join(file);
                assert_eq!(fs_err::metadata(archive).unwrap().len(), record["size"].as_u64().unwrap());
                found.push(record["name"].as_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert_eq!(found, ["archived", "python", "tzdata"]);
    assert_eq!(names("pypi"), ["tool-1.0-py3-none-any.whl"]);
}
