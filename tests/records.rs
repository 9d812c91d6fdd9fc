//! Records in `conda-meta`: the fields that conda, mamba, syft and trivy read exist with the right type, and nothing is
//! left of the builder.

use insta::assert_snapshot;
use mlconda_test::context::argument;
use serde_json::Value;

use crate::{
    install::{EVERY_KIND, installed},
    world,
};

/// The type of a field.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Number,
    Texts,
    Object,
}
use Type::{Number, Object, Text, Texts};

impl Type {
    fn fits(self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Number => value.is_u64(),
            Texts => value.as_array().is_some_and(|values| values.iter().all(Value::is_string)),
            Object => value.is_object(),
        }
    }
}

/// Fields that every record has. Without them, conda or mamba fail, or lose information.
const ALWAYS: [(&str, Type); 19] = [
    ("name", Text),
    ("version", Text),
    ("build", Text),
    ("build_number", Number),
    ("channel", Text),
    ("subdir", Text),
    ("fn", Text),
    ("url", Text),
    ("sha256", Text),
    ("md5", Text),
    ("size", Number),
    ("timestamp", Number),
    ("depends", Texts),
    ("constrains", Texts),
    ("files", Texts),
    ("paths_data", Object),
    ("link", Object),
    ("requested_specs", Texts),
    ("mlconda", Object),
];

/// Fields that a record has if its package has them. None may be null, because mamba and trivy reject that.
const SOMETIMES: [(&str, Type); 11] = [
    ("arch", Text),
    ("features", Text),
    ("legacy_bz2_md5", Text),
    ("license", Text),
    ("license_family", Text),
    ("noarch", Text),
    ("package_type", Text),
    ("platform", Text),
    ("python_site_packages_path", Text),
    ("requested_spec", Text),
    ("track_features", Texts),
];

/// The fields of a path.
const OF_A_PATH: [(&str, Type); 8] = [
    ("_path", Text),
    ("path_type", Text),
    ("sha256", Text),
    ("sha256_in_prefix", Text),
    ("size_in_bytes", Number),
    ("file_mode", Text),
    ("prefix_placeholder", Text),
    ("inode_paths", Texts),
];

/// conda's name for each kind of path.
const PATH_TYPES: [&str; 5] = ["hardlink", "softlink", "directory", "pyc_file", "unix_python_entry_point"];

#[test]
fn each_field_that_other_tools_read_is_of_the_type_that_they_read() {
    let world = world();
    let meta = installed(&world, &EVERY_KIND).join("conda-meta");
    let known =
        |name: &str, kinds: &[(&str, Type)]| kinds.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    for entry in fs_err::read_dir(meta).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let record: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        for (field, kind) in ALWAYS.iter().filter(|(field, _)| *field != "timestamp" || name.starts_with("tzdata")) {
            assert!(kind.fits(&record[*field]), "{name}: {field}: {}", record[*field]);
        }
        for (field, value) in record.as_object().unwrap() {
            let kind = known(field, &ALWAYS).or_else(|| known(field, &SOMETIMES));
            assert!(kind.is_some_and(|kind| kind.fits(value)), "{name}: {field}: {value}");
        }
        // conda compares the file name with these fields.
        let [name_, version, build] = ["name", "version", "build"].map(|field| record[field].as_str().unwrap());
        assert_eq!(format!("{name_}-{version}-{build}"), name);
        assert!(["", "generic", "python"].contains(&record["noarch"].as_str().unwrap_or("")), "{name}");
        assert!(record["link"]["source"] == "" && record["link"]["type"] == 3, "{name}: {}", record["link"]);
        assert_eq!(record["paths_data"]["paths_version"], 1, "{name}");
        for path in record["paths_data"]["paths"].as_array().unwrap() {
            assert!(PATH_TYPES.contains(&path["path_type"].as_str().unwrap()), "{name}: {path}");
            // conda compares files with this hash, and follows links for it.
            let is_link = path["path_type"] == "softlink";
            assert!(!(is_link && path.get("sha256_in_prefix").is_some()), "{name}: {path}");
            for (field, value) in path.as_object().unwrap() {
                assert!(known(field, &OF_A_PATH).is_some_and(|kind| kind.fits(value)), "{name}: {field}: {path}");
            }
        }
    }
}

#[test]
fn nothing_tells_of_the_builder() {
    let world = world();
    let cache = world.path().join("cache");
    fs_err::create_dir(&cache).unwrap();
    let lock = world.write_lock("env.lock", None, &EVERY_KIND);
    let cache = ("MLCONDA_CACHE_DIR", argument(&cache));
    world.mlconda_with(["install", argument(&lock), "-p", "../prefix"], &[cache]).success();
    let prefix = world.path().join("prefix");
    for entry in fs_err::read_dir(prefix.join("conda-meta")).unwrap() {
        let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
        // The prefix is in other files, too.
        let text = text.replace(argument(&prefix), "");
        assert!(!text.contains(argument(&world.path())), "{text}");
    }
}

#[test]
fn a_record() {
    let world = world();
    let meta = installed(&world, &["tzdata"]).join("conda-meta");
    let record = fs_err::read(meta.join("tzdata-2024a-hd8ed1ab_0.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_snapshot!(world.normal(&serde_json::to_string_pretty(&record).unwrap()), @r#"
    {
      "build": "hd8ed1ab_0",
      "build_number": 0,
      "depends": [],
      "license": "BSD-3-Clause",
      "md5": "[MD5]",
      "name": "tzdata",
      "noarch": "generic",
      "sha256": "[SHA256]",
      "size": [SIZE],
      "subdir": "noarch",
      "timestamp": 1700000000000,
      "version": "2024a",
      "fn": "tzdata-2024a-hd8ed1ab_0.conda",
      "url": "file://[CHANNELS]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda",
      "channel": "file://[CHANNELS]/main/noarch",
      "constrains": [],
      "package_type": "noarch_generic",
      "requested_specs": [],
      "files": [
        "share/zoneinfo/Etc/UTC",
        "share/zoneinfo/Europe/Paris",
        "share/zoneinfo/Zulu"
      ],
      "paths_data": {
        "paths_version": 1,
        "paths": [
          {
            "_path": "share/zoneinfo/Etc/UTC",
            "path_type": "hardlink",
            "sha256": "[SHA256]",
            "sha256_in_prefix": "[SHA256]",
            "size_in_bytes": 9
          },
          {
            "_path": "share/zoneinfo/Europe/Paris",
            "path_type": "hardlink",
            "sha256": "[SHA256]",
            "sha256_in_prefix": "[SHA256]",
            "size_in_bytes": 8
          },
          {
            "_path": "share/zoneinfo/Zulu",
            "path_type": "softlink",
            "sha256": "[SHA256]",
            "size_in_bytes": 9
          }
        ]
      },
      "link": {
        "source": "",
        "type": 3
      },
      "mlconda": {
        "executable": [],
        "links": {
          "share/zoneinfo/Zulu": "Etc/UTC"
        }
      }
    }
    "#);
}
