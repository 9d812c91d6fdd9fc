//! `image --push` and related commands with a registry on loopback: uploads, logins, and failures.

use insta::assert_snapshot;
use mlconda_test::{
    context::{Outcome, TestContext},
    oci_architecture,
    registry::{Access, Failure, Registry, RegistryOptions},
    tree,
};
use rustix::process::Signal;

use crate::{
    stopping::{begin, stop},
    world,
};

/// A registry with the base `lib/base:1`, and a context with a lock.
fn with_base(options: RegistryOptions) -> (TestContext, Registry) {
    let world = world();
    let registry = Registry::start(options).unwrap();
    let config = serde_json::json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]});
    registry.put_image(("lib/base", "1"), oci_architecture(), &[&[7; 5000]], &config);
    world.locked("env.lock", &["frames"]);
    (world, registry)
}

/// The error and its hint, without the port of the registry.
fn error(outcome: Outcome, registry: &Registry) -> String {
    let stderr = outcome.failure(1).stderr.replace(&registry.host(), "HOST");
    stderr[stderr.find("error: ").unwrap()..].to_owned()
}

/// Runs `mlconda image env.lock --push`, with the base of the registry.
fn push(world: &TestContext, registry: &Registry, tag: &str, further: &[&str]) -> Outcome {
    let (host, tag) = (registry.host(), format!("{}/{tag}", registry.host()));
    let base = format!("{host}/lib/base:1");
    let arguments = ["image", "env.lock", "--push", "--tag", &tag, "--base", &base];
    world.mlconda(arguments.iter().chain(further))
}

