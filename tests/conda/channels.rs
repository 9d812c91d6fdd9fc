//! The order of channels: first those of the command line, then the configured ones if the former are not sufficient.

use mlconda_test::server::Server;

use super::World;

fn extra(world: &World) -> String {
    format!("file://{}/extra", world.context.channels().directory().display())
}

#[test]
fn configured_channels_are_asked_where_the_named_ones_do_not_suffice() {
    let world = World::new();
    let extra = extra(&world);
    world.run(&format!("conda create -y -n x -c {extra} special greet python=3.11")).success();
    assert!(world.installed("x").contains(&"where 9.0".to_owned()));
    let refused = world.run(&format!("conda create -y -n y --override-channels -c {extra} special greet")).failure(1);
    assert!(refused.stderr.contains("no channel has `greet`"), "{refused}");
    world.run("conda create -y -n y --override-channels special").failure(2);
    // python is kept, and the message says how to change it.
    world.run("conda create -y -n z python=3.12").success();
    let refused = world.run("conda install -y -n z arrays").failure(1);
    assert!(refused.stderr.contains("python keeps its minor version unless you give one: `python=X.Y`"), "{refused}");
    world.run("conda install -y -n z arrays python=3.11").success();
    // Installed packages are kept, even if their channel is no longer named.
    world.run("conda install -y -n x arrays").success();
    assert!(world.installed("x").contains(&"where 9.0".to_owned()));
    assert!(world.installed("x").contains(&"special 1.2".to_owned()));
}

#[test]
fn order_counts_as_it_is_chosen() {
    let world = World::new();
    let extra = extra(&world);
    let main = extra.replace("/extra", "/main");
    let both = format!("conda create -y --override-channels -c {main} -c {extra}");
    world.run(&format!("{both} -n flexible where>5")).success();
    world.run(&format!("{both} -n strict --strict-channel-priority where>5")).failure(1);
    world.run(&format!("{both} -n newest --no-channel-priority where")).success();
    assert_eq!(world.installed("newest"), ["where 9.0"]);
    world.run_with(&format!("{both} -n variable where>5"), &[("CONDA_CHANNEL_PRIORITY", "strict")]).failure(1);
}

#[test]
fn a_channel_out_of_reach_hides_no_reason() {
    let world = World::new();
    let line = format!("conda create -y -n x -c {} special greet", extra(&world));
    let told = world.run_with(&line, &[("CONDA_CHANNELS", "http://127.0.0.1:9/nothing")]).failure(1);
    assert!(told.stderr.contains("no channel has `greet`"), "{told}");
    assert!(told.stderr.contains("the other channels could not be loaded"), "{told}");
}

#[test]
fn an_alias_and_default_channels_are_condas() {
    let world = World::new();
    let directory = format!("file://{}", world.context.channels().directory().display());
    let variables = [("CONDA_CHANNEL_ALIAS", directory.as_str()), ("CONDA_CHANNELS", "")];
    world.run_with("conda create -y -n x -c extra --override-channels special where", &variables).success();
    let main = format!("{directory}/main");
    let variables = [("CONDA_DEFAULT_CHANNELS", main.as_str()), ("CONDA_CHANNELS", "")];
    world.run_with("conda create -y -n y where", &variables).success();
    assert_eq!(world.installed("y"), ["where 2.0"]);
    // A lock does not depend on the configured channels.
    world.context.write_environment(&["special"]);
    world.run_with("mlconda lock", &[("CONDA_CHANNELS", &format!("{directory}/extra"))]).failure(1);
}

