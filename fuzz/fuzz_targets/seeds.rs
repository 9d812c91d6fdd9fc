//! The seeds of the targets: small valid inputs, and the string literals in the tests of the crates.

use std::{
    fs,
    io::{Cursor, Write},
    num::NonZero,
    path::{Path, PathBuf},
};

use mlconda_bundle::{Environment, Recipe};
use mlconda_channel::network::{Client, NetworkOptions};
use mlconda_install::Stop;
use mlconda_lock::{Expansion, LockFile, LockFormat, Selection, explicit};
use mlconda_oci::Digest;
use serde_json::json;
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::{TARGETS, archive, bits};

/// Texts with more bytes are left out, because they slow the targets down.
const LONGEST: usize = 8 << 10;

/// Writes the seeds of all targets.
pub(crate) fn write(directory: &Path) {
    for (target, _) in TARGETS {
        let place = directory.join(target);
        fs::create_dir_all(&place).expect("a directory can be made");
        let mut seeds = of(target);
        seeds.sort();
        seeds.dedup();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(place.join(format!("seed-{number:04}")), seed).expect("a seed can be written");
        }
    }
}

fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "archive" => archives(),
        "fill" => {
            archives().into_iter().chain(wheels().into_iter().map(|seed| [b"\x40", &seed[..]].concat())).collect()
        }
        "bzip2" => bzip2(),
        "wheel" => wheels(),
        "info" => info(),
        "record" => with_texts(records(), "mlconda-prefix"),
        "record_list" => with_texts(Vec::new(), "mlconda-prefix"),
        "lock" => with_texts(locks(), "mlconda-lock"),
        "environment" => with_texts(Vec::new(), "mlconda-environment"),
        "edit" => texts("mlconda-environment")
            .iter()
            .map(|text| bits::with_part(b"numpy >=1", text))
            .map(|seed| [b"\0", &seed[..]].concat())
            .collect(),
        "requirements" => {
            let file = b"other>=2\n-c more.txt\n";
            short("mlconda-environment")
                .iter()
                .chain(&short("mlconda-pip"))
                .map(|text| bits::with_part(text, file))
                .collect()
        }
        "selector" | "spec" => short("mlconda-environment").into_iter().chain(short("mlconda-types")).collect(),
        "version" => short("mlconda-types").into_iter().chain(specs()).collect(),
        "scan" => with_texts(vec![repodata().to_string().into_bytes()], "mlconda-channel"),
        "msgpack" => msgpack(),
        "dns" => dns(),
        "pylock" => with_texts(Vec::new(), "mlconda-pip"),
        "marker" => {
            short("mlconda-python").iter().map(|text| [b"\0", &text[..]].concat()).chain(chances(b"\x01")).collect()
        }
        "metadata" => with_texts(Vec::new(), "mlconda-python"),
        "layer" => layers(),
        "oci" => oci(),
        "macho" => vec![library()],
        "elf" => vec![elf(), elf()[..80].to_vec()],
        "bundle" => vec![bundle()],
        "journal" => vec![journal()],
        other => unreachable!("the target `{other}` has no seeds"),
    }
}

/// These texts, and the texts in the tests of a crate.
fn with_texts(mut seeds: Vec<Vec<u8>>, name: &str) -> Vec<Vec<u8>> {
    seeds.extend(texts(name));
    seeds
}

/// The texts of one line.
fn short(name: &str) -> Vec<Vec<u8>> {
    texts(name).into_iter().filter(|text| text.len() < 200 && !text.contains(&b'\n')).collect()
}

/// The string literals in the sources of a crate.
fn texts(name: &str) -> Vec<Vec<u8>> {
    let (mut found, mut open) =
        (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates").join(name).join("src")]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a directory can be read").flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            literals(&fs::read_to_string(&path).expect("a source can be read"), &mut found);
        }
    }
    found.sort();
    found.dedup();
    found.retain(|text| (2..LONGEST).contains(&text.len()));
    found
}

