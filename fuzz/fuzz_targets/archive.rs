//! Archives of packages: `.tar.bz2`, `.conda` and wheels, and the files of `info/` in them. mlconda may read them as
//! root.

use std::{
    collections::BTreeSet,
    io::{Cursor, Read, Write},
    path::{Component, Path, PathBuf},
};

use bzip2::{Compression, bufread::BzDecoder, write::BzEncoder};
use mlconda_install::fuzzing::{self, Kind, Unpacked};
use rattler_conda_types::package::{PackageFile, PathsJson};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::bits;

/// Corrects the checksums of a tar's headers, so that the headers are accepted.
pub(crate) fn mend(tar: &mut [u8]) {
    for header in tar.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

pub(crate) fn compress(content: &[u8]) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}

/// A `.conda` with two tars.
pub(crate) fn conda(info: &[u8], package: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let packed = |tar: &[u8]| zstd::encode_all(tar, 1).expect("memory does not fail");
    let members = [
        ("metadata.json", b"{\"conda_pkg_format_version\": 2}".to_vec()),
        ("pkg-a-1-0.tar.zst", packed(package)),
        ("info-a-1-0.tar.zst", packed(info)),
    ];
    for (name, content) in members {
        zip.start_file(name, stored).expect("memory does not fail");
        zip.write_all(&content).expect("memory does not fail");
    }
    zip.finish().expect("memory does not fail").into_inner()
}

/// An archive made from an input: its file name, its bytes, and the tar with the files outside `info/`, if it is known.
fn made(data: &[u8]) -> (&'static str, Vec<u8>, Option<Vec<u8>>) {
    let (flags, rest) = bits::flags(data);
    let mended = |tar: &[u8]| {
        let mut tar = tar.to_vec();
        if flags & 4 == 0 {
            mend(&mut tar);
        }
        tar
    };
    match flags & 3 {
        0 => {
            let tar = mended(rest);
            ("a-1-0.tar.bz2", compress(&tar), Some(tar))
        }
        1 => {
            let (info, package) = bits::part(rest);
            let package = mended(package);
            ("a-1-0.conda", conda(&mended(info), &package), Some(package))
        }
        2 => ("a-1-0.tar.bz2", rest.to_vec(), None),
        _ => ("a-1-0.conda", rest.to_vec(), None),
    }
}

/// The entries that the crate `tar` reads, without the files of `info/`; `None` if it returns an error, or an entry
/// that no package may have.
fn expected(tar: &[u8]) -> Option<Vec<Unpacked>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(tar).entries().ok()? {
        let mut entry = entry.ok()?;
        let bare = |path: &Path| path.strip_prefix(".").map_or_else(|_| path.to_owned(), Path::to_owned);
        let path = bare(&entry.path().ok()?);
        let (kind, target) = (entry.header().entry_type(), entry.link_name().ok()?.map(|target| target.into_owned()));
        if path.starts_with("info") {
            continue;
        }
        let kind = match target {
            _ if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                let (size, mut content) = (entry.size(), Vec::new());
                entry.read_to_end(&mut content).ok()?;
                if content.len() as u64 != size {
                    return None;
                }
                Kind::File(content)
            }
            Some(target) if kind.is_symlink() => Kind::SoftLink(target),
            Some(target) if kind.is_hard_link() => Kind::HardLink(bare(&target)),
            _ if kind.is_dir() || kind.is_pax_global_extensions() => continue,
            _ => return None,
        };
        let header = entry.header();
        let executable = header.mode().ok()? & 0o111 != 0;
        let modified = i64::try_from(header.mtime().ok()?).unwrap_or(0);
        found.push(Unpacked { path, kind, executable, modified });
    }
    Some(found)
}

/// Archives are read as the crates `bzip2`, `zstd`, `zip` and `tar` read them, and every archive that these refuse is
/// refused.
pub(crate) fn archive(data: &[u8]) {
    let (name, bytes, tar) = made(data);
    let Ok((found, metadata)) = fuzzing::unpack(&bytes, name) else { return };
    let _ = metadata;
    let tar = match tar {
        Some(tar) => tar,
        None if name.ends_with(".conda") => match part_of(&bytes, "pkg-") {
            Some(tar) => tar,
            // A zip may be readable in several ways. If the other library cannot read it, there is no result to
            // compare.
            None => return,
        },
        None => {
            let mut tar = Vec::new();
            // Bytes after the last stream are ignored; several streams are one archive.
            if bzip2::read::MultiBzDecoder::new(bytes.as_slice()).read_to_end(&mut tar).is_err() {
                return;
            }
            tar
        }
    };
    let expected = expected(&tar).expect("mlconda reads what `tar` refuses");
    assert_eq!(found, expected);
}

