//! Layouts and archives, which are written and then read as base images.

use std::path::Path;

use super::*;
use crate::{archive, layout};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_layout_is_written_and_gets_further_images() {
    let world = World::new(ServerOptions::default());
    let place = world.directory.path().join("a/layout");
    let write = |images: &Images, tag| block_on(layout::write(images, &place, Some(tag), &()));
    let read = |tag: Option<&str>| {
        let base = Base::Layout { directory: place.clone(), tag: tag.map(str::to_owned) };
        world.load(&base)
    };
    let (one, two) = (with_bill(), Images::one(image("linux-64", &[layer(2, 5000)])));
    write(&one, "1").unwrap();
    assert_eq!(names(&place), ["blobs", "index.json", "oci-layout"]);
    assert_eq!(names(&world.directory.path().join("a")), ["layout"]);
    assert_eq!(read(None).unwrap().digest, Some(one.root().digest));
    let base = Base::parse("oci:layout:1", &world.directory.path().join("a")).unwrap();
    assert_eq!(world.bill(&base).unwrap().bytes.unwrap(), b"{\"bill\": true}");

    write(&two, "2").unwrap();
    assert_eq!(read(Some("1")).unwrap().digest, Some(one.root().digest));
    assert_eq!(read(Some("2")).unwrap().digest, Some(two.root().digest));
    write(&two, "1").unwrap();
    assert_eq!(read(Some("1")).unwrap().digest, Some(two.root().digest));
    assert_eq!(names(&place), ["blobs", "index.json", "oci-layout"]);
    let words = world.words(read(Some("3"))).replace(&*place.to_string_lossy(), "LAYOUT");
    assert!(words.starts_with("there is no image `oci:LAYOUT:3`"), "{words}");
}

#[test]
fn what_is_no_layout_is_left_alone() {
    let world = World::new(ServerOptions::default());
    let place = world.directory.path().join("home");
    fs_err::create_dir(&place).unwrap();
    fs_err::write(place.join("file"), "precious").unwrap();
    let words = world.words(block_on(layout::write(&with_bill(), &place, None, &())));
    assert!(words.ends_with("it has files, but is not an OCI layout"), "{words}");
    assert_eq!(names(&place), ["file"]);
}

/// An image whose last layer cannot be read.
fn unreadable(world: &World) -> Images {
    let mut image = image("linux-64", &[layer(8, 100), layer(9, 100)]);
    image.layers[1].content = crate::Content::File(world.directory.path().join("gone"));
    Images::one(image)
}

#[test]
fn a_layout_that_fails_leaves_nothing() {
    let world = World::new(ServerOptions::default());
    let place = world.directory.path().join("a/b/layout");
    let write = |images: &Images| block_on(layout::write(images, &place, Some("1"), &()));
    write(&unreadable(&world)).unwrap_err();
    assert!(names(world.directory.path()).is_empty());
    // An existing empty directory stays empty.
    fs_err::create_dir_all(&place).unwrap();
    write(&unreadable(&world)).unwrap_err();
    assert!(names(&place).is_empty());
    // An existing layout stays as it was.
    write(&with_bill()).unwrap();
    let before = (names(&place.join("blobs/sha256")), fs_err::read(place.join("index.json")).unwrap());
    // Leftovers of a killed process are removed.
    fs_err::create_dir(place.join(".mlconda-layout-killed")).unwrap();
    write(&unreadable(&world)).unwrap_err();
    assert_eq!(names(&place), ["blobs", "index.json", "oci-layout"]);
    let after = (names(&place.join("blobs/sha256")), fs_err::read(place.join("index.json")).unwrap());
    assert!(before == after);
}

#[test]
fn an_empty_directory_becomes_a_layout() {
    let world = World::new(ServerOptions::default());
    let place = world.directory.path().join("mount");
    fs_err::create_dir(&place).unwrap();
    block_on(layout::write(&with_bill(), &place, Some("1"), &())).unwrap();
    assert_eq!(names(&place), ["blobs", "index.json", "oci-layout"]);
    assert!(world.load(&Base::Layout { directory: place, tag: None }).is_ok());
}