/// Finds string literals. Some results are not literals, which does no harm in a seed.
fn literals(source: &str, found: &mut Vec<Vec<u8>>) {
    let mut rest = source;
    while let Some(start) = rest.find('"') {
        let is_character = rest[..start].ends_with('\'') && rest[start + 1..].starts_with('\'');
        let hashes = rest[..start].len() - rest[..start].trim_end_matches('#').len();
        let is_raw = rest[..start - hashes].ends_with('r');
        rest = &rest[start + 1..];
        if is_character {
            continue;
        }
        if is_raw {
            let close = format!("\"{}", "#".repeat(hashes));
            let Some(end) = rest.find(&close) else { return };
            found.push(rest[..end].into());
            rest = &rest[end + close.len()..];
            continue;
        }
        let (mut text, mut characters, mut end) = (String::new(), rest.char_indices().peekable(), rest.len());
        while let Some((place, each)) = characters.next() {
            match each {
                '"' => {
                    end = place + 1;
                    break;
                }
                '\\' => match characters.next().map(|(_, next)| next) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('0') => text.push('\0'),
                    Some('\n') => while characters.next_if(|(_, each)| each.is_whitespace()).is_some() {},
                    Some(other) => text.push(other),
                    None => return,
                },
                each => text.push(each),
            }
        }
        found.push(text.into_bytes());
        rest = &rest[end..];
    }
}

/// A tar of these files, with a soft and a hard link and a directory.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |kind: tar::EntryType, path: &str, target: Option<&str>, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if path.starts_with("bin/") { 0o755 } else { 0o644 });
        header.set_mtime(1_700_000_000);
        header
            .set_path(path)
            .and_then(|()| target.map_or(Ok(()), |target| header.set_link_name(target)))
            .expect("a short path");
        header.set_cksum();
        tar.append(&header, content).expect("memory does not fail");
    };
    for (path, content) in files {
        put(tar::EntryType::Regular, path, None, content);
    }
    if files.iter().any(|(path, _)| !path.starts_with("info/")) {
        put(tar::EntryType::Directory, "share/", None, b"");
        put(tar::EntryType::Symlink, "share/soft", Some("../bin/tool"), b"");
        put(tar::EntryType::Link, "share/hard", Some("bin/tool"), b"");
    }
    tar.into_inner().expect("memory does not fail")
}

fn index() -> Vec<u8> {
    json!({
        "name": "a", "version": "1", "build": "0", "build_number": 0, "subdir": "linux-64", "arch": "x86_64",
        "depends": ["python >=3.8"], "constrains": [], "license": "MIT", "timestamp": 1_700_000_000_000_u64, "noarch": "python",
    })
    .to_string()
    .into_bytes()
}

fn paths() -> Vec<u8> {
    json!({"paths_version": 1, "paths": [
        {"_path": "bin/tool", "path_type": "hardlink", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
         "size_in_bytes": 9, "prefix_placeholder": "/opt/placeholder", "file_mode": "text"},
        {"_path": "share/soft", "path_type": "softlink"}, {"_path": "share/hard", "path_type": "hardlink", "no_link": true},
        {"_path": "share", "path_type": "directory"},
    ]})
    .to_string()
    .into_bytes()
}

fn link() -> Vec<u8> {
    json!({"noarch": {"type": "python", "entry_points": ["tool = a.b:main"]}, "package_metadata_version": 1})
        .to_string()
        .into_bytes()
}

fn package_tars() -> (Vec<u8>, Vec<u8>) {
    let info = tar(&[("info/index.json", &index()), ("info/paths.json", &paths()), ("info/link.json", &link())]);
    (info, tar(&[("bin/tool", b"#!/bin/sh"), ("lib/data", &[0; 600])]))
}

fn archives() -> Vec<Vec<u8>> {
    let (info, package) = package_tars();
    let whole = tar(&[
        ("info/index.json", &index()),
        ("info/paths.json", &paths()),
        ("bin/tool", b"#!/bin/sh"),
        ("lib/data", b"data"),
    ]);
    let late = tar(&[("bin/tool", b"#!/bin/sh"), ("info/paths.json", &paths()), ("info/index.json", &index())]);
    vec![
        [&[0], &whole[..]].concat(),
        [&[0], &late[..]].concat(),
        [&[1][..], &bits::with_part(&info, &package)].concat(),
        [&[2][..], &archive::compress(&whole)].concat(),
        [&[3][..], &archive::conda(&info, &package)].concat(),
    ]
}

