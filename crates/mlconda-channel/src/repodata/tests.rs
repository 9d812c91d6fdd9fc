//! Loading channels from disk and from a server on loopback: what is found, and how it reads when it is not.

mod hostile;

use std::{
    io::Write,
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use mlconda_environment::ReadOptions;
use mlconda_test::{
    package::PackageBuilder,
    server::{Fault, Server, unreachable_url},
};
use serde_json::{Value, json};

use super::*;
use crate::network::{CredentialFile, NetworkOptions};

/// A record of a noarch package.
fn record(name: &str, version: &str, depends: &[&str]) -> Value {
    json!({"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends, "subdir": "noarch"})
}

/// `tool` with what it needs, and `other`.
fn noarch() -> String {
    let records = [
        record("tool", "1.0", &["lib"]),
        record("lib", "2.0", &[]),
        record("lib", "1.0", &[]),
        record("other", "1.0", &[]),
    ];
    repodata(&json!({}), "packages.conda", &records)
}

fn repodata(rest: &Value, section: &str, records: &[Value]) -> String {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let extension = if section == "packages" { "tar.bz2" } else { "conda" };
    let file = |record: &Value| {
        format!("{}-{}-{}.{extension}", text(record, "name"), text(record, "version"), text(record, "build"))
    };
    let mut whole = rest.clone();
    whole[section] = records.iter().map(|record| (file(record), record.clone())).collect();
    whole.to_string()
}

/// A directory for a channel and a cache.
struct World {
    directory: tempfile::TempDir,
    events: Mutex<Vec<String>>,
    now: Mutex<SystemTime>,
    network: NetworkOptions,
}

impl Progress for World {
    fn event(&self, event: Event) {
        let text = match event {
            Event::Warning(text) => text,
            Event::RepodataFromCache { subdir, age } => format!("{subdir} is {} s old", age.unwrap().as_secs()),
            _ => return,
        };
        self.events.lock().unwrap().push(text);
    }
}

impl World {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            events: Mutex::default(),
            now: Mutex::new(SystemTime::now()),
            network: NetworkOptions { retry_delay: Duration::ZERO, ..NetworkOptions::default() },
        }
    }

    /// A world with a channel that has `tool` in `noarch`, and nothing for a platform.
    fn with_tool() -> Self {
        let world = Self::new();
        world.write("noarch/repodata.json", noarch());
        world.write("linux-64/repodata.json", "{}");
        world
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.channel().join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    fn channel(&self) -> PathBuf {
        self.directory.path().join("channel")
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("repodata")
    }

    fn serve(&self) -> Server {
        Server::serve(self.channel()).unwrap()
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    async fn repodata(&self, url: &str, access: Access) -> Result<Repodata, RepodataError> {
        self.repodata_from(url, &["tool"], access).await
    }

    /// From the channel on disk.
    async fn repodata_of(&self, specs: &[&str], access: Access) -> Result<Repodata, RepodataError> {
        let url = url::Url::from_directory_path(self.channel()).unwrap();
        self.repodata_from(url.as_str(), specs, access).await
    }

    async fn repodata_from(&self, url: &str, specs: &[&str], access: Access) -> Result<Repodata, RepodataError> {
        let text = format!("channels: [\"{url}\"]\ndependencies: {specs:?}");
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
        let now = *self.now.lock().unwrap();
        let options = RepodataOptions { cache_directory: self.cache(), access, now };
        let host = Host::baseline(Subdir::Linux64);
        load(&Client::new(&self.network).unwrap(), &environment, &host, &options, self).await
    }

    /// The files that are found, or the message, and what was warned of.
    async fn load(&self, url: &str, access: Access) -> String {
        let url = if url.ends_with('/') { url.to_owned() } else { format!("{url}/") };
        let mut lines = match self.repodata(&url, access).await {
            Ok(repodata) => repodata.subdirs.iter().flatten().map(|record| record.url.to_string()).collect(),
            Err(error) => vec![format!("error: {error}")],
        };
        lines.extend(std::mem::take(&mut *self.events.lock().unwrap()).iter().map(|event| format!("event: {event}")));
        lines.join("\n").replace(&network::redact(&url.parse().unwrap()), "CHANNEL/").replace(&url, "CHANNEL/")
    }

    async fn load_from_disk(&self) -> String {
        self.load(url::Url::from_directory_path(self.channel()).unwrap().as_str(), Access::Online).await
    }
}

const FOUND: &str = "CHANNEL/noarch/lib-1.0-0.conda\nCHANNEL/noarch/lib-2.0-0.conda\nCHANNEL/noarch/tool-1.0-0.conda";

fn packed_by(program: &str, content: &[u8]) -> Vec<u8> {
    match program {
        "zst" => zstd::encode_all(content, 0).unwrap(),
        "bz2" => {
            let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            packer.write_all(content).unwrap();
            packer.finish().unwrap()
        }
        _ => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(content).unwrap();
            packer.finish().unwrap()
        }
    }
}

/// The records of each list, with what the tables say of them, and where a run ends.
fn lists(repodata: &Repodata) -> Vec<Vec<String>> {
    let mut lists = vec![Vec::new(); repodata.subdirs.len()];
    for (place, records, DependencyRows { rows, spec_ids, version_groups }) in repodata.runs() {
        let texts = |from: u32, to: u32| {
            let ids = &spec_ids[(from - rows[0].depends_start) as usize..(to - rows[0].depends_start) as usize];
            ids.iter().map(|id| repodata.interner.texts()[*id as usize].as_ref()).collect::<Vec<_>>().join(", ")
        };
        for (record, row) in records.iter().zip(rows) {
            let (needs, bounds) =
                (texts(row.depends_start, row.constrains_start), texts(row.constrains_start, row.constrains_end));
            let edition = row.version_group - rows[0].version_group;
            lists[place].push(format!("{} {edition}: {needs}; {bounds}", record.identifier.to_file_name()));
        }
        let starts = version_groups.iter().map(|edition| edition.first_row - version_groups[0].first_row);
        lists[place].push(format!("a run of editions from {:?}", starts.collect::<Vec<_>>()));
    }
    lists
}

/// What is added for an explanation makes the same as if it had been loaded in the first place.
#[tokio::test]
async fn any_version_can_be_added() {
    let world = World::new();
    let mut bound = record("tool", "2.0", &["lib >=2", "newer"]);
    bound["constrains"] = json!(["old <1", "lib >=2"]);
    let noarch = [
        record("tool", "1.0", &["lib", "python"]),
        bound,
        record("lib", "1.0", &["base"]),
        record("lib", "2.0", &["base >=2"]),
        record("newer", "1.0", &["tool", "zlast <2", "__unix"]),
        record("old", "1.0", &[]),
        record("aside", "1.0", &["base", "nowhere"]),
        record("other", "1.0", &[]),
        record("pip", "1.0", &["python", "aside"]),
    ];
    let pythons = [record("python", "3.9", &["old"]), record("python", "3.10", &["base", "zlast"])];
    let platform =
        [record("base", "1.0", &[]), record("zlast", "1.0", &["aside"]), record("lib", "3.0", &["newer 2.*"])];
    world.write("noarch/repodata.json", repodata(&json!({}), "packages.conda", &noarch));
    let platform = [&platform[..], &pythons[..]].concat();
    world.write("linux-64/repodata.json", repodata(&json!({}), "packages.conda", &platform));
    let url = url::Url::from_directory_path(world.channel()).unwrap();
    let client = Client::new(&world.network).unwrap();
    let some = ["tool=1", "python=3.10", "lib=1", "other"];
    for specs in [&some[..], &["tool=99"], &["lib=3", "tool"], &["tool", "python"]] {
        let text = format!("channels: [\"{url}\"]\ndependencies: {specs:?}");
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
        let mut repodata = world.repodata_of(specs, Access::Online).await.unwrap();
        // What is there already is not read again, or it would be another.
        let file = "noarch/repodata.json";
        let text = fs_err::read_to_string(world.channel().join(file)).unwrap();
        if repodata.records().any(|record| name(record) == "pip") {
            world.write(file, text.replace(r#"["python","aside"]"#, r#"["aside","python"]"#));
        }
        repodata.add_any_version(&client, &environment).await.unwrap();
        world.write(file, text);
        let bare: Vec<&str> = specs.iter().filter_map(|spec| spec.split('=').next()).collect();
        let whole = world.repodata_of(&bare, Access::Online).await.unwrap();
        assert_eq!(lists(&repodata), lists(&whole), "{specs:?}");
        assert!(repodata.partial.is_empty() && whole.len() > 6);
    }
}

#[tokio::test]
async fn what_a_spec_can_reach_is_loaded_in_order_and_all_names_are_known() {
    let world = World::with_tool();
    assert_eq!(world.load_from_disk().await, FOUND);
    let url = url::Url::from_directory_path(world.channel()).unwrap().to_string();
    let repodata = world.repodata(&url, Access::Offline).await.unwrap();
    assert!(repodata.names.contains("other"));
    assert!(!world.cache().exists(), "a channel on disk needs no cache");
}

#[tokio::test]
async fn what_is_no_channel_is_told_from_what_is_a_broken_one() {
    let world = World::new();
    insta::assert_snapshot!(world.load_from_disk().await, @"error: there is no channel at `CHANNEL/`: it has neither `linux-64` nor `noarch`");
    for (text, message) in [
        ("{\"packages\": {", "the text ends in the middle at byte 14"),
        ("{\"packages\": []}", "a list of records is not an object at byte 13"),
        ("<html>Please log in</html>", "no JSON object begins at byte 0"),
        ("", "the text ends in the middle at byte 0"),
        ("{} {}", "something follows the JSON object at byte 2"),
        ("{\"info\": {\"base_url\": 7}}", "`info` makes no sense before this place at byte 24"),
    ] {
        world.write("noarch/repodata.json", text);
        let expected = format!("error: what `CHANNEL/noarch/` has is not repodata: `repodata.json`: {message}");
        assert_eq!(world.load_from_disk().await, expected, "{text}");
    }
    // Empty channels are channels.
    for text in ["{}", r#"{"packages": {}, "packages.conda": {}, "removed": []}"#] {
        world.write("noarch/repodata.json", text);
        assert_eq!(world.load_from_disk().await, "", "{text}");
    }
    fs_err::rename(world.channel().join("noarch"), world.channel().join("linux-64")).unwrap();
    insta::assert_snapshot!(world.load_from_disk().await, @"event: the channel `CHANNEL/` has no `noarch`, which every channel should have, even if empty");
}

/// A list of every kind of record that there is a rule for.
fn every_kind() -> Value {
    let tool = |version: &str| record("tool", version, &["lib; if python >3"]);
    let mut whole = json!({"info": {"subdir": "noarch", "base_url": "../files"}, "repodata_version": 2, "unheard-of": [{"}": "]"}]});
    whole["packages"] = json!({
        "tool-1.0-0.tar.bz2": tool("1.0"), "tool-0.9-0.tar.bz2": tool("0.9"), "tool-0.8-0.tar.bz2": tool("0.8"),
        "tool-0.7-0.tar.bz2": tool("0.7"), "tool-1.2-0.tar.bz2": tool("1.2"),
    });
    whole["packages.conda"] = json!({
        "tool-1.0-0.conda": tool("1.0"), "tool-1.1-0.conda": tool("1.1"), "tool-1.2-0.conda": tool("1%21164.3"),
        "tool-1.3-0.conda": {"name": "tool"}, "tool-1.4-0.conda": tool("1.4"), "tool-0.8-0.conda": tool("0.8"),
    });
    whole["packages.conda"]["tool-1.1-0.conda"]["summary"] = json!("quotes \" and \\ and } and \u{e9}");
    whole["packages.conda"]["tool-1.1-0.conda"]["sha256"] = json!("ab".repeat(32));
    whole["v3"] = json!({
        "conda": {"tool-1.4-0": tool("1.4"), "tool-1.5-0": tool("1.5")},
        "tar.bz2": {"tool-0.7-0": tool("0.7"), "tool-1.5-0": tool("1.5")},
        "whl": {"tool-2.0-0": {"url": "tool.whl"}},
    });
    whole["v3"]["conda"]["tool-1.4-0"]["timestamp"] = json!(1_700_000_000_000_u64);
    whole["removed"] = json!(["tool-0.9-0.tar.bz2", "tool-0.8-0.conda"]);
    whole
}

const EVERY_KIND: &str = "\
CHANNEL/files/tool-0.7-0.tar.bz2
CHANNEL/files/tool-0.8-0.tar.bz2
CHANNEL/files/tool-1.0-0.conda
CHANNEL/files/tool-1.1-0.conda
CHANNEL/files/tool-1.2-0.tar.bz2
CHANNEL/files/tool-1.4-0.conda
CHANNEL/files/tool-1.5-0.conda";

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_only_itself() {
    let world = World::new();
    world.write("noarch/repodata.json", every_kind().to_string());
    let found = world.load_from_disk().await;
    let (found, event) = found.split_once("\nevent: ").unwrap();
    assert_eq!(found, EVERY_KIND);
    // The order of the fields, and with it the column, depends on a feature of `serde_json` that other crates may enable.
    let event = event.split_once(" at line 1").unwrap().0;
    insta::assert_snapshot!(event, @"2 records of `CHANNEL/noarch/` cannot be read and are left out, the first: `tool-1.2-0.conda` (malformed version string '1%21164.3': encountered more characters but expected none");
    // However it is laid out.
    world.write("noarch/repodata.json", serde_json::to_string_pretty(&every_kind()).unwrap());
    assert!(world.load_from_disk().await.starts_with(EVERY_KIND));
}

#[tokio::test]
async fn what_cannot_be_a_place_or_a_file_is_told() {
    let world = World::new();
    for base in ["localhost:8080/pkgs", "\\\\[", "http://["] {
        world.write("noarch/repodata.json", json!({"info": {"base_url": base}}).to_string());
        let expected = "error: what `CHANNEL/noarch/` has is not repodata: its `base_url` is not a valid base URL";
        assert_eq!(world.load_from_disk().await, expected, "{base}");
    }
    // The first segment of a name is the name that is asked for.
    for (key, name, reason) in [
        ("tool-1:0-0.conda", "tool", "there can be no file of this name"),
        ("tool-1\\0-0.conda", "tool", "there can be no file of this name"),
        ("tool-1-0.conda", "other", "it is a record of `other`"),
    ] {
        let records: Value = [(key.to_owned(), record(name, "1", &[]))].into_iter().collect();
        world.write("noarch/repodata.json", json!({"packages.conda": records}).to_string());
        let expected =
            format!("event: a record of `CHANNEL/noarch/` cannot be read and is left out: `{key}` ({reason})");
        assert_eq!(world.load_from_disk().await, expected);
    }
    let key = "k".repeat(65 << 10);
    world.write("noarch/repodata.json", json!({"packages": {key: {}}}).to_string());
    let message = world.load_from_disk().await;
    assert!(message.contains("a string is too long at byte"), "{message}");
}

#[test]
fn a_full_disk_is_not_the_channels_fault() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(scan::scan(b"{}".as_slice(), Full), Err(scan::ScanError::Write(_))));
}

/// The same as [`every_kind`], in shards.
fn write_shards(world: &World, whole: &Value) {
    use rattler_digest::{Sha256, digest::Digest};
    let shard: Value = ["packages", "packages.conda", "v3", "removed"]
        .map(|key| (key.to_owned(), whole[key].clone()))
        .into_iter()
        .collect();
    // Hashes are bytes there. (Values of JSON have none, so this is done to the bytes: `bin 8` instead of `str 8`.)
    let text = format!("\u{d9}\u{40}{}", "ab".repeat(32)).chars().map(|c| c as u8).collect::<Vec<u8>>();
    let packed = rmp_serde::to_vec_named(&shard).unwrap();
    let place = packed.windows(text.len()).position(|window| window == text).unwrap();
    let packed = [&packed[..place], &[0xc4, 0x20], &[0xab; 32], &packed[place + text.len()..]].concat();
    let packed = zstd::encode_all(packed.as_slice(), 0).unwrap();
    let hash = hex::encode(Sha256::digest(&packed));
    world.write(&format!("noarch/shards/{hash}.msgpack.zst"), &packed);
    let index = json!({"info": {"subdir": "noarch", "base_url": "../files", "shards_base_url": "./shards", "more": {}}, "shards": {"tool": hash}});
    let index = rmp_serde::to_vec_named(&index).unwrap();
    world.write("noarch/repodata_shards.msgpack.zst", zstd::encode_all(index.as_slice(), 0).unwrap());
}

#[tokio::test]
async fn shards_have_the_same_records_and_are_checked() {
    let world = World::new();
    write_shards(&world, &every_kind());
    let server = world.serve();
    let found = world.load(&server.url(""), Access::Online).await;
    let (found, event) =
        found.split_once("\nevent: the channel").map_or((found.as_str(), ""), |(found, _)| (found, ""));
    assert!(found.starts_with(EVERY_KIND), "{found}{event}");
    assert!(found.contains("2 records of `CHANNEL/noarch/` cannot be read and are left out"), "{found}");
    // What is kept of them is checked too.
    for entry in fs_err::read_dir(world.cache().join("shards")).unwrap() {
        fs_err::write(entry.unwrap().path(), "damaged").unwrap();
    }
    assert!(world.load(&server.url(""), Access::Online).await.starts_with(EVERY_KIND));
    fs_err::remove_dir_all(world.cache()).unwrap();
    server.fail("/shards/", Fault::Corrupted);
    let message = world.load(&server.url(""), Access::Online).await;
    assert!(message.ends_with("has another hash than the index says"), "{message}");
    // Nor is a base passed over that is none.
    let index = json!({"info": {"base_url": "", "shards_base_url": "mailto:me"}, "shards": {}});
    let index = zstd::encode_all(rmp_serde::to_vec_named(&index).unwrap().as_slice(), 0).unwrap();
    world.write("noarch/repodata_shards.msgpack.zst", index);
    let message = world.load(&server.url(""), Access::Online).await;
    assert!(message.ends_with("its `shards_base_url` is not a valid base URL"), "{message}");
}

#[tokio::test]
async fn every_packing_is_understood() {
    for (file, header) in [
        ("repodata.json", None),
        ("repodata.json.zst", None),
        ("repodata.json.bz2", None),
        ("repodata.json", Some(("Content-Encoding", "gzip"))),
    ] {
        let world = World::new();
        let packing = header.map_or_else(|| file.rsplit('.').next().unwrap(), |(_, value)| value);
        let text = noarch();
        let content = if packing == "json" { text.into_bytes() } else { packed_by(packing, text.as_bytes()) };
        world.write(&format!("noarch/{file}"), content);
        let server = world.serve();
        if let Some((name, value)) = header {
            server.fail("", Fault::Header(name, value));
        }
        assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND, "{packing}");
        assert!(world.load(&server.url(""), Access::Offline).await.starts_with(FOUND), "{packing}");
        if header.is_none() {
            assert_eq!(world.load_from_disk().await, FOUND, "{packing}");
        }
        if packing != "json" {
            fs_err::remove_dir_all(world.cache()).unwrap();
            server.fail("repodata", Fault::Corrupted);
            let message = world.load(&server.url(""), Access::Online).await;
            assert!(message.starts_with("error: what `CHANNEL/noarch/` has is not repodata"), "{packing}: {message}");
        }
    }
}

#[tokio::test]
async fn what_may_go_wrong_on_the_way() {
    let there = "CHANNEL/noarch/lib-1.0-0.conda …";
    let cases: &[(&str, Fault, &str)] = &[
        ("repodata.json", Fault::UnavailableFirst(2), there),
        ("repodata.json", Fault::HangUpFirst(1), there),
        ("repodata.json", Fault::TruncatedFirst(2), there),
        (
            "repodata.json",
            Fault::Truncated,
            "error: cannot load repodata from `CHANNEL/linux-64/`: the answer broke off",
        ),
        (
            "repodata.json",
            Fault::WrongLength,
            "error: cannot load repodata from `CHANNEL/linux-64/`: the answer broke off",
        ),
        (
            "repodata.json",
            Fault::Status(500),
            "error: cannot load repodata from `CHANNEL/linux-64/`: 500 Internal Server Error",
        ),
        ("linux-64/", Fault::Status(404), there),
        (
            "noarch/",
            Fault::Status(404),
            "event: the channel `CHANNEL/` has no `noarch`, which every channel should have, even if empty",
        ),
        ("", Fault::Status(404), "error: there is no channel at `CHANNEL/`: it has neither `linux-64` nor `noarch`"),
        (
            "",
            Fault::Status(401),
            "error: `CHANNEL/linux-64/` answers 401: the channel asks for a login, or refuses the one it was given",
        ),
        (
            "",
            Fault::Status(403),
            "error: `CHANNEL/linux-64/` answers 403: the channel asks for a login, or refuses the one it was given",
        ),
        // Storage services say this of what is not there.
        (".zst", Fault::Status(403), there),
        (".zst", Fault::Status(501), there),
    ];
    for (pattern, fault, expected) in cases {
        let world = World::with_tool();
        let server = world.serve();
        server.fail(pattern, fault.clone());
        let outcome = world.load(&server.url(""), Access::Online).await;
        let outcome = if outcome == FOUND { there.to_owned() } else { outcome };
        assert!(outcome.starts_with(expected), "{fault:?}: {outcome}");
    }
}

/// Servers of pages answer for what they do not have with a page, and a good status.
#[tokio::test]
async fn a_page_in_the_place_of_a_packed_file_is_no_file() {
    let world = World::with_tool();
    for variant in ["repodata_shards.msgpack.zst", "repodata.json.zst", "repodata.json.bz2"] {
        world.write(&format!("noarch/{variant}"), "<!doctype html><title>Not here</title>");
    }
    let server = world.serve();
    assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
    world.write("noarch/repodata.json", "<!doctype html><title>Log in</title>");
    insta::assert_snapshot!(world.load(&server.url(""), Access::Online).await, @"error: what `CHANNEL/noarch/` has is not repodata: `repodata.json`: no JSON object begins at byte 0");
}

#[tokio::test]
async fn redirects_are_followed_and_packages_stay_where_the_channel_is() {
    let world = World::with_tool();
    world.write("noarch/repodata.json.zst", packed_by("zst", noarch().as_bytes()));
    let (server, elsewhere) = (world.serve(), world.serve());
    server.fail("noarch/repodata.json.zst", Fault::Redirect(elsewhere.url("noarch/repodata.json.zst")));
    assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
    assert_eq!(elsewhere.count("noarch/repodata.json.zst"), 1);
    server.fail("", Fault::Redirect(server.url("noarch/repodata.json")));
    let message = world.load(&server.url(""), Access::Refresh).await;
    assert!(
        message.starts_with("error: cannot load repodata from `CHANNEL/linux-64/`: too many redirects"),
        "{message}"
    );
}

#[tokio::test]
async fn a_cache_is_used_while_the_channel_says_so_and_never_passed_off_as_new() {
    let (world, hour) = (World::with_tool(), Duration::from_secs(3600));
    let server = world.serve();
    let url = server.url("");
    server.fresh_for(600);
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    server.forget();
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    assert_eq!(server.count(""), 0, "it is fresh");

    assert_eq!(world.load(&url, Access::Refresh).await, FOUND);
    assert!(server.requests().iter().all(|request| request.status == 304), "{:?}", server.requests());
    assert_eq!(server.count(""), 2, "nothing is looked for again that was not there");

    world.pass(hour);
    server.forget();
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    assert_eq!(server.count(""), 2, "it is asked whether it is still the same");

    world.pass(hour);
    world.write("noarch/repodata.json", repodata(&json!({}), "packages", &[record("tool", "3.0", &[])]));
    assert_eq!(world.load(&url, Access::Online).await, "CHANNEL/noarch/tool-3.0-0.tar.bz2");

    world.pass(3 * hour);
    drop(server);
    let message = world.load(&url, Access::Online).await;
    assert!(
        message.starts_with("error: cannot load repodata from `CHANNEL/linux-64/`: Connection refused"),
        "{message}"
    );
    insta::assert_snapshot!(world.load(&url, Access::Offline).await, @"
    CHANNEL/noarch/tool-3.0-0.tar.bz2
    event: CHANNEL/linux-64/ is 10800 s old
    event: CHANNEL/noarch/ is 10800 s old
    ");
}

#[tokio::test]
async fn without_a_word_on_freshness_the_channel_is_asked_every_time() {
    let world = World::with_tool();
    let server = world.serve();
    for _ in 0..2 {
        server.forget();
        assert_eq!(world.load(&server.url(""), Access::Online).await, FOUND);
        assert!(server.count("") > 0);
    }
}

#[tokio::test]
async fn a_damaged_cache_is_made_anew() {
    let world = World::with_tool();
    let server = world.serve();
    server.fresh_for(600);
    let url = server.url("");
    assert_eq!(world.load(&url, Access::Online).await, FOUND);
    let files = || fs_err::read_dir(world.cache()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for kind in ["index", "data", "info.json"] {
        // Nothing piles up: a state, a text and its index for each of the two subdirs.
        assert_eq!(files().len(), 6, "{:?}", files());
        for damage in ["", "short", "{\"not\": \"it\"}"] {
            for file in files().iter().filter(|file| file.to_str().unwrap().ends_with(kind)) {
                fs_err::write(file, damage).unwrap();
            }
            assert_eq!(world.load(&url, Access::Online).await, FOUND, "{kind} is `{damage}`");
        }
    }
}

#[tokio::test]
async fn several_at_once_share_a_cache() {
    let world = World::with_tool();
    let server = world.serve();
    let versions = ["4.0", "5.0", "6.0"];
    for version in versions {
        world.write("noarch/repodata.json", repodata(&json!({}), "packages", &[record("tool", version, &[])]));
        let url = server.url("");
        let all = join_all((0..8).map(|_| world.load(&url, Access::Online))).await;
        let expected = format!("CHANNEL/noarch/tool-{version}-0.tar.bz2");
        assert!(all.iter().all(|found| *found == expected), "{all:?}");
    }
}

#[tokio::test]
async fn mirrors_are_asked_one_after_the_other() {
    let mut world = World::with_tool();
    let (down, lacking, mirror) = (unreachable_url().unwrap(), world.serve(), world.serve());
    lacking.fail("", Fault::Status(404));
    let channel = "https://channel.example.invalid/main";
    let at = |url: &str| format!("https://channel.example.invalid={url}").parse().unwrap();
    world.network.mirrors = vec![at(&down), at(&lacking.url("")), at(&mirror.url(""))];
    fs_err::create_dir(world.channel().join("main")).unwrap();
    for subdir in ["noarch", "linux-64"] {
        fs_err::rename(world.channel().join(subdir), world.channel().join("main").join(subdir)).unwrap();
    }
    assert_eq!(world.load(channel, Access::Online).await, FOUND, "what is found is said to be where the channel is");
    assert!(mirror.count("main/noarch/repodata.json") > 0);

    // The channel's login is no business of a mirror's.
    for login in ["https://me:secret@channel.example.invalid/main", "https://channel.example.invalid/t/secret/main"] {
        mirror.forget();
        let found = world.load(login, Access::Online).await;
        assert_eq!(found.lines().count(), 3, "{found}");
        let is_told = |request: &mlconda_test::server::Request| {
            request.path.contains("secret") || request.headers.contains_key("authorization")
        };
        assert!(!mirror.requests().is_empty() && !mirror.requests().iter().any(is_told), "{:?}", mirror.requests());
    }
    assert!("https://a=b".parse::<network::Mirror>().is_err());

    // Its own is.
    mirror.forget();
    world.network.mirrors = vec![at(&mirror.url("").replace("127.0.0.1", "me:p%40ss@127.0.0.1"))];
    assert_eq!(world.load(channel, Access::Refresh).await, FOUND);
    let sent = |request: &mlconda_test::server::Request| request.headers["authorization"] == "Basic bWU6cEBzcw==";
    assert!(mirror.requests().iter().all(sent), "{:?}", mirror.requests());
}

#[tokio::test]
async fn logins_are_sent_and_not_shown() {
    let mut world = World::with_tool();
    let file = world.directory.path().join("credentials.json");
    let store = |login: Value| fs_err::write(&file, json!({"127.0.0.1": login}).to_string()).unwrap();
    world.network.credential_files = vec![CredentialFile::Rattler(file.clone())];
    let server = world.serve();
    let header =
        |server: &Server| server.requests().first().and_then(|request| request.headers.get("authorization").cloned());

    store(json!({"BearerToken": "stored"}));
    assert_eq!(world.load(&server.url(""), Access::Refresh).await, FOUND);
    assert_eq!(header(&server).as_deref(), Some("Bearer stored"));

    // Another host than the one that the login is for.
    let elsewhere = world.serve();
    server.fail("", Fault::Redirect(elsewhere.url("noarch/repodata.json").replace("127.0.0.1", "localhost")));
    let _ = world.load(&server.url(""), Access::Refresh).await;
    assert!(elsewhere.count("") > 0);
    assert_eq!(header(&elsewhere), None);
    server.recover();

    store(json!({"CondaToken": "stored"}));
    server.forget();
    server.fail("", Fault::Status(403));
    let message = world.load(&server.url(""), Access::Refresh).await;
    assert!(server.requests().iter().all(|request| request.path.starts_with("t/stored/")), "{:?}", server.requests());
    assert!(message.contains("answers 403") && !message.contains("stored"), "{message}");

    // What stands in the URL counts more.
    server.forget();
    let message = world.load(&server.url("t/typed/main"), Access::Refresh).await;
    assert!(server.requests().iter().all(|request| request.path.starts_with("t/typed/")), "{:?}", server.requests());
    assert!(message.contains("answers 403") && !message.contains("typed"), "{message}");
    server.forget();
    let message = world.load(&server.url("main").replace("127", "me:typed@127"), Access::Refresh).await;
    assert_eq!(header(&server).as_deref(), Some("Basic bWU6dHlwZWQ="));
    assert!(message.contains("answers 403") && !message.contains("typed"), "{message}");

    // Nor is another host told where the way to it began.
    server.recover();
    server.fail("", Fault::Redirect(elsewhere.url("noarch/repodata.json").replace("127.0.0.1", "localhost")));
    elsewhere.forget();
    let _ = world.load(&server.url("t/typed/main"), Access::Refresh).await;
    assert!(!elsewhere.requests().is_empty());
    assert!(elsewhere.requests().iter().all(|request| !request.headers.contains_key("referer")));
}

#[tokio::test]
async fn another_login_has_another_cache() {
    let mut world = World::with_tool();
    let file = world.directory.path().join("credentials.json");
    world.network.credential_files = vec![CredentialFile::Rattler(file.clone())];
    let server = world.serve();
    for (login, access, is_there) in
        [("one", Access::Online, true), ("one", Access::Offline, true), ("another", Access::Offline, false)]
    {
        fs_err::write(&file, json!({"127.0.0.1": {"BearerToken": login}}).to_string()).unwrap();
        let found = world.load(&server.url(""), access).await;
        assert_eq!(found.starts_with(FOUND), is_there, "{found}");
    }
}

#[test]
fn what_another_process_has_kept_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = RepodataCache::new(directory.path(), &"https://channel.example/noarch/".parse().unwrap(), None);
    let keep = |text: &str| {
        let file = store.new_file().unwrap();
        fs_err::write(file.path(), text).unwrap();
        let mut state: cache::CacheState = serde_json::from_value(json!({
            "url": "", "variant": "repodata.json", "form": "json", "file": "", "size": text.len(), "refresh_ns": 0,
        }))
        .unwrap();
        store.store(file, &mut state).unwrap();
        state
    };
    let (before, after) = (keep("{}"), keep("{\"packages\": {}}"));
    store.refresh(&before).unwrap();
    store.invalidate(&before);
    assert_eq!(store.state().unwrap().file, after.file);
    store.invalidate(&after);
    assert!(store.state().is_none());
}

#[tokio::test]
async fn offline_no_server_is_asked() {
    let world = World::with_tool();
    let server = world.serve();
    insta::assert_snapshot!(world.load(&server.url("t/secret/main"), Access::Offline).await, @"error: `CHANNEL/linux-64/` is not cached, and network access is disabled");
    assert_eq!(server.count(""), 0);
}

#[test]
fn a_name_is_partial_unless_one_of_its_specs_loads_it_whole() {
    let specs = ["lib >=2", "tool >=2", "tool", "pip"]
        .map(|text| MatchSpec::from_str(text, rattler_conda_types::ParseStrictness::Strict).unwrap());
    assert_eq!(partial(&specs), ["lib".to_owned()].into());
}

#[test]
fn a_misspelt_channel_has_near_names() {
    let near = |url: &str| near_channels(&Channel::from_url(url.parse::<url::Url>().unwrap()));
    assert_eq!(near("https://conda.anaconda.org/conda-frge"), ["conda-forge"]);
    assert_eq!(near("https://conda.anaconda.org/biconda/"), ["bioconda"]);
    assert!(near("https://conda.anaconda.org/our-own-lab/").is_empty());
}

#[tokio::test]
async fn a_package_named_by_its_url_comes_from_its_channel_or_from_its_archive() {
    let world = World::with_tool();
    let tool = PackageBuilder::new("tool", "3.0")
        .subdir("linux-64")
        .depends("lib")
        .write(&world.directory.path().join("own"))
        .unwrap();
    let foreign =
        PackageBuilder::new("tool", "3.0").subdir("win-64").write(&world.directory.path().join("own")).unwrap();
    let md5 = hex::encode(rattler_digest::compute_file_digest::<rattler_digest::Md5>(&tool).unwrap());
    let server = Server::serve(world.directory.path().join("own")).unwrap();
    let url = server.url(&format!("linux-64/{}", tool.file_name().unwrap().display()));
    let load = async |spec: &str, access: Access| match world.repodata_of(&[spec], access).await {
        Err(error) => error.to_string(),
        Ok(repodata) => {
            let of = |record: &RepoDataRecord| {
                let pinned = record.package_record.sha256.map(|_| "#sha256").unwrap_or_default();
                format!("{}{pinned}", record.url.path().rsplit('/').next().unwrap())
            };
            repodata.records().map(of).collect::<Vec<_>>().join(" ")
        }
    };
    let file = tool.file_name().unwrap().display();
    let found = format!("{file}#sha256 lib-1.0-0.conda lib-2.0-0.conda");
    assert_eq!(load(&url, Access::Online).await, found);
    assert_eq!(load(&format!("{url}#{md5}"), Access::Online).await, found);
    assert_eq!(load(tool.to_str().unwrap(), Access::Offline).await, found);
    // Listed by a channel: its record, without a look at the archive, of which there is none.
    let listed = world.channel().join("noarch/tool-1.0-0.conda");
    assert_eq!(
        load(listed.to_str().unwrap(), Access::Online).await,
        "tool-1.0-0.conda lib-1.0-0.conda lib-2.0-0.conda tool-1.0-0.conda"
    );
    let mut failures = vec![
        load(&format!("{url}#{}", "0".repeat(32)), Access::Online).await,
        load(&url, Access::Offline).await,
        load(&url.replace("tool-", "other-"), Access::Online).await,
        load(foreign.to_str().unwrap(), Access::Online).await,
    ];
    world.write("noarch/broken-1-0.conda", "no package");
    failures.push(load(world.channel().join("noarch/broken-1-0.conda").to_str().unwrap(), Access::Online).await);
    let text = failures.join("\n").replace(&server.url(""), "SERVER/").replace(&md5, "[MD5]");
    let text = text.replace(&*world.directory.path().to_string_lossy(), "");
    insta::assert_snapshot!(text, @"
    cannot take the package `SERVER/linux-64/tool-3.0-h4bc722e_0.conda`: it has another md5 than the one behind `#`: [MD5], not 00000000000000000000000000000000
    cannot take the package `SERVER/linux-64/tool-3.0-h4bc722e_0.conda`: it would have to be downloaded, and network access is disabled
    cannot take the package `SERVER/linux-64/other-3.0-h4bc722e_0.conda`: `SERVER/linux-64/other-3.0-h4bc722e_0.conda` answers 404 Not Found
    cannot take the package `file:///own/win-64/tool-3.0-h4bc722e_0.conda`: it is for `win-64`, and not for `linux-64`
    cannot take the package `file:///channel/noarch/broken-1-0.conda`: invalid zip archive: invalid Zip archive: Could not find EOCD
    ");
}

/// The records of a lock's packages: each by its own URL, and none of another archive.
#[tokio::test]
async fn locked_packages_find_their_records() {
    let world = World::new();
    let mut hashed = record("hashed", "1.0", &["lib"]);
    hashed["sha256"] = "0a".repeat(32).into();
    world.write(
        "noarch/repodata.json",
        repodata(&json!({}), "packages.conda", &[hashed, record("tool", "1.0", &["lib"])]),
    );
    world.write("linux-64/repodata.json", "{}");
    let sharded = World::new();
    sharded.write("linux-64/repodata.json", "{}");
    let (server, gone) = (world.serve(), sharded.serve());
    let urls = [
        server.url("noarch/tool-1.0-0.conda"),
        // There as `.conda` only, which says the same.
        server.url("noarch/tool-1.0-0.tar.bz2"),
        server.url("noarch/hashed-1.0-0.conda"),
        server.url("noarch/tool-2.0-0.conda"),
        server.url("linux-64/tool-1.0-0.conda"),
        server.url("tool-1.0-0.conda"),
        gone.url("noarch/tool-1.0-0.conda"),
    ];
    let urls: Vec<url::Url> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let mut packages: Vec<_> = urls.iter().map(pinned).collect();
    // The archive was replaced under its name.
    packages.push(PinnedPackage { sha256: Some([1; 32].into()), ..pinned(&urls[2]) });
    let options = RepodataOptions { cache_directory: world.cache(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&world.network).unwrap();
    let (found, errors) = pinned_records(&client, &packages, &options, &world).await;
    let found: Vec<String> = found
        .iter()
        .map(|record| record.as_ref().map_or("none".to_owned(), |record| record.depends.join(" ")))
        .collect();
    assert_eq!(found, ["lib", "lib", "lib", "none", "none", "none", "none", "none"]);
    assert!(errors.is_empty(), "{errors:?}");
    // What is cached is enough; of what is not, each subdir is told of once.
    for (cache, expected) in [(world.cache(), (3, 0)), (world.directory.path().join("empty"), (0, 3))] {
        let options = RepodataOptions { access: Access::Offline, cache_directory: cache, ..options.clone() };
        let (found, errors) = pinned_records(&client, &packages, &options, &()).await;
        assert_eq!((found.iter().flatten().count(), errors.len()), expected, "{errors:?}");
    }
}

/// A package by its URL.
fn pinned(url: &url::Url) -> PinnedPackage<'_> {
    let mut segments = url.path_segments().unwrap().rev();
    let file_name = segments.next().unwrap();
    let subdir = segments.next().and_then(|segment| segment.parse().ok()).unwrap_or(Subdir::NoArch);
    let stem = file_name.strip_suffix(".conda").or_else(|| file_name.strip_suffix(".tar.bz2")).unwrap();
    let mut parts = stem.rsplitn(3, '-');
    let (build, version, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    PinnedPackage { name, version, build, subdir, file_name, url, sha256: None, md5: None }
}
