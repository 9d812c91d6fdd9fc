//! Tests with images of small layers, which are made by hand: what a container sees, and what is refused.

use std::{collections::BTreeMap, io::Read as _};

use flate2::{Compression, read::GzEncoder};
use mlconda_oci::{Config, LayerHistory, Platform};
use tar::{Builder, EntryType, Header};

use super::*;

/// An entry of a layer: type, path, and content or target.
type Item<'a> = (EntryType, &'a str, &'a str);

const DIRECTORY: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

/// A tar with these entries. Tars that are not valid can be made, too.
fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, text) in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_link = [LINK, HARD].contains(kind);
        header.set_size(if is_link { 0 } else { text.len() as u64 });
        if is_link && text.len() <= 100 {
            header.as_gnu_mut().unwrap().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        if is_link && text.len() > 100 {
            // `append_link` would shorten the target.
            let mut long = Header::new_gnu();
            long.set_entry_type(EntryType::GNULongLink);
            long.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
            long.set_size(text.len() as u64 + 1);
            long.set_cksum();
            builder.append(&long, format!("{text}\0").as_bytes()).unwrap();
        }
        if path.len() > 100 {
            // `append_data` also writes the header for a long name.
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            continue;
        }
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, if is_link { &[] } else { text.as_bytes() }).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    GzEncoder::new(bytes, Compression::fast()).read_to_end(&mut compressed).unwrap();
    compressed
}

/// An image of these tars. One third of the layers is compressed by gzip, another third by zstd.
fn image(tars: &[Vec<u8>]) -> BaseImage {
    let platform = Platform::of(rattler_conda_types::Subdir::Linux64).unwrap();
    let mut config = Config::new(&platform);
    let mut layers = Vec::new();
    for (number, tar) in tars.iter().enumerate() {
        config.add_layer(&Digest::of(tar), &LayerHistory::new(&format!("RUN step {number}")));
        layers.push(match number % 3 {
            0 => Blob::new(media_type::LAYER_GZIP, gzip(tar)),
            1 => Blob::new(media_type::LAYER_ZSTD, zstd::encode_all(tar.as_slice(), 1).unwrap()),
            _ => Blob::new(media_type::LAYER, tar.clone()),
        });
    }
    BaseImage { name: None, digest: None, config, layers, platform, annotations: BTreeMap::new() }
}

fn read_within(image: &BaseImage, limits: &Limits) -> Result<Contents, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(Contents::read(image, None, limits, &())).map_err(|error| error.to_string())
}

fn read(tars: &[Vec<u8>]) -> Result<Contents, String> {
    read_within(&image(tars), &Limits::default())
}

/// `PATH:BYTES:LAYER` of each file.
fn files(tars: &[Vec<u8>]) -> Vec<String> {
    let contents = read(tars).unwrap();
    let file = |(file, layer): (&mlconda_inspect::size::SizedFile, &usize)| {
        format!("{}:{}:{layer}", file.path.display(), file.bytes)
    };
    contents.sizes.files.iter().zip(&contents.layer_of).map(file).collect()
}

/// The reason why layers are refused, without the digest of the layer.
fn refused(tars: &[Vec<u8>], limits: &Limits) -> String {
    let error = read_within(&image(tars), limits).unwrap_err();
    error.split_once("is invalid: ").unwrap_or_else(|| panic!("{error}")).1.to_owned()
}

