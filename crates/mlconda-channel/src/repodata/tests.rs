//! Loads channels from disk and from a server on loopback: the records that are found, and the messages for errors.

mod caching;
mod hostile;
mod server;
mod single;

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
use mlconda_types::{
    host::Host,
    progress::{Event, Progress},
};
use rattler_conda_types::{Channel, Subdir};
use serde_json::{Value, json};

use super::{
    cache::RepodataCache,
    load::{near_channels, partial},
    *,
};
use crate::network::{self, CredentialFile, NetworkOptions};

/// A record of a noarch package.
fn record(name: &str, version: &str, depends: &[&str]) -> Value {
    json!({"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends, "subdir": "noarch"})
}

/// A `repodata.json` with `tool`, its dependencies, and `other`.
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

    /// Loads the channel from disk.
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

    /// The files of the found records or the error message, and the warnings.
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

/// The records of each list, with their rows in the table and the ends of the runs.
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

/// Records that are added for an explanation give the same result as if they had been loaded at first.
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
        // Loaded records are not read again: otherwise the result would differ now.
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
        let expected = format!("error: `CHANNEL/noarch/` does not contain valid repodata: `repodata.json`: {message}");
        assert_eq!(world.load_from_disk().await, expected, "{text}");
    }
    // Channels without packages are valid.
    for text in ["{}", r#"{"packages": {}, "packages.conda": {}, "removed": []}"#] {
        world.write("noarch/repodata.json", text);
        assert_eq!(world.load_from_disk().await, "", "{text}");
    }
    fs_err::rename(world.channel().join("noarch"), world.channel().join("linux-64")).unwrap();
    insta::assert_snapshot!(world.load_from_disk().await, @"event: the channel `CHANNEL/` has no `noarch`, which every channel should have, even if empty");
}

/// A `repodata.json` with records for every rule.
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
    // The order of the fields, and with it the column, depends on a feature of `serde_json` that other crates may
    // enable.
    let event = event.split_once(" at line 1").unwrap().0;
    insta::assert_snapshot!(event, @"2 records of `CHANNEL/noarch/` cannot be read and are left out, the first: `tool-1.2-0.conda` (malformed version string '1%21164.3': encountered more characters but expected none");
    // The layout of the text does not matter.
    world.write("noarch/repodata.json", serde_json::to_string_pretty(&every_kind()).unwrap());
    assert!(world.load_from_disk().await.starts_with(EVERY_KIND));
}

#[tokio::test]
async fn what_cannot_be_a_place_or_a_file_is_told() {
    let world = World::new();
    for base in ["localhost:8080/pkgs", "\\\\[", "http://["] {
        world.write("noarch/repodata.json", json!({"info": {"base_url": base}}).to_string());
        let expected =
            "error: `CHANNEL/noarch/` does not contain valid repodata: its `base_url` is not a valid base URL";
        assert_eq!(world.load_from_disk().await, expected, "{base}");
    }
    // The first segment of the key is the requested name.
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

/// The records of [`every_kind`] as shards.
fn write_shards(world: &World, whole: &Value) {
    use rattler_digest::{Sha256, digest::Digest};
    let shard: Value = ["packages", "packages.conda", "v3", "removed"]
        .map(|key| (key.to_owned(), whole[key].clone()))
        .into_iter()
        .collect();
    // Shards store hashes as bytes. JSON values cannot be bytes, so the encoded text is changed: `bin 8` instead of
    // `str 8`.
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
    // Cached shards are verified, too.
    for entry in fs_err::read_dir(world.cache().join("shards")).unwrap() {
        fs_err::write(entry.unwrap().path(), "damaged").unwrap();
    }
    assert!(world.load(&server.url(""), Access::Online).await.starts_with(EVERY_KIND));
    fs_err::remove_dir_all(world.cache()).unwrap();
    server.fail("/shards/", Fault::Corrupted);
    let message = world.load(&server.url(""), Access::Online).await;
    assert!(message.ends_with("has another hash than the index says"), "{message}");
    // A base that is not a base URL is an error.
    let index = json!({"info": {"base_url": "", "shards_base_url": "mailto:me"}, "shards": {}});
    let index = zstd::encode_all(rmp_serde::to_vec_named(&index).unwrap().as_slice(), 0).unwrap();
    world.write("noarch/repodata_shards.msgpack.zst", index);
    let message = world.load(&server.url(""), Access::Online).await;
    assert!(message.ends_with("its `shards_base_url` is not a valid base URL"), "{message}");
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
