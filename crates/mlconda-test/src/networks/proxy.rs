//! Proxies for clients that are configured to use them.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::Engine as _;

use super::{
    Listener,
    relay::{exchange, head},
};

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyKind {
    /// HTTP: `CONNECT`, and requests with whole URLs.
    Http,
    /// SOCKS5 (RFC 1928, RFC 1929).
    Socks5,
}

/// A running proxy. After it is dropped, it accepts no new connections.
#[derive(Debug)]
pub struct Proxy {
    listener: Listener,
    kind: ProxyKind,
    passed: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy on loopback. It requires a login (a name and a password) if one is given.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start(kind: ProxyKind, login: Option<(&'static str, &'static str)>) -> io::Result<Self> {
        let passed = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&passed);
        let listener = Listener::start("127.0.0.1:0", move |connection| {
            connection.set_nodelay(true)?;
            match kind {
                ProxyKind::Http => http(connection, login, &count),
                ProxyKind::Socks5 => socks(connection, login, &count),
            }
        })?;
        Ok(Self { listener, kind, passed })
    }

    /// Its URL. `login` is empty, or `name:password@`.
    pub fn url(&self, login: &str) -> String {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5h",
        };
        format!("{scheme}://{login}{}", self.listener.address)
    }

    /// How many requests and tunnels passed through it.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

fn http(mut client: TcpStream, login: Option<(&str, &str)>, passed: &AtomicUsize) -> io::Result<()> {
    while let Some(request) = head(&mut client)? {
        let basic = |(name, password)| base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        let has_login = login.map(basic).is_none_or(|login| {
            let line = |line: &str| line.to_ascii_lowercase().starts_with("proxy-authorization: basic ");
            request.lines().any(|each| line(each) && each.ends_with(&login))
        });
        if !has_login {
            let answer =
                "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0";
            client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes())?;
            continue;
        }
        passed.fetch_add(1, Ordering::SeqCst);
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method == "CONNECT" {
            let server = TcpStream::connect(target)?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            return pipe(client, server);
        }
        let rest = target.strip_prefix("http://").unwrap_or_default();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = request.replacen(target, &format!("/{path}"), 1);
        let lines = plain.lines().filter(|line| !line.to_ascii_lowercase().starts_with("proxy-"));
        let plain = lines.collect::<Vec<_>>().join("\r\n");
        let (status, headers, body) = exchange(address(host)?, &plain)?;
        client.write_all(format!("{status}\r\n{}\r\n\r\n", headers.join("\r\n")).as_bytes())?;
        client.write_all(&body)?;
    }
    Ok(())
}

fn socks(mut client: TcpStream, login: Option<(&str, &str)>, passed: &AtomicUsize) -> io::Result<()> {
    let methods = counted(&mut client, 1)?;
    let wanted = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, wanted])?;
    if let Some((name, password)) = login {
        let (given, secret) = (counted(&mut client, 1)?, counted(&mut client, 0)?);
        let is_right = given == name.as_bytes() && secret == password.as_bytes();
        client.write_all(&[1, u8::from(!is_right)])?;
        if !is_right {
            return Ok(());
        }
    }
    let [_, _, _, kind] = bytes(&mut client)?;
    let host = match kind {
        1 => std::net::Ipv4Addr::from(bytes::<4>(&mut client)?).to_string(),
        4 => format!("[{}]", std::net::Ipv6Addr::from(bytes::<16>(&mut client)?)),
        _ => String::from_utf8_lossy(&counted(&mut client, 0)?).into_owned(),
    };
    let port = u16::from_be_bytes(bytes(&mut client)?);
    let server = TcpStream::connect(address(&format!("{host}:{port}"))?)?;
    passed.fetch_add(1, Ordering::SeqCst);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    pipe(client, server)
}

/// Reads a fixed number of bytes.
fn bytes<const COUNT: usize>(stream: &mut TcpStream) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads `before` bytes, a length byte, and this many further bytes.
fn counted(stream: &mut TcpStream, before: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; before + 1];
    stream.read_exact(&mut head)?;
    let mut bytes = vec![0; usize::from(head[before])];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn address(host: &str) -> io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Forwards bytes in both directions, until both have ended.
fn pipe(client: TcpStream, server: TcpStream) -> io::Result<()> {
    let (mut up, mut down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let upwards = std::thread::spawn(move || {
        let _ = io::copy(&mut up.0, &mut up.1);
        let _ = up.1.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut down.0, &mut down.1);
    let _ = down.1.shutdown(Shutdown::Write);
    let _ = upwards.join();
    Ok(())
}
