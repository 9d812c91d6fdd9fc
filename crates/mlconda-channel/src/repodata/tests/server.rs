//! Responses of servers: compressed files, redirects, mirrors, logins, and failures.

use super::*;

fn packed_by(program: &str, content: &[u8]) -> Vec<u8> {
    match program {
        "zst" => zstd::encode_all(content, 0).unwrap(),
        "bz2" => {
            let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            packer.write_all(content).unwrap();
            packer.finish().unwrap()
        }
        _ => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(content).unwrap();
            packer.finish().unwrap()
        }
    }
}

#[tokio::test]
async fn every_packing_is_understood() {
    for (file, header) in [
        ("repodata.json", None),
        ("repodata.json.zst", None),
        ("repodata.json.bz2", None),
        ("repodata.json", Some(("Content-Encoding", "gzip"))),
        ("repodata.json", Some(("Content-Encoding", "GZip"))),
        ("repodata.json", Some(("Content-Encoding", "x-gzip"))),
    ] {
        let world = World::new();
        let packing = header.map_or_else(|| file.rsplit('.').next().unwrap(), |(_, value)| value);
        let text = noarch();
        let content = if packing == "json" { text.into_bytes() } else { packed_by(packing, text.as_bytes()) };
        world.write(&format!("noarch/{file}"), content);
        let server = world.serve();
        if let Some((name, value)) = header {
            server.fail("", Fault::Header(name, value));
        }
        assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND, "{packing}");
        assert!(world.load(&server.url(""), Access::Offline).await.starts_with(FOUND), "{packing}");
        if header.is_none() {
            assert_eq!(world.load_from_disk().await, FOUND, "{packing}");
        }
        if packing != "json" {
            fs_err::remove_dir_all(world.cache()).unwrap();
            server.fail("repodata", Fault::Corrupted);
            let message = world.load(&server.url(""), Access::Online).await;
            assert!(
                message.starts_with("error: `CHANNEL/noarch/` does not contain valid repodata"),
                "{packing}: {message}"
            );
        }
    }
}

#[tokio::test]
async fn what_may_go_wrong_on_the_way() {
    let there = "CHANNEL/noarch/lib-1.0-0.conda …";
    let cases: &[(&str, Fault, &str)] = &[
        ("repodata.json", Fault::UnavailableFirst(2), there),
        ("repodata.json", Fault::HangUpFirst(1), there),
        ("repodata.json", Fault::TruncatedFirst(2), there),
        (
            "repodata.json",
            Fault::Truncated,
            "error: cannot load repodata from `CHANNEL/linux-64/`: the answer broke off",
        ),
        (
            "repodata.json",
            Fault::WrongLength,
            "error: cannot load repodata from `CHANNEL/linux-64/`: the answer broke off",
        ),
        (
            "repodata.json",
            Fault::Status(500),
            "error: cannot load repodata from `CHANNEL/linux-64/`: 500 Internal Server Error",
        ),
        ("linux-64/", Fault::Status(404), there),
        (
            "noarch/",
            Fault::Status(404),
            "event: the channel `CHANNEL/` has no `noarch`, which every channel should have, even if empty",
        ),
        ("", Fault::Status(404), "error: there is no channel at `CHANNEL/`: it has neither `linux-64` nor `noarch`"),
        (
            "",
            Fault::Status(401),
            "error: `CHANNEL/linux-64/` answers 401: the channel asks for a login, or refuses the one it was given",
        ),
        (
            "",
            Fault::Status(403),
            "error: `CHANNEL/linux-64/` answers 403: the channel asks for a login, or refuses the one it was given",
        ),
        // Storage services answer missing files with this status.
        (".zst", Fault::Status(403), there),
        (".zst", Fault::Status(501), there),
    ];
    for (pattern, fault, expected) in cases {
        let world = World::with_tool();
        let server = world.serve();
        server.fail(pattern, fault.clone());
        let outcome = world.load(&server.url(""), Access::Online).await;
        let outcome = if outcome == FOUND { there.to_owned() } else { outcome };
        assert!(outcome.starts_with(expected), "{fault:?}: {outcome}");
    }
}

/// Some web servers answer a missing file with an HTML page and a success status.
#[tokio::test]
async fn a_page_in_the_place_of_a_packed_file_is_no_file() {
    let world = World::with_tool();
    for variant in ["repodata_shards.msgpack.zst", "repodata.json.zst", "repodata.json.bz2"] {
        world.write(&format!("noarch/{variant}"), "<!doctype html><title>Not here</title>");
    }
    let server = world.serve();
    assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
    world.write("noarch/repodata.json", "<!doctype html><title>Log in</title>");
    insta::assert_snapshot!(world.load(&server.url(""), Access::Online).await, @"error: `CHANNEL/noarch/` does not contain valid repodata: `repodata.json`: no JSON object begins at byte 0");
}

