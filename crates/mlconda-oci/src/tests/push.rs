//! Pushes: what is sent, in which order, and the state after a failure.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use mlconda_channel::network::Limits;
use mlconda_test::registry::{Access, Failure};

use super::*;

#[test]
fn blobs_are_sent_once_and_manifests_last() {
    let world = World::new(ServerOptions::default());
    let images = Images::several(
        vec![image("linux-64", &[layer(1, 9000), layer(2, 10)]), image("linux-aarch64", &[layer(1, 9000)])],
        &[],
    );
    let pushed = world.push(&images, "me/app:1").unwrap();
    assert_eq!((pushed.sent, pushed.there, pushed.mounted), (4, 0, 0));
    assert!(pushed.reference.to_string().ends_with(&format!(":1@{}", images.root().digest)));
    let puts: Vec<String> = world
        .server
        .requests()
        .into_iter()
        .filter(|request| request.method == "PUT")
        .map(|request| request.path)
        .collect();
    let is_manifest: Vec<bool> = puts.iter().map(|path| path.contains("/manifests/")).collect();
    assert_eq!(is_manifest, [false, false, false, false, true, true, true]);
    assert!(puts[6].ends_with("/manifests/1"));
    let (kind, bytes) = world.server.manifest("me/app", "1").unwrap();
    assert_eq!((kind.as_str(), crate::Digest::of(&bytes)), (media_type::INDEX, images.root().digest));

    world.server.forget();
    let again = world.push(&images, "me/app:2").unwrap();
    assert_eq!((again.sent, again.sent_bytes, again.there), (0, 0, 4));
    assert_eq!(world.server.count("POST", ""), 0);
    // The pulled image is the pushed one.
    assert_eq!(world.base("me/app:2").unwrap().digest, Some(images.images[0].manifest.descriptor.digest));
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_it_was() {
    let world = World::new(ServerOptions::default());
    world.server.fail("PUT", "/blobs/uploads/", Failure::BreakOff(300_000), 1);
    let bytes = layer(3, 1_000_000);
    let images = Images::one(image("linux-64", std::slice::from_ref(&bytes)));
    world.push(&images, "app:1").unwrap();
    let digest = images.images[0].layers[0].descriptor.digest.to_string();
    assert_eq!(world.server.blob("app", &digest), Some(bytes));
    let patches: Vec<_> = world.server.requests().into_iter().filter(|request| request.method == "PATCH").collect();
    assert_eq!(patches.len(), 1);
    assert_eq!(patches[0].headers["content-range"], "300000-999999");
    assert_eq!(patches[0].bytes, 700_000);
}

#[test]
fn what_passes_is_tried_again() {
    let world = World::new(ServerOptions::default());
    world.server.fail("HEAD", "/blobs/", Failure::RetryAfter(429, "0"), 1);
    world.server.fail("POST", "/blobs/uploads/", Failure::Status(500), 1);
    world.server.fail("POST", "/blobs/uploads/", Failure::HangUp, 1);
    world.server.fail("PUT", "/blobs/uploads/", Failure::Status(503), 1);
    world.server.fail("PUT", "/blobs/uploads/", Failure::HangUp, 1);
    world.server.fail("PUT", "/manifests/", Failure::Status(502), 1);
    world.push(&Images::one(image("linux-64", &[layer(1, 100)])), "app:1").unwrap();
    assert!(world.server.manifest("app", "1").is_some());
}

#[test]
fn a_blob_whose_answer_is_lost_is_not_sent_again() {
    let world = World::new(ServerOptions::default());
    world.server.fail("PUT", "/blobs/uploads/", Failure::LostAnswer, 1);
    let images = Images::one(image("linux-64", &[layer(1, 100_000)]));
    world.push(&images, "app:1").unwrap();
    assert_eq!(world.server.count("PUT", "/blobs/uploads/"), 2);
}

#[test]
fn a_push_that_fails_leaves_no_manifest() {
    for (failure, reason) in [
        (
            Failure::Status(500),
            "the registry answers 500 Internal Server Error for the blob `DIGEST` (it says: UNKNOWN status 500)",
        ),
        (
            Failure::Status(413),
            "the registry answers 413 Payload Too Large for the blob `DIGEST` (it says: UNKNOWN status 413)",
        ),
        (
            Failure::Status(403),
            "`HOST` denies the blob `DIGEST`: no login for it is stored (it says: DENIED status 403)",
        ),
    ] {
        let world = World::new(ServerOptions::default());
        let images = Images::one(image("linux-64", &[layer(1, 100_000)]));
        world.server.fail("PUT", "/blobs/uploads/", failure, 99);
        // The config is sent too, and may be the first that fails.
        let outcome = world.words(world.push(&images, "app:1"));
        let digests = [&images.images[0].layers[0], &images.images[0].config].map(|blob| blob.descriptor.digest);
        let outcome = digests.iter().fold(outcome, |words, digest| words.replace(&digest.to_string(), "DIGEST"));
        assert_eq!(outcome, reason);
        assert_eq!(world.server.manifests(), 0);
    }
    let world = World::new(ServerOptions::default());
    world.server.fail("PUT", "/blobs/uploads/", Failure::BreakOff(10), 99);
    world.server.fail("PATCH", "/blobs/uploads/", Failure::BreakOff(10), 99);
    let outcome = world.words(world.push(&Images::one(image("linux-64", &[layer(1, 100_000)])), "app:1"));
    assert!(outcome.starts_with("cannot get an answer for the blob `sha256:"), "{outcome}");
    // The URL of an upload may contain secrets, and must not be in messages.
    assert!(!outcome.contains("secret"), "{outcome}");
    assert_eq!(world.server.manifests(), 0);
}

#[test]
fn a_file_that_has_changed_is_not_pushed() {
    let world = World::new(ServerOptions::default());
    let path = world.directory.path().join("layer");
    for changed in [layer(2, 600_000), layer(1, 600_001), layer(1, 599_999)] {
        let mut image = image("linux-64", &[layer(1, 600_000)]);
        fs_err::write(&path, changed).unwrap();
        image.layers[0].content = crate::Content::File(path.clone());
        let outcome = world.words(world.push(&Images::one(image), "app:1"));
        assert!(outcome.contains("/layer` is invalid: its bytes have") || outcome.contains("it has"), "{outcome}");
        assert_eq!(world.server.manifests(), 0);
    }
}

#[test]
fn layers_of_a_base_in_the_same_registry_are_mounted() {
    for refuses_mounts in [false, true] {
        let world = World::new(ServerOptions { refuses_mounts, ..ServerOptions::default() });
        let (low, high) = (layer(7, 50_000), layer(8, 100));
        world.server.put_image(("lib/base", "1"), "amd64", &[&low], &json!({"Env": ["PATH=/bin"]}));
        let base = world.base("lib/base:1").unwrap();
        assert_eq!(base.config.variable("PATH").as_deref(), Some("/bin"));
        assert_eq!(world.server.count("GET", "/blobs/"), 1, "only the config is read");
        let own = Blob::new(media_type::LAYER, high);
        let mut config = base.config.clone();
        config.add_layer(&own.descriptor.digest, &LayerHistory::new("test"));
        let layers = base.layers.iter().cloned().chain([own]).collect();
        let images = Images::one(Image::new(&config, layers, &[]).unwrap());
        world.server.forget();
        let pushed = world.push(&images, "me/app:1").unwrap();
        assert_eq!((pushed.mounted, pushed.sent), if refuses_mounts { (0, 3) } else { (1, 2) });
        // The upload that the registry begins instead of a mount is used.
        assert_eq!(world.server.count("POST", "/blobs/uploads/"), 3);
        assert_eq!(world.server.bytes_received() > 50_000, refuses_mounts);
        assert_eq!(world.base("me/app:1").unwrap().layers.len(), 2);
        // In the repository of the base image, its blobs are neither sent nor mounted.
        assert_eq!(world.push(&images, "lib/base:2").unwrap().there, 1);
    }
}

#[test]
fn a_registry_may_take_its_time_to_store_a_blob() {
    let (short, long) = (Duration::from_millis(150), Duration::from_secs(60));
    let limits = Limits { read_timeout: short, stored: long, ..Limits::default() };
    let world = World::with(ServerOptions::default(), &|_| Value::Null, limits);
    world.server.fail("PUT", "/blobs/uploads/", Failure::Late(3 * short), 99);
    let images = Images::one(image("linux-64", &[layer(1, 1_000_000)]));
    world.push(&images, "app:1").unwrap();
    assert_eq!(world.server.count("PUT", "/blobs/uploads/"), 2, "each was sent once");
    // The same after a resumed upload, whose last request has no body.
    world.server.forget();
    world.server.recover();
    world.server.fail("PUT", "/blobs/uploads/", Failure::BreakOff(300_000), 1);
    world.server.fail("PUT", "/blobs/uploads/", Failure::Late(3 * short), 99);
    world.push(&Images::one(image("linux-64", &[layer(2, 1_000_000)])), "app:2").unwrap();
    assert_eq!((world.server.count("PATCH", ""), world.server.count("GET", "/blobs/uploads/")), (1, 1));
    assert!(world.server.manifest("app", "2").is_some());
}

#[test]
fn a_registry_that_never_says_that_it_has_stored_a_blob_is_given_up() {
    let short = Duration::from_millis(20);
    let limits = Limits { read_timeout: short, stored: 2 * short, ..Limits::default() };
    let world = World::with(ServerOptions::default(), &|_| Value::Null, limits);
    world.server.fail("PUT", "/blobs/uploads/", Failure::Silent, 99);
    let words = world.words(world.push(&Images::one(image("linux-64", &[layer(1, 100)])), "app:1"));
    assert!(words.starts_with("cannot get an answer for the blob `sha256:"), "{words}");
    assert_eq!(world.server.manifests(), 0);
}

/// A second host that forwards its requests to the registry.
fn other_host(server: &Registry) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, registry) = (listener.local_addr().unwrap().to_string(), server.host());
    let forward = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&registry) else { return };
            forward(client.try_clone().unwrap(), server.try_clone().unwrap());
            forward(server, client);
        }
    });
    host
}

