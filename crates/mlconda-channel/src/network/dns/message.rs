//! The two DNS messages of a stub resolver (RFC 1035, section 4): a query and its reply.
//!
//! Anybody who can reach our port can send a reply, so nothing in it is trusted to be in bounds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The record type of IPv4 addresses.
pub(super) const A: u16 = 1;
/// The record type of IPv6 addresses (RFC 3596).
pub(super) const AAAA: u16 = 28;

const HEADER: usize = 12;

/// An encoded query.
pub(super) struct Query {
    bytes: Vec<u8>,
}

/// A decoded reply.
pub(super) struct Reply {
    pub(super) status: Status,
    /// Whether the reply was truncated, so that the query must be repeated by TCP.
    pub(super) truncated: bool,
    pub(super) addresses: Vec<IpAddr>,
}

/// The outcome of a query.
pub(super) enum Status {
    Fine,
    NoSuchName,
    Failed(u8),
}

impl Query {
    /// Encodes a query for one record type; `None` if the name is invalid.
    pub(crate) fn new(id: u16, name: &str, kind: u16) -> Option<Self> {
        let mut bytes = id.to_be_bytes().to_vec();
        // Recursion desired; one question.
        bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            bytes.push(length);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.extend_from_slice(&[0]);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        (name.len() <= 253).then_some(Self { bytes })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decodes a reply; `None` if it does not answer this query.
    pub(super) fn reply(&self, bytes: &[u8]) -> Option<Reply> {
        let header = bytes.get(..HEADER)?;
        let asked = &self.bytes[HEADER..];
        let echoed = bytes.get(HEADER..HEADER + asked.len())?;
        let is_answer = header[2] & 0x80 != 0 && header[..2] == self.bytes[..2];
        if !is_answer || header[4..6] != [0, 1] || !echoed.eq_ignore_ascii_case(asked) {
            return None;
        }
        let status = match header[3] & 0x0f {
            0 => Status::Fine,
            3 => Status::NoSuchName,
            code => Status::Failed(code),
        };
        let count = u16::from_be_bytes([header[6], header[7]]);
        let mut rest = &bytes[HEADER + asked.len()..];
        let mut addresses = Vec::new();
        for _ in 0..count {
            // A truncated message ends in the middle of a record.
            let Some((address, after)) = record(rest) else { break };
            addresses.extend(address);
            rest = after;
        }
        Some(Reply { status, truncated: header[2] & 0x02 != 0, addresses })
    }
}

/// Reads one record: its address, if it has one, and the bytes after it. Aliases need not be followed: a recursive
/// server sends the addresses that they lead to.
fn record(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let rest = skip_name(bytes)?;
    let fixed = rest.get(..10)?;
    let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let data = rest.get(10..10 + length)?;
    let address = match kind {
        A => <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into()),
        AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    };
    Some((address, &rest[10 + length..]))
}

/// The bytes after a name: labels up to an empty one or a pointer.
fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        match *bytes.first()? {
            0 => return bytes.get(1..),
            length if length & 0xc0 == 0xc0 => return bytes.get(2..),
            length => bytes = bytes.get(1 + usize::from(length)..)?,
        }
    }
}

#[cfg(test)]
mod conformance;
