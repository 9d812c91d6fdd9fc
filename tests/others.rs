//! Prefixes that other tools made or changed are read, verified, exported and changed like mlconda's own. And mlconda
//! writes records in the form that other tools read.

use std::path::Path;

use insta::assert_snapshot;
use mlconda_test::context::argument;
use serde_json::{Map, Value, json};

use crate::{install::installed, world};

const PACKAGES: [&str; 6] = ["tzdata", "python-3.11.9", "where-2.0", "greet-2.0", "links", "hollow"];

/// Changes every record of a prefix.
fn edit_records(prefix: &Path, edit: &dyn Fn(&mut Map<String, Value>)) {
    for entry in fs_err::read_dir(prefix.join("conda-meta")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut record: Map<String, Value> = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
            record.remove("mlconda");
            edit(&mut record);
            fs_err::write(path, serde_json::to_vec_pretty(&record).unwrap()).unwrap();
        }
    }
}

fn paths(record: &mut Map<String, Value>) -> Vec<&mut Map<String, Value>> {
    let paths = record["paths_data"]["paths"].as_array_mut().unwrap();
    paths.iter_mut().map(|path| path.as_object_mut().unwrap()).collect()
}

fn linked_from(record: &mut Map<String, Value>, cache: &str, kind: &Value) {
    let name = format!("{}-{}", record["name"].as_str().unwrap(), record["version"].as_str().unwrap());
    record.insert("link".to_owned(), json!({"source": format!("{cache}/{name}"), "type": kind}));
}

/// conda since 4.4: files of noarch python packages have their paths within the package, and files that conda made have
/// no hashes.
fn conda(record: &mut Map<String, Value>) {
    linked_from(record, "/opt/conda/pkgs", &json!(1));
    record.insert("extracted_package_dir".to_owned(), json!("/opt/conda/pkgs/x"));
    let is_python = record.get("noarch").is_some_and(|noarch| noarch == "python");
    for path in paths(record) {
        let place = path["_path"].as_str().unwrap().to_owned();
        let kind = path["path_type"].clone();
        let library = place.strip_prefix("lib/python3.11/").filter(|_| kind == "hardlink");
        let script = place.strip_prefix("bin/").filter(|_| kind == "hardlink");
        match (library, script) {
            (Some(rest), _) if is_python => _ = path.insert("_path".to_owned(), json!(rest)),
            (_, Some(rest)) if is_python => {
                _ = path.insert("_path".to_owned(), json!(format!("python-scripts/{rest}")))
            }
            _ => {}
        }
        if kind != "hardlink" && kind != "softlink" {
            path.remove("sha256");
            path.remove("sha256_in_prefix");
        }
    }
}

/// conda before 4.3: no list of paths, names for the kinds of links, and `null` for missing values.
fn old_conda(record: &mut Map<String, Value>) {
    linked_from(record, "/opt/conda/pkgs", &json!("hard-link"));
    for field in ["paths_data", "sha256", "requested_specs", "constrains", "package_type", "size"] {
        record.remove(field);
    }
    for field in ["features", "license_family", "preferred_env", "icon", "timestamp"] {
        record.insert(field.to_owned(), Value::Null);
    }
    if !record.contains_key("noarch") {
        record.insert("noarch".to_owned(), Value::Null);
    }
    record.insert("schannel".to_owned(), json!("defaults"));
}

/// mamba and micromamba: unknown hashes are empty, directories are listed among the files, soft links have the hash of
/// their target, and byte code and entry points have none. Files with a replaced placeholder are not marked, and their
/// size is that in the package.
fn mamba(record: &mut Map<String, Value>) {
    linked_from(record, "/root/micromamba/pkgs", &json!(1));
    record.insert("md5".to_owned(), json!(""));
    record.insert("requested_spec".to_owned(), json!(""));
    record.remove("requested_specs");
    let mut directories = Vec::new();
    for path in paths(record) {
        match path["path_type"].as_str().unwrap() {
            "softlink" => _ = path.insert("sha256_in_prefix".to_owned(), path["sha256"].clone()),
            "directory" => {
                path.insert("sha256_in_prefix".to_owned(), json!(""));
                directories.push(path["_path"].clone());
            }
            "hardlink" => {
                path.remove("file_mode");
                if path.remove("prefix_placeholder").is_some() {
                    path.insert("size_in_bytes".to_owned(), json!(1));
                }
            }
            _ => ["sha256", "sha256_in_prefix", "size_in_bytes"].iter().for_each(|field| _ = path.remove(*field)),
        }
    }
    record["files"].as_array_mut().unwrap().extend(directories);
}

