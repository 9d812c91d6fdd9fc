//! The client against a server on loopback that sends fixed responses, or misbehaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use mlconda_test::{
    networks::{Proxy, ProxyKind},
    server::{Fault, Server},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn no_secret_is_shown() {
    let shown = |url: &str| redact(&Url::parse(url).unwrap());
    assert_eq!(shown("https://conda.anaconda.org/conda-forge/"), "https://conda.anaconda.org/conda-forge/");
    assert_eq!(shown("https://me:pw@host/t/tk-123/lab/noarch/"), "https://********@host/t/********/lab/noarch/");
    assert_eq!(shown("https://host/repo/t/tk-1/lab/noarch/"), "https://host/repo/t/********/lab/noarch/");
    assert_eq!(shown("https://host/a?X-Amz-Signature=ab"), "https://host/a?********");
    assert_eq!(shown("file:///channels/t/lab"), "file:///channels/t/lab");
    let line = "[https://h/t/tk-1/a, 'https://h/t/${T}/b', https://h/x/t/tk-2/c, file:///t/d/e, https://h/t/f, /t/]";
    let shown =
        "[https://h/t/********/a, 'https://h/t/${T}/b', https://h/x/t/********/c, file:///t/d/e, https://h/t/f, /t/]";
    assert_eq!(mlconda_types::redact::without_tokens(line), shown);
}

