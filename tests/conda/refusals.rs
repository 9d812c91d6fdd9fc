//! Commands of conda that are refused, and what they say.

use super::World;

/// It was removed, and the shell was left with an environment that is gone. conda refuses.
#[test]
fn the_active_environment_is_not_removed() {
    let world = World::new();
    world.run("conda create -y -n x where").success();
    let prefix = world.context.named_prefix("x");
    let link = world.context.work().join("link");
    std::os::unix::fs::symlink(&prefix, &link).unwrap();
    for active in [prefix.to_str().unwrap(), link.to_str().unwrap()] {
        for line in ["conda remove -n x --all -y", "conda env remove -n x", "conda env remove -n x --dry-run"] {
            let told = world.run_with(line, &[("CONDA_PREFIX", active)]).failure(1).stderr;
            assert!(told.contains("is the active environment") && told.contains("conda deactivate"), "{told}");
        }
    }
    world.run_with("conda remove -n x where -y", &[("CONDA_PREFIX", prefix.to_str().unwrap())]).success();
    let root = world.context.root_prefix();
    world.run_with("conda env remove -n x", &[("CONDA_PREFIX", root.to_str().unwrap())]).success();
    assert!(!prefix.exists());
}

/// It was said not to be installed, and `list` showed it.
#[test]
fn a_package_of_pip_is_named_as_one() {
    let world = World::new();
    world.run("conda create -y -n x python=3.11 where=1").success();
    let site = world.context.named_prefix("x").join("lib/python3.11/site-packages/Tiny_W-1.0.dist-info");
    fs_err::create_dir_all(&site).unwrap();
    fs_err::write(site.join("METADATA"), "Metadata-Version: 2.1\nName: Tiny_W\nVersion: 1.0\n").unwrap();
    let told = world.run("conda remove -n x tiny_w").failure(1).stderr;
    assert!(told.contains("`tiny_w` is a package of pip") && told.contains("`pip uninstall tiny_w`"), "{told}");
    let told = world.run("conda update -n x tiny-w").failure(1).stderr;
    assert!(told.contains("`tiny-w` is a package of pip") && told.contains("`pip install --upgrade tiny-w`"), "{told}");
    let told = world.run("conda remove -n x tiny").failure(1).stderr;
    assert!(told.contains("`tiny` is not installed"), "{told}");
}

/// A filled cache was said not to exist.
#[test]
fn clean_without_a_target_is_an_error() {
    let world = World::new();
    let cache = world.context.path().join("a cache");
    fs_err::create_dir_all(cache.join("repodata")).unwrap();
    fs_err::create_dir_all(cache.join("pkgs")).unwrap();
    fs_err::write(cache.join("repodata/a.json"), "12345").unwrap();
    fs_err::write(cache.join("pkgs/a"), "1234567").unwrap();
    let variables = [("MLCONDA_CACHE_DIR", cache.to_str().unwrap())];
    let clean = |options: &str| world.run_with(&format!("conda clean {options}"), &variables);
    for options in ["", "-y", "--dry-run"] {
        let told = clean(options).failure(2).stderr;
        assert!(told.contains("`--all`"), "{told}");
    }
    assert!(world.run_with("micromamba clean -y", &variables).success().stderr.contains("Nothing to do"));
    let told = clean("--tempfiles -y").success().stderr;
    assert!(told.contains("There is nothing to clean: mlconda leaves no such files."), "{told}");
    let told = clean("-i --dry-run").success().stderr;
    assert!(told.contains("Would remove the repodata of the cache") && told.contains("5 bytes"), "{told}");
    let told = clean("-il").success().stderr;
    assert!(told.contains("has no repodata any more: 5 bytes"), "{told}");
    assert!(cache.join("pkgs/a").exists() && !cache.join("repodata").exists());
    assert!(clean("-afy").success().stderr.contains("is empty: 7 bytes"));
    assert!(!cache.exists());
}

/// The hint was that of another option.
#[test]
fn a_label_is_refused_with_a_hint_of_its_own() {
    let told = World::new().run("micromamba run --label x true").failure(1).stderr;
    assert!(told.contains("`--label` is not supported") && !told.contains("env -i"), "{told}");
}

/// The shell said that there is no option `--help`.
#[test]
fn activate_and_deactivate_have_help_in_a_shell_with_the_function() {
    let world = World::new();
    for command in ["activate --help", "activate ml -h", "deactivate --help"] {
        let told = world.shell(&format!("eval \"$(conda shell.posix hook)\"; conda {command}")).success();
        let verb = command.split(' ').next().unwrap();
        assert_eq!(told.stdout, world.run(&format!("conda {verb} --help")).success().stdout);
        assert!(told.stdout.starts_with(&format!("conda {verb}: ")) && told.stderr.is_empty(), "{told}");
    }
}

/// All of it was said to be asked for by lines of the command line, as if that were a file.
#[test]
fn a_conflict_names_what_asks_for_each_spec() {
    let world = World::new();
    world.run("conda create -y -n x legacy where=1.1 python=3.11").success();
    let refused = |line: &str| {
        let told = world.run(line).failure(1).stderr;
        let names_line = (1..9).any(|line| told.contains(&format!("command line:{line}")));
        assert!(!names_line && !told.contains("`channels:`"), "{told}");
        told.replace(&world.context.named_prefix("x").display().to_string(), "PREFIX")
    };
    let pinned = world.context.named_prefix("x").join("conda-meta/pinned");
    fs_err::write(&pinned, "# a comment\nwhere 1.* # another\n").unwrap();
    let told = refused("conda install -n x where>=2 greet").replace(mlconda_test::host_subdir(), "HOST");
    insta::assert_snapshot!(told, @"
    error: no set of packages for `HOST` satisfies what is asked for:
    no version of `where` satisfies all of this:
    ├─ the command line asks for `where>=2`
    └─ line 2 of `PREFIX/conda-meta/pinned` asks for `where 1.*`
    these 2 specs exclude each other:
      the command line: where>=2
      PREFIX/conda-meta/pinned:2: where 1.*
    each of these changes gives a solution:
      the command line: `where` instead of `where>=2` (gives where 1.1)
      line 2 of `PREFIX/conda-meta/pinned`: `where` instead of `where 1.*` (gives where 2.0)
    hint: `--no-pin` ignores `conda-meta/pinned`
    ");
    let told = refused("conda install -n x where=3");
    assert!(told.contains("the command line asks for `where=3`") && !told.contains("--no-pin"), "{told}");
    fs_err::write(&pinned, "where 1.*\n\n  frames>>1\n").unwrap();
    let told = refused("conda install -n x greet");
    assert!(told.starts_with("error: PREFIX/conda-meta/pinned:3:3: `frames>>1` is not a match spec"), "{told}");
    world.run("conda install -y -n x --no-pin where>=2").success();
    fs_err::remove_file(&pinned).unwrap();
    let told = refused("conda install -n x --freeze-installed frames");
    assert!(told.contains("`--freeze-installed` asks for `arrays==1.24.0=cpu_py311_0`"), "{told}");
    assert!(told.contains("hint: without `--freeze-installed`, installed packages can change"), "{told}");
    let told = refused("conda install -n x nowhere-to-be-found");
    assert!(told.starts_with("error: the command line: no channel has `nowhere-to-be-found`"), "{told}");
    assert!(told.contains("`--channel CHANNEL`"), "{told}");
    let told = refused("conda remove -n x where>>1");
    assert!(told.starts_with("error: the command line: `where>>1` is not a match spec"), "{told}");
}
