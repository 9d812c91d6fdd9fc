//! Output of conda's commands that scripts read, and `run`.

use super::World;

fn world() -> World {
    let world = World::new();
    world.run("conda create -y -n x where arrays<1.26").success();
    world
}

#[test]
fn a_list_has_condas_form() {
    let world = world();
    insta::assert_snapshot!(world.run("conda list -n x ^w"), @r"
    exit code 0
    --- stdout
    # packages in environment at [TEMP]/root/envs/x:
    #
    # Name                    Version                   Build  Channel
    where                     2.0                  h4bc722e_0  file://[CHANNELS]/main
    --- stderr
    ");
    insta::assert_snapshot!(world.run("conda list -n x --explicit --md5 where"), @r"
    exit code 0
    --- stdout
    # This file may be used to create an environment using:
    # $ conda create --name <env> --file <this file>
    # platform: [HOST]
    @EXPLICIT
    file://[CHANNELS]/main/[HOST]/where-2.0-h4bc722e_0.conda#[MD5]
    --- stderr
    ");
    let names: Vec<String> =
        world.run("conda list -n x -f where --export").success().stdout.lines().skip(3).map(str::to_owned).collect();
    assert_eq!(names, ["where=2.0=h4bc722e_0"]);
    assert!(world.run("conda list -n x --json").success().stdout.contains("\"dist_name\": \"where-2.0-h4bc722e_0\""));
    world.run("conda list -n x (").failure(2);
}

#[test]
fn environments_are_listed_as_conda_does() {
    let world = world();
    insta::assert_snapshot!(world.run("conda env list"), @r"
    exit code 0
    --- stdout
    # conda environments:
    #
    base                   [TEMP]/root
    x                      [TEMP]/root/envs/x

    --- stderr
    ");
    insta::assert_snapshot!(world.run("mamba env list --json"), @r#"
    exit code 0
    --- stdout
    {
      "envs": [
        "[TEMP]/root",
        "[TEMP]/root/envs/x"
      ]
    }
    --- stderr
    "#);
    assert_eq!(world.run("conda info --base").success().stdout, format!("{}\n", world.context.root_prefix().display()));
    let info =
        |command: &str| -> serde_json::Value { serde_json::from_str(&world.run(command).success().stdout).unwrap() };
    let told = info("conda info --json");
    for package in told["virtual_pkgs"].as_array().unwrap() {
        assert_eq!(package.as_array().unwrap().len(), 3, "{told}");
    }
    // Editors resolve the link `conda`, and call mlconda by its own name.
    fs_err::create_dir_all(world.context.home()).unwrap();
    let rc = world.context.home().join(".condarc");
    fs_err::write(&rc, "envs_dirs: [~/mine]\nchannels: ['https://host/t/tk-1/lab']\n").unwrap();
    let told = info("conda info --json");
    assert!(!told.to_string().contains("tk-1") && told["envs_dirs"].to_string().contains("mine"), "{told}");
    let own = info("mlconda info --json");
    for key in ["envs", "envs_dirs", "conda_prefix", "conda_version", "config_files", "user_rc_path", "root_writable"] {
        assert!(!told[key].is_null() && told[key] == own[key], "{key}: {own}");
    }
    fs_err::write(&rc, "channels: [\n").unwrap();
    assert!(info("mlconda info --json")["environments"].is_array());
    fs_err::remove_file(&rc).unwrap();
    assert!(world.run("conda info").success().stdout.contains("base environment : "));
    assert_eq!(world.run("conda --version").success().stdout.split_whitespace().next(), Some("conda"));
}

#[test]
fn an_export_is_read_back() {
    let world = world();
    insta::assert_snapshot!(world.run("conda env export -n x --from-history"), @r"
    exit code 0
    --- stdout
    name: x
    channels:
      - file://[CHANNELS]/main
    dependencies:
      - arrays<1.26
      - where
    --- stderr
    ");
    let text = world.run("conda env export -n x --no-builds").success().stdout;
    fs_err::write(world.context.work().join("e.yml"), text).unwrap();
    world.run("conda env create -n y -f e.yml").success();
    assert_eq!(world.installed("x"), world.installed("y"));
}

#[test]
fn a_search_shows_what_there_is() {
    let world = World::new();
    insta::assert_snapshot!(world.run("conda search arrays>=1.25"), @r"
    exit code 0
    --- stdout
    # Name                       Version           Build  Channel             
    arrays                        1.25.2     cpu_py311_0  file://[CHANNELS]/main
    arrays                        1.26.4     cpu_py311_0  file://[CHANNELS]/main
    arrays                        1.26.4    cuda_py311_1  file://[CHANNELS]/main
    --- stderr
    ");
    assert!(world.run("conda search *rrays --json").success().stdout.contains("\"libarrays\""));
    world.run("conda search nothing-like-it").failure(1);
}

#[test]
fn a_command_runs_in_an_environment() {
    let world = world();
    let told = world.run("conda run --no-capture-output -n x where-am-i").success();
    assert!(told.stdout.contains("envs/x"), "{told}");
    world.run("micromamba run -n x -e GREETING=hello sh -c exit").success();
    // The inner conda changes the environment that it runs in.
    world.run("conda run -n x conda install -y greet").success();
    assert!(world.installed("x").iter().any(|package| package.starts_with("greet")));
    world.run("conda run -n nothing true").failure(1);
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    let world = World::new();
    insta::assert_snapshot!(world.run("conda doctor"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `doctor` is not supported
    hint: `mlconda verify` compares an environment with its records
    ");
    insta::assert_snapshot!(world.run("conda instal numpy"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no command `instal`
    hint: there is `install`
    ");
    insta::assert_snapshot!(world.run("conda create -n a/b where"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: `-n` takes a name, but `a/b` is a path
    hint: give the directory with `-p a/b`
    ");
    insta::assert_snapshot!(world.run("conda install -n nothing where"), @r"
    exit code 1
    --- stdout
    --- stderr
    error: there is no environment in `[TEMP]/root/envs/nothing`
    hint: make one with `create`
    ");
    insta::assert_snapshot!(world.run("conda create -n x --frobnicate where"), @r"
    exit code 2
    --- stdout
    --- stderr
    error: there is no option `--frobnicate`; `conda create --help` lists them
    ");
}

#[test]
fn a_copy_with_the_name_of_a_tool_activates_too() {
    let world = World::new();
    world.run("conda create -y -n x tzdata").success();
    for name in ["conda", "micromamba"] {
        let directory = world.context.path().join(format!("copy-{name}"));
        fs_err::create_dir(&directory).unwrap();
        crate::copy_program(&world.context, &directory.join(name));
        let hook = if name == "conda" { "shell.posix hook" } else { "shell hook -s posix" };
        let line = format!(
            "PATH={}:$PATH; eval \"$({name} {hook})\"; {name} activate x && echo $CONDA_PREFIX",
            directory.display()
        );
        let told = world.shell(&line).success();
        assert!(told.stdout.ends_with("root/envs/x\n"), "{told}");
    }
}

#[test]
fn options_of_every_command_may_come_before_the_name_of_conda() {
    let world = World::new();
    world.run("conda create -y -n x tzdata").success();
    let listed = world.run("conda env list").success().stdout;
    for options in ["-q", "-v", "--color never", "--no-color", "--progress json", "--root-prefix ../root"] {
        let told = world.run(&format!("mlconda {options} conda env list")).success().stdout;
        assert_eq!(told, listed, "{options}");
        assert_eq!(world.run(&format!("mlconda {options} env list")).success().stdout, listed, "{options}");
    }
    insta::assert_snapshot!(world.run("mlconda --color grey conda env list"), @r"
    exit code 2
    --- stdout
    --- stderr
    error: `--color` is one of `auto`, `always`, `never`, not `grey`
    ");
    insta::assert_snapshot!(world.run("conda --progress xml env list"), @r"
    exit code 2
    --- stdout
    --- stderr
    error: `--progress` is one of `words`, `json`, not `xml`
    ");
    // The value of another option is not the name of the program.
    world.run("mlconda -n conda create").failure(2);
    // A command of the same name stays the command of `run`.
    let told = world.run("mlconda run -n x conda --version").success();
    assert!(told.stdout.starts_with("conda "), "{told}");
}

/// Tools read the archives of a solve from there.
#[test]
fn a_dry_run_lists_the_archives_to_fetch() {
    let world = World::new();
    let told = world.run("conda create -n x where --dry-run --json").success().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let [fetched] = told["actions"]["FETCH"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert!(fetched["url"].as_str().unwrap().ends_with("/where-2.0-h4bc722e_0.conda"), "{told}");
    for key in ["name", "version", "build", "build_number", "fn", "size", "sha256", "md5", "subdir", "depends"] {
        assert!(!fetched[key].is_null(), "{key}: {told}");
    }
    assert_eq!(told["actions"]["LINK"][0]["dist_name"], "where-2.0-h4bc722e_0");
}

#[test]
fn a_link_to_an_environment_goes_and_the_environment_stays() {
    let world = world();
    let (link, target) = (world.context.named_prefix("link"), world.context.named_prefix("x"));
    fs_err::os::unix::fs::symlink(&target, &link).unwrap();
    let told = world.run("conda env remove -n link").success().stderr;
    assert!(told.contains("The link") && told.contains("stays"), "{told}");
    assert!(!link.exists() && target.join("conda-meta/history").is_file());
}

/// Scripts source them, also if every environment has a prefix of its own.
#[test]
fn the_files_for_shells_are_there_after_an_installation_anywhere() {
    let world = World::new();
    let root = world.context.path().join("new");
    let variables = [("MLCONDA_ROOT", root.to_str().unwrap())];
    world.run_with("conda create -y -p anywhere where", &variables).success();
    assert!(root.join("bin/activate").is_file() && root.join("etc/profile.d/conda.sh").is_file());
    // A root prefix that cannot be made is no error.
    let variables = [("MLCONDA_ROOT", "/dev/null/root")];
    world.run_with("conda create -y -p elsewhere where", &variables).success();
    // The name of mamba has a root prefix of its own.
    let mamba = world.context.path().join("mamba");
    let variables = [("MLCONDA_ROOT", root.to_str().unwrap()), ("MAMBA_ROOT_PREFIX", mamba.to_str().unwrap())];
    world.run_with("micromamba create -y -n y where", &variables).success();
    world.run_with("conda create -y -n z where", &variables).success();
    assert!(mamba.join("envs/y").is_dir() && root.join("envs/z").is_dir());
}
