//! Resolves host names without the C library.
//!
//! A static glibc binary that calls `getaddrinfo` loads the NSS modules of the image's glibc, and an image `FROM
//! scratch` has none. So names are resolved here, from the two files that every container engine writes: `/etc/hosts`
//! and `/etc/resolv.conf`. A stub resolver is small (RFC 1035): one query by UDP, repeated by TCP if the answer was
//! truncated. The complete client that reqwest offers as a feature would make the program larger, with a protocol
//! stack, cache and configuration that an installer does not need.
//!
//! Not supported are NSS modules (LDAP, mDNS) and `sortlist`. On macOS the system's resolver is used: the binary is
//! not static there, and `resolv.conf` does not contain the name servers of VPNs.

use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use mlconda_system::files;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

#[cfg(mlconda_fuzzing)]
mod fuzzing;
mod message;

#[cfg(mlconda_fuzzing)]
pub use fuzzing::addresses_of_reply;
use message::{Query, Reply, Status};

/// How much longer to wait for IPv6 addresses once the IPv4 addresses are known. Some servers never answer IPv6
/// queries.
const GRACE: Duration = Duration::from_millis(200);

/// Why a name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DnsError {
    /// The servers know no such name, or no address for it.
    #[error("there is no host `{0}`")]
    Missing(String),
    /// The text is not a valid host name.
    #[error("`{0}` cannot be the name of a host")]
    Invalid(String),
    /// No server answered.
    #[error("cannot find the address of `{name}`: the name server {server} {reason}")]
    Failed { name: String, server: SocketAddr, reason: String },
}

/// The configuration from `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolverConfig {
    hosts: HashMap<String, Vec<IpAddr>>,
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: usize,
}

impl ResolverConfig {
    /// Reads both files below a root directory. A missing file counts as empty.
    pub(crate) fn read(root: &Path) -> Self {
        let text = |path: &str| files::read(&root.join(path), files::LARGEST_TEXT).unwrap_or_default();
        let (hosts, resolv) = (text("etc/hosts"), text("etc/resolv.conf"));
        Self::parse(&String::from_utf8_lossy(&hosts), &String::from_utf8_lossy(&resolv))
    }

    /// Parses both files (hosts(5), resolv.conf(5)).
    fn parse(hosts: &str, resolv: &str) -> Self {
        let mut config = Self {
            hosts: parse_hosts(hosts),
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in resolv.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => config.servers.extend(words.next().and_then(server)),
                Some("search" | "domain") => {
                    config.search = words.map(|word| word.trim_end_matches('.').to_lowercase()).collect();
                }
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        config.search.retain(|domain| !domain.is_empty());
        // resolv.conf(5): at most three servers; without any, the local one.
        config.servers.truncate(3);
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        }
        config
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u8>() else { return };
        // The limits are those of resolv.conf(5).
        match name {
            "ndots" => self.ndots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = usize::from(value.clamp(1, 5)),
            _ => {}
        }
    }

    /// The names to query, in order. If the name has few dots, the search domains come first.
    fn search_candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut candidates: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let index = if name.matches('.').count() >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(index, name.to_owned());
        candidates
    }
}

fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            hosts.entry(name.to_lowercase()).or_default().push(address);
        }
    }
    hosts
}

/// The address of a name server. Addresses with a zone (`fe80::1%eth0`) are not supported and are skipped.
fn server(word: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(word.parse().ok()?, 53))
}

/// Resolves names for reqwest.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    config: Arc<ResolverConfig>,
}

