//! `list --revisions` and `install --revision`, environments that are marked as frozen, and invalid channels.

use insta::assert_snapshot;

use super::World;

/// An environment with four revisions.
fn world() -> World {
    let world = World::new();
    world.run("conda create -n x arrays<1.26").success();
    world.run("conda install -n x where").success();
    world.run("conda update -n x arrays").success();
    world.run("conda remove -n x where").success();
    world
}

#[test]
fn revisions_are_listed_as_conda_does_and_their_times_rise() {
    let world = world();
    let told = world.run("conda list -n x --revisions").success().stdout;
    let dates: Vec<&str> = told.lines().filter_map(|line| line.split_once("  (rev ").map(|(date, _)| date)).collect();
    assert!(dates.len() == 4 && dates.is_sorted(), "{told}");
    let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_snapshot!(world.context.normal(&lines.join("\n")), @r"
    +arrays-1.25.2 (file://[CHANNELS]/main/[HOST])
    +libarrays-3.2.0 (file://[CHANNELS]/main/[HOST])
    +pip-24.0 (file://[CHANNELS]/main/noarch)
    +python-3.11.9 (file://[CHANNELS]/main/[HOST])
    +python_abi-3.11 (file://[CHANNELS]/main/noarch)
    +tzdata-2024a (file://[CHANNELS]/main/noarch)
    +where-2.0 (file://[CHANNELS]/main/[HOST])
     arrays  {1.25.2 (file://[CHANNELS]/main/[HOST]) -> 1.26.4 (file://[CHANNELS]/main/[HOST])}
    -where-2.0 (file://[CHANNELS]/main/[HOST])
    ");
    let told = world.run("conda list -n x -r --json").success().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told[2]["rev"], 2);
    assert_eq!(told[2]["upgrade"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told[3]["remove"].as_array().unwrap().len(), 1, "{told}");
}

#[test]
fn an_environment_goes_back_to_a_revision() {
    let world = world();
    let before = world.installed("x");
    world.run("conda install -n x --revision 1").success();
    let then = world.installed("x");
    assert!(then.contains(&"arrays 1.25.2".to_owned()) && then.contains(&"where 2.0".to_owned()), "{then:?}");
    assert_eq!(world.asked("x").lines().last(), Some("# update specs: ['arrays<1.26', 'where']"));
    world.run("conda install -n x --rev=3 -y").success();
    assert_eq!(world.installed("x"), before);
    let asked = world.run("conda env export -n x --from-history").success().stdout;
    assert!(asked.ends_with("dependencies:\n  - arrays\n"), "{asked}");
    assert_snapshot!(world.run("conda install -n x --revision 9"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/root/envs/x` has no revision `9`
    hint: `list --revisions` shows the revisions
    ");
    world.run("conda install -n x --revision 0 where").failure(2);
}

/// For conda, an environment is empty after a revision without lines, and `install --revision` removed everything.
#[test]
fn a_revision_in_which_only_specs_change_keeps_all_packages() {
    let world = world();
    let all = world.installed("x");
    for command in ["install -n x python", "install -n x --force-reinstall libarrays", "install -n x arrays>1.25"] {
        world.run(&format!("conda {command}")).success();
    }
    let history = fs_err::read_to_string(world.context.named_prefix("x").join("conda-meta/history")).unwrap();
    let added = history.rsplit("==>").next().unwrap().lines().filter(|line| line.starts_with('+')).count();
    assert_eq!(added, 1, "{history}");
    let reinstalled = history.rsplit("==>").nth(1).unwrap();
    assert!(!reinstalled.lines().any(|line| line.starts_with('-')), "{history}");
    world.run("conda install -n x where").success();
    world.run("conda install -n x --revision 4").success();
    assert_eq!(world.installed("x"), all);
    world.run("conda install -n x --revision 6").success();
    assert_eq!(world.installed("x"), all);
    // Revisions that an earlier version wrote.
    let history = world.context.named_prefix("x").join("conda-meta/history");
    let text = fs_err::read_to_string(&history).unwrap() + "==> 2030-01-01 00:00:00 <==\n# cmd: conda env config\n";
    fs_err::write(&history, text).unwrap();
    world.run("conda install -n x --revision 9").success();
    assert_eq!(world.installed("x"), all);
}

#[test]
fn what_is_frozen_is_changed_by_force_only() {
    let world = world();
    let mark = world.context.named_prefix("x").join("conda-meta/frozen");
    fs_err::write(mark, "{\"message\": \"it is the image's\"}").unwrap();
    assert_snapshot!(world.run("conda install -n x where"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `[TEMP]/root/envs/x` is marked as frozen: it is the image's
    hint: `--override-frozen` changes it all the same
    ");
    for line in ["remove -n x arrays", "env remove -n x", "update -n x --all", "create -y -n x where"] {
        world.run(&format!("conda {line}")).failure(1);
    }
    world.run("conda install -n x where --override-frozen").success();
}

#[test]
fn an_empty_list_of_channels_is_none() {
    let world = World::new();
    let text = format!("channels: []\nchannel_alias: file://{}\n", world.context.channels().directory().display());
    let file = world.context.write("rc.yml", &text).display().to_string();
    let run = |line: &str| world.run_with(line, &[("CONDARC", &file), ("CONDA_CHANNELS", "")]);
    assert_snapshot!(run("conda create -n x where"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: no channel is given, and none is configured
    hint: give one with `-c CHANNEL`, or for all commands with `config --append channels CHANNEL`
    ");
    run("conda search where").failure(1);
    run("conda create -n x -c main where arrays").success();
    run("conda remove -n x where").success();
    assert_eq!(world.asked("x").lines().last(), Some("# remove specs: ['where']"));
    assert_eq!(run("conda config --show channels").success().stdout, "channels: []\n");
}

#[test]
fn an_environment_is_exported_in_each_form() {
    let world = world();
    let export = |format: &str| world.run(&format!("conda export -n x --format={format}"));
    assert!(export("environment-yaml").success().stdout.starts_with("name: x\n"));
    assert!(export("environment-json").success().stdout.starts_with("{\n  \"name\": \"x\""));
    assert!(export("explicit").success().stdout.contains("@EXPLICIT"));
    assert!(export("requirements").success().stdout.ends_with("arrays\n"));
    assert_snapshot!(export("pdf").failure(2).stderr, @"error: `pdf` is not a format of `export`: there are `yaml`, `json`, `explicit` and `requirements`");
    world.run("conda export -n x -f out.json").success();
    let text = fs_err::read_to_string(world.context.work().join("out.json")).unwrap();
    assert!(text.starts_with('{'), "{text}");
}

/// The JSON had no variables, so an environment made of it did not set them.
#[test]
fn an_export_as_json_has_the_variables() {
    let world = world();
    world.run("conda env config vars set -n x SWITCH=on").success();
    let json = world.run("conda env export -n x --json").success().stdout;
    assert!(json.contains("  \"variables\": {\n    \"SWITCH\": \"on\"\n  }\n}"), "{json}");
    for line in ["conda env export -n x --format environment-json", "conda env export -n x --file -  --json"] {
        assert_eq!(world.run(line).success().stdout, json);
    }
    world.run("conda env export -n x --file x.json").success();
    assert_eq!(fs_err::read_to_string(world.context.work().join("x.json")).unwrap(), json);
}

/// These names got an environment.yml, whatever they stand for.
#[test]
fn an_export_is_no_environment_yml_in_a_file_that_is_named_for_something_else() {
    let world = world();
    assert_snapshot!(world.run("conda export -n x --file=env.lock"), @"
    exit code 1
    --- stdout
    --- stderr
    error: `env.lock` has the name of a lock, and `export` writes no locks
    hint: `mlconda lock --from-prefix PREFIX -o env.lock` writes a lock; `--format yaml` writes an environment.yml
    ");
    assert_snapshot!(world.run("conda export -n x --file=foo.txt"), @"
    exit code 2
    --- stdout
    --- stderr
    error: the name `foo.txt` does not say the format: add `--format explicit`, `requirements` or `yaml`
    ");
    let hint = "--from-prefix PREFIX --format conda-lock -o conda-lock.yml`";
    let outcome = world.run("conda export -n x --file=conda-lock.yml").failure(1);
    assert!(outcome.stderr.contains(hint), "{outcome}");
    for name in ["env.lock", "foo.txt", "conda-lock.yml"] {
        assert!(!world.context.work().join(name).exists(), "{name}");
    }
    world.run("conda export -n x --file=foo.txt --format=yaml").success();
    world.run("conda export -n x --file=environment.yml.new").success();
}

#[test]
fn files_are_not_taken_for_specs_nor_for_the_root_prefix() {
    let world = World::new();
    world.context.write("requirements.txt", "where\n");
    world.run("conda create -n x").success();
    assert_snapshot!(world.run("conda install -n x requirements.txt").failure(1).stderr, @r"
    error: `requirements.txt` is a file, not a match spec
    hint: name it with `--file requirements.txt`
    ");
    assert_snapshot!(world.run("conda install -n x -r requirements.txt").failure(1).stderr, @r"
    error: `-r` names the root prefix, and `requirements.txt` is a file
    hint: name a file of match specs with `--file requirements.txt`
    ");
    assert_snapshot!(world.run("conda info where").failure(1).stderr, @r"
    error: `info` does not show packages
    hint: `search 'where' --info` does
    ");
}