/// A part of a `.conda`.
fn part_of(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let names: Vec<String> = zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let mut found = names.iter().filter(|member| member.starts_with(name));
    let (one, None) = (found.next()?, found.next()) else { return None };
    let index = zip.index_for_name(one)?;
    let mut packed = Vec::new();
    zip.by_index(index).ok()?.take(1 << 26).read_to_end(&mut packed).ok()?;
    let mut tar = Vec::new();
    zstd::Decoder::new(packed.as_slice()).ok()?.take(1 << 26).read_to_end(&mut tar).ok()?;
    Some(tar)
}

/// Any archive is either unpacked into its directory of the cache or refused, and nothing is written elsewhere.
pub(crate) fn fill(data: &[u8]) {
    let (name, bytes, _) = if data.first().is_some_and(|flags| flags & 0x40 != 0) {
        let (name, bytes) = wheel_of(&data[1..]);
        (name, bytes, None)
    } else {
        made(data)
    };
    let directory = bits::directory("fill");
    let (cache, outside) = (directory.join("pkgs"), directory.join("outside"));
    std::fs::create_dir(&cache).and_then(|()| std::fs::create_dir(&outside)).expect("directories can be made");
    let place = cache.join("a-1-0");
    let filled = fuzzing::fill(&bytes, name, &place);
    assert_eq!(filled.is_ok(), place.exists(), "{filled:?}");
    assert_eq!(bits::names(&directory), ["outside", "pkgs"]);
    assert!(bits::names(&outside).is_empty());
    assert!(bits::names(&cache).iter().all(|name| name == "a-1-0"), "{:?}", bits::names(&cache));
    std::fs::remove_dir_all(&directory).expect("what was made can be removed");
}

/// A bzip2 archive made from an input, with up to four streams and damage at some places; or the input itself.
fn bzip2_of(data: &[u8]) -> Vec<u8> {
    let (flags, rest) = bits::flags(data);
    if flags & 1 == 0 {
        return rest.to_vec();
    }
    let (damage, mut content) = bits::part(rest);
    let mut archive = Vec::new();
    for level in 0..=(flags >> 1 & 3) {
        let (stream, others) =
            content.split_at(if level == flags >> 1 & 3 { content.len() } else { content.len() / 2 });
        content = others;
        // Several blocks of level 1. They have noise that depends on the content, because bzip2 sorts repeated content
        // slowly.
        let times = if flags & 8 != 0 && !stream.is_empty() { 110_000_usize.div_ceil(stream.len()) } else { 1 };
        let mut encoder = BzEncoder::new(Vec::new(), Compression::new(1 + u32::from(flags >> 4 & 1) * 8));
        for time in 0..times {
            let noise = |place: usize| ((time * 31 + place).wrapping_mul(0x9e37_79b9) >> 20) as u8;
            let content =
                stream.iter().enumerate().map(|(place, byte)| if time == 0 { *byte } else { byte ^ noise(place) });
            encoder.write_all(&content.collect::<Vec<u8>>()).expect("memory does not fail");
        }
        archive.extend(encoder.finish().expect("memory does not fail"));
    }
    for change in damage.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([change[0], change[1]]));
        let place = if change[2] & 0x80 == 0 { place } else { archive.len().saturating_sub(place) };
        match (change[2] & 3, archive.get_mut(place)) {
            (0, Some(byte)) => *byte = change[3],
            (1, Some(byte)) => *byte ^= 1 << (change[3] % 8),
            (2, Some(_)) => archive.truncate(place),
            (3, Some(_)) => drop(archive.drain(place..(place + usize::from(change[3])).min(archive.len()))),
            _ => {}
        }
    }
    archive
}

