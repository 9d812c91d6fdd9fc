//! Tests with archives that are not valid, or not in the usual order.

use std::{
    io::{self, Cursor, Read, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use bzip2::{Compression, read::BzDecoder, write::BzEncoder};
use mlconda_test::{
    package::{Archive as Form, PackageBuilder},
    wheel::Wheel,
};

use super::{Archive, Entry, EntryKind, IdleCores, InfoFiles, Sink, unpack};
use crate::cache;

/// Records all entries.
#[derive(Default)]
struct Notes(Vec<String>);

impl Sink for Notes {
    type Error = io::Error;

    fn begin(&mut self, info: &InfoFiles) -> io::Result<()> {
        self.0 = vec![format!("{} paths", info.read()?.paths.len())];
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let mut text = entry.path.display().to_string();
        if let EntryKind::File(content) = entry.kind {
            text += ": ";
            content.read_to_string(&mut text)?;
        }
        self.0.push(text);
        Ok(())
    }
}

fn read(bytes: &[u8], name: &str) -> io::Result<Vec<String>> {
    let mut notes = Notes::default();
    unpack(&Archive::Memory(bytes.into()), name, &IdleCores::default(), &AtomicBool::new(false), &mut notes)?;
    Ok(notes.0)
}

/// Skips all entries, and requests a stop at the first one.
struct Stopping<'a>(&'a AtomicBool);

impl Sink for Stopping<'_> {
    type Error = io::Error;

    fn begin(&mut self, _: &InfoFiles) -> io::Result<()> {
        Ok(())
    }

    fn entry(&mut self, _: Entry<'_>) -> io::Result<()> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_member_that_is_passed_over_is_not_read_to_its_end_after_a_stop() {
    for (form, name) in [(Form::Conda, "small-1.0-0.conda"), (Form::TarBz2, "small-1.0-0.tar.bz2")] {
        let stop = AtomicBool::new(false);
        let archive = Archive::Memory(package(form).into());
        let error = unpack(&archive, name, &IdleCores::default(), &stop, &mut Stopping(&stop)).unwrap_err();
        assert_eq!(error.to_string(), "the installation was stopped", "{name}");
    }
}

/// A small package, in an archive of this form.
fn package(form: Form) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let package = PackageBuilder::new("small", "1.0").archive(form).file("share/one", "first").file("two", "second");
    let package = package.link("three", "two").executable("bin/four", "#!/bin/sh\n");
    fs_err::read(package.write(directory.path()).unwrap()).unwrap()
}

fn bzip2(tar: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(tar).unwrap();
    encoder.finish().unwrap()
}

/// A tar with these entries.
fn tar(entries: &[(&str, &str)]) -> tar::Builder<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar
}

const INDEX: (&str, &str) = (
    "info/index.json",
    r#"{"name": "small", "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": []}"#,
);
const PATHS: (&str, &str) = (
    "info/paths.json",
    r#"{"paths_version": 1, "paths": [{"_path": "one", "path_type": "hardlink"}, {"_path": "two", "path_type": "hardlink"}]}"#,
);

#[test]
fn a_tar_bz2_may_have_any_order() {
    let (one, two) = (("one", "1"), ("./two", "2"));
    let late = ("info/no_link", "");
    for order in [
        vec![INDEX, PATHS, one, two],
        vec![one, two, INDEX, PATHS],
        vec![PATHS, one, two, INDEX],
        // A file of `info/` that comes late may change the meaning of earlier entries, so the archive is read again.
        vec![INDEX, PATHS, one, late, two],
        vec![("info/test/run_test.py", ""), one, PATHS, two, ("info/LICENSE", ""), INDEX],
    ] {
        let archive = bzip2(&tar(&order).into_inner().unwrap());
        assert_eq!(read(&archive, "small-1.0-0.tar.bz2").unwrap(), ["2 paths", "one: 1", "two: 2"], "{order:?}");
    }
}

#[test]
fn headers_do_not_fill_the_memory() {
    for kind in [tar::EntryType::GNULongName, tar::EntryType::GNULongLink, tar::EntryType::XHeader] {
        let mut archive = tar(&[INDEX, PATHS]);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        archive.get_mut().extend(header.as_bytes());
        // More bytes of the header than may be read.
        archive.get_mut().extend(vec![b'a'; 3 << 20]);
        let error = read(&bzip2(archive.get_ref()), "small-1.0-0.tar.bz2").unwrap_err();
        assert_eq!(error.to_string(), "a header in it is too long", "{kind:?}");
    }
    // A file that is not needed may have any length, and so may one with a long name.
    let (long, content) = ("n".repeat(900), "x".repeat(3 << 20));
    let archive = tar(&[INDEX, ("info/long", &content), PATHS, (&long, &content), ("two", "2")]);
    let found = read(&bzip2(&archive.into_inner().unwrap()), "small-1.0-0.tar.bz2").unwrap();
    assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [7, 902 + content.len(), 6]);
}

