//! Functions for the fuzz targets (`fuzz/`). They are compiled with `--cfg mlconda_fuzzing` only, and are not part of
//! the library.

use std::net::IpAddr;

use super::message::{A, Query};

/// The bytes of a query for the IPv4 addresses of a name, and the addresses in its reply; `None` if the reply is
/// invalid, or the name does not exist.
pub fn addresses_of_reply(id: u16, name: &str, reply: &dyn Fn(&[u8]) -> Vec<u8>) -> Option<(Vec<u8>, Vec<IpAddr>)> {
    let query = Query::new(id, name, A)?;
    let bytes = reply(query.bytes());
    let addresses = query.reply(&bytes)?.addresses;
    Some((bytes, addresses))
}
