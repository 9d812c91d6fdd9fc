//! The library as programs use it: under every kind of runtime, with dropped futures, and with two clients in one
//! process.

use std::{
    future::poll_fn,
    path::{Path, PathBuf},
    pin::pin,
    task::Poll,
    time::SystemTime,
};

use mlconda_test::{
    channel::Channel,
    package::{Noarch, PackageBuilder},
    server::Server,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    Error, Result, Subdir,
    environment::{Environment, ReadOptions},
    host::Host,
    install::{self, Bytecode, CacheCheck, Options, install},
    lock::Lock,
    network::{Client, NetworkOptions},
    plan::Plan,
    prefix::Prefix,
    repodata::{self, Access, Repodata, RepodataOptions},
    solve::{SolveOptions, solve},
};

/// A channel on a server. `greeting` needs `words` and a newer glibc than the baseline has.
struct World {
    directory: TempDir,
    server: Server,
}

impl World {
    fn new(version: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let words = PackageBuilder::new("words", version).noarch(Noarch::Generic).file("share/words.txt", "hello\n");
        let greeting =
            PackageBuilder::new("greeting", "2.1").noarch(Noarch::Generic).file("share/greeting.txt", "you\n");
        let greeting = greeting.depends("words >=1").depends("__glibc >=2.39");
        Channel::write(directory.path().join("lab"), &[words, greeting], &["linux-64"]).unwrap();
        let server = Server::serve(directory.path()).unwrap();
        Self { directory, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn environment(&self) -> Environment {
        environment(&self.server.url("lab"))
    }

    fn cache(&self, name: &str, access: Access) -> RepodataOptions {
        RepodataOptions { cache_directory: self.path(name), access, now: SystemTime::now() }
    }
}

fn environment(channel: &str) -> Environment {
    let text = format!("name: hello\nchannels: ['{channel}']\ndependencies: [greeting]\n");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    Environment::parse(&text, Path::new("environment.yml"), &options).unwrap()
}

fn host() -> Host {
    Host::baseline(Subdir::Linux64)
}

fn client() -> Client {
    Client::new(&NetworkOptions::default()).unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn locked(environment: &Environment, repodata: &Repodata) -> Result<Lock> {
    let (solution, host) = solve(environment, repodata, &host(), &[], &SolveOptions::default())?;
    Ok(Lock::new(environment, &host, &solution)?)
}

/// From an environment to an installed prefix.
async fn whole_way(environment: Environment, cache: RepodataOptions, prefix: PathBuf) -> Result<install::Report> {
    let client = client();
    let lock = {
        let repodata = repodata::load(&client, &environment, &host(), &cache, &()).await?;
        locked(&environment, &repodata)?
    };
    let prefix = Prefix::open(prefix)?;
    let options = Options { bytecode: Bytecode::Skip, ..Options::default() };
    Ok(install(&Plan::new(&lock, &prefix)?, &client, &prefix, &options, &()).await?)
}

/// Polls a future at most this many times; `None` if it was dropped before it was ready.
fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    runtime().block_on(async {
        let (mut future, mut left) = (pin!(future), times);
        poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            future.as_mut().poll(context).map(Some)
        })
        .await
    })
}