#[test]
fn what_killed_processes_have_left_goes() {
    let world = World::new(ServerOptions::default());
    let (place, beside) = (world.directory.path().join("mount"), world.directory.path());
    // In an empty directory, there may be a stage, or a part of a layout without its index.
    for is_begun in [false, true] {
        fs_err::create_dir_all(place.join(".mlconda-layout-killed")).unwrap();
        fs_err::write(place.join(".mlconda-layout-killed/blob"), "half").unwrap();
        if is_begun {
            fs_err::create_dir_all(place.join("blobs/sha256")).unwrap();
            fs_err::write(place.join("oci-layout"), layout::VERSION).unwrap();
        }
        block_on(layout::write(&with_bill(), &place, Some("1"), &())).unwrap();
        assert_eq!(names(&place), ["blobs", "index.json", "oci-layout"]);
        let base = Base::Layout { directory: place.clone(), tag: None };
        assert!(world.load(&base).is_ok());
        fs_err::remove_dir_all(&place).unwrap();
    }
    // Leftovers beside a new layout or file are removed, unless another process is using them at this moment.
    let (name, running) = ("localhost/me/app:1".parse().unwrap(), beside.join(".mlconda-image-running"));
    fs_err::write(&running, "half").unwrap();
    let held = mlconda_system::usage::hold(&running);
    let leave = || {
        fs_err::write(beside.join(".mlconda-image-file"), "half").unwrap();
        fs_err::create_dir_all(beside.join(".mlconda-image-directory/blobs")).unwrap();
    };
    leave();
    block_on(archive::write_file(&with_bill(), &name, &beside.join("image.tar"), &())).unwrap();
    assert_eq!(names(beside), [".mlconda-image-running", "image.tar"]);
    leave();
    block_on(layout::write(&with_bill(), &beside.join("layout"), None, &())).unwrap();
    assert_eq!(names(beside), [".mlconda-image-running", "image.tar", "layout"]);
    drop(held);
    block_on(archive::write_file(&with_bill(), &name, &beside.join("image.tar"), &())).unwrap();
    assert_eq!(names(beside), ["image.tar", "layout"]);
}

#[test]
fn an_archive_is_the_same_each_time_and_is_read_as_a_base() {
    let world = World::new(ServerOptions::default());
    let images = with_bill();
    let name: Reference = "localhost/me/app:1".parse().unwrap();
    let write = || {
        let mut bytes = Vec::new();
        block_on(archive::write(&images, &name, &mut bytes, &())).unwrap();
        bytes
    };
    let bytes = write();
    assert!(bytes == write());
    let path = world.directory.path().join("image.tar");
    fs_err::write(&path, &bytes).unwrap();
    for text in ["docker-archive:image.tar", "docker-archive:image.tar:localhost/me/app:1"] {
        let base = world.load(&Base::parse(text, world.directory.path()).unwrap()).unwrap();
        assert_eq!(base.config.to_bytes(), block_on(images.images[0].config.bytes(1 << 20)).unwrap());
        assert_eq!(block_on(base.layers[0].bytes(1 << 20)).unwrap(), layer(1, 5000));
    }
    let other = Base::parse("docker-archive:image.tar:other:1", world.directory.path()).unwrap();
    let words = world.words(world.load(&other));
    assert!(words.starts_with("there is no `docker.io/library/other:1` in `"), "{words}");
    let unpacked = world.directory.path().join("unpacked");
    tar::Archive::new(bytes.as_slice()).unpack(&unpacked).unwrap();
    let base = Base::Layout { directory: unpacked, tag: Some("1".to_owned()) };
    assert_eq!(world.load(&base).unwrap().digest, Some(images.root().digest));
}

#[test]
fn an_archive_of_an_old_engine_is_read() {
    let world = World::new(ServerOptions::default());
    let layer = layer(4, 2000);
    let id = crate::Digest::of(&layer).to_string();
    let config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [id, id]}}).to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let path = world.directory.path().join("old.tar");
    let mut tar = tar::Builder::new(fs_err::File::create(&path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("a/layer.tar", &layer);
    add("c.json", config.as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "b/layer.tar", "../a/layer.tar").unwrap();
    tar.finish().unwrap();
    let base = world.load(&Base::DockerArchive { file: path, tag: None }).unwrap();
    for blob in &base.layers {
        assert_eq!(block_on(blob.bytes(1 << 20)).unwrap(), layer);
    }
    fs_err::write(world.directory.path().join("x.tar.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let zipped = Base::parse("docker-archive:x.tar.gz", world.directory.path()).unwrap();
    assert!(world.words(world.load(&zipped)).ends_with("it is compressed: decompress it first (`gunzip`, `unzstd`)"));
}

#[test]
fn bases_are_named_as_skopeo_names_them() {
    let parse = |text: &str| Base::parse(text, Path::new("/here")).unwrap();
    let layout =
        |directory: &str, tag: Option<&str>| Base::Layout { directory: directory.into(), tag: tag.map(str::to_owned) };
    assert_eq!(parse("scratch"), Base::Scratch);
    assert_eq!(parse("oci:a"), layout("/here/a", None));
    assert_eq!(parse("oci:/a/b:1.0"), layout("/a/b", Some("1.0")));
    assert_eq!(parse("oci:/a:b/c"), layout("/a:b/c", None));
    let archive = Base::DockerArchive { file: "/here/x.tar".into(), tag: Some("localhost:5000/y:1".to_owned()) };
    assert_eq!(parse("docker-archive:x.tar:localhost:5000/y:1"), archive);
    assert_eq!(parse("docker://debian:12"), parse("debian:12"));
}
