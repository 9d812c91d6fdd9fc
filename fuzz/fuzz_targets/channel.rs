//! Answers of channels and name servers: repodata, shards, messages of DNS.

use std::net::IpAddr;

use hickory_proto::{op::Message, rr::RData};
use mlconda_channel::{
    network::addresses_of_reply,
    repodata::fuzzing::{self, SECTIONS},
};
use serde_json::{Map, Value};

use crate::bits;

/// A text that `serde_json` reads as repodata is scanned, and has the same records; all scanned records can be looked
/// up.
pub(crate) fn scan(data: &[u8]) {
    let scanned = fuzzing::scan(data);
    let Ok(Value::Object(whole)) = serde_json::from_slice(data) else { return };
    let mut expected: Vec<(usize, String, Value)> = Vec::new();
    for (number, path) in SECTIONS.iter().enumerate() {
        let (last, parents) = path.split_last().expect("a section has a name");
        let parent = parents.iter().try_fold(&whole, |map, key| map.get(*key).map_or(Some(map), Value::as_object));
        // A section of another type is an error, which is reported.
        let Some(parent) = parent else { return };
        match parent.get(*last).filter(|_| parents.is_empty() || whole.contains_key("v3")) {
            Some(Value::Object(records)) => {
                expected.extend(records.iter().map(|(key, record)| (number, key.clone(), record.clone())));
            }
            None => {}
            Some(_) => return,
        }
    }
    let is_list = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    let is_info = |value: &Value| {
        value.is_null()
            || value
                .as_object()
                .is_some_and(|info| info.get("base_url").is_none_or(|url| url.is_string() || url.is_null()))
    };
    let odd = whole.get("removed").is_some_and(|value| !is_list(value))
        || whole.get("info").is_some_and(|info| !is_info(info));
    if odd || has_doubles(data) {
        return;
    }
    let scanned = match scanned {
        Ok(scanned) => scanned,
        Err(error) if error.contains("base_url") || error.contains("too long") || error.contains("`info`") => return,
        Err(error) => panic!("{error}"),
    };
    let mut found: Vec<(usize, String, Value)> = Vec::new();
    for (_, section, text) in &scanned.spans {
        let records: Map<String, Value> = serde_json::from_slice(text).expect("a span is an object");
        found.extend(records.into_iter().map(|(key, record)| (*section, key, record)));
    }
    // A record without a name and a version is in no span, because nobody looks it up.
    expected.retain(|(number, key, _)| !fuzzing::name(*number, key).is_empty());
    let order =
        |one: &(usize, String, Value), other: &(usize, String, Value)| (one.0, &one.1).cmp(&(other.0, &other.1));
    expected.sort_by(order);
    found.sort_by(order);
    assert_eq!(found, expected);
}

/// Whether an object has a key twice: `serde_json` then keeps the last value, and the scan keeps both.
fn has_doubles(data: &[u8]) -> bool {
    let again = serde_json::from_slice::<Value>(data).ok().and_then(|value| serde_json::to_vec(&value).ok());
    let strings = |text: &[u8]| text.iter().filter(|byte| **byte == b':').count();
    again.is_none_or(|again| strings(&again) != strings(data))
}

/// MessagePack that `rmp_serde` reads gives the same JSON; indexes and shards are read or refused.
pub(crate) fn msgpack(data: &[u8]) {
    let (flags, rest) = bits::flags(data);
    let bytes = if flags & 1 == 0 {
        rest.to_vec()
    } else {
        let Ok(value) = serde_json::from_slice::<Value>(rest) else { return };
        rmp_serde::to_vec_named(&value).expect("a value can be written")
    };
    let _ = fuzzing::shard(&bytes, "a");
    if let Ok(names) = fuzzing::shard_index(&bytes) {
        let mut unique: Vec<&String> = names.iter().map(|(name, _)| name).collect();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }
    let Ok(text) = fuzzing::json(&bytes) else {
        assert!(flags & 1 == 0 || !is_flat(rest), "what a library writes is refused");
        return;
    };
    let ours: Value = serde_json::from_slice(&text).unwrap_or_else(|error| {
        // `serde_json` has its own limit of depth.
        assert!(error.to_string().contains("recursion") || error.to_string().contains("range"), "{error}");
        Value::Null
    });
    if let Ok(theirs) = rmp_serde::from_slice::<Value>(&bytes)
        && !ours.is_null()
        && !has_binary(&bytes)
    {
        assert_eq!(ours, theirs);
    }
}

/// Whether a text of JSON is not nested deeply.
fn is_flat(text: &[u8]) -> bool {
    text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() < 60
}

/// Whether bytes may have a value that JSON cannot express: then libraries differ.
fn has_binary(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0xc4..=0xc9 | 0xca | 0xcb | 0xd4..=0xd8))
}

/// mlconda reads the same addresses in a reply as `hickory-proto`.
pub(crate) fn dns(data: &[u8]) {
    let (flags, rest) = bits::flags(data);
    let reply = |query: &[u8]| {
        let mut reply = query.to_vec();
        if flags & 1 == 0 {
            // The header of an answer with up to 15 records.
            (reply[2], reply[3], reply[7]) = (reply[2] | 0x80, flags >> 6, flags >> 1 & 15);
            reply.extend_from_slice(rest);
        } else {
            reply = rest.to_vec();
        }
        reply
    };
    let Some((bytes, ours)) = addresses_of_reply(7, "host.example", &reply) else { return };
    let Ok(theirs) = Message::from_vec(&bytes) else { return };
    let theirs: Vec<IpAddr> = theirs
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .collect();
    assert_eq!(ours, theirs);
}