impl Resolver {
    pub(crate) fn new(config: ResolverConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let config = Arc::clone(&self.config);
        Box::pin(async move {
            let addresses = lookup(&config, name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The addresses of a host: IPv4 first, because containers seldom have a route for IPv6.
async fn lookup(config: &ResolverConfig, name: &str) -> Result<Vec<IpAddr>, DnsError> {
    // For a `socks5://` proxy, reqwest also resolves addresses.
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let name = name.to_lowercase();
    if let Some(addresses) = config.hosts.get(name.trim_end_matches('.')) {
        return Ok(addresses.clone());
    }
    // RFC 6761: these names are never sent to a name server.
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let mut failure = None;
    for candidate in config.search_candidates(&name) {
        match lookup_both_families(config, &candidate).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(DnsError::Missing(name)))
}

async fn lookup_both_families(config: &ResolverConfig, name: &str) -> Result<Vec<IpAddr>, DnsError> {
    let mut v4 = pin!(query_servers(config, name, message::A));
    let mut v6 = pin!(query_servers(config, name, message::AAAA));
    let (v4, v6) = tokio::select! {
        v4 = &mut v4 => {
            let v6 = match &v4 {
                Ok(found) if !found.is_empty() => with_timeout(GRACE, v6).await.unwrap_or(Ok(Vec::new())),
                _ => v6.await,
            };
            (v4, v6)
        }
        v6 = &mut v6 => (v4.await, v6),
    };
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.extend(v6);
            Ok(v4)
        }
        (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
            if found.is_empty() {
                Err(error)
            } else {
                Ok(found)
            }
        }
        (Err(error), Err(_)) => Err(error),
    }
}

async fn with_timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    timeout(limit, future).await.ok()
}

/// Queries the servers one after the other for the addresses of one family; empty if the name has none.
pub(crate) async fn query_servers(config: &ResolverConfig, name: &str, kind: u16) -> Result<Vec<IpAddr>, DnsError> {
    let mut failure = None;
    for _ in 0..config.attempts {
        for &server in &config.servers {
            // Replies are accepted only with the right ID and port, as a protection against forgeries. This hash is
            // random enough.
            let id = RandomState::new().hash_one(server) as u16;
            let query = Query::new(id, name, kind).ok_or_else(|| DnsError::Invalid(name.to_owned()))?;
            let reason = match with_timeout(config.timeout, exchange(server, &query)).await {
                Some(Ok(Reply { status: Status::Fine | Status::NoSuchName, addresses, .. })) => return Ok(addresses),
                Some(Ok(Reply { status: Status::Failed(code), .. })) => format!("answers with code {code}"),
                Some(Err(error)) => format!("cannot be asked ({error})"),
                None => "does not answer".to_owned(),
            };
            failure = failure.or(Some(DnsError::Failed { name: name.to_owned(), server, reason }));
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(Vec::new()),
    }
}

/// Sends a query by UDP, and again by TCP if the answer was truncated.
async fn exchange(server: SocketAddr, query: &Query) -> std::io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query.bytes()).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A message that does not answer the query is forged or late: wait for the right one.
        match query.reply(&buffer[..length]) {
            Some(reply) if reply.truncated => return exchange_by_tcp(server, query).await,
            Some(reply) => return Ok(reply),
            None => {}
        }
    }
}

