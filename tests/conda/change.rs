//! Commands that change environments: earlier requests are kept, and only the necessary packages change.

use std::{io::Write, process::Stdio};

use mlconda_test::{
    package::PackageBuilder,
    server::{Fault, Server},
};

use super::World;
use crate::{packages::line, scripts::begun_by};

#[test]
fn modules_are_compiled_as_conda_does_and_stay_as_they_are() {
    let world = World::new();
    let package = "envs/x/lib/python3.11/site-packages/templates";
    let code = |name: &str| {
        world.context.path().join("root").join(package.replacen('x', name, 1)).join("__pycache__/cli.cpython-311.pyc")
    };
    world.run("conda create -y -n x python=3.11 templates").success();
    assert!(fs_err::read_to_string(code("x")).unwrap().starts_with("timestamp"));
    // Packages that come later are compiled too.
    world.run("conda create -y -n y python=3.11").success();
    world.run("conda install -y -n y templates").success();
    assert!(code("y").exists());
    // If the environment has no byte code, it gets none.
    world.run("micromamba create -y --no-pyc -n z python=3.11 templates").success();
    assert!(!code("z").exists());
    world.run("conda install -y -n z --force-reinstall templates").success();
    assert!(!code("z").exists());
}

#[test]
fn an_environment_is_made_and_changed_step_by_step() {
    let world = World::new();
    world.run("conda create -y -n x python=3.11 arrays<1.26").success();
    assert_eq!(
        world.installed("x"),
        ["arrays 1.25.2", "libarrays 3.2.0", "pip 24.0", "python 3.11.9", "python_abi 3.11", "tzdata 2024a"]
    );
    // Installing a package does not upgrade others.
    world.run("conda install -y -n x where").success();
    assert_eq!(world.installed("x")[0], "arrays 1.25.2");
    // Earlier requests still count.
    world.run("conda update -y -n x libarrays where").success();
    assert_eq!(world.installed("x")[0], "arrays 1.25.2");
    // A package that is named is upgraded.
    world.run("conda update -y -n x arrays").success();
    assert_eq!(world.installed("x")[0], "arrays 1.26.4");
    let gone = world.run("conda remove -y -n x arrays").success();
    assert_eq!(
        world.installed("x"),
        ["libarrays 3.2.0", "pip 24.0", "python 3.11.9", "tzdata 2024a", "where 2.0"],
        "what was updated by its name counts as asked for: {gone}"
    );
    insta::assert_snapshot!(world.asked("x"), @r"
    # cmd: conda create
    # update specs: ['python=3.11', 'arrays<1.26']
    # cmd: conda install
    # update specs: ['where']
    # cmd: conda update
    # update specs: ['libarrays', 'where']
    # cmd: conda update
    # update specs: ['arrays']
    # cmd: conda remove
    # remove specs: ['arrays']
    ");
}

/// The second command has read the installed packages, and then waits for its channel until the first command has
/// ended.
#[test]
fn what_another_one_has_changed_since_is_not_undone() {
    let world = World::new();
    world.run("conda create -y -n x arrays=1.25.2 tzdata").success();
    let server = Server::serve(world.context.channels().directory()).unwrap();
    let slow = format!("conda install -y -n x --override-channels -c {} where", server.url("main"));
    let changes =
        ["install -y -n x greet", "remove -y -n x arrays", "install -y -n x libarrays", "env config vars set -n x A=b"];
    for change in changes {
        server.forget();
        server.fail("repodata", Fault::Held);
        let mut second = world.command(&slow, &[]);
        let second = second.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.wait_for("repodata");
        world.run(&format!("conda {change}")).success();
        let (installed, asked) = (world.installed("x"), world.asked("x"));
        server.recover();
        let outcome = world.context.outcome_of(&second.wait_with_output().unwrap());
        assert_eq!((world.installed("x"), world.asked("x")), (installed, asked), "{change}: {outcome}");
        let outcome = outcome.failure(1);
        assert!(outcome.stderr.contains("was changed by another process in the meantime"), "{outcome}");
        assert!(outcome.stderr.contains("run the command again"), "{outcome}");
    }
    world.run(&slow).success();
    let installed = world.installed("x").join(" ");
    assert!(
        ["greet", "where"].iter().all(|name| installed.contains(name))
            && !installed.contains(" arrays ")
            && !installed.starts_with("arrays"),
        "{installed}"
    );
}

/// The packages come from a lock or another environment, so nothing is solved. The first command waits for an archive.
#[test]
fn whoever_waits_for_an_archive_has_the_environment_for_itself() {
    let world = World::new();
    let server = Server::serve(world.context.channels().directory()).unwrap();
    let url = server.url("main");
    world.run(&format!("conda create -y -n source --override-channels -c {url} tzdata")).success();
    world.run("conda create -y -n x libarrays").success();
    world.context.write_lock("zones.lock", Some(&url), &["tzdata"]);
    for (first, second, name) in [
        ("conda create -y -n y --file zones.lock", "conda create -y -n y where", "y"),
        ("conda create -y -n z --clone source", "conda create -y -n z where", "z"),
        ("conda install -y -n x --file zones.lock", "conda install -y -n x where", "x"),
    ] {
        server.forget();
        server.fail("tzdata", Fault::Held);
        let mut waiting = world.command(first, &[]);
        let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.wait_for("tzdata");
        let refused = world.run(second).failure(1);
        assert!(refused.stderr.contains("another mlconda is installing into"), "{second}: {refused}");
        server.recover();
        let outcome = world.context.outcome_of(&waiting.wait_with_output().unwrap()).success();
        let installed = world.installed(name).join(" ");
        assert!(installed.contains("tzdata") && !installed.contains("where"), "{first}: {installed}: {outcome}");
    }
}

#[test]
fn what_was_there_before_a_killed_change_stays() {
    let world = World::new();
    world.run("conda create -y -n x greet").success();
    let fifo = world.context.path().join("fifo");
    let script = format!("#!/bin/sh\nread word < '{}'\n", fifo.display());
    let waits = PackageBuilder::new("waits", "1.0").executable("bin/.waits-post-link.sh", script);
    let archive = line(&world.context, &waits);
    let (mut child, mut end) =
        begun_by(&world.context, &mut world.command(&format!("conda install -y -n x {archive}"), &[]));
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = end.write_all(b"go\n");
    world.run("conda install -y -n x where").success();
    let installed = world.installed("x").join(" ");
    assert!(installed.contains("greet") && installed.contains("where") && !installed.contains("waits"), "{installed}");
}

#[test]
fn what_was_asked_for_before_gives_way_where_it_must() {
    let world = World::new();
    world.run("conda create -y -n x arrays=1.26.4 greet").success();
    let told = world.run("conda install -y -n x legacy").success();
    assert!(world.installed("x").contains(&"arrays 1.24.0".to_owned()), "{told}");
    assert!(told.stderr.contains("the version of `arrays` that was asked for before conflicts"), "{told}");
    assert!(world.asked("x").ends_with("# neutered specs: ['arrays']"), "{}", world.asked("x"));
    // If no installed package may change, there is no solution.
    world.run("conda create -y -n y arrays=1.26.4").success();
    world.run("conda install -y -n y --freeze-installed legacy").failure(1);
    assert!(world.installed("y").contains(&"arrays 1.26.4".to_owned()));
}

#[test]
fn base_is_the_root_prefix_also_where_there_is_none() {
    let world = World::new();
    world.run("conda create -y -n other where").success();
    world.run("conda install -y where=1").success();
    assert!(world.context.root_prefix().join("bin/where-am-i").is_file());
    world.run("conda update -y --all").success();
    assert_eq!(world.installed("base"), ["where 2.0"]);
    // These do nothing, because mlconda itself is conda here.
    world.run("conda update -n base -c defaults conda").success();
    world.run("conda install mamba -n base -c conda-forge").success();
    assert_eq!(world.installed("base"), ["where 2.0"]);
    world.run("conda env remove -n base").failure(1);
}

#[test]
fn an_environment_file_makes_updates_and_prunes() {
    let world = World::new();
    world.context.write_environment(&["where =1", "greet", "python =3.11"]);
    world.shell("conda env create -f environment.yml && conda clean -afy").success();
    world.run("conda env create").failure(1);
    world.context.write_environment(&["where", "arrays"]);
    world.run("conda env update -f environment.yml").success();
    let packages = world.installed("small");
    assert!(
        packages.contains(&"where 1.1".to_owned()) && packages.contains(&"arrays 1.26.4".to_owned()),
        "{packages:?}"
    );
    assert!(packages.iter().any(|package| package.starts_with("greet ")), "{packages:?}");
    world.run("conda env update -n small --prune --file environment.yml").success();
    let packages = world.installed("small");
    assert!(!packages.iter().any(|package| package.starts_with("greet ")), "{packages:?}");
    // The specs of earlier files stayed in the history.
    let export = world.run("conda env export -n small --from-history").success().stdout;
    assert!(export.ends_with("dependencies:\n  - arrays\n  - where\n"), "{export}");
    world.context.write_environment(&["arrays"]);
    world.run("conda env update -n small --prune").success();
    let export = world.run("conda env export -n small --from-history").success().stdout;
    assert!(export.ends_with("dependencies:\n  - arrays\n"), "{export}");
    world.context.write_environment(&["where", "arrays"]);
    world.run("conda env create -q --force").success();
    assert!(world.installed("small").contains(&"where 2.0".to_owned()));
    world.run("micromamba create -y -n second -f environment.yml").success();
    world.run("conda remove -n second --all -y").success();
    assert!(!world.context.named_prefix("second").exists());
}

#[test]
fn lists_of_packages_and_locks_are_installed_as_they_are() {
    let world = World::new();
    world.run("conda create -y -n x arrays<1.26").success();
    for (flag, file) in [("--explicit --sha256", "explicit.txt"), ("--export", "export.txt")] {
        let text = world.run(&format!("conda list -n x {flag}")).success().stdout;
        fs_err::write(world.context.work().join(file), text).unwrap();
        world
            .run(
                &format!("conda create -y -n {flag}copy --file {file}")
                    .replace("--explicit --sha256", "a")
                    .replace("--export", "b"),
            )
            .success();
    }
    assert_eq!(world.installed("acopy"), world.installed("x"));
    assert_eq!(world.installed("bcopy"), world.installed("x"));
    // As with conda, the installed packages are kept.
    world.run("conda create -y -n y where").success();
    world.run("conda install -n y --file explicit.txt --yes --quiet --no-deps").success();
    assert_eq!(world.installed("y").len(), world.installed("x").len() + 1);
    world.run("conda create -n z --clone x").success();
    assert_eq!(world.installed("z"), world.installed("x"));
    assert_eq!(world.asked("z"), "# cmd: conda create\n# update specs: ['arrays<1.26']");
    fs_err::write(world.context.work().join("specs.txt"), "# needed\nwhere=1\n\nspecial # not in main\n").unwrap();
    world.run("conda create -y -n w --file specs.txt").failure(1);
}

#[test]
fn one_package_alone_or_all_but_it() {
    let world = World::new();
    world.run("conda create -y -n x --no-deps greet python=3.11").success();
    assert_eq!(world.installed("x").len(), 2);
    world.run("conda create -y -n y --only-deps frames").success();
    assert!(!world.installed("y").iter().any(|package| package.starts_with("frames")));
    assert!(world.installed("y").iter().any(|package| package.starts_with("arrays")));
    let before = world.context.tree();
    world.run("conda install -y -n y frames --dry-run").success();
    assert!(world.context.tree() == before);
    let fetched = world.run("conda install -y -n y frames --download-only").success();
    // The other packages are installed already.
    assert!(fetched.stderr.contains("Fetched 1 package") && !fetched.stderr.contains("Installing"), "{fetched}");
    assert!(!world.installed("y").iter().any(|package| package.starts_with("frames")));
    let cleaned = world.run("conda clean --all --yes").success();
    assert!(cleaned.stderr.contains("is empty"), "{cleaned}");
    assert!(!world.context.home().join(".cache/mlconda").exists());
}

#[test]
fn the_same_words_are_mlcondas() {
    let world = World::new();
    world.run("mlconda create -n x where=1").success();
    world.run("mlconda install -n x greet").success();
    world.run("mlconda update -n x --all").success();
    assert!(world.installed("x").contains(&"where 2.0".to_owned()));
    world.run("mlconda remove -n x where").success();
    world.context.locked("env.lock", &["where"]);
    world.run("mlconda install env.lock -n locked").success();
    insta::assert_snapshot!(world.run("mlconda install missing.lock"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: failed to open file `[TEMP]/work/missing.lock`: No such file or directory (os error [NUMBER])
    hint: make a lock with `mlconda lock environment.yml`; `mlconda install` takes an environment.yml as well
    ");
}

#[test]
fn an_archive_is_installed_without_a_channel() {
    let world = World::new();
    let main = world.context.channels().directory().join("main");
    let archives = world.context.channels().main.archives(mlconda_test::host_subdir()).unwrap();
    let archive = archives.iter().find(|name| name.starts_with("where-1.0-")).unwrap();
    let path = main.join(mlconda_test::host_subdir()).join(archive);
    let none = [("CONDA_CHANNELS", "http://127.0.0.1:9/nothing")];
    world.run_with(&format!("conda create -y -n x {}", path.display()), &none).success();
    world.run("conda create -y -n y").success();
    world.run_with(&format!("conda install -y -n y file://{}", path.display()), &none).success();
    assert_eq!([world.installed("x"), world.installed("y")], [["where 1.0"], ["where 1.0"]]);
    // Later, it is a package like any other.
    world.run("conda install -y -n x greet").success();
    assert!(world.installed("x").contains(&"where 1.0".to_owned()));
}

#[test]
fn variables_of_an_environment_are_set_and_unset() {
    let world = World::new();
    world.run("conda create -y -n x where=1").success();
    world.run("conda env config vars set -n x GREETING=hello OTHER=1").success();
    world.run("conda env config vars unset OTHER -n x").success();
    assert_eq!(world.run("conda env config vars list -n x").success().stdout, "GREETING = hello\n");
    // Other changes keep the variables and the requested specs.
    world.run("conda update -y -n x --all").success();
    assert_eq!(world.run("conda run -n x printenv GREETING").success().stdout, "hello\n");
    world.run("conda env config vars unset GREETING -n x").success();
    assert_eq!(world.run("conda env config vars list -n x").success().stdout, "");
    assert_eq!(world.installed("x"), ["where 2.0"]);
    // A variable that is unset is in the file, as with conda, and is no variable anywhere.
    let state = fs_err::read_to_string(world.context.named_prefix("x").join("conda-meta/state")).unwrap();
    assert!(state.contains(r#""GREETING": "***unset***""#), "{state}");
    let told = world.run("conda env config vars unset OTHER -n x").success().stderr;
    assert!(told.contains("`OTHER` is not set in"), "{told}");
    // Another spelling stands for the same variable.
    world.run("conda env config vars set -n x other=2").success();
    assert_eq!(world.run("mlconda run -n x printenv OTHER").success().stdout, "2\n");
    world.run("conda env config vars unset -n x other").success();
    world.run("conda create -y -n y --clone x").success();
    let export = world.run("conda env export -n x").success().stdout;
    let prefix = world.context.named_prefix("x");
    let lock = world.run(&format!("mlconda lock --from-prefix {} -o -", prefix.display())).success().stdout;
    assert!(lock.contains("where-2.0"), "{lock}");
    let listed = world.run("conda env config vars list -n y").success().stdout;
    assert!(![export, lock, listed].concat().contains("unset"), "a marker was taken for a value");
}

/// As with conda, only `conda-meta/state` changes: there is no revision without packages.
#[test]
fn a_variable_is_no_revision() {
    let world = World::new();
    world.run("conda create -y -n x where=1").success();
    let meta = world.context.named_prefix("x").join("conda-meta");
    let history = fs_err::read(meta.join("history")).unwrap();
    let told = world.run("conda env config vars set -n x A=1 B=2").success().stderr;
    assert!(told.contains("`A` and `B` are set in") && told.contains("conda activate"), "{told}");
    assert!(!told.contains("asked for") && !told.contains("lock --from-prefix"), "{told}");
    let told = world.run("conda env config vars set -n x A=1").success().stderr;
    assert!(told.contains("already"), "{told}");
    let told = world.run("conda env config vars unset -n x A C").success().stderr;
    assert!(told.contains("`A` is no longer set in") && told.contains("`C` is not set in"), "{told}");
    world.run("conda env config vars set -n x =1").failure(2);
    world.run("conda env config vars set -n x").failure(2);
    assert_eq!(fs_err::read_to_string(meta.join("history")).unwrap(), String::from_utf8(history).unwrap());
    assert_eq!(world.run("conda env config vars list -n x").success().stdout, "B = 2\n");
}

#[test]
fn an_environment_goes_at_once() {
    let world = World::new();
    world.run("conda create -y -n x where").success();
    world.run("conda create -n x where").failure(1);
    fs_err::write(world.context.named_prefix("x").join("mine.txt"), "").unwrap();
    world.run("conda create -y -n x where=1").success();
    assert!(!world.context.named_prefix("x").join("mine.txt").exists());
    world.run("conda env remove -n x").success();
    assert_eq!(fs_err::read_dir(world.context.root_prefix().join("envs")).unwrap().count(), 0);
    world.run("conda env remove -n x").failure(1);
}

/// Times in the prefix are those of the packages, and the command in the history contains no path.
#[test]
fn the_same_commands_make_the_same_bytes() {
    let (one, other) = (World::new(), World::new());
    let trees = [&one, &other].map(|world| {
        world.shell("conda create -y -p $HOME/same-$$ where").success();
        world
            .shell("micromamba create -y -n x greet where=1 && conda install -n x where && conda remove -n x greet")
            .success();
        let history = world.context.named_prefix("x").join("conda-meta/history");
        fs_err::read_to_string(history).unwrap().replace(&world.context.path().display().to_string(), "")
    });
    assert_eq!(trees[0], trees[1]);
}

#[test]
fn how_to_pin_is_said_once_and_quiet_is_quiet() {
    let world = World::new();
    let told = world.run("conda create -y -n x where").success();
    assert_eq!(told.stderr.matches("mlconda lock --from-prefix").count(), 1, "{told}");
    let told = world.shell("conda create -y -p \"$HOME/it's mine\" where").success();
    let quoted = format!("--from-prefix '{}/it'\\''s mine' -o", world.context.home().display());
    assert!(told.stderr.contains(&quoted), "{told}");
    let told = world.run("conda install -y -q -n x greet").success();
    assert_eq!((told.stdout.as_str(), told.stderr.as_str()), ("", ""));
}

#[test]
fn what_an_update_of_everything_has_gone_beyond_is_asked_for_no_more() {
    let world = World::new();
    world.run("conda create -y -n x where=1 python=3.11").success();
    world.run("conda update -y -n x --all").success();
    assert!(world.installed("x").contains(&"where 2.0".to_owned()));
    assert!(world.asked("x").ends_with("# neutered specs: ['where']"), "{}", world.asked("x"));
    // The old request is not restored, and does not cause conflicts.
    world.run("conda install -y -n x greet").success();
    world.run("conda install -y -n x --freeze-installed tzdata").success();
    assert!(world.installed("x").contains(&"where 2.0".to_owned()));
    // The same is true if the history of another program does not neutralize the spec.
    let history = world.context.named_prefix("x").join("conda-meta/history");
    let text = fs_err::read_to_string(&history).unwrap().replace("# neutered specs: ['where']\n", "");
    fs_err::write(&history, text).unwrap();
    world.run("conda install -y -n x --freeze-installed arrays").success();
    assert!(world.installed("x").contains(&"where 2.0".to_owned()));
}

#[test]
fn channels_of_the_command_line_alone_suffice_in_an_environment_that_is_there() {
    let world = World::new();
    let main = format!("-c file://{}/main --override-channels", world.context.channels().directory().display());
    world.run("conda create -y -n x where=1 python=3.11").success();
    world.run(&format!("conda install -y -n x {main} greet")).success();
    world.run(&format!("conda update -y -n x {main} greet")).success();
    assert!(world.installed("x").contains(&"where 1.1".to_owned()), "{:?}", world.installed("x"));
    world.run(&format!("conda remove -y -n x {main} where")).success();
    world.run(&format!("mamba env create -y -n y {main} where=1")).success();
    world.run(&format!("conda install -y -m -n z {main} where=1")).success();
    assert_eq!([world.installed("y"), world.installed("z")], [["where 1.1"], ["where 1.1"]]);
}

#[test]
fn scripts_read_errors_as_json() {
    let world = World::new();
    for line in ["conda create -y -n x nothing-like-it --json", "conda list -n nowhere --json"] {
        let told = world.run(line).failure(1);
        let value: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(value["success"], false, "{told}");
        assert!(value["error"] == value["message"] && value["message"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let told = world.run("conda install --json --no-such-option where").failure(2);
    assert!(told.stdout.contains("--no-such-option"), "{told}");
}

#[test]
fn a_package_is_linked_anew_where_that_is_asked_for() {
    let world = World::new();
    world.run("conda create -n x where unicode").success();
    let program = world.context.named_prefix("x").join("bin/where-am-i");
    let sound = fs_err::read(&program).unwrap();
    for line in ["install -n x where", "update -n x --all"] {
        fs_err::write(&program, "damaged").unwrap();
        world.run(&format!("conda {line}")).success();
        assert_eq!(fs_err::read(&program).unwrap(), b"damaged", "{line}");
    }
    let lines = [
        "conda install -n x --force-reinstall where",
        "mamba update -y -n x --force-reinstall where",
        "micromamba install -y -n x where --force-reinstall",
    ];
    for line in lines {
        fs_err::write(&program, "damaged").unwrap();
        let said = world.run(line).success().stderr;
        assert!(said.contains("~ where 2.0, linked again"), "{line}: {said}");
        assert_eq!(fs_err::read(&program).unwrap(), sound, "{line}");
        assert_eq!(said.matches("linked again").count(), 1, "{line}: {said}");
    }
    assert!(world.installed("x").contains(&"unicode 1.0".to_owned()), "{:?}", world.installed("x"));
}
