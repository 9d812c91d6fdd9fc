//! Runs the examples against a channel on this machine.

#![allow(clippy::unwrap_used, reason = "they are tests")]
#![allow(dead_code, reason = "the functions `main` of the examples are not called")]

#[path = "../examples/notebook_platform.rs"]
mod notebook_platform;
#[path = "../examples/read_lock.rs"]
mod read_lock;
#[path = "../examples/solve_service.rs"]
mod solve_service;

use std::{path::Path, time::Duration};

use mlconda::network::{Client, NetworkOptions};
use mlconda_test::{
    channel::Channel,
    package::{Noarch, PackageBuilder},
    server::{Fault, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A channel with `greeting`, which needs `words`.
fn channel(directory: &Path) -> String {
    let words = PackageBuilder::new("words", "1.0").noarch(Noarch::Generic).file("share/words.txt", "hello\n");
    let greeting = PackageBuilder::new("greeting", "2.1").noarch(Noarch::Generic).depends("words >=1");
    // `Channel::write` starts a runtime of its own.
    tokio::task::block_in_place(|| Channel::write(directory.join("channel"), &[words, greeting], &["linux-64"]))
        .unwrap();
    format!("file://{}", directory.join("channel").display())
}

/// Sends a request. Returns the status line and the body of the response.
async fn post(address: std::net::SocketAddr, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /lock HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_an_environment_with_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let channel = channel(directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = solve_service::routes(&directory.path().join("cache")).unwrap();
    let service = tokio::spawn(async move { axum::serve(listener, routes).await });

    let (status, lock) = post(address, &format!("channels: ['{channel}']\ndependencies: [greeting]\n")).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(lock.contains("@EXPLICIT\n") && lock.contains("/greeting-2.1-"), "{lock}");
    let (status, reason) = post(address, &format!("channels: ['{channel}']\ndependencies: [greetings]\n")).await;
    assert_eq!(status, "HTTP/1.1 422 Unprocessable Entity");
    assert!(reason.contains("no channel has `greetings`"), "{reason}");
    let (status, reason) = post(address, "dependencies: greeting\n").await;
    assert_eq!(status, "HTTP/1.1 400 Bad Request");
    assert!(reason.contains("environment.yml:1"), "{reason}");
    service.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_installs_records_and_gives_up_after_a_while() {
    let directory = tempfile::tempdir().unwrap();
    channel(directory.path());
    let server = Server::serve(directory.path().join("channel")).unwrap();
    let client = Client::new(&NetworkOptions::default()).unwrap();
    let cache = directory.path().join("cache");
    let records = notebook_platform::choose(&server.url(""), &["greeting".to_owned()], &client, &cache).await.unwrap();

    let prefix = directory.path().join("envs/ada");
    let page = notebook_platform::Page::default();
    // The server holds the response back, so this cannot end, even on a fast machine.
    server.fail("words-1.0", Fault::Held);
    let late = notebook_platform::provide(&records, &prefix, &client, &page, Duration::ZERO).await;
    assert_eq!(late.unwrap_err().to_string(), "it took longer than 0 seconds");
    assert!(!prefix.exists());
    server.recover();
    let report = notebook_platform::provide(&records, &prefix, &client, &page, Duration::from_secs(60)).await.unwrap();
    assert_eq!((report.linked, report.files), (2, 1));
    assert!(page.lines().iter().any(|line| line.starts_with("words-1.0-")), "{:?}", page.lines());
}

#[test]
fn any_lock_is_told_in_lines() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("env.lock");
    let url = "https://host.example/t/secret/conda-forge/noarch/words-1.0-0.conda";
    fs_err::write(&lock, format!("# platform: linux-64\n@EXPLICIT\n{url}#{}\n", "0".repeat(32))).unwrap();
    let lines = read_lock::packages(&lock).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("linux-64 words 1.0 https://") && !lines[0].contains("secret"), "{lines:?}");
}