#[test]
fn an_image_is_pushed_and_nothing_of_it_is_sent_twice() {
    let (world, registry) = with_base(RegistryOptions::default());
    push(&world, &registry, "team/ml:1", &[]).success();
    let (_, manifest) = registry.manifest("team/ml", "1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let annotations = &manifest["annotations"];
    assert_eq!(annotations["org.opencontainers.image.base.name"], format!("{}/lib/base:1", registry.host()));
    // The layer of the base was mounted: only its config was read.
    assert_eq!((registry.count("GET", "lib/base/blobs/"), registry.count("POST", "mount=")), (1, 1));

    registry.forget();
    let like = format!("{}/team/ml:1", registry.host());
    let again = push(&world, &registry, "team/ml:2", &["--like", &like]).success();
    assert!(again.stderr.contains(": nothing was sent, "), "{}", again.stderr);
    assert_eq!(registry.count("POST", ""), 0);
    assert_eq!(registry.manifest("team/ml", "1"), registry.manifest("team/ml", "2"));
}

#[test]
fn a_bill_of_materials_is_attached_and_read_back() {
    for has_referrers in [true, false] {
        let (world, registry) = with_base(RegistryOptions { has_referrers, ..RegistryOptions::default() });
        push(&world, &registry, "team/ml:1", &["--sbom"]).success();
        let image = format!("{}/team/ml:1", registry.host());
        let bill = world.mlconda(["sbom", &image]).success();
        let of_lock = world.mlconda(["sbom", "env.lock"]).success();
        assert_eq!(bill.stdout, of_lock.stdout);
        let spdx = error(world.mlconda(["sbom", &image, "--format", "spdx"]), &registry);
        let expected = "error: `HOST/team/ml:1` has an SBOM in the CycloneDX format\nhint: leave out `--format`\n";
        assert_eq!(spdx, expected);
    }
    let (world, registry) = with_base(RegistryOptions::default());
    let base = format!("{}/lib/base:1", registry.host());
    assert_snapshot!(error(world.mlconda(["sbom", &base]), &registry), @r"
    error: `HOST/lib/base:1` has no SBOM
    hint: `mlconda image --sbom` attaches one; `mlconda sbom LOCK` writes the SBOM of a lock
    ");
}

#[test]
fn logins_of_docker_and_podman_are_used_and_never_shown() {
    let access = Access::Token("me".to_owned(), "s3cret".to_owned());
    let (world, registry) = with_base(RegistryOptions { access, ..RegistryOptions::default() });
    assert_snapshot!(error(push(&world, &registry, "team/ml:1", &[]), &registry), @r"
    error: `HOST` denies a push to `HOST/team/ml`: no login for it is stored (it says: UNAUTHORIZED status 401)
    hint: log in with `docker login HOST` or `podman login HOST`: mlconda reads their logins, or the file that `REGISTRY_AUTH_FILE` names
    ");
    let write = |place: &str, password: &str| {
        let path = world.home().join(place);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let host = registry.host();
        let text = format!(r#"{{"auths": {{"{host}": {{"username": "me", "password": "{password}"}}}}}}"#);
        fs_err::write(path, text).unwrap();
    };
    write(".docker/config.json", "wr0ng");
    let denied = push(&world, &registry, "team/ml:1", &[]).failure(1);
    assert!(!denied.stderr.contains("wr0ng"), "{}", denied.stderr);
    // podman's login file comes before docker's.
    write(".config/containers/auth.json", "s3cret");
    push(&world, &registry, "team/ml:1", &["-v"]).success();
    assert!(registry.manifest("team/ml", "1").is_some());
}

#[test]
fn what_goes_wrong_is_told_and_leaves_no_manifest() {
    let (world, registry) = with_base(RegistryOptions::default());
    let base = |base: &str| {
        let tag = format!("{}/x:1", registry.host());
        let base = base.replace("HOST", &registry.host());
        error(world.mlconda(["image", "env.lock", "--push", "--tag", &tag, "--base", &base]), &registry)
    };
    assert_snapshot!(base("HOST/lib/base:2"), @r"
    error: there is no image `HOST/lib/base:2` (it says: NOT_FOUND status 404)
    hint: check the name and the tag
    ");
    assert_snapshot!(base("HOST/Lib/base"), @r"
    error: `HOST/Lib/base` is not an image name: a repository is written in lower case
    hint: an image is named `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`, as in `registry.example.org/team/ml:1`
    ");
    registry.put_image(("lib/other", "1"), "s390x", &[&[7; 10]], &serde_json::json!({}));
    let other = base("HOST/lib/other:1").replace(oci_architecture(), "ARCHITECTURE");
    assert_snapshot!(other, @r"
    error: the image `HOST/lib/other:1` is not for linux/ARCHITECTURE: it is for `linux/s390x`
    hint: name an image that is for it, or that is for several platforms
    ");
    assert_snapshot!(error(world.mlconda(["image", "env.lock", "--push", "--tag", "ml", "--base", "scratch"]), &registry), @r"
    error: `ml` has no registry to push to
    hint: name it, as in `--tag registry.example.org/team/ml`
    ");
    registry.fail("PUT", "/blobs/uploads/", Failure::Status(507), 99);
    let full = error(push(&world, &registry, "team/ml:1", &[]), &registry);
    assert!(full.starts_with("error: the registry answers 507 Insufficient Storage for the blob `sha256:"), "{full}");
    assert!(registry.manifest("team/ml", "1").is_none());
}

#[test]
fn a_signal_ends_a_push_without_a_manifest() {
    let (world, registry) = with_base(RegistryOptions::default());
    registry.fail("PUT", "/blobs/uploads/", Failure::Silent, 99);
    let tag = format!("{}/team/ml:1", registry.host());
    let base = format!("{}/lib/base:1", registry.host());
    let arguments = ["image", "env.lock", "--push", "--tag", &tag, "--base", &base];
    let before = world.tree();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        registry.forget();
        let mut child = begin(&world, &arguments);
        while registry.count("PUT", "/blobs/uploads/") == 0 {
            std::thread::yield_now();
            assert!(child.try_wait().unwrap().is_none(), "it has ended before");
        }
        let (found, said) = stop(child, signal);
        assert_eq!(found, code, "{said}");
        assert!(registry.manifest("team/ml", "1").is_none());
        assert_eq!(tree::difference(&before, &world.tree()), "");
    }
}

#[test]
fn a_layout_gets_images_under_their_tags() {
    let (world, registry) = with_base(RegistryOptions::default());
    let base = format!("{}/lib/base:1", registry.host());
    let image = |tag: &str, further: &[&str]| {
        let arguments = ["image", "env.lock", "--oci-layout", "images", "--tag", tag, "--base", &base];
        world.mlconda(arguments.iter().chain(further)).success();
    };
    image("ml:1", &["--sbom"]);
    image("ml:2", &["--env", "A=1"]);
    let index: serde_json::Value = serde_json::from_str(&world.read("images/index.json")).unwrap();
    let tags: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str())
        .collect();
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(
        world.mlconda(["sbom", "oci:images:1"]).success().stdout,
        world.mlconda(["sbom", "env.lock"]).success().stdout
    );
    world.mlconda(["sbom", "oci:images:2"]).failure(1);
    // It can be the base of another image, too.
    world
        .mlconda(["image", "env.lock", "--tag", "next", "-o", "next.tar", "--base", "oci:images:1", "-n", "next"])
        .success();
}
