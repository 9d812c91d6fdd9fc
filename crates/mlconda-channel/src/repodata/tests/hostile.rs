//! Malicious or damaged channels: their data ends with a clear message, in limited memory and on a small stack.

use rattler_digest::{Sha256, digest::Digest};

use std::io::Read;

use super::{
    super::records::{SubdirContext, records_from_shard},
    *,
};

/// Writes a channel whose shard of `tool` has these bytes.
fn write_shard(world: &World, shard: &[u8]) {
    let packed = zstd::encode_all(shard, 0).unwrap();
    let hash = hex::encode(Sha256::digest(&packed));
    world.write(&format!("noarch/{hash}.msgpack.zst"), &packed);
    let index = json!({"info": {"subdir": "noarch", "base_url": "", "shards_base_url": ""}, "shards": {"tool": hash}});
    let index = rmp_serde::to_vec_named(&index).unwrap();
    world.write("noarch/repodata_shards.msgpack.zst", zstd::encode_all(index.as_slice(), 0).unwrap());
}

/// A few kilobytes that decompress to more than any memory.
#[tokio::test]
async fn what_unpacks_to_too_much_is_refused() {
    let world = World::with_tool();
    write_shard(&world, &vec![0; (128 << 20) + 1]);
    let server = world.serve();
    insta::assert_snapshot!(world.load(&server.url(""), Access::Online).await, @"error: `CHANNEL/noarch/` does not contain valid repodata: the records of `tool`: more than 128 MiB when unpacked");
    world.write("noarch/repodata_shards.msgpack.zst", zstd::encode_all(vec![0; (64 << 20) + 1].as_slice(), 0).unwrap());
    insta::assert_snapshot!(world.load(&server.url(""), Access::Online).await, @"error: `CHANNEL/noarch/` does not contain valid repodata: `repodata_shards.msgpack.zst`: more than 64 MiB when unpacked");
    let bomb = |length: u64| {
        let text = b"{\"more\": \"".as_slice().chain(std::io::repeat(97).take(length)).chain(b"\"}".as_slice());
        scan::scan_within(1 << 20, text, std::io::sink()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(bomb(1 << 19), Ok(()));
    let message = bomb(1 << 40).unwrap_err();
    assert!(message.starts_with("the text is too long at byte "), "{message}");
}

/// The deepest nesting that fits in a file: in the file, in a record, in a shard.
#[tokio::test]
async fn deep_nesting_takes_no_stack() {
    let world = World::with_tool();
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let tool = record("tool", "1.0", &[]).to_string();
    let inside = format!("{{\"more\": {deep}, {}", &tool[1..]);
    let beside = format!("\"more\": {deep}, ");
    for (before, tool) in [("", inside), (beside.as_str(), tool)] {
        let text = format!("{{{before}\"packages.conda\": {{\"tool-1.0-0.conda\": {tool}}}}}");
        world.write("noarch/repodata.json", text);
        assert_eq!(world.load_from_disk().await, "CHANNEL/noarch/tool-1.0-0.conda");
    }
    // A map with an array of one element, which is an array of one element, and so on.
    write_shard(
        &world,
        &[b"\x81\xa8packages\x81\xb2tool-1.0-0.tar.bz2".as_slice(), &[0x91; 200_000], &[0xc0]].concat(),
    );
    let server = world.serve();
    insta::assert_snapshot!(world.load(&server.url(""), Access::Online).await, @"error: `CHANNEL/noarch/` does not contain valid repodata: the records of `tool`: its values are nested in more than 64 levels");
}

/// If the parser would need too long for a spec, only the record with this spec is dropped.
#[tokio::test]
async fn specs_beyond_reason_cost_their_records() {
    let world = World::with_tool();
    let deep = format!("lib {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let long = format!("lib >=1{}", ",!=1.1".repeat(20_000));
    let mut constrained = record("tool", "1.1", &[]);
    constrained["constrains"] = json!([deep]);
    let mut extra = record("tool", "1.2", &[]);
    extra["extra_depends"] = json!({"more": [deep]});
    let records = [
        record("tool", "1.0", &["lib"]),
        constrained,
        extra,
        record("tool", "1.3", &[&deep]),
        record("tool", "1.4", &[&long]),
    ];
    let lib = record("lib", "1.0", &[]);
    world.write("noarch/repodata.json", repodata(&json!({}), "packages.conda", &[&records[..], &[lib]].concat()));
    insta::assert_snapshot!(world.load_from_disk().await, @"
    CHANNEL/noarch/lib-1.0-0.conda
    CHANNEL/noarch/tool-1.0-0.conda
    event: 4 records of `CHANNEL/noarch/` cannot be read and are left out, the first: `tool-1.1-0.conda` (`lib ((((((((((((((((((((((((((((((((((((…` is too long or too deeply nested for a match spec)
    ");
}

/// A huge number of names is read in one pass, and only the requested names are kept.
#[tokio::test]
async fn names_beyond_number_are_passed_over() {
    let world = World::with_tool();
    let names = (0..200_000).map(|number| format!(", \"n{number}-1-0.conda\": {{}}")).collect::<String>();
    let tool = record("tool", "1.0", &[]);
    world.write("noarch/repodata.json", format!("{{\"packages.conda\": {{\"tool-1.0-0.conda\": {tool}{names}}}}}"));
    assert_eq!(world.load_from_disk().await, "CHANNEL/noarch/tool-1.0-0.conda");
}

/// URLs in the data of a remote channel must not lead to local files.
#[tokio::test]
async fn a_channel_leads_to_its_own_scheme_or_a_better_one() {
    let world = World::with_tool();
    let server = world.serve();
    for base in ["file:///etc/", "file:///", "FILE://localhost/etc", "file:etc", "ftp://127.0.0.1/"] {
        world.write("noarch/repodata.json", json!({"info": {"base_url": base}}).to_string());
        let scheme = base.split(':').next().unwrap().to_lowercase();
        let reason = format!("it leads from `http` to `{scheme}`: only the same scheme or `https` is followed");
        let expected = format!(
            "error: `CHANNEL/noarch/` does not contain valid repodata: its `base_url` cannot be followed: {reason}"
        );
        assert_eq!(world.load(&server.url(""), Access::Refresh).await, expected);
    }
    for base in ["http://127.0.0.1:9/other", "https://example.org/other"] {
        world.write("noarch/repodata.json", json!({"info": {"base_url": base}}).to_string());
        assert_eq!(world.load(&server.url(""), Access::Refresh).await, "");
    }
    let index = json!({"info": {"base_url": "", "shards_base_url": "file:///etc"}, "shards": {}});
    let packed = zstd::encode_all(rmp_serde::to_vec_named(&index).unwrap().as_slice(), 0).unwrap();
    world.write("noarch/repodata_shards.msgpack.zst", packed);
    let message = world.load(&world.serve().url(""), Access::Refresh).await;
    assert!(message.contains("its `shards_base_url` cannot be followed: it leads from `http` to `file`"), "{message}");
}

/// A file of some kilobytes that decompresses to gigabytes of spaces.
#[tokio::test]
async fn repodata_that_unpacks_to_too_much_is_cut_off() {
    let mut world = World::with_tool();
    world.network.limits.unpacked = 1 << 20;
    let spaces = vec![b' '; (1 << 20) + 1];
    world.write("noarch/repodata.json.zst", zstd::encode_all(spaces.as_slice(), 0).unwrap());
    let expected =
        "error: `CHANNEL/noarch/` does not contain valid repodata: `repodata.json.zst`: more than 1 MiB when unpacked";
    assert_eq!(world.load(&world.serve().url(""), Access::Online).await, expected);
    fs_err::remove_file(world.channel().join("noarch/repodata.json.zst")).unwrap();
    world.write("noarch/repodata.json", &spaces);
    assert!(world.load_from_disk().await.ends_with("`repodata.json`: more than 1 MiB when unpacked"));
}

/// Records with the usual fields only are parsed directly, others by the library. In both cases, an invalid record does
/// not affect the others.
#[test]
fn a_text_that_is_not_utf8_costs_its_record_at_most() {
    let record = |build: &str, more: &str| {
        let mut record = json!({"name": "tool", "version": "1", "build": build, "build_number": 0, "depends": []});
        record[more] = json!("BAD");
        (format!("tool-1-{build}.conda"), record)
    };
    let records: serde_json::Map<String, Value> =
        [record("0", "unknown"), record("1", "license"), record("2", "flags"), record("3", "unknown")]
            .into_iter()
            .collect();
    let mut bytes = rmp_serde::to_vec_named(&json!({"packages.conda": records})).unwrap();
    for place in 0..bytes.len() - 2 {
        if bytes[place..].starts_with(b"BAD") {
            bytes[place] = 0xff;
        }
    }
    let url: url::Url = "https://channel.example/c/".parse().unwrap();
    let context = SubdirContext::new(&Channel::from_url(url), Subdir::NoArch, None).unwrap();
    let found = records_from_shard(&context, "tool", &bytes).unwrap();
    let builds: Vec<&str> = found.records.iter().map(|record| record.package_record.build.as_str()).collect();
    assert_eq!((builds, found.skipped.count), (vec!["0", "3"], 2), "{:?}", found.skipped.first);
    assert_eq!(found.skipped.first.unwrap(), ("tool-1-1.conda".to_owned(), "a text in it is not UTF-8".to_owned()));
}

/// The records of the last section are not marked as shadowing. So each section is tested as the last one that has
/// records, also with an empty section after it.
#[test]
fn of_a_key_that_comes_twice_the_first_counts() {
    let record =
        |number: u64| json!({"name": "tool", "version": "1", "build": "0", "build_number": number, "depends": []});
    let packed = |value: &Value| rmp_serde::to_vec_named(value).unwrap();
    let text = |text: &str| rmp_serde::to_vec(text).unwrap();
    let (conda, tar) = ("tool-1-0.conda", "tool-1-0.tar.bz2");
    let twice = |key: &str| [vec![0x82], text(key), packed(&record(1)), text(key), packed(&record(2))].concat();
    let once = |key: &str, number| [vec![0x81], text(key), packed(&record(number))].concat();
    let v3 = |kind: &str, section: Vec<u8>| [vec![0x81], text(kind), section].concat();
    let empty = || vec![0x80];
    let cases = [
        (vec![("packages", twice(tar))], tar),
        (vec![("packages.conda", twice(conda))], conda),
        (vec![("packages.conda", twice(conda)), ("packages", empty())], conda),
        (vec![("packages", twice(tar)), ("packages.conda", twice(conda))], conda),
        (vec![("v3", v3("tar.bz2", twice("tool-1-0")))], tar),
        (vec![("v3", v3("tar.bz2", once("tool-1-0", 1))), ("packages", once(tar, 2))], tar),
        (vec![("v3", v3("conda", once("tool-1-0", 1))), ("packages", once(tar, 2))], conda),
        (vec![("v3", v3("conda", once("tool-1-0", 1))), ("packages.conda", once(conda, 2))], conda),
    ];
    let url: url::Url = "https://channel.example/c/".parse().unwrap();
    let context = SubdirContext::new(&Channel::from_url(url), Subdir::NoArch, None).unwrap();
    for (sections, file) in cases {
        let parts = sections.iter().flat_map(|(section, records)| [text(section), records.clone()].concat());
        let bytes: Vec<u8> = std::iter::once(0x80 | sections.len() as u8).chain(parts).collect();
        let found = records_from_shard(&context, "tool", &bytes).unwrap().records;
        let found: Vec<_> =
            found.iter().map(|record| (record.url.as_str(), record.package_record.build_number)).collect();
        let expected = format!("https://channel.example/c/noarch/{file}");
        let names: Vec<&str> = sections.iter().map(|(section, _)| *section).collect();
        assert_eq!(found, [(expected.as_str(), 1)], "{names:?}");
    }
    let both = [text("packages"), once("tool-1-1.tar.bz2", 1), text("packages.conda"), once(conda, 2)].concat();
    let found = records_from_shard(&context, "tool", &[vec![0x82], both].concat()).unwrap().records;
    assert_eq!(found.len(), 2, "two builds");
}
