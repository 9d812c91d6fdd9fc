//! Tests of the test tools: rattler can read the archives, the placeholder can be replaced, and the server behaves as
//! it is told.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use rattler_conda_types::package::{PackageFile, PathType, PathsJson};
use rattler_package_streaming::fs::extract;

use crate::{
    index::{Index, Pages, Release},
    package::{Noarch, PLACEHOLDER, PackageBuilder},
    server::{Fault, Server, unreachable_url},
    sha256_hex, small, tree,
    wheel::Wheel,
};

/// Writes a package of the small channel, and unpacks it with rattler's reader.
fn unpacked(file_name_start: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let packages = small::main_packages().unwrap();
    let package = packages.iter().find(|package| package.file_name().starts_with(file_name_start)).unwrap();
    let archive = package.write(&directory.path().join("channel")).unwrap();
    extract(&archive, &directory.path().join("unpacked")).unwrap();
    directory
}

#[test]
fn what_is_packed_comes_out_again() {
    for name in ["where-2.0", "archived-", "links-", "unicode-", "greet-2.0", "ancient-", "hollow-"] {
        let directory = unpacked(name);
        let unpacked = directory.path().join("unpacked");
        let paths = PathsJson::from_package_directory_with_deprecated_fallback(&unpacked).unwrap();
        for entry in &paths.paths {
            let path = unpacked.join(&entry.relative_path);
            match entry.path_type {
                PathType::HardLink => {
                    let contents = fs_err::read(&path).unwrap();
                    let told = entry.sha256.map_or_else(|| sha256_hex(&contents), hex::encode);
                    assert_eq!(told, sha256_hex(&contents), "{}", path.display());
                    let placeholder = contents.windows(255).any(|window| window == PLACEHOLDER.as_bytes());
                    assert_eq!(entry.prefix_placeholder.is_some(), placeholder, "{}", path.display());
                }
                PathType::SoftLink => assert!(path.is_symlink(), "{}", path.display()),
                PathType::Directory => {}
            }
        }
        assert!(!paths.paths.is_empty(), "{name}");
    }
}

#[test]
fn empty_directories_are_told_of_with_and_without_an_entry_in_the_archive() {
    let directory = unpacked("hollow-");
    let unpacked = directory.path().join("unpacked");
    let paths = PathsJson::from_path(unpacked.join("info/paths.json")).unwrap();
    let told: Vec<_> = paths.paths.iter().filter(|entry| entry.path_type == PathType::Directory).collect();
    assert_eq!(told.len(), 3);
    assert!(unpacked.join("var/hollow/spool").is_dir());
    assert!(!unpacked.join("var/hollow/told").exists());
}

#[test]
fn the_programs_say_the_prefix_that_is_written_over_the_placeholder() {
    let prefix = "/opt/conda/envs/test";
    let directory = unpacked("where-1.0");
    let program = replaced(&directory.path().join("unpacked/bin/where-am-i"), prefix);
    let output = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("prefix: {prefix}\n"));

    let directory = unpacked("python-3.11.9");
    let program = replaced(&directory.path().join("unpacked/bin/python3.11"), prefix);
    let output = Command::new(&program).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Python 3.11.9 (stand-in)\n");
    let output = Command::new(&program).args(["-c", "pass"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, format!("python stand-in in {prefix} is given the code `pass` with []\n"));
}

/// Replaces every placeholder in a program by a prefix, as conda does: the rest of each C string moves forward, and
/// NULs fill the gap.
fn replaced(program: &Path, prefix: &str) -> std::path::PathBuf {
    let mut bytes = fs_err::read(program).unwrap();
    while let Some(start) = bytes.windows(255).position(|window| window == PLACEHOLDER.as_bytes()) {
        let end = start + bytes[start..].iter().position(|&byte| byte == 0).unwrap();
        let mut string = [prefix.as_bytes(), &bytes[start + 255..end]].concat();
        string.resize(end - start, 0);
        bytes[start..end].copy_from_slice(&string);
    }
    fs_err::write(program, bytes).unwrap();
    program.to_path_buf()
}

#[test]
fn the_same_builder_writes_the_same_bytes() {
    let package = PackageBuilder::new("same", "1.0").noarch(Noarch::Generic).file("b", "b").link("a", "b");
    let digests = [(); 2].map(|()| {
        let directory = tempfile::tempdir().unwrap();
        sha256_hex(fs_err::read(package.write(directory.path()).unwrap()).unwrap())
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_channels_offer_repodata_in_every_form() {
    let channels = small::shared();
    for subdir in [crate::host_subdir(), crate::foreign_subdir(), "noarch"] {
        for name in ["repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"] {
            assert!(channels.main.path().join(subdir).join(name).is_file(), "{subdir}/{name}");
        }
    }
    assert!(channels.main.archives("noarch").unwrap().contains(&"greet-2.0-pyhd8ed1ab_0.conda".to_owned()));
}

#[test]
fn trees_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("kept"), "").unwrap();
    fs_err::write(directory.path().join("changed"), "1").unwrap();
    fs_err::write(directory.path().join("gone"), "").unwrap();
    let before = tree::tree(directory.path()).unwrap();
    fs_err::remove_file(directory.path().join("gone")).unwrap();
    fs_err::write(directory.path().join("changed"), "2").unwrap();
    fs_err::write(directory.path().join("new"), "").unwrap();
    assert_eq!(tree::difference(&before, &tree::tree(directory.path()).unwrap()), "~ changed\n- gone\n+ new\n");
}

/// A server for a directory with one file, `file`, which contains `0123456789`.
fn server() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    fs_err::write(directory.path().join("file"), "0123456789").unwrap();
    let server = Server::serve(directory.path()).unwrap();
    (directory, server)
}

