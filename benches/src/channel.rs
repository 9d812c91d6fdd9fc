//! Makes a channel as large as the largest ones from real repodata. The result is always the same.
//!
//! Every record is copied under other names, with dependencies under the same other names. Each set of names is
//! independent of the others, so an environment does not reach them. Within each set, every record is also copied with
//! lower versions, which an environment does reach and has to read.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use rattler_conda_types::{Channel, PackageName, PackageRecord, Shard, ShardedRepodata, ShardedSubdirInfo};
use rattler_repodata_gateway::sparse::{PackageFormatSelection, SparseRepoData};
use serde_json::{Map, Value, json};

use crate::Outcome;

/// The number of versions that are made from each version.
const VERSIONS: usize = 4;

/// Makes a channel in a directory, in three forms: `json/`, `zst/` and `shards/`.
pub(crate) fn grow(repodata: &Path, directory: &Path, records: &[(&str, usize)]) -> Outcome<()> {
    for (subdir, wanted) in records {
        let [json, zst, shards] = ["json", "zst", "shards"].map(|form| directory.join(form).join(subdir));
        for directory in [&json, &zst, &shards] {
            fs_err::create_dir_all(directory)?;
        }
        let packed = fs_err::read(repodata.join(subdir).join("repodata.json.zst"))?;
        let original: Value = serde_json::from_slice(&zstd::decode_all(packed.as_slice())?)?;
        let text = json.join("repodata.json");
        write(&original, *wanted, &text)?;
        drop(original);
        let packed = File::create(zst.join("repodata.json.zst"))?;
        zstd::stream::copy_encode(fs_err::File::open(&text)?, packed, 3)?;
        shard(&text, subdir, &shards)?;
    }
    Ok(())
}

fn write(original: &Value, wanted: usize, text: &Path) -> Outcome<()> {
    let none = Map::new();
    let part = |name: &str| original.get(name).and_then(Value::as_object).unwrap_or(&none);
    let count = part("packages").len() + part("packages.conda").len();
    let worlds = wanted.div_ceil(count * VERSIONS);
    let mut out = BufWriter::new(File::create(text)?);
    write!(out, "{{\"info\": {}", original.get("info").unwrap_or(&json!({})))?;
    for name in ["packages", "packages.conda"] {
        let mut records: Vec<(String, Value)> = Vec::new();
        // Records that rattler cannot read are left out.
        let sound = |record: &&Value| serde_json::from_value::<PackageRecord>((*record).clone()).is_ok();
        for (file, record) in part(name).iter().filter(|(_, record)| sound(record)) {
            for world in 0..worlds {
                records.extend((0..VERSIONS).map(|version| varied(file, record, world, version)));
            }
        }
        records.sort_by(|one, other| one.0.cmp(&other.0));
        write!(out, ", \"{name}\": {{")?;
        for (number, (file, record)) in records.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(out, "{comma}\"{file}\": {record}")?;
        }
        write!(out, "}}")?;
    }
    write!(out, ", \"removed\": [], \"repodata_version\": 1}}")?;
    out.flush()?;
    Ok(())
}

/// A record in another set of names and with another version; for set 0 and version 0, the record itself.
fn varied(file: &str, record: &Value, world: usize, version: usize) -> (String, Value) {
    let mut record = record.clone();
    let text = |record: &Value, key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, number, build) = (text(&record, "name"), text(&record, "version"), text(&record, "build"));
    let name = elsewhere(&name, world);
    let number = if version == 0 { number } else { format!("0.{version}.{}", number.replace('!', ".")) };
    let extension = if file.ends_with(".conda") { ".conda" } else { ".tar.bz2" };
    for key in ["depends", "constrains"] {
        for spec in record.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            let text = spec.as_str().unwrap_or_default();
            let (dependency, rest) = text.split_once(' ').map_or((text, ""), |(name, rest)| (name, rest));
            *spec = format!("{} {rest}", elsewhere(dependency, world)).trim_end().into();
        }
    }
    let file = format!("{name}-{number}-{build}{extension}");
    record["name"] = name.into();
    record["version"] = number.into();
    (file, record)
}

fn elsewhere(name: &str, world: usize) -> String {
    if world == 0 || name.starts_with("__") { name.to_owned() } else { format!("{name}-w{world:02}") }
}

/// Writes the shards of a `repodata.json`, and their index.
fn shard(text: &Path, subdir: &str, directory: &Path) -> Outcome<()> {
    let channel = Channel::from_url(url::Url::parse("https://channel.example.org/")?);
    let sparse = SparseRepoData::from_file(channel, subdir, text, None)?;
    let mut index = ShardedRepodata {
        info: ShardedSubdirInfo {
            subdir: subdir.to_owned(),
            base_url: "./".to_owned(),
            shards_base_url: "./shards/".to_owned(),
            created_at: None,
            repodata_revisions: Default::default(),
            channel_relations: None,
            virtual_package_detectors: None,
        },
        shards: Default::default(),
    };
    fs_err::create_dir_all(directory.join("shards"))?;
    for name in sparse.package_names(PackageFormatSelection::Both) {
        let mut shard = Shard::default();
        let package = PackageName::new_unchecked(name);
        for record in sparse.load_records(&package, PackageFormatSelection::Both)? {
            let file = record.identifier.to_file_name();
            let list = if file.ends_with(".conda") { &mut shard.conda_packages } else { &mut shard.packages };
            list.insert(record.identifier, record.package_record);
        }
        let packed = zstd::encode_all(rmp_serde::to_vec_named(&shard)?.as_slice(), 3)?;
        let hash = rattler_digest::compute_bytes_digest::<rattler_digest::Sha256>(&packed);
        fs_err::write(directory.join("shards").join(format!("{}.msgpack.zst", hex::encode(hash))), packed)?;
        index.shards.insert(name.to_owned(), hash);
    }
    let packed = zstd::encode_all(rmp_serde::to_vec_named(&index)?.as_slice(), 3)?;
    fs_err::write(directory.join("repodata_shards.msgpack.zst"), packed)?;
    Ok(())
}
