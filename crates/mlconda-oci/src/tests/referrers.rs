//! Artifacts that are attached to images. They are found by their type, on any page, beside any other entries.

use mlconda_test::registry::Failure;

use super::*;

/// An artifact that is attached to an image.
fn attach(images: &mut Images, kind: &str, text: &str) {
    let blob = Blob::new(kind, text.as_bytes().to_vec());
    let artifact = Artifact::new(&images.images[0].manifest.descriptor, kind, blob, &[("text", text)]);
    images.artifacts.push(artifact);
}

fn options(has_referrers: bool) -> ServerOptions {
    ServerOptions { has_referrers, ..ServerOptions::default() }
}

#[test]
fn a_bill_is_attached_and_read_back() {
    for has_referrers in [true, false] {
        let world = World::new(options(has_referrers));
        let images = with_bill();
        world.push(&images, "app:1").unwrap();
        // After a second push, the artifact still is there once.
        world.push(&images, "app:1").unwrap();
        let found = world.bill(&Base::Registry(world.reference("app:1"))).unwrap();
        assert_eq!(found.bytes.unwrap(), b"{\"bill\": true}");
        assert!(found.types.is_empty() && found.unread.is_empty());
        let tag = format!("sha256-{}", images.root().digest.hex());
        assert_eq!(world.server.manifest("app", &tag).is_none(), has_referrers);
    }
}

#[test]
fn the_type_chooses_and_others_are_not_read() {
    for has_referrers in [true, false] {
        let world = World::new(options(has_referrers));
        let mut images = Images::one(image("linux-64", &[layer(1, 5000)]));
        (0..5).for_each(|number| attach(&mut images, "application/x-signature", &format!("{number}")));
        attach(&mut images, BILL, "{\"bill\": 1}");
        world.push(&images, "app:1").unwrap();
        world.server.forget();
        let found = world.bill(&Base::Registry(world.reference("app:1"))).unwrap();
        assert_eq!(found.bytes.unwrap(), b"{\"bill\": 1}");
        // Requested manifests: the image, the tag of the referrers if there is no API, and the bill.
        assert_eq!(world.server.count("GET", "/manifests/"), if has_referrers { 2 } else { 3 });
    }
}

#[test]
fn each_image_of_an_index_has_its_bill() {
    let world = World::new(options(true));
    let mut images =
        Images::several(vec![image("linux-64", &[layer(1, 900)]), image("linux-aarch64", &[layer(2, 900)])], &[]);
    attach(&mut images, BILL, "{\"bill\": 64}");
    images.images.reverse();
    attach(&mut images, BILL, "{\"bill\": \"arm\"}");
    images.images.reverse();
    world.push(&images, "app:1").unwrap();
    let base = Base::Registry(world.reference("app:1"));
    assert_eq!(world.bill(&base).unwrap().bytes.unwrap(), b"{\"bill\": 64}");
    assert_eq!(world.bill_for(&base, "linux-aarch64").unwrap().bytes.unwrap(), b"{\"bill\": \"arm\"}");
}

