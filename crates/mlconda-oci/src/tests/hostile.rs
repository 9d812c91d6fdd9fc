//! Base images that are not valid, and registries that fail while a base image is read.

use mlconda_test::registry::Failure;

use super::*;

/// A registry with the base `base:latest`.
fn world() -> (World, Vec<u8>) {
    let world = World::new(ServerOptions::default());
    let bytes = layer(5, 300_000);
    world.server.put_image(("base", "latest"), "amd64", &[&bytes], &json!({}));
    (world, bytes)
}

/// The base image with a changed manifest.
fn changed(change: impl Fn(&mut Value)) -> (World, String) {
    let (world, _) = world();
    let (kind, bytes) = world.server.manifest("base", "latest").unwrap();
    let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
    change(&mut manifest);
    world.server.put_manifest("base", "latest", &kind, manifest.to_string().as_bytes());
    let words = world.words(world.base("base"));
    (world, words)
}

#[test]
fn what_is_not_there_is_told() {
    let (world, _) = world();
    assert_eq!(world.words(world.base("base:2")), "there is no image `HOST/base:2` (it says: NOT_FOUND status 404)");
    assert_eq!(world.words(world.base("none:2")), "there is no image `HOST/none:2` (it says: NOT_FOUND status 404)");
}

#[test]
fn a_base_of_another_platform_is_refused() {
    let (world, _) = world();
    let base = Base::Registry(world.reference("base"));
    let load = |subdir| block_on(base.load(&world.registries, &platform(subdir), &()));
    let expected = "the image `HOST/base:latest` is not for linux/arm64: it is for `linux/amd64`";
    assert_eq!(world.words(load("linux-aarch64")), expected);

    let images = Images::several(vec![image("linux-64", &[]), image("linux-aarch64", &[])], &[]);
    world.push(&images, "base:latest").unwrap();
    assert_eq!(load("linux-aarch64").unwrap().digest, Some(images.images[1].manifest.descriptor.digest));
    let expected = "the image `HOST/base:latest` is not for linux/ppc64le: it is for `linux/amd64`, `linux/arm64`";
    assert_eq!(world.words(load("linux-ppc64le")), expected);
}

#[test]
fn digests_and_sizes_that_lie_are_found() {
    let (world, bytes) = world();
    let whole = world.base("base").unwrap();
    let digest = whole.digest.unwrap();
    world.server.fail("GET", "/manifests/", Failure::Corrupted, 1);
    let words = world.words(world.base("base"));
    assert!(
        words.starts_with(&format!("the image `HOST/base:latest` is invalid: its digest is to be `{digest}`")),
        "{words}"
    );
    world.server.fail("GET", "/manifests/", Failure::Body(b"{}".to_vec()), 1);
    let words = world.words(world.base(&format!("base@{digest}")));
    assert!(words.contains("is invalid: its digest is to be"), "{words}");
    world.server.fail("GET", "/blobs/", Failure::Corrupted, 1);
    let words = world.words(world.base("base"));
    assert!(words.contains("is invalid: its bytes have the digest `sha256:"), "{words}");

    world.server.fail("GET", "/blobs/", Failure::Corrupted, 1);
    let words = world.words(block_on(whole.layers[0].bytes(1 << 20)));
    assert!(words.contains("is invalid: its bytes have the digest `sha256:"), "{words}");
    world.server.fail("GET", "/blobs/", Failure::Body(layer(5, 299_999)), 1);
    let words = world.words(block_on(whole.layers[0].bytes(1 << 20)));
    assert!(words.contains("is invalid: it has 299999 bytes, not 300000"), "{words}");
    world.server.fail("GET", "/blobs/", Failure::Endless, 1);
    let words = world.words(block_on(whole.layers[0].bytes(1 << 20)));
    assert!(words.contains("it has more than"), "{words}");
    assert_eq!(block_on(whole.layers[0].bytes(1 << 20)).unwrap(), bytes);
}