#[test]
fn uploads_to_another_host_have_no_login_and_are_tried_again() {
    let access = Access::Basic("me".to_owned(), "s3cret".to_owned());
    let login = |host: &str| json!({"auths": {host: {"username": "me", "password": "s3cret"}}});
    let world = World::with_logins(ServerOptions { access, ..ServerOptions::default() }, &login);
    let other = other_host(&world.server);
    world.server.fail("POST", "/blobs/uploads/", Failure::Elsewhere(other.clone()), 99);
    world.server.fail("PUT", "/blobs/uploads/", Failure::BreakOff(300_000), 1);
    world.server.fail("PUT", "/blobs/uploads/", Failure::Status(503), 1);
    world.server.fail("PATCH", "/blobs/uploads/", Failure::Status(500), 1);
    let images = Images::one(image("linux-64", &[layer(1, 1_000_000), layer(2, 100)]));
    world.push(&images, "me/app:1").unwrap();
    assert!(world.server.manifest("me/app", "1").is_some());
    let requests = world.server.requests();
    let elsewhere: Vec<_> = requests.iter().filter(|request| request.headers["host"] == other).collect();
    assert!(["PUT", "PATCH", "GET"].iter().all(|method| elsewhere.iter().any(|request| request.method == *method)));
    assert!(elsewhere.iter().all(|request| !request.headers.contains_key("authorization")));
    let is_sent = |request: &&mlconda_test::registry::RegistryRequest| request.method == "PUT" && request.status == 201;
    assert_eq!(elsewhere.iter().filter(|request| is_sent(request)).count(), 3);
}