/// Decoding block by block, also on several threads, gives the same bytes as one decoder that reads from the start.
pub(crate) fn bzip2(data: &[u8]) {
    let archive = bzip2_of(data);
    let (mut expected, mut rest, mut fault) = (Vec::new(), archive.as_slice(), false);
    // One stream after the other, as bzip2 reads them; bytes after the last stream are ignored.
    loop {
        let mut decoder = BzDecoder::new(rest);
        let before = expected.len();
        fault |= decoder.by_ref().take(1 << 26).read_to_end(&mut expected).is_err();
        rest = decoder.into_inner();
        let is_stream = rest.starts_with(b"BZh") && rest.get(3).is_some_and(|level| (b'1'..=b'9').contains(level));
        if fault || !is_stream || expected.len() - before == 1 << 26 {
            break;
        }
    }
    for cores in [0, 2] {
        let (found, error) = fuzzing::bunzip2(&archive, cores);
        // Either decoder may notice damage a little sooner.
        let common = expected.len().min(found.len());
        assert!(expected[..common] == found[..common], "{cores} cores: other content");
        assert_eq!(error.is_some(), fault, "{cores} cores: {error:?}");
        assert!(fault || expected.len() == found.len(), "{cores} cores: {} of {}", found.len(), expected.len());
    }
}

/// A wheel with members, each with a name and a content, and with the metadata that it needs.
fn wheel_of(data: &[u8]) -> (&'static str, Vec<u8>) {
    let (flags, mut rest) = bits::flags(data);
    let name = "small-1.0-py3-none-any.whl";
    if flags & 1 == 0 {
        return (name, rest.to_vec());
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let method = if flags & 2 == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut put = |name: &str, content: &[u8], mode: u32| {
        if zip.start_file(name, options.unix_permissions(mode)).is_ok() {
            zip.write_all(content).expect("memory does not fail");
        }
    };
    let (record, others) = bits::part(rest);
    rest = others;
    put("small-1.0.dist-info/RECORD", record, 0o644);
    if flags & 4 == 0 {
        put("small-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: small\nVersion: 1.0\n", 0o644);
        put("small-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", 0o644);
    }
    for _ in 0..16 {
        let (name, others) = bits::part(rest);
        let (content, others) = bits::part(others);
        if let (Some(name), false) = (bits::text(name), name.is_empty()) {
            put(name, content, if content.len() % 2 == 0 { 0o644 } else { 0o755 });
        }
        rest = others;
    }
    (name, zip.finish().expect("memory does not fail").into_inner())
}

/// The installed files of a wheel have the paths that its metadata list and the content in the zip, and no path leads
/// out of the prefix.
pub(crate) fn wheel(data: &[u8]) {
    let (name, bytes) = wheel_of(data);
    let Ok((found, metadata)) = fuzzing::unpack(&bytes, name) else { return };
    let listed = metadata.expect("metadata that mlconda makes are read by it");
    let places: BTreeSet<PathBuf> = found.iter().map(|entry| entry.path.clone()).collect();
    assert_eq!(places.len(), found.len(), "two files of one path");
    assert!(places.iter().eq(&listed), "{places:?} {listed:?}");
    for place in &places {
        let is_plain = place.components().all(|part| matches!(part, Component::Normal(_)));
        assert!(is_plain && !place.to_string_lossy().contains(char::is_control), "{}", place.display());
    }
    let mut zip = ZipArchive::new(Cursor::new(bytes.as_slice())).expect("mlconda reads what `zip` refuses");
    let mut contents = BTreeSet::new();
    for index in 0..zip.len() {
        let mut content = Vec::new();
        if zip.by_index(index).is_ok_and(|mut member| member.read_to_end(&mut content).is_ok()) {
            contents.insert(content);
        }
    }
    for entry in &found {
        let Kind::File(content) = &entry.kind else { panic!("a wheel has files only") };
        assert!(contents.contains(content), "{} has other content", entry.path.display());
    }
}

/// From the files of `info/`, in the order of [`fuzzing::INFO`], mlconda reads the same paths as `rattler_conda_types`.
pub(crate) fn info(data: &[u8]) {
    let (flags, mut rest) = bits::flags(data);
    let mut files = Vec::new();
    for (number, name) in fuzzing::INFO.into_iter().enumerate() {
        let (content, others) = bits::part(rest);
        rest = others;
        if flags & 1 << number != 0 {
            files.push((name, content));
        }
    }
    let Ok(found) = fuzzing::metadata(&files) else { return };
    let Some((_, paths)) = files.iter().find(|(name, _)| *name == "info/paths.json") else { return };
    let Ok(expected) = PathsJson::from_slice(paths) else { return };
    let expected: BTreeSet<&Path> = expected.paths.iter().map(|entry| entry.relative_path.as_path()).collect();
    assert!(found.iter().map(PathBuf::as_path).eq(expected));
}
