//! The way in for the fuzz targets (`fuzz/`). It is compiled with `--cfg mlconda_fuzzing` only, and is no part of the
//! library.

use std::net::IpAddr;

use super::message::{A, Query};

/// The bytes of a query for the IPv4 addresses of a name, and the addresses in a reply to it; `None` if it is no reply to
/// it, or there is no such name.
pub fn addresses_of_reply(id: u16, name: &str, reply: &dyn Fn(&[u8]) -> Vec<u8>) -> Option<(Vec<u8>, Vec<IpAddr>)> {
    let query = Query::new(id, name, A)?;
    let bytes = reply(query.bytes());
    let addresses = query.reply(&bytes)?.addresses;
    Some((bytes, addresses))
}