#[tokio::test]
async fn redirects_are_followed_and_packages_stay_where_the_channel_is() {
    let world = World::with_tool();
    world.write("noarch/repodata.json.zst", packed_by("zst", noarch().as_bytes()));
    let (server, elsewhere) = (world.serve(), world.serve());
    server.fail("noarch/repodata.json.zst", Fault::Redirect(elsewhere.url("noarch/repodata.json.zst")));
    assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
    assert_eq!(elsewhere.count("noarch/repodata.json.zst"), 1);
    server.fail("", Fault::Redirect(server.url("noarch/repodata.json")));
    let message = world.load(&server.url(""), Access::Refresh).await;
    assert!(
        message.starts_with("error: cannot load repodata from `CHANNEL/linux-64/`: too many redirects"),
        "{message}"
    );
}

#[tokio::test]
async fn mirrors_are_asked_one_after_the_other() {
    let mut world = World::with_tool();
    let (down, lacking, mirror) = (unreachable_url().unwrap(), world.serve(), world.serve());
    lacking.fail("", Fault::Status(404));
    let channel = "https://channel.example.invalid/main";
    let at = |url: &str| format!("https://channel.example.invalid={url}").parse().unwrap();
    world.network.mirrors = vec![at(&down), at(&lacking.url("")), at(&mirror.url(""))];
    fs_err::create_dir(world.channel().join("main")).unwrap();
    for subdir in ["noarch", "linux-64"] {
        fs_err::rename(world.channel().join(subdir), world.channel().join("main").join(subdir)).unwrap();
    }
    assert_eq!(world.load(channel, Access::Online).await, FOUND, "what is found is said to be where the channel is");
    assert!(mirror.count("main/noarch/repodata.json") > 0);

    // The login of the channel must not be sent to the mirror.
    for login in ["https://me:secret@channel.example.invalid/main", "https://channel.example.invalid/t/secret/main"] {
        mirror.forget();
        let found = world.load(login, Access::Online).await;
        assert_eq!(found.lines().count(), 3, "{found}");
        let is_told = |request: &mlconda_test::server::Request| {
            request.path.contains("secret") || request.headers.contains_key("authorization")
        };
        assert!(!mirror.requests().is_empty() && !mirror.requests().iter().any(is_told), "{:?}", mirror.requests());
    }
    assert!("https://a=b".parse::<network::Mirror>().is_err());

    // The login of the mirror itself is sent.
    mirror.forget();
    world.network.mirrors = vec![at(&mirror.url("").replace("127.0.0.1", "me:p%40ss@127.0.0.1"))];
    assert_eq!(world.load(channel, Access::Refresh).await, FOUND);
    let sent = |request: &mlconda_test::server::Request| request.headers["authorization"] == "Basic bWU6cEBzcw==";
    assert!(mirror.requests().iter().all(sent), "{:?}", mirror.requests());
}

#[tokio::test]
async fn logins_are_sent_and_not_shown() {
    let mut world = World::with_tool();
    let file = world.directory.path().join("credentials.json");
    let store = |login: Value| fs_err::write(&file, json!({"127.0.0.1": login}).to_string()).unwrap();
    world.network.credential_files = vec![CredentialFile::Rattler(file.clone())];
    let server = world.serve();
    let header =
        |server: &Server| server.requests().first().and_then(|request| request.headers.get("authorization").cloned());

    store(json!({"BearerToken": "stored"}));
    assert_eq!(world.load(&server.url(""), Access::Refresh).await, FOUND);
    assert_eq!(header(&server).as_deref(), Some("Bearer stored"));

    // The redirect leads to another host, which must not get the login.
    let elsewhere = world.serve();
    server.fail("", Fault::Redirect(elsewhere.url("noarch/repodata.json").replace("127.0.0.1", "localhost")));
    let _ = world.load(&server.url(""), Access::Refresh).await;
    assert!(elsewhere.count("") > 0);
    assert_eq!(header(&elsewhere), None);
    server.recover();

    store(json!({"CondaToken": "stored"}));
    server.forget();
    server.fail("", Fault::Status(403));
    let message = world.load(&server.url(""), Access::Refresh).await;
    assert!(server.requests().iter().all(|request| request.path.starts_with("t/stored/")), "{:?}", server.requests());
    assert!(message.contains("answers 403") && !message.contains("stored"), "{message}");

    // The login in the URL takes precedence.
    server.forget();
    let message = world.load(&server.url("t/typed/main"), Access::Refresh).await;
    assert!(server.requests().iter().all(|request| request.path.starts_with("t/typed/")), "{:?}", server.requests());
    assert!(message.contains("answers 403") && !message.contains("typed"), "{message}");
    server.forget();
    let message = world.load(&server.url("main").replace("127", "me:typed@127"), Access::Refresh).await;
    assert_eq!(header(&server).as_deref(), Some("Basic bWU6dHlwZWQ="));
    assert!(message.contains("answers 403") && !message.contains("typed"), "{message}");

    // The other host must not learn the original URL either.
    server.recover();
    server.fail("", Fault::Redirect(elsewhere.url("noarch/repodata.json").replace("127.0.0.1", "localhost")));
    elsewhere.forget();
    let _ = world.load(&server.url("t/typed/main"), Access::Refresh).await;
    assert!(!elsewhere.requests().is_empty());
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("referer")));
}
