//! Limits of file sizes, redirects and open files. Each is an error with a clear message that names the file or URL,
//! and nothing changes.

use std::path::Path;

use mlconda_test::{
    context::{Outcome, TestContext, argument},
    package::{Archive, PLACEHOLDER, PackageBuilder},
    server::Fault,
    tree,
};

use crate::{
    packages::{line, lock},
    serve, world,
};

/// Makes a sparse file that is one byte larger than a limit.
fn make_larger_than(path: &Path, limit: u64) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.set_len(limit + 1).unwrap();
}

#[test]
fn a_lock_has_a_limit_of_size() {
    let world = world();
    let path = world.work().join("env.lock");
    make_larger_than(&path, 64 << 20);
    let text = format!("`{}`: it is larger than 64 MiB", path.display());
    for command in [
        &["install", "env.lock", "-p", "prefix"][..],
        &["tree", "env.lock"],
        &["convert", "env.lock", "--to", "pixi"],
        &["diff", "env.lock", "env.lock"],
        &["sbom", "env.lock"],
    ] {
        let outcome = world.mlconda(command).failure(1);
        assert!(outcome.stderr.contains(&text), "{command:?}: {outcome}");
    }
}

/// A small archive can contain a file that is larger than the disk.
#[test]
fn a_file_of_zeros_takes_no_room() {
    for archive in [Archive::Conda, Archive::TarBz2] {
        let package = PackageBuilder::new("zeros", "1.0").archive(archive).file("share/zeros", zeros(b"text"));
        takes_no_room(&package, |_| b"text".to_vec());
    }
}

/// If the placeholder is replaced, the file is written again, not linked.
#[test]
fn a_file_of_zeros_with_the_prefix_in_it_takes_no_room() {
    let old = format!("{PLACEHOLDER}/lib");
    let package = PackageBuilder::new("zeros", "1.0").file("share/zeros", zeros(old.as_bytes()));
    takes_no_room(&package, |prefix| format!("{prefix}/lib").into_bytes());
}

/// The copy of a sparse file is sparse, too.
#[test]
fn a_copy_of_a_file_of_zeros_takes_no_room() {
    let package = PackageBuilder::new("zeros", "1.0").file("share/zeros", zeros(b"text")).copied("share/zeros");
    takes_no_room(&package, |_| b"text".to_vec());
}

/// Zeros with some bytes in the middle.
fn zeros(middle: &[u8]) -> Vec<u8> {
    let mut content = vec![0; 80 << 20];
    content[40 << 20..][..middle.len()].copy_from_slice(middle);
    content
}

/// Installs a package with a file of zeros, from its archive and from the cache. `middle` is the expected content for a
/// prefix.
fn takes_no_room(package: &PackageBuilder, middle: impl Fn(&str) -> Vec<u8>) {
    use std::os::unix::fs::MetadataExt;
    let world = world();
    let lock = lock(&world, &[&line(&world, package)]);
    let cache = world.path().join("cache");
    let variables = [("MLCONDA_CACHE_DIR", argument(&cache))];
    for (name, variables) in [("direct", &[][..]), ("cached", &variables)] {
        if name == "cached" {
            world.mlconda_with(["fetch", argument(&lock)], variables).success();
        }
        world.mlconda_with(["install", argument(&lock), "-p", name, "--verify"], variables).success();
        let prefix = world.work().join(name);
        let about = fs_err::metadata(prefix.join("share/zeros")).unwrap();
        let expected = zeros(&middle(argument(&prefix)));
        assert_eq!(about.len(), expected.len() as u64);
        assert!(about.blocks() * 512 < 4 << 20, "{name}: {} blocks", about.blocks());
        assert!(fs_err::read(prefix.join("share/zeros")).unwrap() == expected, "{name}");
        fs_err::remove_dir_all(&prefix).unwrap();
    }
}

#[test]
fn a_record_has_a_limit_of_size() {
    let world = world();
    lock(&world, &[&line(&world, &PackageBuilder::new("small", "1.0").file("share/small", "small"))]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    let record = world.work().join("prefix/conda-meta/other-1.0-0.json");
    make_larger_than(&record, 128 << 20);
    for command in [&["list", "-p", "prefix"][..], &["export", "-p", "prefix"], &["verify", "-p", "prefix"]] {
        let outcome = world.mlconda(command).failure(1);
        assert!(
            format!("{}{}", outcome.stdout, outcome.stderr).contains("larger than 128 MiB"),
            "{command:?}: {outcome}"
        );
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("other-1.0-0"), "{command:?}: {outcome}");
    }
}

