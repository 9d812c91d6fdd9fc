//! Packages that a test makes for itself: their lines in a lock, and installing them.
//!
//! Archives that no builder would write are written entry by entry.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mlconda_test::{
    context::{Outcome, TestContext, argument},
    host_subdir,
    package::PackageBuilder,
    sha256_hex, tree,
};

/// Writes a package into the context's own channel. Returns its line in a lock.
pub(crate) fn line(world: &TestContext, package: &PackageBuilder) -> String {
    locked(&package.write(&world.path().join("channel")).unwrap())
}

/// The line of an archive in a lock.
pub(crate) fn locked(archive: &Path) -> String {
    format!("file://{}#sha256:{}\n", archive.display(), sha256_hex(fs_err::read(archive).unwrap()))
}

/// Writes a lock as another tool does.
pub(crate) fn lock(world: &TestContext, lines: &[&str]) -> PathBuf {
    world.write("env.lock", &format!("# platform: {}\n@EXPLICIT\n{}", host_subdir(), lines.concat()))
}

/// Installs packages by their lines.
pub(crate) fn install(world: &TestContext, prefix: &Path, lines: &[&str]) -> Outcome {
    let lock = lock(world, lines);
    world.mlconda(["install", argument(&lock), "-p", argument(prefix)])
}

/// The contents of a prefix, without the history, which depends on the commands.
pub(crate) fn contents(prefix: &Path) -> BTreeMap<String, String> {
    let mut contents = tree::tree(prefix).unwrap();
    assert!(contents.remove("conda-meta/history").is_some(), "a prefix without history is none");
    contents
}

/// Two prefixes that do not exist yet: one that can be swapped, and one behind a link, which is changed in place. Each
/// with its real path.
pub(crate) fn both_kinds(world: &TestContext) -> [(PathBuf, PathBuf); 2] {
    let (plain, link, real) = (world.path().join("plain"), world.path().join("link"), world.path().join("real"));
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, &link).unwrap();
    [(plain.clone(), plain), (link, real)]
}

/// A hand-written entry of an archive.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    File(&'static str),
    Soft(&'static str),
    Hard(&'static str),
}
use Part::{Hard, Soft};

/// The position of `info/` in an archive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Info {
    First,
    Last,
    /// Most of it comes first, and one file last.
    Divided,
}

/// Writes the `.tar.bz2` of a package `name` 1.0 with these entries and unchanged names. All of them are listed in
/// `info/paths.json`, with the placeholder `/old/prefix` if the content contains it. `before` is put before each name
/// in the archive. Returns its line in a lock.
pub(crate) fn archive(world: &TestContext, name: &str, info: Info, before: &str, parts: &[(&str, Part)]) -> String {
    let directory = world.path().join("channel").join(host_subdir());
    fs_err::create_dir_all(&directory).unwrap();
    let path = directory.join(format!("{name}-1.0-0.tar.bz2"));
    let index = serde_json::json!({
        "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir(),
    });
    let has_prefix = |part: &Part| matches!(part, Part::File(content) if content.contains("/old/prefix"));
    let listed = parts.iter().map(|(path, part)| {
        let kind = if matches!(part, Soft(_)) { "softlink" } else { "hardlink" };
        let mut entry = serde_json::json!({"_path": path, "path_type": kind});
        let is_same = |(other, _): &&(&str, Part)| matches!(part, Hard(to) if to == other);
        if has_prefix(part) || parts.iter().find(is_same).is_some_and(|(_, part)| has_prefix(part)) {
            entry["prefix_placeholder"] = "/old/prefix".into();
            entry["file_mode"] = "text".into();
        }
        entry
    });
    let paths = serde_json::json!({"paths": listed.collect::<Vec<_>>(), "paths_version": 1});
    let of_info = [("info/index.json", index.to_string()), ("info/paths.json", paths.to_string())];
    let of_info = of_info.iter().map(|(name, text)| (*name, tar::EntryType::Regular, text.as_str(), ""));
    let mut entries: Vec<_> = parts
        .iter()
        .map(|(name, part)| match part {
            Part::File(content) => (*name, tar::EntryType::Regular, *content, ""),
            Soft(to) => (*name, tar::EntryType::Symlink, "", *to),
            Hard(to) => (*name, tar::EntryType::Link, "", *to),
        })
        .collect();
    let place = if info == Info::Last { entries.len() } else { 0 };
    entries.splice(place..place, of_info);
    if info == Info::Divided {
        let link = r#"{"noarch": {"type": "generic"}, "package_metadata_version": 1}"#;
        entries.push(("info/link.json", tar::EntryType::Regular, link, ""));
    }
    let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    for (name, kind, content, target) in entries {
        let mut header = tar::Header::new_gnu();
        // The tar library would reject the names that are tested here.
        let name = format!("{before}{name}");
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    fs_err::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    locked(&path)
}
