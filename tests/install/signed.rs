//! Programs for macOS whose bytes an installation changes are signed again, on every machine that installs them.

use mlconda_test::{
    channel::Channel,
    package::{PLACEHOLDER, PackageBuilder},
    sha256_hex,
};

use crate::world;

/// A signed library for Apple silicon, with the builder's prefix in it.
fn library() -> Vec<u8> {
    let text = include_str!("../../crates/mlconda-system/src/code_signature/library.txt");
    let mut bytes = vec![0; 49_696];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (place, digits) = line.split_once(' ').unwrap();
        let place = usize::from_str_radix(place, 16).unwrap();
        for number in 0..digits.len() / 2 {
            bytes[place + number] = u8::from_str_radix(&digits[2 * number..2 * number + 2], 16).unwrap();
        }
    }
    let prefix = bytes.windows(5).position(|window| window == b"/old/").unwrap();
    bytes[prefix..prefix + PLACEHOLDER.len()].copy_from_slice(PLACEHOLDER.as_bytes());
    bytes
}

/// Whether the hash of each page equals the hash in the signature.
fn is_signed(library: &[u8]) -> bool {
    let signature = library.windows(4).position(|window| window == [0xfa, 0xde, 0x0c, 0xc0]).unwrap();
    library[..signature].chunks(1 << 14).enumerate().all(|(number, page)| {
        let place = signature + 20 + 0x6b + 32 * number;
        sha256_hex(page) == library[place..place + 32].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    })
}

#[test]
fn a_changed_library_for_macos_is_signed_anew() {
    let world = world();
    let package = PackageBuilder::new("signed", "1.0").subdir("osx-arm64").file("lib/libwhere.dylib", library());
    let plain = PackageBuilder::new("plain", "1.0").subdir("osx-arm64").file("lib/data.bin", b"\0data\0");
    Channel::write(world.path().join("channel"), &[package, plain], &[]).unwrap();
    let channel = format!("file://{}", world.path().join("channel").display());
    world.write("environment.yml", &format!("channels: ['{channel}']\ndependencies: [signed, plain]\n"));
    world.lock(&["--platform", "osx-arm64", "-o", "env.lock"]).success();
    let install = ["install", "env.lock", "--platform", "osx-arm64", "-p", "prefix"];
    world.mlconda(install).success();

    let path = world.work().join("prefix/lib/libwhere.dylib");
    let installed = fs_err::read(&path).unwrap();
    let prefix = world.work().join("prefix").display().to_string();
    assert!(installed.windows(prefix.len()).any(|window| window == prefix.as_bytes()));
    assert!(!is_signed(&library()) && is_signed(&installed));
    // The record has the hash of the installed file.
    let record: serde_json::Value =
        serde_json::from_str(&world.read("prefix/conda-meta/signed-1.0-h4bc722e_0.json")).unwrap();
    assert_eq!(record["paths_data"]["paths"][0]["sha256_in_prefix"], sha256_hex(&installed));
    assert_eq!(
        fs_err::metadata(&path).unwrap().modified().unwrap(),
        modified(&world.work().join("prefix/lib/data.bin"))
    );
    world.mlconda(["verify", "-p", "prefix"]).success();
    // The same is true with the package cache.
    fs_err::create_dir_all(world.home().join(".cache/mlconda")).unwrap();
    fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
    world.mlconda(install).success();
    assert_eq!(fs_err::read(&path).unwrap(), installed);
}

fn modified(path: &std::path::Path) -> std::time::SystemTime {
    fs_err::metadata(path).unwrap().modified().unwrap()
}