async fn exchange_by_tcp(server: SocketAddr, query: &Query) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = query.bytes();
    // Queries are at most 271 bytes long.
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut buffer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut buffer).await?;
    query.reply(&buffer).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_their_manual_pages_say() {
        let config = ResolverConfig::parse(
            "127.0.0.1 localhost\n10.0.0.7  channel.corp channel # ours\nfe80::1%lo0 broken\n",
            "# made by an engine\nsearch corp.example. svc.local\nnameserver 10.0.0.2\nnameserver ::1\noptions ndots:5 timeout:1 edns0\n",
        );
        assert_eq!(config.hosts["channel"], ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert!(!config.hosts.contains_key("broken"));
        assert_eq!(config.servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (5, Duration::from_secs(1), 2));
        assert_eq!(config.search_candidates("a.b"), ["a.b.corp.example", "a.b.svc.local", "a.b"]);
        assert_eq!(config.search_candidates("a.b."), ["a.b"]);
        assert_eq!(ResolverConfig::parse("", "").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    /// A name server that knows only `host.corp`: IPv4 addresses truncated by UDP and complete by TCP, and no IPv6
    /// addresses.
    async fn serve(udp: UdpSocket, tcp: tokio::net::TcpListener) {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..length];
            let known = query[12..].starts_with(b"\x04host\x04corp\0");
            let is_a = query[length - 4..length - 2] == [0, 1];
            let mut reply = query.to_vec();
            reply[2] = if known && is_a { 0x83 } else { 0x81 };
            reply[3] = if known { 0x80 } else { 0x83 };
            // A forged reply comes first, and must be ignored.
            let mut forged = reply.clone();
            forged[0] ^= 0xff;
            udp.send_to(&forged, from).await.unwrap();
            udp.send_to(&reply, from).await.unwrap();
            if known && is_a {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut asked = vec![0; 2 + length];
                stream.read_exact(&mut asked).await.unwrap();
                let mut whole = asked[2..].to_vec();
                (whole[2], whole[3], whole[7]) = (0x81, 0x80, 2);
                whole.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x09\0\x02\xc0\x0c");
                whole.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x0a\x01\x02\x03");
                let mut framed = (whole.len() as u16).to_be_bytes().to_vec();
                framed.extend_from_slice(&whole);
                stream.write_all(&framed).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn an_address_is_its_own_address() {
        let config = ResolverConfig::parse("127.0.0.9 channel", "search corp");
        for (name, address) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("2001:DB8::7", "2001:db8::7")] {
            assert_eq!(lookup(&config, name).await.unwrap(), [address.parse::<IpAddr>().unwrap()]);
        }
    }

    #[tokio::test]
    async fn answers_come_by_udp_or_tcp_and_forged_ones_are_passed_over() {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let server = tokio::spawn(serve(udp, tcp));
        let mut config = ResolverConfig::parse("127.0.0.9 channel", "search corp");
        config.servers = vec![address];
        assert_eq!(lookup(&config, "HOST").await.unwrap(), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(lookup(&config, "channel").await.unwrap(), ["127.0.0.9".parse::<IpAddr>().unwrap()]);
        let missing = lookup(&config, "nowhere.corp").await.unwrap_err();
        assert!(matches!(missing, DnsError::Missing(_)), "{missing}");
        server.abort();
    }

    /// Sends a wrong reply or none, chosen by a number, and sometimes the right reply after it.
    async fn misbehave(udp: &UdpSocket, from: SocketAddr, query: &[u8], how: u64) {
        let address: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x0a\x01\x02\x03";
        let is_a = query[query.len() - 4..query.len() - 2] == [0, 1];
        let mut right = query.to_vec();
        (right[2], right[3], right[7]) = (0x81, 0x80, u8::from(is_a));
        if is_a {
            right.extend_from_slice(address);
        }
        let mut wrong = right.clone();
        if let Some(last) = wrong.last_mut().filter(|_| is_a) {
            *last = 66;
        }
        match how {
            // No reply, or a reply that is too short.
            0 => return,
            1 => wrong = b"\0\x01".to_vec(),
            2 => wrong.truncate(7),
            // The reply to another query, or not a reply.
            3 => wrong[0] ^= 1,
            4 => wrong[14] ^= 1,
            5 => wrong[2] = 1,
            6 => wrong[5] = 2,
            // A failure of the server, or a truncated reply although no server listens on TCP.
            7 => (right[3], right[7]) = (0x82, 0),
            8 => right[2] |= 2,
            // The header counts more records than there are.
            9 => right[7] = 9,
            _ => {}
        }
        if (1..7).contains(&how) {
            let _ = udp.send_to(&wrong, from).await;
        }
        // For every second number, the right reply follows a wrong one.
        if how > 6 || how.is_multiple_of(2) {
            let _ = udp.send_to(&right, from).await;
        }
    }

    #[tokio::test]
    async fn a_name_server_that_lies_or_is_silent_gives_the_right_address_or_an_error() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut config = ResolverConfig::parse("", "search corp");
        (config.servers, config.timeout) = (vec![udp.local_addr().unwrap()], Duration::from_millis(40));
        let seed = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let of_server = Arc::clone(&seed);
        let server = tokio::spawn(async move {
            let mut buffer = [0; 512];
            for number in 0.. {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                let seed = of_server.load(std::sync::atomic::Ordering::SeqCst);
                misbehave(&udp, from, &buffer[..length], (seed + number * seed) % 12).await;
            }
        });
        let (mut right, mut failed) = (0, 0);
        for number in 0..60 {
            seed.store(number, std::sync::atomic::Ordering::SeqCst);
            // Both address families are queried at the same time, each twice, for two names at most.
            let outcome =
                timeout(Duration::from_secs(5), lookup(&config, "host.corp")).await.expect("it takes too long");
            match outcome {
                Ok(found) => {
                    assert_eq!(found, ["10.1.2.3".parse::<IpAddr>().unwrap()], "{number}");
                    right += 1;
                }
                Err(error) => {
                    assert!(matches!(error, DnsError::Failed { .. }), "{number}: {error}");
                    failed += 1;
                }
            }
        }
        assert!(right > 10 && failed > 2, "{right} {failed}");
        server.abort();
    }
}