/// Records and exports contain no token, and the URLs in them had none either.
#[test]
fn the_token_of_a_channel_is_used_for_what_is_installed() {
    let world = World::new();
    let directory = world.context.path().join("private");
    fs_err::create_dir_all(directory.join("t")).unwrap();
    fs_err::os::unix::fs::symlink(world.context.channels().directory(), directory.join("t/tk-1")).unwrap();
    let server = Server::serve(&directory).unwrap();
    fs_err::create_dir_all(world.context.home()).unwrap();
    let text = format!("channel_alias: {}\nchannels: [main]\n", server.url("t/${TOKEN}"));
    fs_err::write(world.context.home().join(".condarc"), text).unwrap();
    let run = |line: &str| {
        // Nothing may come from the cache.
        let cache = tempfile::tempdir_in(world.context.path()).unwrap();
        let mut command = world.command(line, &[("MLCONDA_CACHE_DIR", cache.path().to_str().unwrap())]);
        world.context.outcome(command.env_remove("CONDA_CHANNELS").env("TOKEN", "tk-1"))
    };
    let told = run("conda create -y -n a where=1").success().stderr;
    assert!(!told.contains("warning"), "a lock and a file that do not exist are named: {told}");
    run("conda install -y -n a where=2").success();
    let listed = run("conda list -n a --explicit").success().stdout;
    assert!(listed.contains("/t/********/main/") && !listed.contains("tk-1"), "{listed}");
    world.context.write("list.txt", &listed);
    // As with conda, a channel below the alias has a name.
    let exported = run("conda env export -n a").success().stdout;
    assert!(exported.contains("channels:\n  - main\ndep"), "{exported}");
    let listed_with_names = run("conda list -n a").success().stdout;
    assert!(listed_with_names.lines().any(|line| line.starts_with("where") && line.ends_with(" main")));
    let exported = exported.replace("- main", &format!("- {}", server.url("t/********/main")));
    world.context.write("environment.yml", &exported);
    let lines = [
        "conda create -y -n b --clone a",
        "conda install -y -n a --revision 0",
        "conda create -y -n c --file list.txt",
        "conda env create -y -n d",
    ];
    for line in lines {
        run(line).success();
    }
    let installed = ["b", "a", "c", "d"].map(|name| world.installed(name).join(" "));
    assert_eq!(installed, ["where 2.0", "where 1.1", "where 2.0", "where 2.0"]);
}

/// conda's name for it in old Dockerfiles.
#[test]
fn root_is_the_root_prefix() {
    let world = World::new();
    world.run("conda install -y -n root where").success();
    assert!(world.context.root_prefix().join("conda-meta/history").is_file());
    assert!(!world.context.named_prefix("root").exists());
    assert!(world.run("conda list -n base").success().stdout.contains("where"));
    world.run("mlconda run -n root where-am-i").success();
    world.run("conda create -y -n root where").failure(1);
}

/// Shells do not expand it in an option, and it became a directory named `~`.
#[test]
fn a_tilde_is_the_home_directory() {
    let world = World::new();
    let home = world.context.home();
    world.shell("conda create -y --prefix=~/x where").success();
    world.run_with("conda create -y -n z where", &[("MLCONDA_ROOT", "~/root")]).success();
    world.run_with("micromamba shell init -s bash --root-prefix=~/mamba", &[("MAMBA_ROOT_PREFIX", "/other")]).success();
    let hook = world.shell("MAMBA_ROOT_PREFIX=/other; export MAMBA_ROOT_PREFIX; . ~/.bashrc; micromamba info --base");
    assert_eq!(hook.success().stdout.trim_end(), home.join("mamba").display().to_string());
    world.context.write("environment.yml", "dependencies: [where]\n");
    fs_err::copy(world.context.work().join("environment.yml"), home.join("e.yml")).unwrap();
    world.shell("conda env create -n e --file=~/e.yml").success();
    let profile = fs_err::read_to_string(home.join(".bashrc")).unwrap();
    assert!(profile.contains(&home.join("mamba").display().to_string()), "{profile}");
    assert!(home.join("x/conda-meta/history").is_file() && home.join("root/envs/z/conda-meta/history").is_file());
    assert!(!world.context.work().join("~").exists());
}

#[test]
fn a_copy_of_an_environment_takes_no_specs() {
    let world = World::new();
    world.run("conda create -y -n a where").success();
    for rest in ["greet", "--file list.txt"] {
        let refused = world.run(&format!("conda create -y -n b --clone a {rest}")).failure(2);
        assert!(refused.stderr.contains("give no match specs"), "{refused}");
    }
    assert!(!world.context.named_prefix("b").exists());
}
