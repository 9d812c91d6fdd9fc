//! Logins: the challenges of a registry, and the answers to them.

use mlconda_test::registry::{Access, Failure};

use super::*;

fn user() -> (String, String) {
    ("me".to_owned(), "s3cret".to_owned())
}

fn basic() -> ServerOptions {
    ServerOptions { access: Access::Basic(user().0, user().1), ..ServerOptions::default() }
}

fn token() -> ServerOptions {
    ServerOptions { access: Access::Token(user().0, user().1), ..ServerOptions::default() }
}

fn stored(password: &'static str) -> impl Fn(&str) -> Value {
    move |host| json!({"auths": {host: {"username": "me", "password": password}}})
}

fn app() -> Images {
    Images::one(image("linux-64", &[layer(1, 1000), layer(2, 10), layer(3, 10)]))
}

#[test]
fn a_stored_login_is_sent_to_the_registry_that_asks_for_one() {
    for options in [basic(), token()] {
        let world = World::with_logins(options, &stored("s3cret"));
        world.push(&app(), "me/app:1").unwrap();
        world.base("me/app:1").unwrap();
        // One token for the push, and one for the pull.
        assert!(world.server.count("GET", "/token") <= 2);
    }
    let identity = ServerOptions { access: Access::Identity("s3cret".to_owned()), ..ServerOptions::default() };
    let world = World::with_logins(identity, &|host| json!({"auths": {host: {"identitytoken": "s3cret"}}}));
    world.push(&app(), "me/app:1").unwrap();
    assert_eq!(world.server.count("POST", "/token"), 1);
}

#[test]
fn without_the_right_login_it_is_denied_and_no_secret_is_told() {
    for options in [basic(), token()] {
        let world = World::new(options.clone());
        let words = world.words(world.push(&app(), "me/app:1"));
        assert!(words.starts_with("`HOST` denies a push to `HOST/me/app`: no login for it is stored"), "{words}");
        let world = World::with_logins(options, &stored("wr0ng"));
        let words = world.words(world.push(&app(), "me/app:1"));
        let expected = "`HOST` denies a push to `HOST/me/app`: the stored login does not allow it";
        assert!(words.starts_with(expected) && !words.contains("wr0ng"), "{words}");
        assert_eq!(world.server.manifests(), 0);
    }
}

#[test]
fn anybody_pulls_where_the_token_service_allows_it() {
    let world = World::new(token());
    world.server.put_image(("lib/base", "1"), "amd64", &[&layer(1, 10)], &json!({}));
    assert_eq!(world.base("lib/base:1").unwrap().layers.len(), 1);
}

#[test]
fn a_token_that_expires_in_between_is_renewed() {
    let world = World::with_logins(token(), &stored("s3cret"));
    world.push(&app(), "me/app:1").unwrap();
    world.server.expire_tokens();
    world.push(&Images::one(image("linux-64", &[layer(9, 1000)])), "me/app:2").unwrap();
    // The token expires during an upload, and the body was sent in vain.
    world.server.fail("PUT", "/blobs/uploads/", Failure::Status(401), 1);
    world.push(&Images::one(image("linux-64", &[layer(10, 1000)])), "me/app:3").unwrap();
    assert!(world.server.manifest("me/app", "3").is_some());
}

/// A host that was reached through a redirect may ask for a login, but must not decide where the registry's login is
/// sent.
#[test]
fn a_host_behind_a_redirect_gets_no_login_for_its_own_token_service() {
    let world = World::with_logins(basic(), &stored("s3cret"));
    let token =
        ServerOptions { access: Access::Token("me".to_owned(), "s3cret".to_owned()), ..ServerOptions::default() };
    let elsewhere = Registry::start(token).unwrap();
    let bytes = layer(1, 10);
    world.server.put_image(("lib/base", "1"), "amd64", &[&bytes], &json!({}));
    let base = world.base("lib/base:1").unwrap();
    let digest = elsewhere.put_blob("other", &bytes);
    world.server.fail(
        "GET",
        "/blobs/",
        Failure::Redirect(format!("http://{}/v2/other/blobs/{digest}", elsewhere.host())),
        1,
    );
    block_on(base.layers[0].bytes(100)).unwrap_err();
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(elsewhere.requests().len(), 1, "its token service was asked");
}

#[test]
fn a_login_does_not_follow_a_redirect_to_another_host() {
    let world = World::with_logins(basic(), &stored("s3cret"));
    let elsewhere = Registry::start(ServerOptions::default()).unwrap();
    let bytes = layer(1, 10);
    world.server.put_image(("lib/base", "1"), "amd64", &[&bytes], &json!({}));
    let base = world.base("lib/base:1").unwrap();
    let digest = elsewhere.put_blob("other", &bytes);
    let url = format!("http://{}/v2/other/blobs/{digest}", elsewhere.host());
    world.server.fail("GET", "/blobs/", Failure::Redirect(url), 1);
    assert_eq!(block_on(base.layers[0].bytes(100)).unwrap(), bytes);
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(elsewhere.requests().len(), 1);
}

#[test]
fn where_an_upload_goes_elsewhere_no_login_goes_along() {
    let world = World::with_logins(basic(), &stored("s3cret"));
    let repository = world.registries.repository(&world.reference("me/app")).unwrap();
    let of = |url: &str| block_on(repository.authorization(&url.parse().unwrap()));
    world.push(&app(), "me/app:1").unwrap();
    world.base("me/app:1").unwrap();
    assert!(of(&format!("http://{}/v2/x", world.server.host())).is_some());
    assert_eq!(of("http://127.0.0.2:1/v2/x"), None);
}