#[test]
fn later_layers_win_and_whiteouts_remove_what_is_below() {
    let below = tar(&[
        (DIRECTORY, "./", ""),
        (FILE, "./etc/passwd", "root"),
        (FILE, "var/cache/a", "12345"),
        (FILE, "var/cache/b", "12345"),
        (FILE, "opt/x/lib/one", "1"),
        (FILE, "opt/x/bin", "a file"),
        (FILE, "srv/data/deep/file", "1234567"),
    ]);
    let above = tar(&[
        (FILE, "etc/passwd", "root, user"),
        // A whiteout does not remove files of its own layer, in any order of the entries.
        (FILE, "var/cache/c", "1"),
        (FILE, "var/cache/.wh..wh..opq", ""),
        (FILE, "opt/x/.wh.bin", ""),
        (FILE, "opt/x/bin/tool", "22"),
        (FILE, "srv/data", "now a file"),
        (FILE, ".wh..wh.plnk", ""),
    ]);
    let found = files(&[below.clone(), above]);
    assert_eq!(
        found,
        ["etc/passwd:10:1", "opt/x/bin/tool:2:1", "opt/x/lib/one:1:0", "srv/data:10:1", "var/cache/c:1:1"]
    );
    assert_eq!(
        files(&[below, tar(&[(FILE, ".wh.opt", ""), (FILE, ".wh.var", ""), (FILE, ".wh.srv", "")])]),
        ["etc/passwd:4:0"]
    );
}

#[test]
fn links_are_followed_within_the_image() {
    let below = tar(&[
        (DIRECTORY, "usr/lib", ""),
        (LINK, "lib", "usr/lib"),
        (LINK, "usr/up", "../../../lib"),
        (FILE, "usr/lib/a", "123"),
        (HARD, "usr/lib/b", "usr/lib/a"),
        (HARD, "c", "lib/a"),
    ]);
    let above = tar(&[(FILE, "lib/d", "4444"), (FILE, "usr/up/e", "5"), (FILE, "usr/lib/a", "another")]);
    // The bytes of the first file still exist under its other names, and count once.
    let found = files(&[below.clone(), above]);
    assert_eq!(found, ["c:3:0", "usr/lib/a:7:1", "usr/lib/b:0:0", "usr/lib/d:4:1", "usr/lib/e:1:1"]);
    // A directory that replaces a link is a new directory.
    let found = files(&[below, tar(&[(FILE, ".wh.lib", ""), (FILE, "lib/d", "4444")])]);
    assert_eq!(found, ["c:3:0", "lib/d:4:1", "usr/lib/a:0:0", "usr/lib/b:0:0"]);
}

#[test]
fn environments_are_found_wherever_they_are() {
    let record = |name: &str, files: &str| {
        format!(
            r#"{{"name": "{name}", "version": "1.0", "build": "0", "build_number": 0, "subdir": "noarch", "depends": [],
            "fn": "{name}-1.0-0.conda", "url": "https://host/lab/noarch/{name}-1.0-0.conda", "channel": "https://host/lab",
            "files": [{files}], "paths_data": {{"paths_version": 1, "paths": []}}}}"#
        )
    };
    let (one, two) = (record("one", r#""bin/one""#), record("two", r#""lib/two.so""#));
    let base = tar(&[
        (FILE, "opt/conda/conda-meta/history", "# update specs: ['one']\n"),
        (FILE, "opt/conda/conda-meta/one-1.0-0.json", &one),
        (FILE, "opt/conda/bin/one", "1234"),
        // Records that are in no environment.
        (FILE, "srv/conda-meta/two-1.0-0.json", &two),
    ]);
    let inner = tar(&[
        (FILE, "opt/conda/envs/x/conda-meta/history", ""),
        (FILE, "opt/conda/envs/x/conda-meta/two-1.0-0.json", &two),
        (FILE, "opt/conda/envs/x/lib/two.so", "123"),
        (FILE, "opt/conda/lib/two.so", "of nobody"),
    ]);
    let contents = read(&[base, inner]).unwrap();
    let prefixes: Vec<String> =
        contents.environments.iter().map(|each| format!("{} {}", each.prefix.display(), each.records.len())).collect();
    assert_eq!(prefixes, ["/opt/conda 1", "/opt/conda/envs/x 1"]);
    let totals: Vec<u64> = contents.sizes.by_package().iter().map(|total| total.bytes).collect();
    assert_eq!(totals[..2], [4 + one.len() as u64, 3 + two.len() as u64]);
    let packages: Vec<&[String]> = contents.layers.iter().map(|layer| layer.packages.as_slice()).collect();
    assert_eq!(packages, [["one 1.0 0"], ["two 1.0 0"]]);
    let broken = tar(&[(FILE, "e/conda-meta/history", ""), (FILE, "e/conda-meta/one-1.0-0.json", "{\"name\": 1")]);
    let error = read(&[broken]).unwrap_err();
    assert!(error.starts_with("the record `/e/conda-meta/one-1.0-0.json` in the image is invalid: "), "{error}");
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = format!("{}/file", "directory/".repeat(30));
    let mut builder = Builder::new(Vec::new());
    let value = format!("{long}-pax");
    builder.append_pax_extensions([("path", value.as_bytes()), ("mtime", b"1.5".as_slice())]).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o644);
    header.set_path("short").unwrap();
    header.set_cksum();
    builder.append(&header, b"abc".as_slice()).unwrap();
    let found = files(&[tar(&[(FILE, &long, "1")]), builder.into_inner().unwrap()]);
    let plain = long.replace("//", "/");
    assert_eq!(found, [format!("{plain}:1:0"), format!("{plain}-pax:3:1")]);
}

