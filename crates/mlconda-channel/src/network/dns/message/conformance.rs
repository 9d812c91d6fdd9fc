//! Compares our DNS messages with the crate `hickory-proto`, on random names and replies.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use hickory_proto::{
    op::{self, Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use proptest::prelude::*;

use super::{A, AAAA, Query, Status};

/// Labels that begin with `-` are left out: the library rejects them, and our code sends them to the server.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9_][a-z0-9_-]{0,19}(\\.[a-zA-Z0-9_][a-zA-Z0-9_-]{0,19}){0,4}",
        1 => "[a-z]{60,66}(\\.[a-z]{50,63}){0,4}",
        1 => "[a-z.]{0,8}",
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        any::<[u8; 16]>().prop_map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
    ]
}

/// A reply of a recursive server: an alias, a record of another type, then addresses. The library compresses the names.
fn reply(id: u16, asked: &Name, kind: RecordType, code: ResponseCode, addresses: &[IpAddr]) -> Message {
    let alias = Name::from_str("alias.example.").unwrap();
    let mut message = Message::new(id, MessageType::Response, OpCode::Query);
    let mut query = op::Query::query(asked.clone(), kind);
    query.set_query_class(DNSClass::IN);
    message.metadata.response_code = code;
    message.add_query(query);
    message.add_answer(Record::from_rdata(asked.clone(), 60, RData::CNAME(rdata::CNAME(alias.clone()))));
    message.add_answer(Record::from_rdata(alias.clone(), 60, RData::TXT(rdata::TXT::new(vec!["signed".to_owned()]))));
    for address in addresses {
        let data = match address {
            IpAddr::V4(address) => RData::A((*address).into()),
            IpAddr::V6(address) => RData::AAAA((*address).into()),
        };
        message.add_answer(Record::from_rdata(alias.clone(), 60, data));
    }
    // Additional records are not answers.
    let elsewhere = RData::A(Ipv4Addr::new(192, 0, 2, 1).into());
    message.add_additional(Record::from_rdata(Name::from_str("ns.example.").unwrap(), 60, elsewhere));
    message
}

/// The addresses in the answers of a message, as the library reads them.
fn answers(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

proptest! {
    #[test]
    fn a_query_is_what_the_library_reads(id in any::<u16>(), name in name(), is_new in any::<bool>()) {
        let kind = if is_new { AAAA } else { A };
        let known = Name::from_ascii(format!("{name}.")).ok().filter(|_| !name.is_empty());
        match Query::new(id, &name, kind) {
            Some(query) => {
                let read = Message::from_vec(query.bytes()).unwrap();
                let metadata = &read.metadata;
                prop_assert_eq!((metadata.id, metadata.recursion_desired, read.queries.len()), (id, true, 1));
                let asked = &read.queries[0];
                prop_assert_eq!(asked.name().to_ascii(), format!("{name}."));
                prop_assert_eq!(u16::from(asked.query_type()), kind);
                prop_assert_eq!(asked.query_class(), DNSClass::IN);
            }
            None => prop_assert!(known.is_none(), "{}", name),
        }
    }

    #[test]
    fn a_reply_that_the_library_writes_is_read(
        id in any::<u16>(), name in "[a-z0-9][a-z0-9-]{0,19}(\\.[a-z0-9][a-z0-9-]{0,19}){0,3}",
        addresses in prop::collection::vec(address(), 0..12), code in 0..6_u8, truncated in any::<bool>(),
    ) {
        let query = Query::new(id, &name, A).unwrap();
        let asked = Name::from_ascii(format!("{name}.")).unwrap();
        let code = ResponseCode::from_low(code);
        let mut message = reply(id, &asked, RecordType::A, code, &addresses);
        message.metadata.truncation = truncated;
        let bytes = message.to_vec().unwrap();
        let read = query.reply(&bytes).unwrap();
        prop_assert_eq!(&read.addresses, &addresses);
        let same = match read.status {
            Status::Fine => code == ResponseCode::NoError,
            Status::NoSuchName => code == ResponseCode::NXDomain,
            Status::Failed(number) => number == code.low(),
        };
        prop_assert!(same && read.truncated == truncated);
        // The reply does not answer a query with another ID or another type.
        prop_assert!(Query::new(id.wrapping_add(1), &name, A).unwrap().reply(&bytes).is_none());
        prop_assert!(Query::new(id, &name, AAAA).unwrap().reply(&bytes).is_none());
        // A reply that is cut off at any byte has some of the addresses, or is rejected.
        for end in 0..bytes.len() {
            if let Some(cut) = query.reply(&bytes[..end]) {
                prop_assert!(addresses.starts_with(&cut.addresses));
            }
        }
    }

    #[test]
    fn bytes_by_chance_mean_what_the_library_reads_in_them(
        bytes in prop::collection::vec(any::<u8>(), 0..64), place in 0..200_usize, value in any::<u8>(),
        addresses in prop::collection::vec(address(), 0..4),
    ) {
        let query = Query::new(7, "host.example", A).unwrap();
        let mut answer = query.bytes().to_vec();
        answer[2] |= 0x80;
        answer[7] = 3;
        answer.extend_from_slice(&bytes);
        prop_assert!(query.reply(&answer).is_some());
        query.reply(&bytes);
        // A reply with one byte changed.
        let mut changed =
            reply(7, &Name::from_str("host.example.").unwrap(), RecordType::A, ResponseCode::NoError, &addresses)
                .to_vec()
                .unwrap();
        if let Some(byte) = changed.get_mut(place) {
            *byte = value;
        }
        if let (Some(ours), Ok(theirs)) = (query.reply(&changed), Message::from_vec(&changed)) {
            prop_assert_eq!(ours.addresses, answers(&theirs), "byte {} is {}", place, value);
        }
    }
}
