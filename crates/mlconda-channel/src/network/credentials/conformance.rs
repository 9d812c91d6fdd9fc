//! Compares stored logins with the crate `rattler_networking`, which writes the files, for random hosts and URLs.

use std::sync::Arc;

use proptest::prelude::*;
use rattler_networking::{
    Authentication, AuthenticationStorage,
    authentication_storage::{StorageBackend, backends::file::FileStorage},
};
use url::Url;

use super::{CredentialFile, Credentials, Login};

fn login() -> impl Strategy<Value = Authentication> {
    prop_oneof![
        "[a-z0-9]{1,8}".prop_map(Authentication::BearerToken),
        "[a-z0-9]{1,8}".prop_map(Authentication::CondaToken),
        ("[a-z@]{1,8}", "[ -~é]{0,8}")
            .prop_map(|(username, password)| Authentication::BasicHTTP { username, password }),
    ]
}

/// The change that a login makes to a request.
fn effect(login: Option<Authentication>) -> Option<Login> {
    Some(match login? {
        Authentication::BearerToken(token) => Login::Header(format!("Bearer {token}")),
        Authentication::CondaToken(token) => Login::CondaToken(token),
        Authentication::BasicHTTP { username, password } => Login::basic(&username, &password),
        _ => return None,
    })
}

proptest! {
    #[test]
    fn a_url_has_the_login_that_the_library_gives_it(
        stored in prop::collection::btree_map("(\\*\\.)?([ab]\\.){0,2}(example|[ab])", login(), 0..5),
        urls in prop::collection::vec("https?://([abAB]\\.){0,3}(example|[ab])/([a-z]{1,3}/?){0,2}", 1..6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.json");
        let file = FileStorage::from_path(path.clone()).unwrap();
        for (host, login) in &stored {
            file.store(host, login).unwrap();
        }
        let mut storage = AuthenticationStorage::empty();
        storage.add_backend(Arc::new(file));
        let ours = if path.exists() {
            Credentials::read(&[CredentialFile::Rattler(path)], &[]).unwrap()
        } else {
            Credentials::default()
        };
        for url in urls {
            let url = Url::parse(&url).unwrap();
            let (_, theirs) = storage.get_by_url(url.clone()).unwrap();
            prop_assert!(ours.for_url(&url).cloned() == effect(theirs), "{} with {:?}", url, stored);
        }
    }
}