#[test]
fn a_blob_that_breaks_off_goes_on_where_it_was() {
    let (world, bytes) = world();
    let layers = world.base("base").unwrap().layers;
    world.server.fail("GET", "/blobs/", Failure::BreakOff(100_000), 1);
    assert_eq!(block_on(layers[0].bytes(1 << 20)).unwrap(), bytes);
    let ranges: Vec<_> =
        world.server.requests().iter().filter_map(|request| request.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=100000-"]);
    // The number of attempts is limited.
    world.server.fail("GET", "/blobs/", Failure::BreakOff(10), 99);
    let words = world.words(block_on(layers[0].bytes(1 << 20)));
    assert!(words.starts_with("cannot get an answer for the blob `sha256:"), "{words}");
}

#[test]
fn manifests_without_end_are_not_read() {
    let (world, _) = world();
    for failure in [Failure::Endless, Failure::Body(vec![b' '; 5 << 20])] {
        world.server.fail("GET", "/manifests/", failure, 1);
        let words = world.words(world.base("base"));
        assert!(words.ends_with("it has more than 4 MiB, which is the limit"), "{words}");
    }
    world.server.fail("GET", "/manifests/", Failure::WrongLength, 99);
    let words = world.words(world.base("base"));
    assert!(words.ends_with("the answer broke off"), "{words}");
}

#[test]
fn what_is_no_image_is_refused_with_the_reason() {
    let (world, _) = world();
    world.server.fail("GET", "/manifests/", Failure::MediaType("application/vnd.oci.image.index.v1+json"), 1);
    let words = world.words(world.base("base"));
    assert!(
        words.contains("it says that it is `application/vnd.docker.distribution.manifest.v2+json`, and the"),
        "{words}"
    );
    let prefix = "the image `HOST/base:latest` is invalid: ";
    for (change, reason) in [
        (
            Box::new(|manifest: &mut Value| manifest["layers"][0]["urls"] = json!(["https://elsewhere"]))
                as Box<dyn Fn(&mut Value)>,
            "a blob of it is at URLs outside of the registry (`urls`), which are not used",
        ),
        (
            Box::new(|manifest| {
                manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar")
            }),
            "a layer of it is one that no registry may give (`foreign`)",
        ),
        (
            Box::new(|manifest| manifest["layers"][0]["mediaType"] = json!("text/x")),
            "a layer of it is `text/x`, which no engine knows",
        ),
        (Box::new(|manifest| manifest["layers"] = json!([])), "its config has 1 layers, but its manifest 0"),
        (Box::new(|manifest| manifest["layers"] = json!({})), "it has no list of layers"),
        (
            Box::new(|manifest| manifest["config"]["mediaType"] = json!("text/y")),
            "it is no image, but an artifact with a config of `text/y`",
        ),
        (Box::new(|manifest| manifest["config"]["size"] = json!("big")), "a descriptor has no `size`"),
        (
            Box::new(|manifest| manifest["schemaVersion"] = json!(1)),
            "it is in the first format of docker, which has no digests of its layers",
        ),
    ] {
        assert_eq!(changed(change).1, format!("{prefix}{reason}"));
    }
    let (_, words) = changed(|manifest| manifest["config"]["size"] = json!(1u64 << 40));
    assert!(words.contains("it has 1099511627776 bytes, and 4194304 is the limit"), "{words}");
    let (_, words) = changed(|manifest| manifest["config"]["digest"] = json!("sha256:../../etc"));
    assert!(
        words.starts_with("`sha256:../../etc` is not a sha256 digest: expected `sha256:` and 64 hexadecimal digits"),
        "{words}"
    );
}

#[test]
fn a_tag_that_moves_does_not_mix_two_images() {
    let (world, _) = world();
    let index = Images::several(vec![image("linux-64", &[layer(1, 10)])], &[]);
    world.push(&index, "base:latest").unwrap();
    let other = image("linux-64", &[layer(2, 10)]);
    let crate::Content::Bytes(bytes) = &other.manifest.content else { panic!("it is in memory") };
    world.server.fail("GET", "/manifests/latest", Failure::MovesTag(bytes.to_vec()), 1);
    // The digest of the first answer is required, to the last byte.
    assert_eq!(world.base("base").unwrap().digest, Some(index.images[0].manifest.descriptor.digest));
    let words = world.words(world.base("base"));
    assert!(words.starts_with("there is no blob `sha256:"), "{words}");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let (world, _) = world();
    let reference: Reference = "127.0.0.1:1/x".parse().unwrap();
    let words = world.words(world.load(&Base::Registry(reference)));
    assert_eq!(
        words,
        "cannot get an answer for the image `127.0.0.1:1/x:latest`: cannot reach \
         `http://127.0.0.1:1/v2/x/manifests/latest`: Connection refused (os error 111)"
    );
}