#[test]
fn a_file_is_there_to_its_end() {
    let whole = tar(&[INDEX, PATHS, ("one", "1"), ("two", &"2".repeat(5000))]).into_inner().unwrap();
    let end = whole.len() - 2 * 512 - 4000;
    let error = read(&bzip2(&whole[..end]), "small-1.0-0.tar.bz2").unwrap_err();
    assert_eq!(error.to_string(), "the archive ends inside of a file");
}

/// Reading a damaged archive always ends, with or without an error, and writes nothing outside.
#[test]
fn any_damage_is_an_error_or_none() {
    let mut seed = 5_u64;
    let mut chance = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let conda = package(Form::Conda);
    let mut inner = Vec::new();
    BzDecoder::new(Cursor::new(package(Form::TarBz2))).read_to_end(&mut inner).unwrap();
    let (name, other) = ("small-1.0-h4bc722e_0.conda", "small-1.0-h4bc722e_0.tar.bz2");
    let plain = read(&conda, name).unwrap();
    assert_eq!(plain, read(&bzip2(&inner), other).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut outcomes = [0, 0];
    for round in 0..rounds() {
        let (name, mut bytes) = if round % 2 == 0 { (name, conda.clone()) } else { (other, inner.clone()) };
        for _ in 0..=chance(3) {
            // The headers of a tar are mostly zeros, but their contents matter most. There are eight of them.
            let place =
                if chance(2) == 0 { chance(bytes.len()) } else { (chance(8) * 512 + chance(400)) % bytes.len() };
            match chance(8) {
                0 => bytes.truncate(place + 1),
                1 => drop(bytes.splice(place..place, vec![chance(256) as u8; chance(600)])),
                2 => drop(bytes.drain(place..(place + chance(600)).min(bytes.len() - 1).max(place))),
                3 => bytes[place] = [0, b'/', b'.', b'7', 255][chance(5)],
                _ => bytes[place] ^= 1 << chance(8),
            }
        }
        mend_checksums(&mut bytes, round);
        let bytes = if name == other { bzip2(&bytes) } else { bytes };
        let place = directory.path().join("pkgs").join(round.to_string());
        let archive = Archive::Memory(bytes.as_slice().into());
        let filled = cache::fill(
            &place,
            &archive,
            crate::fetch::Hashes::default(),
            name,
            &IdleCores::default(),
            None,
            &AtomicBool::new(false),
        );
        outcomes[usize::from(filled.is_ok())] += 1;
        let _ = read(&bytes, name);
        assert!(filled.is_ok() == place.exists(), "round {round}: {filled:?}");
    }
    assert_eq!(names(directory.path()), ["pkgs"]);
    assert!(names(&directory.path().join("pkgs")).iter().all(|name| !name.starts_with(".new-")));
    assert!(outcomes.iter().all(|count| *count > rounds() / 50), "{outcomes:?}");
}

fn rounds() -> usize {
    option_env!("MLCONDA_TEST_ROUNDS").and_then(|rounds| rounds.parse().ok()).unwrap_or(400)
}

/// In some of the tars, the checksums of headers are corrected, so that the headers are accepted.
fn mend_checksums(tar: &mut [u8], round: usize) {
    if round % 4 != 1 {
        return;
    }
    for header in tar.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A wheel that is changed at the last occurrence of these bytes, which is in its central directory.
fn changed(wheel: &Wheel, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = wheel.bytes();
    let place = bytes.windows(from.len()).rposition(|window| window == from).unwrap();
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn a_wheel_that_lies_about_itself_is_refused() {
    let wheel = Wheel::new("small", "1.0").file("small/data.txt", "z".repeat(3000));
    let file = "small-1.0-py3-none-any.whl";
    let complaint = |bytes: &[u8]| read(bytes, file).unwrap_err().to_string();
    assert_eq!(read(&wheel.bytes(), file).unwrap().len(), 4, "the paths, the file, and two of the metadata");
    let (size, large, less) = (3000_u32.to_le_bytes(), u32::MAX.to_le_bytes(), 2999_u32.to_le_bytes());
    assert!(complaint(&changed(&wheel, &size, &large)).contains("not as large as it says"));
    assert!(read(&changed(&wheel, &size, &less), file).is_err());
    assert!(read(b"no zip", file).is_err());
    for (wheel, expected) in [
        (Wheel::new("other", "1.0"), "its metadata are those of `other-1.0.dist-info`"),
        (wheel.clone().file("more-1.0.dist-info/METADATA", ""), "it has metadata of several distributions"),
        (
            wheel.clone().file("small-1.0.dist-info/RECORD", "a,sha256=!,1\n"),
            "the archive has members that lie over each other",
        ),
    ] {
        assert_eq!(complaint(&wheel.bytes()), expected);
    }
}
