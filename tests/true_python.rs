//! Tests with a real python, for example for another processor. `MLCONDA_TEST_PYTHON` names a directory with
//! `bin/python3.11` and `lib/python3.11`. `.ci/emulated` sets it and runs these tests, which are ignored otherwise. All
//! other tests use a stand-in.

use std::path::Path;

use mlconda_test::{
    channel::Channel,
    package::{Noarch, PackageBuilder},
    program,
};

use crate::world;

#[allow(clippy::disallowed_methods, reason = "where a python is, is told by whoever runs the tests")]
fn python() -> PackageBuilder {
    let place = std::env::var_os("MLCONDA_TEST_PYTHON").expect("MLCONDA_TEST_PYTHON names a python");
    let place = Path::new(&place);
    let mut package = PackageBuilder::new("python", "3.11.2")
        .executable("bin/python3.11", fs_err::read(place.join("bin/python3.11")).unwrap())
        .link("bin/python", "python3.11");
    let mut directories = vec![place.join("lib/python3.11")];
    while let Some(directory) = directories.pop() {
        for entry in fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            // Byte code of the machine's modules contains their times, which a package does not keep.
            if entry.ends_with("__pycache__") {
                continue;
            } else if entry.is_dir() {
                directories.push(entry);
            } else if entry.is_file() {
                let path = entry.strip_prefix(place).unwrap().to_str().unwrap();
                package = package.file(path, fs_err::read(&entry).unwrap());
            }
        }
    }
    package
}

#[test]
#[ignore = "wants MLCONDA_TEST_PYTHON"]
fn a_true_python_compiles_modules_and_runs_them() {
    let (world, python) = (world(), python());
    let module = PackageBuilder::new("module", "1.0")
        .noarch(Noarch::Python)
        .depends("python >=3.11")
        .file("site-packages/module.py", "import platform\nPLACE = __cached__\nprint(platform.machine())\n");
    let report = PackageBuilder::new("report", "1.0")
        .executable("bin/report", program::prefix_report().unwrap())
        .executable("bin/.report-post-link.sh", "#!/bin/sh\n\"$PREFIX/bin/report\" linked > \"$PREFIX/said\"\n");
    Channel::write(world.path().join("channel"), &[python, module, report], &[]).unwrap();
    let channel = format!("file://{}", world.path().join("channel").display());
    world.write("environment.yml", &format!("channels: ['{channel}']\ndependencies: [module, report]\n"));
    world.lock(&["-o", "env.lock"]).success();
    world.mlconda(["install", "env.lock", "-p", "prefix"]).success();

    let compiled = world.work().join("prefix/lib/python3.11/site-packages/__pycache__/module.cpython-311.pyc");
    assert!(compiled.is_file());
    assert!(world.read("prefix/said").contains("linked"), "{}", world.read("prefix/said"));
    let code = "import sys; sys.path.append(sys.prefix + '/lib/python3.11/site-packages'); import module; \
                print(module.PLACE, sys.prefix)";
    let said = world.mlconda(["run", "-p", "prefix", "python", "-c", code]).success().stdout;
    let machine = if mlconda_test::host_subdir() == "linux-aarch64" { "aarch64" } else { std::env::consts::ARCH };
    let prefix = world.work().join("prefix").display().to_string();
    assert_eq!(said, format!("{machine}\n{} {prefix}\n", compiled.display()));
    world.mlconda(["verify", "-p", "prefix"]).success();
}
