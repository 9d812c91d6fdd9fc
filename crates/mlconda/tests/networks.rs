//! Bad networks, by seed: a relay or a proxy disturbs a lock and an installation. The result must be correct, or an
//! error with a clear message, and nothing half-done.
//!
//! `MLCONDA_TEST_SEEDS=500 cargo test -p mlconda --test networks` tries 500 seeds; the default is a few.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "they are tests")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use mlconda::{
    Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    install::{Options, install},
    lock::{Expansion, Lock},
    network::{Client, Limit, Limits, NetworkOptions, Proxies},
    plan::Plan,
    prefix::Prefix,
    repodata::{self, Access, RepodataOptions},
    solve::{SolveOptions, solve},
    verify::verify,
};
use mlconda_test::{
    channel::Channel,
    networks::{Authority, Disturbance, MultiplexedRelay, Proxy, ProxyKind, Relay},
    package::{Archive, Noarch, PLACEHOLDER, PackageBuilder},
    server::Server,
    tree,
};

/// The longest time for a lock or an installation with the limits of [`short`], whatever the network does: there are
/// twelve files, a request has four attempts, and each attempt ends after half a second without a byte.
const LONGEST: Duration = Duration::from_secs(30);

/// A channel with packages of both archive formats, and a server for it without faults.
struct World {
    directory: tempfile::TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let noise = |seed: u32| -> Vec<u8> {
            (0..40_000_u32).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 77) >> 13) as u8).collect()
        };
        let package = |name: &str, needs: &[&str], archive: Archive| {
            let mut package = PackageBuilder::new(name, "1.0").noarch(Noarch::Generic).archive(archive);
            for need in needs {
                package = package.depends(need);
            }
            package
                .file(&format!("share/{name}/noise"), noise(u32::try_from(name.len()).unwrap()))
                .file(&format!("share/{name}/where"), format!("{PLACEHOLDER}/share\n"))
                .link(&format!("share/{name}/link"), "where")
        };
        let packages = [
            package("top", &["middle", "other >=1"], Archive::Conda),
            package("middle", &["bottom"], Archive::TarBz2),
            package("other", &["bottom"], Archive::Conda),
            package("bottom", &[], Archive::TarBz2),
        ];
        // `Channel::write` starts a runtime of its own.
        tokio::task::block_in_place(|| Channel::write(directory.path().join("channel"), &packages, &["linux-64"]))
            .unwrap();
        let server = Server::serve(directory.path().join("channel")).unwrap();
        Self { directory, server }
    }

    fn upstream(&self) -> SocketAddr {
        self.server.url("").trim_start_matches("http://").trim_end_matches('/').parse().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Removes the files that a seed has left.
    fn clean(&self, names: &[&str]) {
        for name in names {
            if self.path(name).exists() {
                fs_err::remove_dir_all(self.path(name)).unwrap();
            }
        }
    }

    /// Locks `top` of the channel at a URL, with the cache of this name.
    async fn lock(&self, client: &Client, channel: &str, cache: &str) -> Result<String, String> {
        let text = format!("channels: ['{channel}']\ndependencies: [top]\n");
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
        let host = Host::baseline(Subdir::Linux64);
        let environment = environment.for_platform(host.platform);
        let options =
            RepodataOptions { cache_directory: self.path(cache), access: Access::Online, now: SystemTime::now() };
        let loading = repodata::load(client, &environment, &host, &options, &());
        let repodata = tokio::time::timeout(LONGEST, loading).await.expect("it takes too long").map_err(words)?;
        let (solution, host) = solve(&environment, &repodata, &host, &[], &SolveOptions::default()).map_err(words)?;
        Ok(Lock::new(&environment, &host, &solution).unwrap().to_text())
    }

    /// Installs a lock into the prefix of this world, with a cache of packages or without.
    async fn install(&self, client: &Client, lock: &str, cache: Option<&str>) -> Result<(), String> {
        fs_err::write(self.path("env.lock"), lock).unwrap();
        let lock = Lock::read(&self.path("env.lock"), &Expansion::default()).unwrap();
        let prefix = Prefix::open(self.path("env/prefix")).unwrap();
        let plan = Plan::new(&lock, &prefix).unwrap();
        let cache = cache.map(|name| self.path(name));
        if let Some(cache) = &cache {
            fs_err::create_dir_all(cache).unwrap();
        }
        let options = Options { cache, ..Options::default() };
        let installing = install(&plan, client, &prefix, &options, &());
        tokio::time::timeout(LONGEST, installing).await.expect("it takes too long").map_err(words)?;
        let found = verify(&prefix, Some(&lock), NonZero::<usize>::MIN, &()).unwrap();
        assert!(found.is_ok(), "{:?}", found.findings);
        Ok(())
    }
}

