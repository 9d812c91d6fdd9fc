//! The configured directories of named environments (`envs_dirs`), as with conda: new environments go into the first
//! directory that can be written, and a name means the first environment of this name.

use mlconda_test::context::Outcome;

use super::World;

/// A world with two directories, and how its lines run with them.
fn run(world: &World, line: &str) -> Outcome {
    let place = |name: &str| world.context.work().join(name).display().to_string();
    fs_err::write(world.context.work().join("file"), "").unwrap();
    let directories = format!("{}:{}:{}", place("file/envs"), place("one"), place("two"));
    world.run_with(line, &[("CONDA_ENVS_DIRS", directories.as_str())])
}

#[test]
fn a_named_environment_is_made_in_the_first_directory_that_can_be_written_and_found_there() {
    let world = World::new();
    run(&world, "conda create -y -n web where").success();
    let (one, two) = (world.context.work().join("one/web"), world.context.work().join("two/old"));
    assert!(one.join("conda-meta/history").is_file());
    assert!(!world.context.named_prefix("web").exists());
    // An existing environment is changed at its place.
    run(&world, &format!("conda create -y -p {} tzdata", two.display())).success();
    run(&world, "conda install -y -n old greet").success();
    world.run("conda create -y -n plain tzdata").success();
    run(&world, "conda install -y -n plain greet").success();
    assert!(world.context.named_prefix("plain").join("conda-meta").is_dir());

    let list = run(&world, "conda env list").success().stdout;
    let places = [("web", one.clone()), ("old", two), ("plain", world.context.named_prefix("plain"))];
    for (name, place) in &places {
        let is_row = |line: &str| line.starts_with(name) && line.ends_with(&place.display().to_string());
        assert!(list.lines().any(is_row), "{list}");
    }
    // So do mlconda's own commands, by the variable.
    for program in ["conda", "mlconda"] {
        for (name, place) in &places {
            let outcome = run(&world, &format!("{program} run -n {name} printenv CONDA_PREFIX")).success();
            assert_eq!(outcome.stdout.trim(), place.display().to_string());
        }
    }
    let outcome = run(&world, "mlconda list -n nothing").failure(1);
    assert!(outcome.stderr.contains("hold `web`, `old` and `plain`: choose one with `-n NAME`"), "{outcome}");
    run(&world, "conda env remove -y -n web").success();
    assert!(!one.exists());
}

#[test]
fn a_condarc_names_the_directories_of_environments() {
    let world = World::new();
    let place = world.context.home().join("own/web");
    let outcome = world.run("conda config --append envs_dirs ~/own").success();
    assert_eq!(outcome.stderr, "", "it has an effect");
    world.run("conda config --append envs_dirs $HOME/more").success();
    world.run("conda create -y -n web where").success();
    assert!(place.join("conda-meta/history").is_file());
    for line in ["conda run -n web printenv CONDA_PREFIX", "conda shell.posix activate web", "conda info"] {
        let outcome = world.run(line).success();
        assert!(outcome.stdout.contains(&place.parent().unwrap().display().to_string()), "{outcome}");
    }
    let more = world.context.home().join("more").display().to_string();
    assert!(world.run("conda info").success().stdout.contains(&more));
    // An unreadable configuration file does not affect environments that are used by path.
    fs_err::write(world.context.home().join(".condarc"), "channels: [").unwrap();
    world.run(&format!("conda list -p {}", place.display())).success();
    world.run("conda create -y -n other where").failure(1);
}