fn bzip2() -> Vec<Vec<u8>> {
    let text = b"conda prefix channel solver spec 0.1.2 build ".repeat(3);
    let two = [archive::compress(&text), archive::compress(b""), b"what follows".to_vec()].concat();
    let damage = bits::with_part(&[20, 0, 1, 3], &text);
    let seeds = [&[0][..], &[1], &[3], &[9], &[11], &[0x19]].map(|flags| match flags {
        [0] => [flags, &two].concat(),
        [1] => [flags, &damage].concat(),
        _ => [flags, &bits::with_part(b"", &text)].concat(),
    });
    seeds.into_iter().chain([[&[0][..], &archive::compress(&[7; 3000])].concat()]).collect()
}

fn wheels() -> Vec<Vec<u8>> {
    let record = b"small/__init__.py,,\nsmall-1.0.dist-info/RECORD,,\n";
    let mut members = Vec::new();
    for (name, content) in [
        ("small/__init__.py", &b"x = 1\n"[..]),
        ("small-1.0.data/scripts/run", b"#!python\n"),
        ("small-1.0.data/headers/a.h", b""),
        ("small-1.0.data/data/share/x", b"y"),
        ("small-1.0.dist-info/entry_points.txt", b"[console_scripts]\ntool = small:main\n"),
    ] {
        members.extend(bits::with_part(name.as_bytes(), &bits::with_part(content, b"")));
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [
        ("small/__init__.py", &b"x = 1\n"[..]),
        ("small-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: small\nVersion: 1.0\n"),
        ("small-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        ("small-1.0.dist-info/RECORD", record),
    ] {
        zip.start_file(name, SimpleFileOptions::default()).expect("memory does not fail");
        zip.write_all(content).expect("memory does not fail");
    }
    let zip = zip.finish().expect("memory does not fail").into_inner();
    let parts = bits::with_part(record, &members);
    vec![[&[1], &parts[..]].concat(), [&[3], &parts[..]].concat(), [&[0], &zip[..]].concat()]
}

fn info() -> Vec<Vec<u8>> {
    let parts = |files: [&[u8]; 7]| files.iter().rev().fold(Vec::new(), |rest, file| bits::with_part(file, &rest));
    let (index, paths, link) = (index(), paths(), link());
    let old = parts([
        &index,
        b"",
        b"",
        b"bin/tool\nshare/a b\n",
        b"/opt/placeholder text bin/tool\nshare/b\n",
        b"bin/tool\n",
        b"share/a b\n",
    ]);
    vec![[&[7], &parts([&index, &paths, &link, b"", b"", b"", b""])[..]].concat(), [&[0x79], &old[..]].concat()]
}

fn records() -> Vec<Vec<u8>> {
    let new = json!({
        "name": "a", "version": "1", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": [], "fn": "a-1-0.conda",
        "url": "https://h/linux-64/a-1-0.conda", "channel": "https://h", "files": ["bin/tool"], "requested_spec": "a",
        "extracted_package_dir": "/x", "link": {"source": "/x", "type": 1}, "paths_data": {"paths_version": 1, "paths": [
            {"_path": "bin/tool", "path_type": "hardlink", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size_in_bytes": 9},
        ]}, "mlconda": {},
    });
    let old = json!({
        "name": "a", "version": "1", "build_string": "py27_0", "schannel": "defaults", "depends": null, "features": ["x"],
        "link": {"source": "/x", "type": "hard-link"}, "md5": "", "files": ["lib/python2.7/site-packages/a.py"],
        "noarch": "python", "paths_data": {"paths": [{"_path": "site-packages/a.py", "path_type": "odd", "file_mode": "odd"}]},
    });
    vec![new.to_string().into_bytes(), old.to_string().into_bytes()]
}

const LOCK: &str = "# mlconda lock: 1\n# name: ml\n# platform: linux-64\n# channel: https://c/f/\n\
    # virtual package: __glibc=2.28=0\n# spec: python 3.11.*\n# pip requirement: w>=1\n# variable: A=\"x\"\n# size: 12 a-1-0.conda\n\
    # pip w @ https://h/w-1.0-py3-none-any.whl --hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
    @EXPLICIT\nhttps://c/f/linux-64/a-1-0.conda#sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
    https://c/t/${TOKEN}/noarch/b-1%212-0.tar.bz2#d41d8cd98f00b204e9800998ecf8427e\n";

fn expansion() -> Expansion {
    Expansion { home: None, variables: vec![("TOKEN".to_owned(), "secret".to_owned())] }
}

fn locks() -> Vec<Vec<u8>> {
    let file = LockFile::parse(LOCK, Path::new("/project/env.lock"), &expansion()).expect("a lock");
    let formats = [LockFormat::CondaLock, LockFormat::Pixi, LockFormat::Explicit];
    let render =
        |format| file.render(format, &Selection::default(), None).expect("a lock in any format").text.into_bytes();
    formats.into_iter().map(render).collect()
}

fn specs() -> Vec<Vec<u8>> {
    let specs = ["*", ">=1.2,<2.0a0", "1.2.*", "=1.2", "==1.2", "!=1.2.*", "~=1.2.3", "1.2|>=2", "(>1,<2)|3", ">=1!1"];
    specs.iter().map(|spec| format!("{spec}\n1.2.0\n1.2.post1\n1.2a\n").into_bytes()).collect()
}

fn repodata() -> serde_json::Value {
    let record = serde_json::from_slice::<serde_json::Value>(&index()).expect("JSON");
    json!({
        "info": {"subdir": "linux-64", "base_url": "../x"}, "packages": {"a-1-0.tar.bz2": record, "a-2-0.tar.bz2": {}},
        "packages.conda": {"a-1-0.conda": record, "b-1-0.conda": {"name": "b"}}, "removed": ["c-1-0.conda"],
        "v3": {"conda": {"a-3-0": record}, "tar.bz2": {}}, "repodata_version": 2,
    })
}

fn msgpack() -> Vec<Vec<u8>> {
    let index =
        json!({"info": {"base_url": "", "shards_base_url": "s/"}, "shards": {"a": vec![7; 32], "b": "00".repeat(32)}});
    let hashes = json!({"name": "a", "version": "1", "build": "0", "build_number": 0, "depends": ["b >=1"], "noarch": "python",
        "sha256": "00".repeat(32), "md5": null, "timestamp": 1_700_000_000_000_u64, "track_features": "", "size": 1});
    let values = [index, repodata(), hashes, json!([1, -1, 1.5, null, true, "x", {}, 1_u64 << 40, -300])];
    let pack = |value: &serde_json::Value| rmp_serde::to_vec_named(value).expect("memory does not fail");
    let packed = values.iter().map(|value| [&[0], &pack(value)[..]].concat());
    packed.chain(values.iter().map(|value| [b"\x01", value.to_string().as_bytes()].concat())).collect()
}

fn dns() -> Vec<Vec<u8>> {
    let record = |kind: u8, data: &[u8]| [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat();
    let records = [record(5, b"\x01a\0"), record(1, &[192, 0, 2, 1]), record(28, &[1; 16])].concat();
    vec![[&[3 << 1], &records[..]].concat(), [&[1 << 1 | 0xc0], &record(1, &[1, 2, 3, 4])[..]].concat(), vec![0]]
}

/// Bytes that look random, after a first part.
fn chances(first: &[u8]) -> Vec<Vec<u8>> {
    let mut state = 7_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (1..9).map(|length| first.iter().copied().chain((0..length * 12).map(|_| byte())).collect()).collect()
}

fn layers() -> Vec<Vec<u8>> {
    let mut record = records().swap_remove(0);
    record.push(b'\n');
    let tar = tar(&[
        ("opt/env/conda-meta/history", b""),
        ("opt/env/conda-meta/a-1-0.json", &record),
        ("opt/env/bin/tool", b"#!/bin/sh"),
        ("opt/env/lib/python3.11/site-packages/w-1.0.dist-info/METADATA", b"Name: w\nVersion: 1.0\n"),
    ]);
    let above = self::tar(&[("opt/env/bin/.wh.tool", b""), ("opt/env/.wh..wh..opq", b"")]);
    vec![[&[0], &tar[..]].concat(), [&[8], &tar[..]].concat(), [&[1][..], &bits::with_part(&tar, &above)].concat()]
}

fn oci() -> Vec<Vec<u8>> {
    let index = r#"{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", @1,
        "platform": {"os": "linux", "architecture": "amd64"}}]}"#;
    let manifest = r#"{"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", @2}, "layers": [],
        "annotations": {"a": "b"}}"#;
    let config = r#"{"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]}, "rootfs":
        {"type": "layers", "diff_ids": []}, "history": [{"created_by": "x"}]}"#;
    let descriptor = format!(r#"{{"mediaType": "a/b", "digest": "{}", "size": 1}}"#, Digest::of(b""));
    let whole =
        |index: &str| bits::with_part(index.as_bytes(), &bits::with_part(manifest.as_bytes(), config.as_bytes()));
    let reference =
        "registry.example:5000/team/image:tag@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut seeds: Vec<_> =
        [index, &descriptor, reference, "oci:layout:tag", "docker-archive:x.tar:a:b"].map(whole).into();
    seeds.extend(short("mlconda-oci").iter().map(|text| bits::with_part(text, b"")));
    seeds
}

