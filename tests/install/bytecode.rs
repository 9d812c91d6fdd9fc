//! Byte code: modules are compiled with the installed python.

use super::*;

#[test]
fn modules_are_compiled_and_recorded_and_go_with_their_package() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "python-3.11.9", "templates"]);
    let install = |lock: &std::path::Path, more: &[&str]| {
        world.mlconda(["install", argument(lock), "-p", "prefix"].iter().chain(more)).success()
    };
    assert_snapshot!(install(&lock, &[]), @r"
    exit code 0
    --- stdout
    --- stderr
    Installing 3 packages into `[TEMP]/work/prefix`
    `lib/python3.11/site-packages/templates/new/main.py` has no byte code: SyntaxError: Missing parentheses
    + python 3.11.9
    + templates 1.0
    + tzdata 2024a
    Linked 3 packages in `[TEMP]/work/prefix`: 16 files, [SIZE], in [TIME].
    ");
    let code = "prefix/lib/python3.11/site-packages/templates/__pycache__/cli.cpython-311.pyc";
    // The byte code of the stand-in contains the final path of the module.
    let place = world.work().join("prefix/lib/python3.11/site-packages/templates/cli.py");
    assert_eq!(world.read(code), format!("timestamp: 0 bytes of {} at 1672531200\n", place.display()));
    let times = ["cli.py", "__pycache__/cli.cpython-311.pyc"]
        .map(|name| world.work().join("prefix/lib/python3.11/site-packages/templates").join(name))
        .map(|path| fs_err::metadata(path).unwrap().modified().unwrap());
    assert_eq!(times[0], times[1]);
    let record: serde_json::Value =
        serde_json::from_str(&world.read("prefix/conda-meta/templates-1.0-pyhd8ed1ab_0.json")).unwrap();
    let entries = record["paths_data"]["paths"].as_array().unwrap().iter();
    let entries: Vec<_> = entries.filter(|entry| entry["path_type"] == "pyc_file").collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[0]["sha256_in_prefix"],
        sha256_hex(fs_err::read(world.work().join(code).with_file_name("__init__.cpython-311.pyc")).unwrap())
    );
    assert!(record["files"].as_array().unwrap().contains(&entries[0]["_path"]));
    let without = world.write_lock("less.lock", None, &["tzdata", "python-3.11.9"]);
    install(&without, &[]);
    assert!(!world.work().join("prefix/lib/python3.11/site-packages/templates").exists());
    // In a prefix with an existing python; and without compiling.
    install(&lock, &["--compile-bytecode=unchecked-hash"]);
    assert!(world.read(code).starts_with("unchecked-hash"));
    fs_err::remove_dir_all(world.work().join("prefix")).unwrap();
    install(&lock, &["--no-compile-bytecode"]);
    assert!(!world.work().join(code).exists());
}

#[test]
fn a_python_that_does_not_run_here_compiles_nothing() {
    let world = world();
    world.write_environment(&["templates"]);
    world.lock(&["--platform", foreign_subdir(), "-o", "env.lock"]).success();
    assert_snapshot!(world.mlconda(["install", "env.lock", "--platform", foreign_subdir()]).success(), @r"
    exit code 0
    --- stdout
    --- stderr
    Installing 4 packages ([SIZE]) into `[TEMP]/root/envs/small`
    warning: modules are not compiled, because the environment's python does not run here: there is no `bin/python3.11`
    + templates 1.0
    + pip 24.0
    + python 3.11.9
    + tzdata 2024a
    Linked 4 packages in `[TEMP]/root/envs/small`: 15 files, [SIZE], in [TIME].
    ");
}
