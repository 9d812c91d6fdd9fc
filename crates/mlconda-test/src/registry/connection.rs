//! One connection to the registry: requests with their bodies, answers, and faults.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use super::{Failure, RegistryRequest, Shared, api};

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// An answer with an error, in the JSON format of registries.
    pub(super) fn error(status: u16) -> Self {
        let code = match status {
            401 => "UNAUTHORIZED",
            403 => "DENIED",
            404 => "NOT_FOUND",
            429 => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        let body = serde_json::json!({"errors": [{"code": code, "message": format!("status {status}")}]});
        Self { status, body: body.to_string().into_bytes(), headers: vec![("Content-Type", "application/json".into())] }
    }
}

/// Answers requests until the client has no more.
pub(super) fn converse(connection: &TcpStream, shared: &Shared) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some(mut request) = read_head(&mut reader)? {
        let length = request.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let failure = shared.failure(&request.method, &request.path, length);
        let taken = match failure {
            Some(Failure::BreakOff(most)) if length > 0 => most.min(length),
            Some(Failure::HangUp) => 0,
            _ => length,
        };
        let mut body = vec![0; taken];
        reader.read_exact(&mut body)?;
        request.bytes = body.len() as u64;
        let answer = match &failure {
            // The received bytes are kept, as for any upload that breaks off.
            Some(Failure::BreakOff(_)) if length > 0 => {
                api::keep(shared, &request, &body);
                None
            }
            Some(Failure::HangUp) => None,
            Some(Failure::LostAnswer) => {
                api::answer(shared, &request, body);
                None
            }
            Some(Failure::Silent) => {
                shared.state().requests.push(request);
                // Returns when the client gives up, or the registry is dropped.
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            Some(Failure::Status(status)) => Some(Answer::error(*status)),
            Some(Failure::RetryAfter(status, text)) => Some(Answer::error(*status).header("Retry-After", *text)),
            Some(Failure::Redirect(to)) => Some(Answer::new(307).header("Location", to)),
            _ => Some(api::answer(shared, &request, body)),
        };
        request.status = answer.as_ref().map_or(0, |answer| answer.status);
        let is_head = request.method == "HEAD";
        if let Some(Failure::MovesTag(manifest)) = &failure {
            api::move_tag(shared, &request, manifest);
        }
        shared.state().requests.push(request);
        let Some(answer) = answer else { return Ok(()) };
        if !send(answer, failure, is_head, connection)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Reads a request's head; `None` when the client has closed the connection.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<RegistryRequest>> {
    let mut line = String::new();
    if reader.take(65_536).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::other(format!("not a request: {line}")));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.take(65_536).read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(RegistryRequest { method, path, headers, status: 0, bytes: 0 }))
}

/// Sends an answer. Returns whether the connection may be used again.
fn send(mut answer: Answer, failure: Option<Failure>, is_head: bool, mut connection: &TcpStream) -> io::Result<bool> {
    let mut length = answer.body.len();
    let mut goes_on = true;
    let endless = failure == Some(Failure::Endless);
    match failure {
        Some(Failure::BreakOff(most)) => {
            answer.body.truncate(most);
            goes_on = false;
        }
        Some(Failure::Corrupted) => {
            if let Some(byte) = answer.body.last_mut() {
                *byte ^= 0xff;
            }
        }
        Some(Failure::WrongLength) => {
            length += 10;
            goes_on = false;
        }
        Some(Failure::Body(body)) => {
            length = body.len();
            answer.body = body;
        }
        Some(Failure::MediaType(kind)) => {
            answer.headers.retain(|(name, _)| *name != "Content-Type");
            answer.headers.push(("Content-Type", kind.to_owned()));
        }
        Some(Failure::Header(name, value)) => answer.headers.push((name, value)),
        Some(Failure::Elsewhere(host)) => {
            let locations = answer.headers.iter_mut().filter(|(name, _)| *name == "Location");
            locations.for_each(|(_, location)| *location = format!("http://{host}{location}"));
        }
        Some(Failure::Late(time)) => std::thread::sleep(time),
        Some(Failure::Endless) => goes_on = false,
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Status\r\n", answer.status);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if answer.status != 204 && !endless {
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    if !is_head {
        connection.write_all(&answer.body)?;
    }
    connection.flush()?;
    if endless {
        // Returns when the client closes the connection.
        loop {
            connection.write_all(&[0; 4096])?;
        }
    }
    Ok(goes_on)
}
