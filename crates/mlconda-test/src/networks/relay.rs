//! A server that forwards requests to another server, and disturbs the responses by a seed.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use super::{
    Authority, Chance, Disturbance, Listener,
    disturbed::{Disturbed, Turn},
};

/// How a response begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beginning {
    /// Without a fault.
    Right,
    /// The connection ends without an answer.
    Close,
    /// The connection is reset without an answer.
    Reset,
    /// Another status, and the value of `Retry-After`.
    Status(u16, Option<&'static str>),
    /// Bytes that are not HTTP.
    Garbage,
    /// `Content-Length` is larger than the body.
    LongLength,
    /// `Content-Length` is smaller than the body.
    ShortLength,
}

/// A running relay. After it is dropped, it accepts no new connections.
#[derive(Debug)]
pub struct Relay {
    listener: Listener,
    scheme: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    disturbance: Disturbance,
}

impl Relay {
    /// A relay to a server, on an address such as `127.0.0.1:0` or `[::1]:0`, with TLS if an authority is given. At
    /// first, nothing is disturbed.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start(address: &str, upstream: SocketAddr, authority: Option<&Authority>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            upstream,
            tls: authority.map(|authority| Arc::clone(&authority.server)),
            disturbance: Disturbance::default(),
        });
        let of_connections = Arc::clone(&shared);
        let listener = Listener::start(address, move |connection| of_connections.accept(connection))?;
        Ok(Self { listener, scheme: if authority.is_some() { "https" } else { "http" }, shared })
    }

    /// The disturbance of this relay.
    pub fn disturbance(&self) -> &Disturbance {
        &self.shared.disturbance
    }

    /// The URL of a path on this relay.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}/{path}", self.scheme, self.listener.address)
    }
}

impl Shared {
    fn accept(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return self.converse(&mut Wire::Plain(Disturbed::new(stream, None))) };
        // Below TLS, any byte may be changed: in the handshake, or in the encrypted data.
        let turn = self.disturbance.chance().map(|mut chance| {
            let turns = [Turn::Cut, Turn::Reset, Turn::Corrupt, Turn::Stall, Turn::SingleBytes, Turn::Pause(3)];
            let turn = turns[usize::try_from(chance.below(6)).unwrap_or(0)];
            (chance.below(6000), turn)
        });
        let server = rustls::ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
        self.converse(&mut Wire::Tls(Box::new(rustls::StreamOwned::new(server, Disturbed::new(stream, turn)))))
    }

    /// Answers requests until the client has no more.
    fn converse(&self, wire: &mut Wire) -> io::Result<()> {
        while let Some(request) = head(wire)? {
            let (status, mut headers, mut body) = exchange(self.upstream, &request)?;
            let (beginning, turn) = match self.disturbance.chance() {
                None => (Beginning::Right, None),
                Some(mut chance) => what_happens(&mut chance, path_of(&request), body.len() as u64, wire.is_plain()),
            };
            match beginning {
                Beginning::Right => {}
                Beginning::Close => return Ok(()),
                Beginning::Reset => return Err(wire.disturbed().reset()),
                Beginning::Garbage => return wire.write_all(b"\x16\x03\x01 what is this\r\n\r\n"),
                Beginning::Status(status, retry) => {
                    let retry = retry.map(|retry| format!("Retry-After: {retry}\r\n")).unwrap_or_default();
                    let text = format!("HTTP/1.1 {status} Disturbed\r\n{retry}Content-Length: 4\r\n\r\nbusy");
                    wire.write_all(text.as_bytes())?;
                    wire.flush()?;
                    continue;
                }
                Beginning::LongLength | Beginning::ShortLength => {
                    let length = match beginning {
                        Beginning::LongLength => body.len() + 7,
                        _ => body.len().saturating_sub(3),
                    };
                    headers.retain(|line| !line.to_ascii_lowercase().starts_with("content-length:"));
                    headers.push(format!("Content-Length: {length}"));
                }
            }
            if request.starts_with("HEAD ") {
                body.clear();
            }
            wire.write_all(format!("{status}\r\n{}\r\n\r\n", headers.join("\r\n")).as_bytes())?;
            if turn.is_some() {
                wire.disturbed().set(turn);
            }
            wire.write_all(&body)?;
            wire.flush()?;
            if beginning == Beginning::LongLength {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The fault in the response to a request.
fn what_happens(chance: &mut Chance, path: &str, length: u64, is_plain: bool) -> (Beginning, Option<(u64, Turn)>) {
    let place = chance.below(length.max(1));
    let in_body = |turn| (Beginning::Right, Some((place, turn)));
    match chance.below(14) {
        0 => (Beginning::Close, None),
        1 => (Beginning::Reset, None),
        2 => (Beginning::Status(500, None), None),
        3 => (Beginning::Status(503, Some("0")), None),
        4 => (Beginning::Status(429, Some("0")), None),
        5 => (Beginning::Status(503, Some("86400")), None),
        6 => (Beginning::Garbage, None),
        7 => (Beginning::LongLength, None),
        8 => (Beginning::ShortLength, None),
        9 => in_body(Turn::Reset),
        10 => in_body(Turn::Stall),
        11 => in_body(Turn::SingleBytes),
        12 => in_body(Turn::Pause(3)),
        // Unencrypted, a changed byte is only detected in files with a known hash. Within TLS, no byte is changed.
        _ if is_plain && has_hash(path) => in_body(Turn::Corrupt),
        _ => in_body(Turn::Cut),
    }
}

/// Whether the client knows the hash of a file before it requests the file: archives, and shards, which are named by
/// their hash.
fn has_hash(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.strip_suffix(".msgpack.zst").unwrap_or_default();
    name.ends_with(".conda") || name.ends_with(".tar.bz2") || stem.len() == 64
}

fn path_of(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// A connection with a client.
enum Wire {
    Plain(Disturbed),
    Tls(Box<rustls::StreamOwned<rustls::ServerConnection, Disturbed>>),
}

impl Wire {
    const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn disturbed(&mut self) -> &mut Disturbed {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The head of a request, without the empty line at its end; `None` if the client has closed the connection.
pub(super) fn head(wire: &mut impl Read) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if wire.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).trim_end().to_owned()))
}

/// Sends a request to a server. Returns the status line, the headers and the body.
pub(super) fn exchange(server: SocketAddr, request: &str) -> io::Result<(String, Vec<String>, Vec<u8>)> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(format!("{request}\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let length =
        lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; if request.starts_with("HEAD ") { 0 } else { length.unwrap_or(0) }];
    reader.read_exact(&mut body)?;
    let status = if lines.is_empty() { String::new() } else { lines.remove(0) };
    Ok((status, lines, body))
}