#[test]
fn a_history_has_a_limit_of_size() {
    let world = world();
    let small = |version| line(&world, &PackageBuilder::new("small", version).file("share/small", version));
    lock(&world, &[&small("1.0")]);
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();
    make_larger_than(&world.work().join("prefix/conda-meta/history"), 16 << 20);
    lock(&world, &[&small("2.0")]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
    assert!(outcome.stderr.contains("conda-meta/history`: it is larger than 16 MiB"), "{outcome}");
    assert_eq!(fs_err::read_to_string(world.work().join("prefix/share/small")).unwrap(), "1.0");
}

#[test]
fn redirects_have_a_limit_of_number() {
    let (world, server) = (world(), serve());
    world.write_lock("env.lock", Some(&server.url("main")), &["tzdata"]);
    let before = world.tree();
    server.fail("tzdata", Fault::Redirect(format!("{}/noarch/tzdata-again.conda", server.url("main"))));
    let outcome = world.mlconda(["install", "env.lock", "-p", "prefix"]).failure(1);
    assert!(outcome.stderr.contains("too many redirects") && outcome.stderr.contains("tzdata"), "{outcome}");
    assert!(server.count("tzdata") <= 4 * 11, "each try follows ten redirects");
    assert_eq!(tree::difference(&before, &world.tree()), "");
}

/// Runs a command with a limit of the shell.
fn limited(world: &TestContext, limit: &str, arguments: &str) -> Outcome {
    let command = world.mlconda_command(["install"]);
    let program = argument(Path::new(command.get_program())).to_owned();
    world.run("/bin/sh", &["-c", &format!("{limit}; exec \"$0\" {arguments}"), &program])
}

/// With few open files, an installation either succeeds, or reports the limit and changes nothing.
#[test]
fn open_files_may_be_few() {
    let world = world();
    world.write_lock("env.lock", None, &["tzdata", "many", "large", "python-3.12.4", "greet-2.0", "where-2.0"]);
    let before = world.tree();
    let (mut failed, mut succeeded) = (0, 0);
    for limit in [4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 64, 256] {
        let outcome = limited(&world, &format!("ulimit -n {limit}"), "install env.lock -p prefix --threads 4");
        if outcome.code == 0 {
            succeeded += 1;
            world.mlconda(["verify", "-p", "prefix", "env.lock"]).success();
            fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
            continue;
        }
        failed += 1;
        // The dynamic loader also needs open files, and has messages of its own.
        let is_ours = outcome.stderr.starts_with("error: ") || outcome.stderr.contains("\nerror: ");
        assert!(!is_ours || outcome.code == 1, "{limit}: {outcome}");
        assert!(outcome.stderr.contains("oo many open files") || !is_ours, "{limit}: {outcome}");
        assert!(outcome.stderr.contains("hint: raise the limit with `ulimit -n`") || !is_ours, "{limit}: {outcome}");
        assert!(!outcome.stderr.contains("panicked"), "{limit}: {outcome}");
        assert_eq!(tree::difference(&before, &world.tree()), "", "{limit}: {outcome}");
    }
    assert!(failed > 0 && succeeded > 0, "{failed} failed, {succeeded} succeeded");
}

/// If an archive cannot be read, the message names the package.
#[cfg(target_os = "linux")]
#[test]
fn an_archive_that_cannot_be_read_is_named() {
    use mlconda_test::inject::{self, Calls, Happens};
    let world = world();
    let package = |name: &str| line(&world, &PackageBuilder::new(name, "1.0").file(&format!("share/{name}"), name));
    lock(&world, &[&package("one"), &package("two")]);
    let before = world.tree();
    let arguments = ["install", "env.lock", "-p", "prefix", "--threads", "1"];
    for (error, words) in [(5, "nput/output error"), (24, "oo many open files"), (13, "ermission denied")] {
        for number in [1, 2] {
            let happens = Happens::Error(number, error);
            let Some(injected) = inject::run(&world, &world.path().join("channel"), Calls::Open, happens, &arguments)
            else {
                return;
            };
            let outcome = injected.outcome.failure(1);
            let at = injected.at.unwrap();
            let name = if at.contains("/one-1.0") { "one-1.0" } else { "two-1.0" };
            assert!(outcome.stderr.contains(words) && outcome.stderr.contains(name), "{happens:?} {at}: {outcome}");
            assert_eq!(tree::difference(&before, &world.tree()), "");
        }
    }
}

/// A disk may also fail in the middle of an archive.
#[cfg(target_os = "linux")]
#[test]
fn an_archive_that_breaks_off_while_it_is_read_is_named() {
    use mlconda_test::inject::{self, Calls, Happens};
    let world = world();
    let noise: String =
        (0..40_000_u64).map(|number| format!("{:x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let package = |name: &str, archive| {
        line(&world, &PackageBuilder::new(name, "1.0").archive(archive).file(&format!("share/{name}"), &noise))
    };
    lock(&world, &[&package("one", Archive::Conda), &package("two", Archive::TarBz2)]);
    let before = world.tree();
    let arguments = ["install", "env.lock", "-p", "prefix", "--threads", "1"];
    let read = |happens| inject::run(&world, &world.path().join("channel"), Calls::Read, happens, &arguments);
    let Some(counted) = read(Happens::Nothing) else { return };
    counted.outcome.success();
    fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
    assert!(counted.calls > 3, "{} calls", counted.calls);
    for number in 1..=counted.calls {
        let injected = read(Happens::Error(number, 5)).unwrap();
        let (outcome, at) = (injected.outcome.failure(1), injected.at.unwrap());
        let name = if at.contains("/one-1.0") { "one-1.0" } else { "two-1.0" };
        assert!(outcome.stderr.contains("nput/output error") && outcome.stderr.contains(name), "{at}: {outcome}");
        assert_eq!(tree::difference(&before, &world.tree()), "", "{at}: {outcome}");
    }
}
