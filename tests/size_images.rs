//! `size` of images: the packages in them, and the layers that a pull of another image downloads.

use insta::assert_snapshot;
use mlconda_test::{
    context::TestContext,
    oci_architecture,
    registry::{Failure, Registry, RegistryOptions},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    stopping::{begin, stop},
    world,
};

/// A tar with one file.
fn layer(path: &str, text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

/// A registry with the base `lib/base:1`, and two images on it, `ml:1` and `ml:2`; the second one has one more package.
fn with_images() -> (TestContext, Registry) {
    let world = world();
    let registry = Registry::start(RegistryOptions::default()).unwrap();
    let base = layer("usr/lib/libc.so.6", "a C library");
    registry.put_image(("lib/base", "1"), oci_architecture(), &[&base], &serde_json::json!({"Cmd": ["sh"]}));
    fs_err::create_dir_all(world.work().join("app")).unwrap();
    fs_err::write(world.work().join("app/main.py"), "print()\n").unwrap();
    world.locked("env.lock", &["python=3.11", "frames"]);
    push(&world, &registry, "env.lock", "ml:1");
    world.locked("new.lock", &["python=3.11", "frames", "greet"]);
    push(&world, &registry, "new.lock", "ml:2");
    (world, registry)
}

fn push(world: &TestContext, registry: &Registry, lock: &str, name: &str) {
    let (tag, base) = (format!("{}/{name}", registry.host()), format!("{}/lib/base:1", registry.host()));
    let arguments = ["image", lock, "--push", "--tag", &tag, "--base", &base, "--copy", "app:/app", "--layers", "100"];
    world.mlconda(arguments).success();
}

fn size(world: &TestContext, places: &[&str]) -> Value {
    let arguments = ["size", "--json"];
    serde_json::from_str(&world.mlconda(arguments.iter().chain(places)).success().stdout).unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect()
}

#[test]
fn an_image_has_the_bytes_of_its_environment() {
    let (world, registry) = with_images();
    let image = format!("{}/ml:1", registry.host());
    let found = &size(&world, &[&image])[0];
    let prefix = found["prefixes"][0].as_str().unwrap();
    assert_eq!(prefix, "/opt/conda/envs/small");
    let place = world.named_prefix("small");
    world.mlconda(["install", "env.lock"]).success();
    let installed = &size(&world, &[place.to_str().unwrap()])[0];
    assert_eq!(names(&found["packages"]), names(&installed["packages"]));
    let asked = |value: &Value| -> Vec<String> {
        value["packages"].as_array().unwrap().iter().map(|each| each["asked"].to_string()).collect()
    };
    assert_eq!(asked(found), asked(installed));
    let total =
        |key: &str| -> u64 { found[key].as_array().unwrap().iter().map(|each| each["bytes"].as_u64().unwrap()).sum() };
    let bytes = found["bytes"].as_u64().unwrap();
    assert_eq!((total("kinds"), total("packages") + total("outside")), (bytes, bytes));
    assert_eq!(names(&found["outside"]), ["base image", "copied files", "files of no package"]);
    assert_eq!(found["outside"][0]["bytes"], "a C library".len());
    assert_eq!(found["outside"][1]["bytes"], "print()\n".len());
    let layers = found["layers"].as_array().unwrap();
    let origins: Vec<&str> = layers.iter().map(|layer| layer["origin"].as_str().unwrap()).collect();
    assert_eq!((origins[0], origins[1]), ("base", "packages"));
    assert_eq!(origins[origins.len() - 2..], ["environment", "application"]);
    let packages: usize = layers.iter().map(|layer| layer["packages"].as_array().unwrap().len()).sum();
    assert_eq!(packages, names(&found["packages"]).len());
    assert!(found["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn an_archive_and_a_layout_tell_the_same() {
    let (world, registry) = with_images();
    let base = format!("{}/lib/base:1", registry.host());
    let common = ["image", "env.lock", "--tag", "ml:1", "--base", &base, "--copy", "app:/app", "--layers", "100"];
    for destination in [["--output", "ml.tar"], ["--oci-layout", "images"]] {
        world.mlconda(common.iter().chain(&destination)).success();
    }
    let parts = ["bytes", "packages", "kinds", "asked", "outside", "layers"];
    let of = |place: &str| {
        let found = size(&world, &[place]);
        parts.map(|key| match key {
            // An archive contains no annotations.
            "layers" => found[0][key].as_array().unwrap().iter().map(|layer| layer["packages"].clone()).collect(),
            _ => found[0][key].clone(),
        })
    };
    let expected = of(&format!("{}/ml:1", registry.host()));
    for place in
        ["docker-archive:ml.tar", "docker-archive:ml.tar:ml:1", "ml.tar", "oci:images", "oci:images:1", "images"]
    {
        assert_eq!(of(place), expected, "{place}");
    }
}

#[test]
fn two_images_tell_what_a_pull_fetches() {
    let (world, registry) = with_images();
    let [one, two] = [1, 2].map(|tag| format!("{}/ml:{tag}", registry.host()));
    let found = size(&world, &[&one, &two]);
    let fetched = &found[1]["fetched"];
    let new: Vec<&Value> =
        found[1]["layers"].as_array().unwrap().iter().filter(|layer| layer["fetched"] == true).collect();
    let bytes: u64 = new.iter().map(|layer| layer["bytes"].as_u64().unwrap()).sum();
    assert_eq!((&fetched["layers"], &fetched["bytes"]), (&new.len().into(), &bytes.into()));
    assert!(fetched["packages"].to_string().contains("greet 2.0"), "{fetched}");
    assert!(found[0].get("fetched").is_none());
    let text = world.mlconda(["size", &one, &two]).success().stdout.replace(&registry.host(), "HOST");
    let words = format!("\nA pull of `HOST/ml:2` where `HOST/ml:1` is already present fetches {} of ", new.len());
    assert!(text.contains(&words) && text.contains(" (new)  "), "{text}");
    let same = world.mlconda(["size", &one, &one]).success().stdout.replace(&registry.host(), "HOST");
    assert!(same.contains("A pull of `HOST/ml:1` where `HOST/ml:1` is already present fetches no layer."), "{same}");
    world.mlconda(["size", &one, &two, "--html", "both.html"]).success();
    let page = world.read("both.html");
    assert!(
        page.contains("\"fetched\":true")
            && page.contains("\"fetched\":false")
            && page.contains("\"pull\":\"A pull of")
    );
}

#[test]
fn layers_in_the_cache_are_not_fetched() {
    let world = world();
    let registry = Registry::start(RegistryOptions::default()).unwrap();
    registry.put_image(("lib/base", "1"), oci_architecture(), &[&layer("etc/os-release", "x")], &Value::Null);
    fs_err::create_dir_all(world.work().join("app")).unwrap();
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    world.locked("env.lock", &["frames"]);
    push(&world, &registry, "env.lock", "ml:1");
    let image = format!("{}/ml:1", registry.host());
    let fetched = || {
        registry.forget();
        let found = size(&world, &[&image])[0].clone();
        let layers = found["layers"].as_array().unwrap().clone();
        let layers = layers.iter().filter(|layer| layer["origin"] == "packages");
        let counts: Vec<usize> = layers.map(|layer| registry.count("GET", layer["digest"].as_str().unwrap())).collect();
        (found["bytes"].clone(), counts)
    };
    let (bytes, counts) = fetched();
    assert!(!counts.is_empty() && counts.iter().all(|count| *count == 0), "{counts:?}");
    // Damaged layers are downloaded again.
    for entry in fs_err::read_dir(world.home().join(".cache/mlconda/layers-1")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none() && path.is_file() {
            let mut content = fs_err::read(&path).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            fs_err::write(&path, content).unwrap();
        }
    }
    let (again, counts) = fetched();
    assert_eq!(again, bytes);
    assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_layer_that_an_image_has_twice_is_pulled_once() {
    let world = world();
    let registry = Registry::start(RegistryOptions::default()).unwrap();
    let (one, other) = (layer("a", "1"), layer("b", &"2".repeat(3000)));
    registry.put_image(("lib/one", "1"), oci_architecture(), &[&one], &Value::Null);
    registry.put_image(("lib/twice", "1"), oci_architecture(), &[&one, &other, &other], &Value::Null);
    let [one, twice] = ["one", "twice"].map(|name| format!("{}/lib/{name}:1", registry.host()));
    let found = size(&world, &[&one, &twice]);
    assert_eq!(found[1]["fetched"]["layers"], 1);
    assert_eq!(found[1]["fetched"]["bytes"], found[1]["layers"][1]["bytes"]);
    let text = world.mlconda(["size", &one, &twice]).success().stdout;
    assert!(text.contains(" to pull in 2 layers\n") && text.contains(" fetches 1 of 2 layers, "), "{text}");
}

#[test]
fn a_bundle_is_a_lock_by_whatever_name() {
    let world = world();
    world.locked("env.lock", &["frames"]);
    world.mlconda(["bundle", "env.lock", "-o", "env.tar"]).success();
    let of = |place: &str| size(&world, &[place])[0]["packages"].clone();
    assert_eq!(of("env.tar"), of("env.lock"));
    world.mlconda(["sbom", "env.tar"]).success();
}

#[test]
fn a_signal_ends_the_reading_of_an_image() {
    let (world, registry) = with_images();
    registry.fail("GET", "/blobs/", Failure::Silent, 99);
    let image = format!("{}/ml:1", registry.host());
    for arguments in [["size", &image], ["sbom", &image]] {
        registry.forget();
        registry.fail("GET", "/referrers/", Failure::Silent, 99);
        let mut child = begin(&world, &arguments);
        while registry.count("GET", "/blobs/") + registry.count("GET", "/referrers/") == 0 {
            std::thread::yield_now();
            assert!(child.try_wait().unwrap().is_none(), "it has ended before");
        }
        let (code, said) = stop(child, Signal::INT);
        assert_eq!(code, 130, "{said}");
        assert!(!said.contains("removing"), "{said}");
    }
}

#[test]
fn what_goes_wrong_with_an_image_is_told() {
    let (world, registry) = with_images();
    let image = format!("{}/lib/base:1", registry.host());
    let error = |place: &str| {
        let stderr = world.mlconda(["size", place]).failure(1).stderr.replace(&registry.host(), "HOST");
        stderr[stderr.find("error: ").unwrap()..].to_owned()
    };
    let document: Value = serde_json::from_slice(&registry.manifest("lib/base", "1").unwrap().1).unwrap();
    let digest = document["layers"][0]["digest"].as_str().unwrap();
    registry.fail("GET", digest, Failure::Corrupted, 1);
    let told = error(&image);
    assert!(
        told.starts_with(&format!(
            "error: the blob `{digest}` of `HOST/lib/base` is invalid: its bytes have the digest"
        )),
        "{told}"
    );
    registry.put_image(("lib/hostile", "1"), oci_architecture(), &[&layer("x", "y")[..600]], &Value::Null);
    let told = error(&format!("{}/lib/hostile:1", registry.host()));
    assert!(told.contains(" is invalid: its tar is cut off"), "{told}");
    let missing = error(&format!("{}/lib/base:9", registry.host()));
    assert!(missing.starts_with("error: there is no image `HOST/lib/base:9`"), "{missing}");
}

#[test]
fn places_that_are_nothing_say_what_was_looked_for() {
    let world = world();
    world.locked("env.lock", &["frames"]);
    fs_err::create_dir_all(world.work().join("somewhere")).unwrap();
    let error = |command: &str, place: &str| world.mlconda([command, place]).failure(1).stderr;
    insta::allow_duplicates! {
    for command in ["size", "sbom"] {
        assert_snapshot!(error(command, "env.lokc"), @r"
        error: there is no file or directory `env.lokc`
        hint: an image is named with its registry or its tag, as in `env.lokc:latest`; an environment under the root prefix is named by `-n NAME`
        ");
        assert_snapshot!(error(command, "nev.lock"), @r"
        error: there is no file or directory `nev.lock`
        hint: beside it there is `env.lock`
        ");
        assert_snapshot!(error(command, "somewhere"), @r"
        error: `somewhere` is neither the prefix of an environment (it has no `conda-meta`) nor an image layout (it has no `oci-layout`)
        hint: name a lock, the prefix of an environment, or an image
        ");
        assert_snapshot!(error(command, "somewhere/typo"), @r"
        error: there is no file or directory `somewhere/typo`
        hint: an image is named with its registry or its tag, as in `somewhere/typo:latest`; an environment under the root prefix is named by `-n NAME`
        ");
        assert_snapshot!(error(command, "/nowhere/typo"), @r"
        error: there is no file or directory `/nowhere/typo`
        hint: an environment under the root prefix is named by `-n NAME`
        ");
        let layout = error(command, "oci:somewhere");
        assert!(
            layout.contains("error: there is no OCI layout in `") && layout.contains("no file `index.json` is in it"),
            "{layout}"
        );
    }
    }
}