/// An error with all its causes, as text.
fn words(error: impl std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Limits under which nothing waits for long.
fn short() -> Limits {
    let short = Duration::from_millis(500);
    let limit = |limit: Limit| Limit { time: 4 * short, ..limit };
    let usual = Limits::default();
    Limits {
        connect: short,
        read_timeout: short,
        retry_budget: 4 * short,
        max_retry_after: short,
        slow_window: short,
        repodata: limit(usual.repodata),
        shard: limit(usual.shard),
        package: limit(usual.package),
        ..usual
    }
}

fn options(authority: Option<&Path>, proxy: Option<String>, limits: Limits) -> NetworkOptions {
    NetworkOptions {
        certificate_files: authority.map(Path::to_owned).into_iter().collect(),
        proxies: Proxies { http: proxy.clone(), https: proxy, except: None },
        retry_delay: Duration::from_millis(1),
        limits,
        ..NetworkOptions::default()
    }
}

/// A network route to the channel.
struct Way<'a> {
    name: &'static str,
    channel: String,
    disturbance: &'a Disturbance,
    options: NetworkOptions,
    /// The lock without any disturbance.
    lock: String,
    tree: BTreeMap<String, String>,
}

impl<'a> Way<'a> {
    async fn new(
        world: &World,
        name: &'static str,
        (channel, disturbance): (String, &'a Disturbance),
        options: NetworkOptions,
    ) -> Self {
        disturbance.begin(None);
        let client = Client::new(&NetworkOptions { limits: Limits::default(), ..options.clone() }).unwrap();
        let lock = world.lock(&client, &channel, "first-cache").await.unwrap();
        world.install(&client, &lock, None).await.unwrap();
        let tree = tree::tree(&world.path("env")).unwrap();
        world.clean(&["first-cache", "env"]);
        Self { name, channel, disturbance, options, lock, tree }
    }

    /// Runs one seed. Returns the lock and the installation, or the errors of both.
    async fn attempt(&self, world: &World, seed: u64) -> [Option<String>; 2] {
        world.clean(&["cache", "packages", "env"]);
        let client = Client::new(&self.options).unwrap();
        let patient = Client::new(&NetworkOptions { limits: Limits::default(), ..self.options.clone() }).unwrap();

        self.disturbance.begin(Some(seed));
        let locked = world.lock(&client, &self.channel, "cache").await;
        self.disturbance.begin(None);
        if let Ok(lock) = &locked {
            assert_eq!(*lock, self.lock, "{}, seed {seed}: another lock", self.name);
        }
        // Leftovers in the cache must not change a later lock.
        let again = world.lock(&patient, &self.channel, "cache").await.unwrap();
        assert_eq!(again, self.lock, "{}, seed {seed}: the cache was spoilt", self.name);

        let cache = (seed / 4).is_multiple_of(2).then_some("packages");
        self.disturbance.begin(Some(seed + 1_000_000));
        let installed = world.install(&client, &self.lock, cache).await;
        self.disturbance.begin(None);
        if installed.is_err() {
            let left = tree::paths(&world.path("env")).unwrap();
            assert_eq!(left, "", "{}, seed {seed}: something is left", self.name);
            world.install(&patient, &self.lock, cache).await.unwrap();
        }
        let difference = tree::difference(&self.tree, &tree::tree(&world.path("env")).unwrap());
        assert_eq!(difference, "", "{}, seed {seed}: another prefix", self.name);
        [locked.err(), installed.err()]
    }
}

/// The URL of a relay, and its disturbance.
fn of_relay(relay: &Relay) -> (String, &Disturbance) {
    (relay.url(""), relay.disturbance())
}

#[allow(clippy::disallowed_methods, reason = "how many are tried is told by whoever runs the tests")]
fn seeds() -> u64 {
    std::env::var("MLCONDA_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12)
}

/// Whether an error names the server or the package, so that a user knows how to go on.
fn is_clear(error: &str) -> bool {
    ["127.0.0.1", "[::1]", ".conda", ".tar.bz2"].iter().any(|word| error.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stderr, reason = "the figures of a long run")]
async fn through_a_bad_network_all_is_right_or_an_error() {
    let world = World::new();
    let authority = Authority::new().unwrap();
    let trusted = authority.write(world.directory.path()).unwrap();
    let start = |address: &str, authority| Relay::start(address, world.upstream(), authority);
    let (plain, tls) = (start("127.0.0.1:0", None).unwrap(), start("127.0.0.1:0", Some(&authority)).unwrap());
    // Some machines have no IPv6.
    let six = start("[::1]:0", Some(&authority)).ok();
    let http = Proxy::start(ProxyKind::Http, Some(("name", "secret"))).unwrap();
    let socks = Proxy::start(ProxyKind::Socks5, Some(("name", "secret"))).unwrap();
    let login = "name:secret@";
    let many = MultiplexedRelay::start(world.upstream(), &authority).unwrap();
    let mut ways = vec![
        ("in the clear", of_relay(&plain), None),
        ("TLS", of_relay(&tls), None),
        ("HTTP/2", (many.url(""), many.disturbance()), None),
        ("in the clear, HTTP proxy", of_relay(&plain), Some(http.url(login))),
        ("HTTP/2, HTTP proxy", (many.url(""), many.disturbance()), Some(http.url(login))),
        ("TLS, SOCKS proxy", of_relay(&tls), Some(socks.url(login))),
    ];
    ways.extend(six.as_ref().map(|six| ("TLS, IPv6 only", of_relay(six), None)));
    let mut there = Vec::new();
    for (name, to, proxy) in ways {
        there.push(Way::new(&world, name, to, options(Some(&trusted), proxy, short())).await);
    }
    let (mut figures, mut longest) = (BTreeMap::<&str, [u64; 3]>::new(), Duration::ZERO);
    for seed in 0..seeds() {
        let way = &there[usize::try_from(seed).unwrap() % there.len()];
        let begin = Instant::now();
        let errors = way.attempt(&world, seed).await;
        longest = longest.max(begin.elapsed());
        let figures = figures.entry(way.name).or_default();
        figures[0] += 1;
        for (number, error) in errors.iter().enumerate() {
            if let Some(error) = error {
                assert!(is_clear(error), "{}, seed {seed}: {error}", way.name);
                figures[1 + number] += 1;
            }
        }
    }
    assert!(http.passed() > 0 && socks.passed() > 0);
    let relays = [Some(&plain), Some(&tls), six.as_ref()].into_iter().flatten().map(Relay::disturbance);
    let disturbed: u64 = relays.chain([many.disturbance()]).map(Disturbance::count).sum();
    eprintln!("{disturbed} disturbances; the longest seed took {longest:?}");
    for (way, [seeds, locks, installations]) in figures {
        eprintln!("{way}: {seeds} seeds, {locks} locks and {installations} installations with an error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_another_login_is_told() {
    let world = World::new();
    let plain = Relay::start("127.0.0.1:0", world.upstream(), None).unwrap();
    for (kind, words) in [(ProxyKind::Http, "407 Proxy Authentication Required"), (ProxyKind::Socks5, "wants a login")]
    {
        let proxy = Proxy::start(kind, Some(("name", "secret"))).unwrap();
        for login in ["", "name:wrong@"] {
            let options = options(None, Some(proxy.url(login)), short());
            let error = world.lock(&Client::new(&options).unwrap(), &plain.url(""), "cache").await.unwrap_err();
            assert!(error.contains(words) && !error.contains("wrong"), "{error}");
        }
        assert_eq!(proxy.passed(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_believed_whose_certificate_is_of_nobody_or_of_another_host() {
    let world = World::new();
    let (known, unknown) = (Authority::for_hosts(&["other.example"]).unwrap(), Authority::new().unwrap());
    let trusted = known.write(world.directory.path()).unwrap();
    // Both authorities have the same name, so the signature decides.
    for (authority, words) in [(&known, "certificate not valid for name"), (&unknown, "BadSignature")] {
        let relay = Relay::start("127.0.0.1:0", world.upstream(), Some(authority)).unwrap();
        let client = Client::new(&options(Some(&trusted), None, short())).unwrap();
        let error = world.lock(&client, &relay.url(""), "cache").await.unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!tree::paths(&world.path("cache")).unwrap().contains("json"), "something was kept");
    }
    assert_eq!(world.server.count(""), 0, "and nothing was asked");
}