/// A server on loopback that sends one fixed response after the other, and then repeats the last one.
async fn server(answers: &'static [&'static str]) -> (Url, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/t/secret/x", listener.local_addr().unwrap())).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let answer = answers[number.min(answers.len() - 1)];
            stream.write_all(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn client() -> Client {
    Client::new(&NetworkOptions { retry_delay: Duration::ZERO, ..NetworkOptions::default() }).unwrap()
}

#[tokio::test]
async fn what_may_pass_is_asked_for_again_and_what_will_not_is_not() {
    let (url, asked) = server(&["503 Busy\r\nRetry-After: 0", "200 OK"]).await;
    assert!(client().get(&url, BodyKind::Package(None)).await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 2);

    let (url, asked) = server(&["403 Forbidden"]).await;
    let error = client().get(&url, BodyKind::Package(None)).await.unwrap_err().to_string();
    assert!(error.ends_with("/t/********/x` answers 403 Forbidden"), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let (url, asked) = server(&["500 Oops"]).await;
    assert!(client().get(&url, BodyKind::Package(None)).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn the_reason_is_the_last_cause_and_holds_no_url() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/t/secret/x", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let NetworkError::Unreachable { reason, .. } = client().get(&url, BodyKind::Package(None)).await.unwrap_err()
    else {
        panic!()
    };
    assert!(reason.starts_with("Connection refused"), "{reason}");
}

/// A server with a fault for every request; `file` has ten bytes.
fn misbehaving(fault: Fault) -> (tempfile::TempDir, Server, Url) {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("file"), "0123456789").unwrap();
    let server = Server::serve(directory.path()).unwrap();
    server.fail("file", fault);
    let url = Url::parse(&server.url("file")).unwrap();
    (directory, server, url)
}

pub(super) fn with(limits: Limits) -> Client {
    Client::new(&NetworkOptions { retry_delay: Duration::ZERO, limits, ..NetworkOptions::default() }).unwrap()
}

/// The length of a body, or the message and the cause of the error.
async fn outcome(client: &Client, url: &Url, kind: BodyKind) -> Result<usize, (String, Cause)> {
    let all = async { client.get(url, kind).await?.bytes().await };
    all.await.map(|bytes| bytes.len()).map_err(|error: NetworkError| (error.to_string(), error.cause()))
}

#[tokio::test]
async fn a_body_is_cut_off_at_the_size_that_is_known_and_else_at_a_stated_limit() {
    let (_directory, server, url) = misbehaving(Fault::Endless);
    let small = Limit { size: 1 << 20, time: Duration::from_secs(60) };
    let client = with(Limits { package: small, repodata: small, shard: small, metadata: small, ..Limits::default() });
    let known = outcome(&client, &url, BodyKind::Package(Some(855))).await;
    assert_eq!(known, Err(("it has more than the 855 bytes expected".to_owned(), Cause::TooLong)));
    for body in [BodyKind::Package(None), BodyKind::Repodata, BodyKind::Shard, BodyKind::Metadata(u64::MAX)] {
        let limited = outcome(&client, &url, body).await;
        assert_eq!(limited, Err(("it has more than 1 MiB, which is the limit".to_owned(), Cause::TooLong)));
    }
    // A `Content-Length` above the limit is an error before any byte is read.
    server.recover();
    let promised = outcome(&client, &url, BodyKind::Package(Some(9))).await;
    assert_eq!(promised, Err(("it has more than the 9 bytes expected".to_owned(), Cause::TooLong)));
    assert_eq!(outcome(&client, &url, BodyKind::Package(Some(10))).await, Ok(10));
}

#[tokio::test]
async fn the_body_of_an_error_or_of_a_redirect_is_not_taken() {
    let (_directory, server, url) = misbehaving(Fault::EndlessStatus(404));
    let message = outcome(&client(), &url, BodyKind::Repodata).await.unwrap_err();
    assert_eq!(message, (format!("`{url}` answers 404 Not Found"), Cause::Status(StatusCode::NOT_FOUND)));
    server.fail("file", Fault::EndlessStatus(503));
    assert!(outcome(&client(), &url, BodyKind::Repodata).await.is_err());
    assert_eq!(server.count("file"), 5);
}

#[tokio::test]
async fn what_comes_too_slowly_is_given_up_and_called_slow() {
    let (_directory, _server, url) = misbehaving(Fault::Endless);
    let rate = Limits { min_rate: u64::MAX, slow_window: Duration::from_millis(20), ..Limits::default() };
    let (message, cause) = outcome(&with(rate), &url, BodyKind::Package(None)).await.unwrap_err();
    assert!(message.starts_with("it is slow: ") && message.ends_with(" a second is given up"), "{message}");
    assert_eq!(cause, Cause::Slow);
    let time = Limit { size: u64::MAX, time: Duration::from_millis(20) };
    let limits = Limits { package: time, ..Limits::default() };
    let message = outcome(&with(limits), &url, BodyKind::Package(None)).await;
    assert_eq!(message, Err(("it is slow: it has not come whole within 0 min".to_owned(), Cause::Slow)));
}

#[tokio::test]
async fn what_stalls_is_given_up() {
    let (_directory, _server, url) = misbehaving(Fault::Stalled);
    let limits = Limits { slow_window: Duration::from_millis(20), ..Limits::default() };
    let message = outcome(&with(limits), &url, BodyKind::Package(None)).await;
    let (message, cause) = message.unwrap_err();
    assert!(
        ["nothing has come for 0 s", "it is slow: 5 bytes in 0 s, and less than 1 KiB a second is given up"]
            .contains(&message.as_str()),
        "{message}"
    );
    assert!([Cause::TimedOut, Cause::Slow].contains(&cause));
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_not_waited_for() {
    for (status, asked) in [(503, "999999"), (429, "999999"), (503, "99999999999999999999999")] {
        let (_directory, busy, url) = misbehaving(Fault::RetryAfter(status, asked));
        let (message, cause) = outcome(&with(Limits::default()), &url, BodyKind::Repodata).await.unwrap_err();
        assert!(message.contains(", and asks to wait "), "{message}");
        assert_eq!((cause, busy.count("file")), (Cause::Status(StatusCode::from_u16(status).unwrap()), 1));
    }
    // The wait as a time of the server's own clock.
    let (url, asked) =
        server(&["503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 09:49:37 GMT"])
            .await;
    let (message, _) = outcome(&client(), &url, BodyKind::Repodata).await.unwrap_err();
    assert!(message.ends_with("answers 503 Service Unavailable, and asks to wait 3600 s"), "{message}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// Records the reported events.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(String, String)>>);

impl Progress for Told {
    fn event(&self, event: mlconda_types::progress::Event) {
        if let mlconda_types::progress::Event::Waiting { url, reason, .. } = event {
            self.0.lock().unwrap().push((url, reason));
        }
    }
}

#[tokio::test]
async fn who_waits_is_told_for_whom() {
    let (_directory, _server, url) = misbehaving(Fault::Stalled);
    let limits =
        Limits { notice_interval: Duration::ZERO, slow_window: Duration::from_millis(200), ..Limits::default() };
    let (client, told) = (with(limits), Told::default());
    assert!(client.report_waits(&told, outcome(&client, &url, BodyKind::Package(None))).await.is_err());
    let told = told.0.into_inner().unwrap();
    let reason = "the rest of its answer does not come".to_owned();
    assert!(told.contains(&(url.to_string(), reason)), "not told");
}

#[tokio::test]
async fn a_redirect_leads_to_no_file_and_to_no_worse_scheme() {
    for to in ["file:///etc/hostname", "file://localhost/etc/hostname", "ftp://127.0.0.1/x"] {
        let (_directory, server, url) = misbehaving(Fault::Redirect(to.to_owned()));
        let (message, cause) = outcome(&client(), &url, BodyKind::Package(None)).await.unwrap_err();
        let scheme = to.split(':').next().unwrap();
        let reason = format!("it leads from `http` to `{scheme}`: only the same scheme or `https` is followed");
        assert_eq!((message, cause), (format!("cannot reach `{url}`: {reason}"), Cause::Redirect));
        assert_eq!(server.count("file"), 1);
    }
    let url = |text: &str| Url::parse(text).unwrap();
    for (from, to, may) in [
        ("http://a", "https://b", true),
        ("http://a", "http://b", true),
        ("https://a", "http://a", false),
        ("https://a", "file:///a", false),
        ("file:///a", "file:///b", true),
        ("file:///a", "https://b", true),
        ("file:///a", "http://b", false),
    ] {
        assert_eq!(scheme::check(&url(from), &url(to)).is_ok(), may, "{from} {to}");
    }
}

#[tokio::test]
async fn each_cause_of_a_failure_is_told_from_the_others() {
    let nowhere = Url::parse("http://127.0.0.1:9/x").unwrap();
    let cause_of = async |options: NetworkOptions, url: &Url| {
        let client = Client::new(&NetworkOptions { retry_delay: Duration::ZERO, ..options }).unwrap();
        outcome(&client, url, BodyKind::Repodata).await.unwrap_err().1
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let by = |proxy: &str| NetworkOptions {
        proxies: Proxies { http: Some(proxy.to_owned()), https: Some(proxy.to_owned()), except: None },
        ..NetworkOptions::default()
    };
    assert_eq!(cause_of(NetworkOptions::default(), &Url::parse(&closed).unwrap()).await, Cause::Refused);
    assert_eq!(cause_of(by(&closed), &nowhere).await, Cause::Proxy);
    assert_eq!(cause_of(by(&closed), &Url::parse("https://example.org/").unwrap()).await, Cause::Proxy);
    let (proxy, _) = server(&["407 Proxy Authentication Required"]).await;
    let proxy = format!("http://{}", proxy.authority());
    assert_eq!(cause_of(by(&proxy), &nowhere).await, Cause::ProxyLogin);
    assert_eq!(cause_of(by(&proxy), &Url::parse("https://example.org/").unwrap()).await, Cause::ProxyLogin);
    let (_directory, _server, url) = misbehaving(Fault::Truncated);
    assert_eq!(cause_of(NetworkOptions::default(), &url).await, Cause::BrokeOff);
    let (_directory, _server, url) = misbehaving(Fault::HangUpFirst(9));
    assert_eq!(cause_of(NetworkOptions::default(), &url).await, Cause::BrokeOff);
    let limits = Limits { read_timeout: Duration::from_millis(20), ..Limits::default() };
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    assert_eq!(cause_of(NetworkOptions { limits, ..NetworkOptions::default() }, &url).await, Cause::TimedOut);
    assert_eq!(cause_of(NetworkOptions::default(), &Url::parse("http://a..b/").unwrap()).await, Cause::NoHost);
}

#[test]
fn certificates_fail_for_different_causes() {
    use rustls::{CertificateError, Error};
    let of = |error: CertificateError| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, Error::InvalidCertificate(error));
        classify(&error, Route::Direct)
    };
    assert_eq!(of(CertificateError::UnknownIssuer), Cause::UnknownIssuer);
    assert_eq!(of(CertificateError::Expired), Cause::OutOfDate);
    assert_eq!(of(CertificateError::NotValidYet), Cause::OutOfDate);
    assert_eq!(of(CertificateError::NotValidForName), Cause::OtherHost);
    assert_eq!(of(CertificateError::Revoked), Cause::Tls);
}

#[tokio::test]
async fn what_a_channel_in_a_registry_needs_is_told() {
    let of =
        async |url: &str| client().get(&Url::parse(url).unwrap(), BodyKind::Repodata).await.unwrap_err().to_string();
    assert_eq!(
        of("oci://h/c/noarch/repodata.json").await,
        "cannot reach `oci://h/c/noarch/repodata.json`: `oci://` needs `NetworkOptions::registry` (with the feature `image`)"
    );
    let ftp = of("ftp://h/c/x").await;
    assert!(ftp.ends_with("`ftp://` is not supported, only `https://`, `http://` and `file://`"), "{ftp}");
}

#[test]
fn the_host_of_a_registry_is_the_same_in_capitals() {
    let mirror: Mirror = "oci://GHCR.io/C=oci://Registry.example.org/c".parse().unwrap();
    assert_eq!(mirror, "oci://ghcr.io/C=oci://registry.example.org/c".parse().unwrap());
    assert_ne!(mirror, "oci://ghcr.io/c=oci://registry.example.org/c".parse().unwrap());
}

fn by_proxy(proxy: &str) -> NetworkOptions {
    let proxy = Some(proxy.to_owned());
    let proxies = Proxies { http: proxy.clone(), https: proxy, except: None };
    NetworkOptions { proxies, retry_delay: Duration::ZERO, ..NetworkOptions::default() }
}

#[tokio::test]
async fn a_socks_proxy_reaches_addresses_and_names_that_are_resolved_on_either_side() {
    for scheme in ["socks5://", "socks5h://", "SOCKS5://"] {
        let proxy = Proxy::start(ProxyKind::Socks5, None).unwrap();
        let client = Client::new(&by_proxy(&proxy.url("").replace("socks5h://", scheme))).unwrap();
        let (url, asked) = server(&["200 OK", "200 OK"]).await;
        let mut name = url.clone();
        name.set_host(Some("localhost")).unwrap();
        for url in [&url, &name] {
            assert!(client.get(url, BodyKind::Repodata).await.is_ok(), "{scheme} {url}");
        }
        assert_eq!((asked.load(Ordering::Relaxed), proxy.passed()), (2, 2), "{scheme}");
    }
}

#[test]
fn a_proxy_that_reqwest_would_pass_over_is_an_error_without_its_login() {
    for scheme in ["sock5", "ftp", "socks", "socks4", "socks4a", "ws", "Httpss"] {
        let url = format!("{scheme}://name:secret@127.0.0.1:1080");
        let only_https = Proxies { https: Some(url.clone()), ..Proxies::default() };
        for proxies in [by_proxy(&url).proxies, only_https] {
            let of = if proxies.http.is_some() { "http" } else { "https" };
            let error = Client::new(&NetworkOptions { proxies, ..NetworkOptions::default() }).unwrap_err();
            let words = "is not a URL with `http://`, `https://`, `socks5://` or `socks5h://`";
            assert_eq!(error.to_string(), format!("the address of the proxy for `{of}://` {words}"));
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
    for url in ["127.0.0.1:3128", "proxy:3128", "name:secret@proxy:3128", "proxy", "HTTPS://proxy", "socks5h://proxy"] {
        assert!(Client::new(&by_proxy(url)).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn what_a_socks_proxy_cannot_do_is_told_in_words() {
    let outcome_by = async |proxy: &str, url: &str| {
        let client = Client::new(&by_proxy(proxy)).unwrap();
        let (message, cause) = outcome(&client, &Url::parse(url).unwrap(), BodyKind::Repodata).await.unwrap_err();
        (message.split_once("`: ").unwrap().1.to_owned(), cause)
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("socks5h://{}", listener.local_addr().unwrap());
    drop(listener);
    let told = outcome_by(&closed, "http://a.invalid/").await;
    assert_eq!(told, ("cannot connect to the proxy".to_owned(), Cause::Proxy));

    let proxy = Proxy::start(ProxyKind::Socks5, Some(("name", "secret"))).unwrap();
    let (message, cause) = outcome_by(&proxy.url(&format!("name:{}@", "x".repeat(300))), "http://a.invalid/").await;
    let words = "SOCKS allows 255 bytes for the name in the proxy's login, and 255 for the password";
    assert_eq!((message.as_str(), cause), (words, Cause::ProxyLogin));

    // No name server is asked for this invalid name.
    let local = proxy.url("name:secret@").replace("socks5h", "socks5");
    let told = outcome_by(&local, "http://a..b/").await;
    assert_eq!(told, ("`a..b` cannot be the name of a host".to_owned(), Cause::NoHostForProxy));
    assert_eq!(proxy.passed(), 0);

    let (http, _) = server(&["400 Bad Request"]).await;
    let told = outcome_by(&format!("socks5h://{}", http.authority()), "http://a.invalid/").await;
    assert_eq!(told.1, Cause::Proxy, "{}", told.0);
    assert!(told.0.starts_with("the proxy "), "{}", told.0);

    let refused = reason(&std::io::Error::other("SOCKS error: host unreachable"));
    assert_eq!(refused, "the proxy cannot connect to the server: host unreachable");
}
