//! An HTTP/1.1 server for a directory, on loopback, that can misbehave on request.
//!
//! It is small enough to be read: blocking sockets, and one thread for each connection. It has the features of channel
//! servers that clients rely on (persistent connections, `ETag` and `If-None-Match`, `Range`, `HEAD`), and faults that
//! were seen on real servers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{acceptor::Acceptor, sha256_hex};

/// The media type of an index page in JSON (PEP 691).
const PAGE_IN_JSON: &str = "application/vnd.pypi.simple.v1+json";

/// The fault of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Answers with this status and no body: 401, 403, 404, 500.
    Status(u16),
    /// The first requests, this many, get status 503; later ones get the file.
    UnavailableFirst(usize),
    /// The first connections, this many, are closed without an answer.
    HangUpFirst(usize),
    /// The connection is closed after half of the body.
    Truncated,
    /// The first requests, this many, get half of the body.
    TruncatedFirst(usize),
    /// Nothing is sent after half of the body, but the connection stays open.
    Stalled,
    /// One byte in the middle is changed; the length is right.
    Corrupted,
    /// Nothing is sent until [`Server::recover`]; then the file is sent.
    Held,
    /// `Content-Length` is ten bytes larger than the body.
    WrongLength,
    /// Status 302 with this location.
    Redirect(String),
    /// This status, with this `Retry-After`.
    RetryAfter(u16, &'static str),
    /// A body without a length and without an end: the file, and then zeros as long as the client reads.
    Endless,
    /// Like [`Fault::Endless`], with this status.
    EndlessStatus(u16),
    /// Not a fault: the response has this additional header.
    Header(&'static str, &'static str),
}

/// A running server; dropping it closes all connections and waits for its threads.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    _acceptor: Acceptor,
}

/// The state that the threads share.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    arrived: Condvar,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// The `max-age` of responses, in seconds.
    max_age: Option<u64>,
    /// The faults: a part of the path, the fault, and how often it has happened.
    faults: Vec<(String, Fault, usize)>,
    requests: Vec<Request>,
}

/// A request as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The status that was answered.
    pub status: u16,
}

impl Server {
    /// Serves a directory on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn serve(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let shared = Arc::new(Shared {
            directory: directory.into(),
            state: Mutex::default(),
            arrived: Condvar::new(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let address = listener.local_addr()?;
        let of_connections = Arc::clone(&shared);
        let acceptor = Acceptor::start(listener, address, move |connection| converse(connection, &of_connections));
        Ok(Self { address, shared, _acceptor: acceptor })
    }

    /// The URL of a path below the directory.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// From now on, requests whose path contains `pattern` have this fault. The last added fault takes precedence.
    pub fn fail(&self, pattern: &str, fault: Fault) {
        self.shared.state().faults.insert(0, (pattern.to_owned(), fault, 0));
    }

    /// From now on, responses have this `max-age` in seconds.
    pub fn fresh_for(&self, seconds: u64) {
        self.shared.state().max_age = Some(seconds);
    }

    /// Removes all faults.
    pub fn recover(&self) {
        self.shared.state().faults.clear();
        self.shared.arrived.notify_all();
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The number of requests so far whose path contains `pattern`.
    pub fn count(&self, pattern: &str) -> usize {
        self.shared.state().requests.iter().filter(|request| request.path.contains(pattern)).count()
    }

    /// Waits until there is a request whose path contains `pattern`.
    pub fn wait_for(&self, pattern: &str) {
        let mut state = self.shared.state();
        while !state.requests.iter().any(|request| request.path.contains(pattern)) {
            state = self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.state().requests.clear();
    }

    /// The highest number of requests that were answered at the same time.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ends all waits for the release of held requests.
        self.recover();
    }
}

/// A URL on loopback without a server.
///
/// # Errors
///
/// If there is no free port.
pub fn unreachable_url() -> io::Result<String> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(format!("http://{address}"))
}

impl Shared {
    /// The state, even if a thread has panicked while it held the lock: that test reports the panic itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of a request for a path, if there is one.
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut state = self.state();
        let (_, fault, times) = state.faults.iter_mut().find(|(pattern, _, _)| path.contains(pattern.as_str()))?;
        *times += 1;
        match fault {
            Fault::UnavailableFirst(first) => (*times <= *first).then_some(Fault::Status(503)),
            Fault::TruncatedFirst(first) => (*times <= *first).then_some(Fault::Truncated),
            Fault::HangUpFirst(first) => (*times <= *first).then_some(Fault::HangUpFirst(0)),
            other => Some(other.clone()),
        }
    }

    fn add(&self, request: Request) {
        self.state().requests.push(request);
        self.arrived.notify_all();
    }

    /// Waits until requests of a path are no longer held.
    fn until_released(&self, path: &str) {
        let mut state = self.state();
        while state.faults.iter().any(|(pattern, fault, _)| path.contains(pattern.as_str()) && *fault == Fault::Held) {
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Answers requests until the client has no more.
fn converse(connection: &TcpStream, shared: &Shared) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some(mut request) = read_request(&mut reader)? {
        let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(now, Ordering::SeqCst);
        let fault = shared.fault(&request.path);
        let is_held = fault == Some(Fault::Held);
        if is_held {
            shared.add(request.clone());
            shared.until_released(&request.path);
        }
        let mut answer = Answer::to(&request, &shared.directory, fault);
        if let Some(seconds) = shared.state().max_age {
            answer.headers.push(("Cache-Control", format!("max-age={seconds}")));
        }
        request.status = answer.status;
        if !is_held {
            shared.add(request);
        }
        let sent = answer.send(connection);
        if answer.stalled {
            // Returns when the client gives up, or the server is dropped.
            let _ = reader.read(&mut [0]);
        }
        shared.now.fetch_sub(1, Ordering::SeqCst);
        if !sent? {
            break;
        }
    }
    Ok(())
}

/// Reads a request's head; `None` when the client has closed the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.take(16_384).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other(format!("not a request: {line}")));
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let path = decoded(path.trim_start_matches('/'));
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.take(16_384).read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { method: method.to_owned(), path, headers, status: 0 }))
}

