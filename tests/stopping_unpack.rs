//! A signal while a large member of an archive is unpacked: into a prefix or the package cache, with the prefix replaced in
//! it, or passed over.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Stdio},
};

use mlconda_test::{context::TestContext, host_subdir, sha256_hex};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{packages::lock, stopping::stop, world};

/// How often the archive goes on with [`PIECE`] zeros: longer than any processor here unpacks while a test waits.
const PIECES: u64 = 4096;

const PIECE: u64 = 64 << 20;

/// An archive whose member `share/huge` has no end that could be waited for; gives its line in a lock. A bzip2 archive may be
/// of several streams, so it is small itself.
fn endless(world: &TestContext, name: &str, huge: Option<Value>) -> String {
    let index = json!({
        "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": host_subdir(),
    });
    let first = json!({"_path": "share/first", "path_type": "hardlink"});
    let paths: Vec<Value> = [first].into_iter().chain(huge).collect();
    let paths = json!({"paths": paths, "paths_version": 1});
    let (index, paths) = (index.to_string(), paths.to_string());
    let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    for (path, content) in [("info/index.json", &index), ("info/paths.json", &paths), ("share/first", &String::new())] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_path("share/huge").unwrap();
    header.set_mode(0o644);
    header.set_size(PIECES * PIECE);
    header.set_cksum();
    tar.get_mut().write_all(header.as_bytes()).unwrap();
    // Finished by hand: the archive ends in the middle of the member.
    let begin = std::mem::replace(tar.get_mut(), bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()));
    let mut piece = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    std::io::copy(&mut std::io::repeat(0).take(PIECE), &mut piece).unwrap();
    let archive = [begin.finish().unwrap(), piece.finish().unwrap().repeat(PIECES as usize)].concat();
    let path = world.path().join("channel").join(format!("{name}-1.0-0.tar.bz2"));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, &archive).unwrap();
    format!("file://{}#sha256:{}\n", path.display(), sha256_hex(&archive))
}

/// Whether there is a path below a directory that ends so.
fn has(directory: &Path, end: &str) -> bool {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.ends_with(end) || path.is_dir() && has(&path, end))
}

fn until_there(child: &mut Child, world: &TestContext, end: &str) {
    while !has(world.path(), end) {
        assert!(child.try_wait().unwrap().is_none(), "it has ended before it made `{end}`");
        std::thread::yield_now();
    }
}

#[test]
fn install_while_it_unpacks_a_large_file() {
    let world = world();
    let plain = json!({"_path": "share/huge", "path_type": "hardlink"});
    let placed = json!({
        "_path": "share/huge", "path_type": "hardlink", "file_mode": "binary",
        "prefix_placeholder": format!("/{}", "placeholder".repeat(20)),
    });
    let cache = world.path().join("cache");
    for (name, huge, end) in [
        ("plain", Some(plain), "share/huge"),
        ("placed", Some(placed), "share/huge"),
        ("unlisted", None, "share/first"),
    ] {
        lock(&world, &[&endless(&world, name, huge)]);
        for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            for cached in [None, Some(&cache)] {
                let mut install = world.mlconda_command(["install", "env.lock", "-p", "prefix"]);
                cached.map(|cache| install.env("MLCONDA_CACHE_DIR", cache));
                let mut install = install.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
                until_there(&mut install, &world, end);
                let (code, said) = stop(install, signal);
                assert_eq!(code, expected, "{name}, {cached:?}: {said}");
                assert!(said.ends_with("error: stopped; nothing has changed\n"), "{name}, {cached:?}: {said}");
                assert!(
                    !has(world.path(), "share/first") && !world.work().join("prefix").exists(),
                    "{name}, {cached:?}"
                );
            }
        }
    }
}
