//! Loading channels from disk and from a server on loopback: what is found, and how it reads when it is not.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{environment::ReadOptions, network::NetworkOptions};

const NOARCH: &str = r#"{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {
    "tool-1.0-0.conda": {"name": "tool", "version": "1.0", "build": "0", "build_number": 0, "depends": ["lib"], "subdir": "noarch"},
    "lib-2.0-0.conda": {"name": "lib", "version": "2.0", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"},
    "lib-1.0-0.conda": {"name": "lib", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"},
    "other-1.0-0.conda": {"name": "other", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"}}}"#;

/// A channel on disk, from the repodata of its subdirs.
fn channel(subdirs: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for (subdir, repodata) in subdirs {
        fs_err::create_dir(directory.path().join(subdir)).unwrap();
        fs_err::write(directory.path().join(subdir).join("repodata.json"), repodata).unwrap();
    }
    let url = url::Url::from_directory_path(directory.path()).unwrap().to_string();
    (directory, url)
}

async fn load_tool(channel: &str, cache: &Path, access: Access) -> Result<Repodata, RepodataError> {
    let text = format!("channels: [\"{channel}\"]\ndependencies: [tool]");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
    let network = NetworkOptions { retry_delay: Duration::ZERO, ..NetworkOptions::default() };
    let options = RepodataOptions { cache_directory: cache.join("repodata"), access, now: SystemTime::now() };
    let host = Host::baseline(Subdir::Linux64);
    load(&Client::new(&network).unwrap(), &environment, &host, &options, &()).await
}

/// The message without the parts that differ from run to run.
fn message(error: &RepodataError, channel: &str) -> String {
    error.to_string().replace(channel, "CHANNEL/")
}

#[tokio::test]
async fn what_a_spec_can_reach_is_loaded_in_order_and_all_names_are_known() {
    let (_directory, url) = channel(&[("noarch", NOARCH)]);
    let cache = tempfile::tempdir().unwrap();
    let repodata = load_tool(&url, cache.path(), Access::Offline).await.unwrap();
    let files: Vec<_> = repodata.subdirs.iter().flatten().map(|record| record.identifier.to_string()).collect();
    assert_eq!(files, ["lib-1.0-0.conda", "lib-2.0-0.conda", "tool-1.0-0.conda"]);
    assert!(repodata.names.contains("other"));
    assert!(!cache.path().join("repodata").exists(), "a channel on disk needs no cache");
}

#[tokio::test]
async fn what_is_no_channel_is_told_from_what_is_a_broken_one() {
    let failure = async |subdirs: &[(&str, &str)]| {
        let (_directory, url) = channel(subdirs);
        let cache = tempfile::tempdir().unwrap();
        message(&load_tool(&url, cache.path(), Access::Online).await.unwrap_err(), &url)
    };
    insta::assert_snapshot!(failure(&[]).await, @"there is no channel at `CHANNEL/`: it has neither `linux-64` nor `noarch`");
    insta::assert_snapshot!(failure(&[("linux-64", NOARCH)]).await, @"the channel `CHANNEL/` has no `noarch`, so it is not a complete channel");
    insta::assert_snapshot!(failure(&[("noarch", "{\"packages\": {")]).await, @"what `CHANNEL/noarch/` has is not repodata: EOF while parsing an object at line 1 column 14");
}

/// A server on loopback that answers everything so, with how often it was asked.
async fn server(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t/secret/lab/", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_server_that_wants_a_login_is_told_without_the_one_it_was_given() {
    let (url, _) = server("403 Forbidden\r\nContent-Length: 0").await;
    let cache = tempfile::tempdir().unwrap();
    let error = load_tool(&url, cache.path(), Access::Online).await.unwrap_err();
    let shown = url.replace("secret", "********");
    insta::assert_snapshot!(message(&error, &shown), @"`CHANNEL/linux-64/` answers 403: the channel asks for a login, or refuses the one it was given");
}

#[tokio::test]
async fn offline_no_server_is_asked() {
    let (url, asked) = server("200 OK\r\nContent-Length: 0").await;
    let cache = tempfile::tempdir().unwrap();
    let error = load_tool(&url, cache.path(), Access::Offline).await.unwrap_err();
    insta::assert_snapshot!(message(&error, &url.replace("secret", "********")), @"nothing is cached of `CHANNEL/linux-64/`, and the network may not be asked");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
