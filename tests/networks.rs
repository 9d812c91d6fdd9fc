//! Network settings of the program: certificate authorities, and proxies with logins. Faults of networks are tested in
//! `crates/mlconda/tests/networks.rs`.

use mlconda_test::{
    context::argument,
    networks::{Authority, Proxy, ProxyKind, Relay},
    server::Server,
};

use crate::world;

#[test]
fn an_authority_and_a_proxy_are_told_by_variables() {
    let world = world();
    let server = Server::serve(world.channels().main.path()).unwrap();
    let upstream = server.url("").trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let authority = Authority::new().unwrap();
    let trusted = authority.write(&world.path()).unwrap();
    let relay = Relay::start("127.0.0.1:0", upstream, Some(&authority)).unwrap();
    let text = format!("channels: ['{}']\ndependencies: [tzdata]\n", relay.url(""));
    world.write("environment.yml", &text);
    let trust = ("SSL_CERT_FILE", argument(&trusted));
    let lock = ["lock", "environment.yml", "-o", "env.lock"];

    let outcome = world.mlconda_with(lock, &[]).failure(1);
    assert!(outcome.stderr.contains("the server's certificate is not valid"), "{outcome}");
    world.mlconda_with(lock, &[trust]).success();
    // Without a cache, because cached packages would not be fetched again.
    let no_cache = ("MLCONDA_CACHE_DIR", "nowhere");
    for (kind, prefix) in [(ProxyKind::Http, "http"), (ProxyKind::Socks5, "socks")] {
        let proxy = Proxy::start(kind, Some(("name", "secret"))).unwrap();
        let url = proxy.url("name:secret@");
        let outcome = world
            .mlconda_with(["install", "env.lock", "-p", prefix], &[trust, no_cache, ("ALL_PROXY", &url)])
            .success();
        assert!(proxy.passed() > 0, "{outcome}");
        let wrong = proxy.url("name:wrong@");
        let outcome =
            world.mlconda_with(["install", "env.lock", "-p", "other"], &[trust, no_cache, ("ALL_PROXY", &wrong)]);
        let outcome = outcome.failure(1);
        assert!(!outcome.stderr.contains("wrong") && !world.work().join("other").exists(), "{outcome}");
        assert!(outcome.stderr.contains("give the proxy's login in its URL"), "{outcome}");
    }
}