/// pixi and other programs with rattler: paths as in mlconda's records, and directories among the files.
fn pixi(record: &mut Map<String, Value>) {
    linked_from(record, "/root/.cache/rattler/cache/pkgs", &json!(1));
    let of = |path: &Map<String, Value>| path["path_type"] == "directory";
    let directories: Vec<Value> =
        paths(record).iter().filter(|path| of(path)).map(|path| path["_path"].clone()).collect();
    record["files"].as_array_mut().unwrap().extend(directories);
}

/// A tool that writes only the list of files.
fn files_only(record: &mut Map<String, Value>) {
    let keep = ["name", "version", "build", "files", "url", "depends"];
    record.retain(|field, _| keep.contains(&field.as_str()));
}

/// Changes a record to the form of another tool.
type Writer = fn(&mut Map<String, Value>);

#[test]
fn an_environment_of_any_tool_is_verified_exported_and_changed() {
    let writers: [(&str, Writer); 5] =
        [("conda", conda), ("old conda", old_conda), ("mamba", mamba), ("pixi", pixi), ("files only", files_only)];
    for (tool, writer) in writers {
        let world = world();
        let prefix = installed(&world, &PACKAGES);
        let exported = world.mlconda(["export", "-p", argument(&prefix)]).success().stdout;
        edit_records(&prefix, &writer);
        world.mlconda(["verify", argument(&prefix)]).success();
        world.mlconda(["verify", argument(&prefix), "env.lock"]).success();
        assert_eq!(world.mlconda(["export", "-p", argument(&prefix)]).success().stdout, exported, "{tool}");
        world.mlconda(["list", "-p", argument(&prefix)]).success();
        // A missing file is reported.
        fs_err::remove_file(prefix.join("lib/python3.11/site-packages/greet/cli.py")).unwrap();
        let told = world.mlconda(["verify", argument(&prefix)]).failure(1).stdout;
        assert_eq!(
            told, "`lib/python3.11/site-packages/greet/cli.py` of `greet-2.0-pyhd8ed1ab_0`: it is missing\n",
            "{tool}"
        );
        // One package gets another version, and two are removed.
        let lock =
            world.write_lock("other.lock", None, &["tzdata", "python-3.11.9", "where-2.0", "greet-1.1", "links"]);
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        world.mlconda(["verify", argument(&prefix), argument(&lock)]).success();
        assert!(!prefix.join("share/hollow").exists(), "{tool}");
        // If no record lists an empty directory, its owner is unknown.
        let is_told = !["old conda", "files only"].contains(&tool);
        assert!(!is_told || !prefix.join("var/hollow").exists(), "{tool}");
        let lock = world.write_lock("less.lock", None, &["tzdata", "python-3.11.9", "where-2.0", "links"]);
        world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
        assert!(!prefix.join("lib/python3.11/site-packages/greet").exists(), "{tool}");
        assert!(!prefix.join("bin/greet").exists() && !prefix.join("bin/greet-script").exists(), "{tool}");
    }
}

/// A record depends on the package only: it has both hashes, for every hash in the lock and every source of the
/// package.
#[test]
fn records_do_not_depend_on_what_the_lock_knows() {
    let world = world();
    let cache = world.path().join("cache");
    fs_err::create_dir(&cache).unwrap();
    let lock = fs_err::read_to_string(world.write_lock("sha256.lock", None, &["tzdata", "where-2.0"])).unwrap();
    let bare: String = lock.lines().map(|line| line.split('#').next().unwrap().to_owned() + "\n").collect();
    let record = |lock: &str, cached: bool| {
        let prefix = world.path().join("prefix");
        let cache = if cached { argument(&cache) } else { "/nowhere" };
        world.mlconda_with(["install", lock, "-p", argument(&prefix)], &[("MLCONDA_CACHE_DIR", cache)]).success();
        let record = fs_err::read_to_string(prefix.join("conda-meta/tzdata-2024a-hd8ed1ab_0.json")).unwrap();
        fs_err::remove_dir_all(prefix).unwrap();
        record
    };
    let first = record("sha256.lock", false);
    let known: Value = serde_json::from_str(&first).unwrap();
    let md5 = known["md5"].as_str().unwrap().to_owned();
    assert!(md5.len() == 32 && known["sha256"].as_str().unwrap().len() == 64, "{first}");
    assert_eq!(record("sha256.lock", true), first, "into the cache");
    assert_eq!(record("sha256.lock", true), first, "out of the cache");
    world.write("bare.lock", &bare);
    assert_eq!(record("bare.lock", false), first);
    let with_md5: String = bare
        .lines()
        .map(|line| if line.contains("tzdata") { format!("{line}#{md5}\n") } else { format!("{line}\n") })
        .collect();
    world.write("md5.lock", &with_md5);
    assert_eq!(record("md5.lock", false), first);
}