/// The library from the tests of signatures, as signed by a linker.
fn library() -> Vec<u8> {
    let text = include_str!("../../crates/mlconda-system/src/code_signature/library.txt");
    let mut bytes = vec![0; 49_696];
    for (place, line) in text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')) {
        let place = usize::from_str_radix(place, 16).expect("a number");
        for (number, digits) in line.as_bytes().chunks(2).enumerate() {
            let digits = std::str::from_utf8(digits).expect("digits");
            bytes[place + number] = u8::from_str_radix(digits, 16).expect("digits");
        }
    }
    bytes
}

/// A program of 64 bits with the name of a loader and with sections.
fn elf() -> Vec<u8> {
    let mut file = vec![0; 500];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    (file[32], file[54], file[56]) = (64, 56, 1);
    (file[64], file[72], file[96]) = (3, 130, 7);
    file[130..137].copy_from_slice(b"/lib/ld");
    (file[40], file[58], file[60], file[62]) = (200, 64, 2, 1);
    (file[264 + 4], file[264 + 24], file[264 + 32]) = (3, 150, 20);
    file[150..161].copy_from_slice(b"\0.debug_x\0\0");
    (file[200], file[204], file[232]) = (1, 1, 99);
    file
}

/// A bundle of one package, as mlconda makes it.
fn bundle() -> Vec<u8> {
    let directory = bits::directory("bundle");
    let (info, package) = package_tars();
    let (bytes, path) = (archive::conda(&info, &package), directory.join("linux-64/a-1-0.conda"));
    fs::create_dir(directory.join("linux-64")).and_then(|()| fs::write(&path, &bytes)).expect("a file can be made");
    let text = format!("# platform: linux-64\n@EXPLICIT\nfile://{}#{}\n", path.display(), Digest::of(&bytes));
    let lock = explicit::parse(&text, Path::new("/env.lock"), &Expansion::default()).expect("a lock");
    let output: PathBuf = directory.join("bundle.tar");
    let one = NonZero::new(1).expect("one");
    let recipe = Recipe {
        environments: vec![Environment { name: "ml".to_owned(), lock }],
        archives: Vec::new(),
        program: None,
        output: output.clone(),
        downloads: one,
        threads: one,
        access: mlconda_channel::repodata::Access::Online,
        stop: Stop::default(),
    };
    let client = Client::new(&NetworkOptions::default()).expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(mlconda_bundle::make(&recipe, &client, &())).expect("a bundle can be made");
    let bytes = fs::read(output).expect("the bundle can be read");
    fs::remove_dir_all(directory).expect("what was made can be removed");
    bytes
}

fn journal() -> Vec<u8> {
    let digits = |path: &str| path.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "format": "mlconda journal 1", "moved": [digits("bin/tool")], "hollow": [digits("share")], "added": [digits("bin/new")],
        "copied": [digits("way/file")], "old": "Waits", "directories": [[digits("bin"), {"mode": 493, "owner": [0, 0], "time": [1, 2]}]],
    })
    .to_string()
    .into_bytes()
}