/// A response.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    /// The value of `Content-Length`.
    length: usize,
    body: Vec<u8>,
    /// Whether the connection is closed after it.
    last: bool,
    /// Whether nothing is sent at all.
    silent: bool,
    /// Whether the rest of the body is never sent.
    stalled: bool,
    /// Whether endless zeros follow.
    endless: bool,
}

impl Answer {
    fn to(request: &Request, directory: &Path, fault: Option<Fault>) -> Self {
        let mut answer = match &fault {
            Some(Fault::Status(status)) => Self { status: *status, ..Self::default() },
            Some(Fault::Redirect(to)) => {
                Self { status: 302, headers: vec![("Location", to.clone())], ..Self::default() }
            }
            Some(Fault::RetryAfter(status, text)) => {
                Self { status: *status, headers: vec![("Retry-After", (*text).to_owned())], ..Self::default() }
            }
            Some(Fault::EndlessStatus(status)) => Self { status: *status, endless: true, ..Self::default() },
            Some(Fault::HangUpFirst(_)) => Self { last: true, silent: true, ..Self::default() },
            _ => Self::file(request, directory),
        };
        match fault {
            Some(Fault::Truncated | Fault::Stalled) => {
                answer.body.truncate(answer.length / 2);
                answer.last = true;
                answer.stalled = fault == Some(Fault::Stalled);
            }
            Some(Fault::Corrupted) => {
                let middle = answer.body.len() / 2;
                if let Some(byte) = answer.body.get_mut(middle) {
                    *byte ^= 0xff;
                }
            }
            Some(Fault::Endless) => answer.endless = true,
            Some(Fault::Header(name, value)) => answer.headers.push((name, value.to_owned())),
            Some(Fault::WrongLength) => {
                answer.length += 10;
                answer.last = true;
            }
            _ => {}
        }
        if request.method == "HEAD" {
            answer.body.clear();
        }
        answer
    }

    /// A file, a part of it, or status 304.
    fn file(request: &Request, directory: &Path) -> Self {
        let escapes = request.path.split('/').any(|part| part == "..");
        let (path, kind) = page(request, directory.join(&request.path));
        let Some(body) = (!escapes && path.is_file()).then(|| fs_err::read(&path).ok()).flatten() else {
            return Self { status: 404, ..Self::default() };
        };
        let etag = format!("\"{}\"", &sha256_hex(&body)[..16]);
        let mut headers = vec![("ETag", etag.clone()), ("Accept-Ranges", "bytes".to_owned())];
        headers.extend(kind.map(|kind| ("Content-Type", kind.to_owned())));
        let known = request.headers.get("if-none-match");
        if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)) {
            return Self { status: 304, headers, ..Self::default() };
        }
        let whole = body.len();
        match request.headers.get("range").map(|range| range_of(range, whole)) {
            None => Self { status: 200, headers, length: whole, body, ..Self::default() },
            Some(Some((start, end))) => {
                headers.push(("Content-Range", format!("bytes {start}-{}/{whole}", end - 1)));
                let body = body[start..end].to_vec();
                Self { status: 206, headers, length: body.len(), body, ..Self::default() }
            }
            Some(None) => {
                headers.push(("Content-Range", format!("bytes */{whole}")));
                Self { status: 416, headers, ..Self::default() }
            }
        }
    }

    /// Sends it. Returns whether the connection may be used again.
    fn send(&self, mut connection: &TcpStream) -> io::Result<bool> {
        if self.silent {
            return Ok(false);
        }
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.status != 304 && !self.endless {
            let _ = write!(head, "Content-Length: {}\r\n", self.length);
        }
        head.push_str("\r\n");
        connection.write_all(head.as_bytes())?;
        connection.write_all(&self.body)?;
        connection.flush()?;
        if self.endless {
            // Returns when the client closes the connection.
            loop {
                connection.write_all(&[0; 4096])?;
            }
        }
        Ok(!self.last)
    }
}

/// The page of a directory: in JSON (PEP 691) if the client accepts that, otherwise in HTML (PEP 503).
fn page(request: &Request, path: PathBuf) -> (PathBuf, Option<&'static str>) {
    if !(request.path.ends_with('/') && path.is_dir()) {
        return (path, None);
    }
    let accepts = |kind| request.headers.get("accept").is_some_and(|accept| accept.contains(kind));
    match path.join("index.json") {
        json if json.is_file() && accepts(PAGE_IN_JSON) => (json, Some(PAGE_IN_JSON)),
        _ => (path.join("index.html"), Some("text/html")),
    }
}

/// The start and the end (exclusive) of a `Range: bytes=…`; `None` if it is outside of the file.
fn range_of(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (start.parse::<usize>().ok(), end.parse::<usize>().ok()) {
        (Some(start), Some(last)) => (start, length.min(last.saturating_add(1))),
        (Some(start), None) => (start, length),
        (None, Some(count)) => (length.saturating_sub(count), length),
        (None, None) => return None,
    };
    (start < end).then_some((start, end))
}

/// Decodes percent-encoding in a path.
fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut plain, mut index) = (Vec::with_capacity(bytes.len()), 0);
    while index < bytes.len() {
        let byte = path.get(index + 1..index + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[index], byte) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                index += 3;
            }
            (byte, _) => {
                plain.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