#[test]
fn an_installation_that_is_dropped_at_any_await_leaves_nothing_and_no_broken_cache() {
    let world = World::new("1.0");
    let client = client();
    let environment = world.environment();
    let (host, cache) = (host(), world.cache("repodata", Access::Online));
    let loading = repodata::load(&client, &environment, &host, &cache, &());
    let lock = locked(&environment, &runtime().block_on(loading).unwrap()).unwrap();
    fs_err::create_dir_all(world.path("cache")).unwrap();
    fs_err::create_dir_all(world.path("envs")).unwrap();
    let options = |access| Options {
        bytecode: Bytecode::Skip,
        cache: Some(world.path("cache")),
        cache_check: CacheCheck::Content,
        access,
        ..Options::default()
    };
    let prefix = Prefix::open(world.path("envs/hello")).unwrap();
    let plan = Plan::new(&lock, &prefix).unwrap();
    let mut dropped = 0;
    while polled(dropped, install(&plan, &client, &prefix, &options(Access::Online), &())).is_none() {
        let left: Vec<_> = fs_err::read_dir(world.path("envs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "after {dropped} polls: {left:?}");
        dropped += 1;
    }
    assert!(dropped > 3, "it was done after {dropped} polls");
    assert!(prefix.is_environment() && Plan::new(&lock, &prefix).unwrap().is_empty());
    // The cache has complete packages: another prefix is installed from it without a network.
    let other = Prefix::open(world.path("envs/other")).unwrap();
    let plan = Plan::new(&lock, &other).unwrap();
    let report = runtime().block_on(install(&plan, &client, &other, &options(Access::Offline), &())).unwrap();
    assert_eq!((report.linked, report.files), (2, 2));
}

#[test]
fn loading_that_is_dropped_at_any_await_leaves_no_broken_cache() {
    let world = World::new("1.0");
    let (client, environment, host) = (client(), world.environment(), host());
    let load = |access| {
        let (client, environment, host, world) = (&client, &environment, &host, &world);
        async move { repodata::load(client, environment, host, &world.cache("repodata", access), &()).await }
    };
    let mut dropped = 0;
    let loaded = loop {
        match polled(dropped, load(Access::Online)) {
            None => dropped += 1,
            Some(loaded) => break loaded.unwrap(),
        }
    };
    assert!(dropped > 1, "it was done after {dropped} polls");
    let again = runtime().block_on(load(Access::Offline)).unwrap();
    assert_eq!((loaded.len(), again.len()), (2, 2));
}

#[test]
fn it_works_on_several_threads_and_inside_spawn_blocking() {
    let world = World::new("1.0");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let way = |name: &str| {
        let cache = world.cache(&format!("repodata-{name}"), Access::Online);
        whole_way(world.environment(), cache, world.path(name))
    };
    let (spawned, blocking) = (way("spawned"), way("blocking"));
    let handle = runtime.handle().clone();
    let spawned = runtime.spawn(spawned);
    let blocking = runtime.spawn_blocking(move || handle.block_on(blocking));
    let reports = runtime.block_on(async { (spawned.await.unwrap().unwrap(), blocking.await.unwrap().unwrap()) });
    assert_eq!((reports.0.linked, reports.1.linked), (2, 2));
}

#[test]
fn two_clients_have_their_own_mirrors_at_the_same_time() {
    let worlds = [World::new("1.0"), World::new("2.0")];
    let asked = environment("https://conda.example.org/lab");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let versions = worlds.each_ref().map(|world| {
        let mirror = format!("https://conda.example.org/lab={}", world.server.url("lab"));
        let options = NetworkOptions { mirrors: vec![mirror.parse().unwrap()], ..NetworkOptions::default() };
        let (asked, cache) = (asked.clone(), world.cache("repodata", Access::Online));
        runtime.spawn(async move {
            let client = Client::new(&options).unwrap();
            let repodata = repodata::load(&client, &asked, &host(), &cache, &()).await.unwrap();
            locked(&asked, &repodata).unwrap()
        })
    });
    let [first, second] = versions.map(|lock| {
        let lock = runtime.block_on(lock).unwrap();
        lock.packages.iter().find(|package| package.name == "words").unwrap().version.clone()
    });
    assert_eq!([first, second], ["1.0", "2.0"]);
}

#[test]
fn an_error_in_main_reads_as_its_words() {
    let wrong = Lock::read(Path::new("/no/such/env.lock"), &Default::default()).map_err(Error::from).unwrap_err();
    assert_eq!(format!("{wrong:?}"), wrong.to_string());
    let text = "channels: [lab]\ndependencies: [\n  'nump y ==']\n";
    let wrong = Environment::parse(text, Path::new("environment.yml"), &ReadOptions::default()).unwrap_err();
    assert!(format!("{wrong:?}").starts_with("environment.yml:3:"), "{wrong:?}");
    let text = "channels: [./nowhere]\ndependencies: [greeting]\n";
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let asked = Environment::parse(text, Path::new("environment.yml"), &options).unwrap();
    let cache = RepodataOptions { cache_directory: "/nowhere".into(), access: Access::Online, now: SystemTime::now() };
    let loading = async { repodata::load(&client(), &asked, &host(), &cache, &()).await };
    let error = Error::from(runtime().block_on(loading).map(drop).unwrap_err());
    let words = format!("{error:?}");
    assert!(words.contains("nowhere") && !words.contains("RepodataError") && !words.contains('{'), "{words}");
}
