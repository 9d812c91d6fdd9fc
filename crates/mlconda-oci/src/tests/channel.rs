//! Files of channels: which login is used for each request of one client.

use base64::{Engine, prelude::BASE64_STANDARD};
use mlconda_channel::network::{Cause, ChannelRegistry};
use mlconda_test::registry::Access;
use reqwest::{Method, Request, StatusCode, header::AUTHORIZATION};

use super::*;
use crate::ChannelRegistries;

/// Asks for repodata, with a login as the HTTP client sends it.
fn ask(channels: &ChannelRegistries, host: &str, login: Option<&str>) -> Result<StatusCode, (String, Cause)> {
    let url = format!("oci://{host}/c/noarch/repodata.json").parse().unwrap();
    let mut request = Request::new(Method::GET, url);
    if let Some(login) = login {
        let value = format!("Basic {}", BASE64_STANDARD.encode(login));
        request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
    }
    let answer = block_on(channels.answer(&request));
    answer.map(|answer| answer.status).map_err(|error| (error.reason, error.cause))
}

#[test]
fn a_login_of_a_url_is_that_of_its_request_only() {
    for access in [Access::Basic, Access::Token] {
        let options = ServerOptions {
            access: access("me".to_owned(), "s3cret".to_owned()),
            is_private: true,
            ..ServerOptions::default()
        };
        let world = World::new(options);
        let host = world.server.host();
        world.server.put_artifact("c/noarch/repodata.json", "latest", &[("repodata.v1+json", b"{}".to_vec())]);
        let channels = ChannelRegistries::new(NetworkOptions::default(), RegistryOptions::default());
        let denied = |login: Option<&str>, reason: &str| {
            let (told, cause) = ask(&channels, &host, login).unwrap_err();
            assert!(cause == Cause::RegistryLogin && told.contains(reason) && !told.contains("wr0ng"), "{told}");
        };
        for _ in 0..2 {
            denied(None, "no login for it is stored");
            denied(Some("me:wr0ng"), "the login of the URL does not allow it");
            assert_eq!(ask(&channels, &host, Some("me:s3cret")), Ok(StatusCode::OK));
        }
    }
}

#[test]
fn a_stored_login_stays_where_a_url_has_another() {
    let options = ServerOptions {
        access: Access::Token("me".to_owned(), "s3cret".to_owned()),
        is_private: true,
        ..ServerOptions::default()
    };
    let world = World::with_logins(options, &|host| json!({"auths": {host: {"username": "me", "password": "s3cret"}}}));
    let host = world.server.host();
    world.server.put_artifact("c/noarch/repodata.json", "latest", &[("repodata.v1+json", b"{}".to_vec())]);
    let logins = LoginOptions { files: vec![world.directory.path().join("config.json")], variables: Vec::new() };
    let channels =
        ChannelRegistries::new(NetworkOptions::default(), RegistryOptions { logins, ..RegistryOptions::default() });
    assert!(ask(&channels, &host, Some("me:wr0ng")).is_err());
    assert_eq!(ask(&channels, &host, None), Ok(StatusCode::OK));
    assert!(ask(&channels, &host, Some("me:wr0ng")).is_err());
}