#[test]
fn what_cannot_be_read_is_passed_over_and_told() {
    let world = World::new(options(true));
    let mut images = Images::one(image("linux-64", &[layer(1, 5000)]));
    attach(&mut images, BILL, "no JSON");
    attach(&mut images, BILL, &format!("[{}]", "1,".repeat(2000)));
    attach(&mut images, BILL, "{\"bill\": 2}");
    world.push(&images, "app:1").unwrap();
    let base = Base::Registry(world.reference("app:1"));
    let good = images.artifacts[2].manifest.descriptor.digest.to_string();
    let found = world.bill(&base).unwrap();
    assert_eq!(found.bytes.unwrap(), b"{\"bill\": 2}");
    assert!(found.unread.len() <= 2);
    // The manifest of the artifact differs from its digest in the index of referrers.
    world.server.fail("GET", &good, Failure::Corrupted, 99);
    let found = world.bill(&base).unwrap();
    assert_eq!((found.bytes, found.unread.len()), (None, 3));
    let told = found.unread.join("\n");
    for words in ["its content is no JSON", "and 1000 is the limit", "its digest is to be `sha256:"] {
        assert!(told.contains(words), "{words} in {told}");
    }
    world.server.recover();
    // An entry that is not valid, beside a valid one.
    let (_, index) = (0, r#"{"schemaVersion": 2, "manifests": [{"mediaType": 7}, ENTRY]}"#);
    let entry = images.artifacts[2].manifest.descriptor.to_json().to_string();
    world.server.fail("GET", "/referrers/", Failure::Body(index.replace("ENTRY", &entry).into_bytes()), 1);
    let found = world.bill(&base).unwrap();
    assert_eq!((found.bytes.is_some(), found.unread.len()), (true, 1));
    // If the registry refuses, that is an error.
    world.server.fail("GET", &good, Failure::Status(401), 99);
    world.server.fail("GET", "/manifests/sha256:", Failure::Status(401), 99);
    assert!(matches!(world.bill(&base), Err(OciError::Denied { .. })));
}

#[test]
fn a_list_that_does_not_arrive_is_no_list_without_a_bill() {
    let world = World::new(options(true));
    world.push(&with_bill(), "app:1").unwrap();
    let base = Base::Registry(world.reference("app:1"));
    world.server.fail("GET", "/referrers/", Failure::BreakOff(10), 99);
    let words = world.words(world.bill(&base));
    assert!(words.starts_with("cannot get an answer for what refers to `HOST/app@sha256:"), "{words}");
    world.server.recover();
    assert!(world.bill(&base).unwrap().bytes.is_some());
}

#[test]
fn artifacts_of_other_images_in_a_layout_are_no_matter() {
    let world = World::new(options(true));
    let place = world.directory.path().join("layout");
    let write = |images: &Images, tag| block_on(crate::layout::write(images, &place, Some(tag), &())).unwrap();
    let mut other = Images::one(image("linux-64", &[layer(2, 500)]));
    attach(&mut other, "application/x-signature", "1");
    attach(&mut other, BILL, "{\"bill\": \"of another one\"}");
    write(&other, "other");
    let of = |images: &Images, number: usize| {
        place.join("blobs/sha256").join(images.artifacts[number].manifest.descriptor.digest.hex())
    };
    fs_err::remove_file(of(&other, 0)).unwrap();
    let mut images =
        Images::several(vec![image("linux-64", &[layer(1, 900)]), image("linux-aarch64", &[layer(3, 900)])], &[]);
    attach(&mut images, "application/x-signature", "2");
    write(&images, "1");
    let base = Base::Layout { directory: place.clone(), tag: Some("1".to_owned()) };
    let found = world.bill(&base).unwrap();
    assert_eq!((found.bytes, found.types, found.unread), (None, vec!["application/x-signature".to_owned()], vec![]));
    // An unreadable bill may be that of the image. It is reported once, although it is read for the image and for the
    // index.
    fs_err::remove_file(of(&other, 1)).unwrap();
    assert_eq!(world.bill(&base).unwrap().unread.len(), 1);
}

#[test]
fn further_pages_are_read_of_the_same_registry_only() {
    let world = World::new(ServerOptions { referrers_on_a_page: Some(1), ..options(true) });
    let mut images = Images::one(image("linux-64", &[layer(1, 5000)]));
    (0..4).for_each(|number| attach(&mut images, "application/x-signature", &format!("{number}")));
    world.push(&images, "app:1").unwrap();
    let base = Base::Registry(world.reference("app:1"));
    let found = world.bill(&base).unwrap();
    assert_eq!((found.types.len(), world.server.count("GET", "/referrers/")), (4, 4));
    // A broken page does not hide the entries of earlier pages.
    world.server.fail("GET", "?first=2", Failure::Status(404), 1);
    let found = world.bill(&base).unwrap();
    assert_eq!((found.types.len(), found.unread.len()), (2, 1));
    let other = World::new(options(true));
    let link = format!("<http://{}/v2/app/referrers/x>; rel=\"next\"", other.server.host());
    world.server.fail("GET", "?first=1", Failure::Header("Link", link), 1);
    world.bill(&base).unwrap();
    assert_eq!(other.server.requests().len(), 0);
}

#[test]
fn pages_without_end_are_given_up() {
    let world = World::new(options(true));
    world.push(&with_bill(), "app:1").unwrap();
    world.server.fail("GET", "/referrers/", Failure::Header("Link", "<?first=0>; rel=next".to_owned()), 1000);
    let images = Images::one(image("linux-64", &[layer(9, 50)]));
    world.push(&images, "other:1").unwrap();
    let found = world.bill(&Base::Registry(world.reference("other:1"))).unwrap();
    assert_eq!(world.server.count("GET", "other/referrers/"), 50);
    assert_eq!(found.unread.len(), 1);
    assert!(found.unread[0].ends_with(", beyond 50 pages"), "{:?}", found.unread);
}

#[test]
fn the_tag_of_referrers_keeps_what_others_have_put_there() {
    let world = World::new(options(false));
    let mut images = Images::one(image("linux-64", &[layer(1, 5000)]));
    world.push(&images, "app:1").unwrap();
    let tag = format!("sha256-{}", images.root().digest.hex());
    let other = r#"{"schemaVersion":2,"manifests":[],"annotations":{"of":"others"}}"#;
    world.server.put_manifest("app", &tag, media_type::INDEX, other.as_bytes());
    attach(&mut images, BILL, "{\"bill\": 1}");
    world.push(&images, "app:1").unwrap();
    let (_, index) = world.server.manifest("app", &tag).unwrap();
    assert!(String::from_utf8(index).unwrap().contains(r#""annotations":{"of":"others"}"#));
    let base = Base::Registry(world.reference("app:1"));
    assert!(world.bill(&base).unwrap().bytes.is_some());
    // Another document under this tag is not an index.
    world.server.put_manifest("app", &tag, media_type::MANIFEST, b"{\"schemaVersion\":2}");
    let found = world.bill(&base).unwrap();
    assert_eq!((found.bytes, found.unread.len()), (None, 1));
}
