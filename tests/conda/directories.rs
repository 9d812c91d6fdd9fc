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

/// Each way to write a directory in the variable or in the file, and where the environment is.
#[test]
fn directories_are_read_as_conda_reads_them() {
    let world = World::new();
    let (home, work) = (world.context.home(), world.context.work());
    let own = world.context.root_prefix().join("envs");
    let cases = [
        (format!(" {} : ", work.join("spaces").display()), work.join("spaces")),
        (":".to_owned(), own.clone()),
        ("~".to_owned(), home.clone()),
        ("~/under".to_owned(), home.join("under")),
        ("$HOME/more".to_owned(), home.join("more")),
        (format!("{}/${{NOTHING}}/$NAME/envs", work.display()), work.join("${NOTHING}/of/envs")),
        (own.display().to_string(), own.clone()),
        (format!("{}/no/such:{}", work.join("dangling").display(), work.join("two").display()), work.join("two")),
    ];
    std::os::unix::fs::symlink("nowhere", work.join("dangling")).unwrap();
    for (number, (text, directory)) in cases.iter().enumerate() {
        for variable in ["CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"] {
            let name = format!("{}{number}", &variable[11..].to_lowercase());
            let run = |line: &str| world.run_with(line, &[(variable, text.as_str()), ("NAME", "of")]);
            run(&format!("conda create -y -n {name} tzdata")).success();
            assert!(directory.join(&name).join("conda-meta/history").is_file(), "{variable}={text}");
            run(&format!("mlconda list -n {name}")).success();
            // Each directory is named once, and that of the root prefix last.
            let shown = run("conda config --show envs_dirs").success().stdout;
            let mut rows: Vec<&str> = shown.lines().skip(1).map(|line| line.trim_start_matches("  - ")).collect();
            assert_eq!(rows.last(), Some(&own.to_str().unwrap()), "{shown}");
            rows.dedup();
            assert_eq!(rows.len(), shown.lines().count() - 1, "{shown}");
        }
    }
}

/// The name means the first one; an empty directory is none. Both are listed.
#[test]
fn two_environments_of_one_name_are_both_listed() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| world.context.work().join(name));
    for place in [&one, &two] {
        world.run(&format!("conda create -y -p {} tzdata", place.join("x").display())).success();
    }
    fs_err::create_dir_all(one.join("y")).unwrap();
    world.run(&format!("conda create -y -p {} tzdata", two.join("y").display())).success();
    let list = run(&world, "conda env list").success().stdout;
    for place in [one.join("x"), two.join("x"), two.join("y")] {
        assert!(list.lines().any(|line| line.ends_with(place.to_str().unwrap())), "{list}");
    }
    for (name, place) in [("x", one.join("x")), ("y", two.join("y"))] {
        let outcome = run(&world, &format!("conda run -n {name} printenv CONDA_PREFIX")).success();
        assert_eq!(outcome.stdout.trim(), place.to_str().unwrap());
    }
}

/// What `mlconda create` makes, `mlconda run` finds: neither reads the file.
#[test]
fn mlcondas_own_commands_agree_on_the_directory() {
    let world = World::new();
    world.run("conda config --append envs_dirs ~/own").success();
    world.run("mlconda create -y -n web tzdata").success();
    assert!(world.context.named_prefix("web").join("conda-meta/history").is_file());
    for line in ["mlconda list -n web", "mlconda verify -n web", "conda list -n web"] {
        world.run(line).success();
    }
    assert!(world.run("mlconda env list").success().stdout.contains("root/envs/web"));
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
