//! The cache: how long it is fresh, which logins share it, and how a damaged cache is replaced.

use futures::future::join_all;

use super::*;

#[test]
fn a_full_disk_is_not_the_channels_fault() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(scan::scan(b"{}".as_slice(), Full), Err(scan::ScanError::Write(_))));
}

#[tokio::test]
async fn a_cache_is_used_while_the_channel_says_so_and_never_passed_off_as_new() {
    let (world, hour) = (World::with_tool(), Duration::from_secs(3600));
    let server = world.serve();
    let url = server.url("");
    server.fresh_for(600);
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    server.forget();
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    assert_eq!(server.count(""), 0, "it is fresh");

    assert_eq!(world.load(&url, Access::Refresh).await, FOUND);
    assert!(server.requests().iter().all(|request| request.status == 304), "{:?}", server.requests());
    assert_eq!(server.count(""), 2, "nothing is looked for again that was not there");

    world.pass(hour);
    server.forget();
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    assert_eq!(server.count(""), 2, "it is asked whether it is still the same");

    world.pass(hour);
    world.write("noarch/repodata.json", repodata(&json!({}), "packages", &[record("tool", "3.0", &[])]));
    assert_eq!(world.load(&url, Access::Online).await, "CHANNEL/noarch/tool-3.0-0.tar.bz2");

    world.pass(3 * hour);
    drop(server);
    let message = world.load(&url, Access::Online).await;
    assert!(
        message.starts_with("error: cannot load repodata from `CHANNEL/linux-64/`: Connection refused"),
        "{message}"
    );
    insta::assert_snapshot!(world.load(&url, Access::Offline).await, @"
    CHANNEL/noarch/tool-3.0-0.tar.bz2
    event: CHANNEL/linux-64/ is 10800 s old
    event: CHANNEL/noarch/ is 10800 s old
    ");
}

#[tokio::test]
async fn without_a_word_on_freshness_the_channel_is_asked_every_time() {
    let world = World::with_tool();
    let server = world.serve();
    for _ in 0..2 {
        server.forget();
        assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
        assert!(server.count("") > 0);
    }
}

#[tokio::test]
async fn a_damaged_cache_is_made_anew() {
    let world = World::with_tool();
    let server = world.serve();
    server.fresh_for(600);
    let url = server.url("");
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    let files = || fs_err::read_dir(world.cache()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for kind in ["index", "data", "info.json"] {
        // No files pile up: a state, a text and its index for each of the two subdirs.
        assert_eq!(files().len(), 6, "{:?}", files());
        for damage in ["", "short", "{\"not\": \"it\"}"] {
            for file in files().iter().filter(|file| file.to_str().unwrap().ends_with(kind)) {
                fs_err::write(file, damage).unwrap();
            }
            assert_eq!(world.load(&url, Access::Online).await, FOUND, "{kind} is `{damage}`");
        }
    }
}

#[tokio::test]
async fn several_at_once_share_a_cache() {
    let world = World::with_tool();
    let server = world.serve();
    let versions = ["4.0", "5.0", "6.0"];
    for version in versions {
        world.write("noarch/repodata.json", repodata(&json!({}), "packages", &[record("tool", version, &[])]));
        let url = server.url("");
        let all = join_all((0..8).map(|_| world.load(&url, Access::Online))).await;
        let expected = format!("CHANNEL/noarch/tool-{version}-0.tar.bz2");
        assert!(all.iter().all(|found| *found == expected), "{all:?}");
    }
}

#[tokio::test]
async fn another_login_has_another_cache() {
    let mut world = World::with_tool();
    let file = world.directory.path().join("credentials.json");
    world.network.credential_files = vec![CredentialFile::Rattler(file.clone())];
    let server = world.serve();
    for (login, access, is_there) in
        [("one", Access::Online, true), ("one", Access::Offline, true), ("another", Access::Offline, false)]
    {
        fs_err::write(&file, json!({"127.0.0.1": {"BearerToken": login}}).to_string()).unwrap();
        let found = world.load(&server.url(""), access).await;
        assert_eq!(found.starts_with(FOUND), is_there, "{found}");
    }
}

#[test]
fn what_another_process_has_kept_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = RepodataCache::new(directory.path(), &"https://channel.example/noarch/".parse().unwrap(), None);
    let keep = |text: &str| {
        let file = store.new_file().unwrap();
        fs_err::write(file.path(), text).unwrap();
        let mut state: cache::CacheState = serde_json::from_value(json!({
            "url": "", "variant": "repodata.json", "form": "json", "file": "", "size": text.len(), "refresh_ns": 0,
        }))
        .unwrap();
        store.store(file, &mut state).unwrap();
        state
    };
    let (before, after) = (keep("{}"), keep("{\"packages\": {}}"));
    store.refresh(&before).unwrap();
    store.invalidate(&before);
    assert_eq!(store.state().unwrap().file, after.file);
    store.invalidate(&after);
    assert!(store.state().is_none());
}

#[tokio::test]
async fn offline_no_server_is_asked() {
    let world = World::with_tool();
    let server = world.serve();
    insta::assert_snapshot!(world.load(&server.url("t/secret/main"), Access::Offline).await, @"error: `CHANNEL/linux-64/` is not cached, and network access is disabled");
    assert_eq!(server.count(""), 0);
}