/// Sends requests over one connection. Returns all bytes until the server closes it, or until the last response is
/// complete.
fn talk(server: &Server, requests: &[&str]) -> String {
    let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut connection = TcpStream::connect(address).unwrap();
    for request in requests {
        connection.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    }
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.replace("\r\n", "\n")
}

const GET: &str = "GET /file HTTP/1.1\n\n";

#[test]
fn the_server_keeps_connections_and_knows_etags_and_ranges() {
    let (_directory, server) = server();
    let head = "HTTP/1.1 200 OK\nETag: \"84d89877f0d4041e\"\nAccept-Ranges: bytes\nContent-Length: 10\n\n";
    assert_eq!(talk(&server, &[GET, GET]), format!("{head}0123456789{head}0123456789"));
    assert_eq!(talk(&server, &["HEAD /file HTTP/1.1\n\n"]), head);
    let known = "GET /%66ile?query HTTP/1.1\nIf-None-Match: W/\"84d89877f0d4041e\"\n\n";
    assert!(talk(&server, &[known]).starts_with("HTTP/1.1 304 Not Modified\n"));
    let part = talk(&server, &["GET /file HTTP/1.1\nRange: bytes=2-4\n\n"]);
    assert!(part.starts_with("HTTP/1.1 206 ") && part.contains("bytes 2-4/10") && part.ends_with("\n\n234"), "{part}");
    assert!(talk(&server, &["GET /file HTTP/1.1\nRange: bytes=-3\n\n"]).ends_with("\n\n789"));
    assert!(talk(&server, &["GET /file HTTP/1.1\nRange: bytes=10-\n\n"]).starts_with("HTTP/1.1 416 "));
    assert!(talk(&server, &["GET /../file HTTP/1.1\n\n"]).starts_with("HTTP/1.1 404 "));
    assert_eq!(server.count("file"), 8);
    assert_eq!(server.most_at_once(), 1);
}

#[test]
fn the_server_misbehaves_as_told() {
    let (_directory, server) = server();
    server.fail("file", Fault::UnavailableFirst(1));
    assert!(talk(&server, &[GET, GET]).starts_with("HTTP/1.1 503 "));
    server.fail("fi", Fault::Status(401));
    assert!(talk(&server, &[GET]).starts_with("HTTP/1.1 401 "));
    server.fail("file", Fault::Truncated);
    assert!(talk(&server, &[GET]).ends_with("Content-Length: 10\n\n01234"));
    server.fail("file", Fault::WrongLength);
    assert!(talk(&server, &[GET]).ends_with("Content-Length: 20\n\n0123456789"));
    server.fail("file", Fault::HangUpFirst(1));
    assert_eq!(talk(&server, &[GET]), "");
    server.fail("file", Fault::Redirect("/other".to_owned()));
    assert!(talk(&server, &[GET]).contains("\nLocation: /other\n"));
    server.recover();
    assert!(talk(&server, &[GET]).starts_with("HTTP/1.1 200 "));
    assert!(TcpStream::connect(unreachable_url().unwrap().trim_start_matches("http://")).is_err());
}

#[test]
fn the_index_has_pages_in_html_and_json() {
    let directory = tempfile::tempdir().unwrap();
    let wheel =
        Wheel::new("Odd.Name", "1.0").requires("other").requires_python(">=3.9").file("odd.py", "1\n".repeat(99));
    let sha256 = sha256_hex(wheel.bytes());
    let taken_back = Release::from(Wheel::new("Odd.Name", "1.1")).yanked("broken");
    Index::write(directory.path(), &[wheel.clone().into(), taken_back], Pages::HtmlAndJson).unwrap();
    let server = Server::serve(directory.path()).unwrap();
    let html = talk(&server, &["GET /simple/odd-name/ HTTP/1.1\n\n"]);
    assert!(html.contains("\nContent-Type: text/html\n"), "{html}");
    assert!(
        html.contains(&format!("odd_name-1.0-py3-none-any.whl#sha256={sha256}\" data-requires-python=\"&gt;=3.9\""))
    );
    let json = talk(&server, &["GET /simple/odd-name/ HTTP/1.1\nAccept: application/vnd.pypi.simple.v1+json\n\n"]);
    assert!(json.contains("\nContent-Type: application/vnd.pypi.simple.v1+json\n"), "{json}");
    assert!(json.contains(&sha256) && json.contains("\"yanked\": \"broken\""), "{json}");
    let metadata = talk(&server, &["GET /files/odd_name-1.0-py3-none-any.whl.metadata HTTP/1.1\n\n"]);
    assert!(metadata.ends_with("Name: Odd.Name\nVersion: 1.0\nRequires-Python: >=3.9\nRequires-Dist: other\n"));
    assert_eq!(wheel.bytes(), fs_err::read(directory.path().join("files/odd_name-1.0-py3-none-any.whl")).unwrap());
}