/// conda lists revisions in the order of the file, with the times in it.
#[test]
fn a_revision_is_never_before_the_last_one() {
    let world = world();
    let prefix = installed(&world, &["tzdata", "where-1.0"]);
    let history = prefix.join("conda-meta/history");
    let mut text = fs_err::read_to_string(&history).unwrap();
    text.push_str("==> 2031-02-03 04:05:06 <==\n# cmd: conda install x\n# conda version: 26.7.1\n+c/noarch::x-1-0\n");
    fs_err::write(&history, text).unwrap();
    let lock = world.write_lock("other.lock", None, &["tzdata", "where-2.0"]);
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    let text = fs_err::read_to_string(&history).unwrap();
    let times: Vec<&str> = text.lines().filter(|line| line.starts_with("==>")).collect();
    assert_eq!(times[1..], ["==> 2031-02-03 04:05:06 <==", "==> 2031-02-03 04:05:06 <=="], "{text}");
    assert!(times.len() == 3 && times[0] < times[1], "{text}");
}

/// pip has replaced a project by another version, and its own metadata is beside that of the conda package.
#[test]
fn what_replaces_a_project_removes_its_other_metadata() {
    let world = world();
    let prefix = installed(&world, &["tzdata", "python-3.11.9", "greet-1.1"]);
    let site = prefix.join("lib/python3.11/site-packages");
    let pip = |version: &str, files: &str| {
        let info = site.join(format!("Greet-{version}.dist-info"));
        fs_err::create_dir_all(&info).unwrap();
        fs_err::write(info.join("METADATA"), format!("Metadata-Version: 2.1\nName: Greet\nVersion: {version}\n"))
            .unwrap();
        fs_err::write(
            info.join("RECORD"),
            format!("{files}Greet-{version}.dist-info/METADATA,,\nGreet-{version}.dist-info/RECORD,,\n"),
        )
        .unwrap();
    };
    fs_err::write(site.join("greet/of_pip.py"), "").unwrap();
    pip("0.5", "greet/__init__.py,,\ngreet/of_pip.py,,\n../../../share/greet/where.txt,,\n");
    let outcome = world.mlconda(["verify", argument(&prefix)]).failure(1);
    assert_snapshot!(outcome.stdout, @"`lib/python3.11/site-packages/Greet-0.5.dist-info`: python sees two distributions of this project; found `lib/python3.11/site-packages/greet-1.1.dist-info`");
    let lock = world.write_lock("other.lock", None, &["tzdata", "python-3.11.9", "greet-2.0"]);
    world.mlconda(["install", argument(&lock), "-p", argument(&prefix)]).success();
    world.mlconda(["verify", argument(&prefix), argument(&lock)]).success();
    assert!(!site.join("Greet-0.5.dist-info").exists() && !site.join("greet/of_pip.py").exists());
    assert!(site.join("greet-2.0.dist-info/METADATA").is_file() && prefix.join("share/greet/where.txt").is_file());
}

/// Requested specs are in the history and in an export as they were written.
#[test]
fn specs_are_told_as_they_were_written() {
    let world = world();
    world.write_environment(&["python=3.11", "where >=1.0,<2", "\"tzdata[version='>=2023']\"", "greet 2.*"]);
    world.lock(&[]).success();
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    let shown = world.mlconda(["export", "-p", "../prefix", "--from-history"]).success().stdout;
    assert_snapshot!(world.normal(&shown), @"
    name: prefix
    channels:
      - file://[CHANNELS]/main
    dependencies:
      - greet 2.*
      - python=3.11
      - tzdata[version='>=2023']
      - where >=1.0,<2
    ");
    let history = fs_err::read_to_string(world.path().join("prefix/conda-meta/history")).unwrap();
    let specs = r#"# update specs: ['greet 2.*', 'python=3.11', "tzdata[version='>=2023']", 'where >=1.0,<2']"#;
    assert!(history.ends_with(&format!("{specs}\n")), "{history}");
}