#[test]
fn hostile_layers_are_refused() {
    let limits = Limits::default();
    let reason = |items: &[Item<'_>]| refused(&[tar(items)], &limits);
    assert_eq!(reason(&[(FILE, "a/../../x", "")]), "it has `a/../../x`, which leads out of the image");
    assert_eq!(
        reason(&[(LINK, "a", "b"), (LINK, "b", "/a"), (FILE, "a/x", "")]),
        "it has `a/x`, where links lead in a circle"
    );
    assert_eq!(reason(&[(FILE, "a", ""), (FILE, "a/x", "")]), "it has `a/x`, and `a` is no directory");
    assert_eq!(
        reason(&[(HARD, "a", "etc/shadow")]),
        "it has `a` as a link to the file `etc/shadow`, which is not there"
    );
    let long = "x/".repeat(2100);
    assert_eq!(reason(&[(FILE, &long, "")]), "a path in it has 4200 bytes, and 4096 is the limit");
    let whole = tar(&[(FILE, "a", "content")]);
    assert_eq!(refused(&[whole[..700].to_vec()], &limits), "its tar is cut off");
    assert_eq!(refused(&[vec![7; 600]], &limits), "it is no tar: a header is invalid");
    let large = Header::new_gnu();
    let with_size = |kind: EntryType, size: u64| {
        let mut header = large.clone();
        header.set_entry_type(kind);
        header.set_path("x").unwrap();
        header.set_size(size);
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    let error = refused(&[with_size(EntryType::GNULongName, 2 << 20)], &limits);
    assert_eq!(error, "a header in it has 2097152 bytes, and 1048576 is the limit");
    let error = refused(&[with_size(FILE, u64::MAX - 5)], &limits);
    assert!(error.starts_with("a file in it has 18446744073709551610 bytes, and the layer may have "), "{error}");
}

#[test]
fn what_wants_too_much_is_refused() {
    let limits = || Limits::default();
    let two = tar(&[(FILE, "a", "1"), (FILE, "b", "2"), (FILE, "c/d/e", "3")]);
    let layers = [two.clone(), two];
    let error = read_within(&image(&layers), &Limits { layers: 1, ..limits() }).unwrap_err();
    assert_eq!(error, "the image is invalid: it has 2 layers, and 1 is the limit");
    let error = refused(&layers, &Limits { entries: 5, ..limits() });
    assert_eq!(error, "the layers have more than 5 entries, which is the limit");
    let error = refused(&layers, &Limits { paths: 12, ..limits() });
    assert_eq!(error, "the paths have more than 12 bytes together, which is the limit");
    let record = tar(&[(FILE, "e/conda-meta/x.json", "{\"much\": 1}"), (FILE, "e/conda-meta/history", "")]);
    let error = refused(std::slice::from_ref(&record), &Limits { records: 5, ..limits() });
    assert_eq!(error, "the records of packages have more than 5 bytes, which is the limit");
    let error = refused(&[record], &Limits { environments: 0, ..limits() });
    assert_eq!(error, "it has more than 0 environments, which is the limit");
    let error = refused(&layers, &Limits { unpacked: 6000, ..limits() });
    assert_eq!(error, "it unpacks to more than 1904 bytes, which is the limit for it");
    // Links with long targets. Each target would have to be followed for each file below the link.
    let error = refused(&[tar(&[(LINK, "a", &"./".repeat(2100))])], &limits());
    assert_eq!(error, "a link in it leads to a path of 4200 bytes, and 4096 is the limit");
    let far = format!("{}d", "./".repeat(2000));
    let mut many = vec![(DIRECTORY, "d", ""), (LINK, "a", far.as_str())];
    (0..20).for_each(|_| many.extend([(LINK, "b", "d"), (FILE, "a/x", "")]));
    let error = refused(&[tar(&many)], &Limits { entries: 50, ..limits() });
    assert!(error.starts_with("it has too many links and whiteouts"), "{error}");
    assert!(read(&[tar(&many)]).is_ok());
    // A single record that is too large.
    let mut header = Header::new_gnu();
    header.set_path("e/conda-meta/x.json").unwrap();
    header.set_size(200 << 20);
    header.set_cksum();
    let large = [header.as_bytes().as_slice(), &vec![0; 5 << 20]].concat();
    let error = refused(&[large], &Limits { ratio: 1 << 20, ..limits() });
    let expected =
        "`e/conda-meta/x.json` in it has 209715200 bytes, and 134217728 is the limit for the record of a package";
    assert_eq!(error, expected);
    // Zeros, which are compressed to almost nothing.
    let zeros = String::from_utf8(vec![0; 100 << 20]).unwrap();
    let error = refused(&[tar(&[(FILE, "small", "")]), tar(&[(FILE, "zeros", &zeros)])], &limits());
    assert!(error.starts_with("a file in it has 104857600 bytes, and the layer may have "), "{error}");
    // A few whiteouts that cause much work.
    let mut many: Vec<(EntryType, String)> = (0..100).map(|number| (FILE, format!("d/{number}"))).collect();
    many.extend((0..300).map(|_| (FILE, "d/.wh..wh..opq".to_owned())));
    let many: Vec<Item<'_>> = many.iter().map(|(kind, path)| (*kind, path.as_str(), "")).collect();
    let error = refused(&[tar(&many)], &Limits { entries: 400, ..limits() });
    assert!(error.starts_with("it has too many links and whiteouts"), "{error}");
}

#[test]
fn digests_that_lie_are_told() {
    let layer = tar(&[(FILE, "a", "1")]);
    let other = tar(&[(FILE, "a", "2")]);
    let mut one = image(std::slice::from_ref(&layer));
    one.layers[0] = Blob { content: Content::Bytes(gzip(&other).into()), ..one.layers[0].clone() };
    let error = read_within(&one, &Limits::default()).unwrap_err();
    assert!(error.contains("its bytes have the digest `sha256:") || error.contains("bytes"), "{error}");
    let mut two = image(&[layer]);
    two.layers[0] = Blob::new(media_type::LAYER, other);
    let error = read_within(&two, &Limits::default()).unwrap_err();
    assert!(error.contains("and the config of the image says `sha256:"), "{error}");
    let mut three = image(&[tar(&[(FILE, "a", "1")])]);
    let cut = gzip(&tar(&[(FILE, "a", "1")]));
    three.layers[0] = Blob::new(media_type::LAYER_GZIP, cut[..cut.len() / 2].to_vec());
    let error = read_within(&three, &Limits::default()).unwrap_err();
    assert!(error.contains("is invalid: "), "{error}");
    three.layers[0] = Blob::new(media_type::LAYER_GZIP, b"no gzip at all, but a text".to_vec());
    let error = read_within(&three, &Limits::default()).unwrap_err();
    assert!(error.contains("is invalid: it cannot be decompressed ("), "{error}");
}
