//! Keys of `.condarc`, and their variables, that choose packages.

use super::World;

fn condarc(world: &World, text: &str) {
    fs_err::create_dir_all(world.context.home()).unwrap();
    fs_err::write(world.context.home().join(".condarc"), text).unwrap();
}

/// They did nothing, without a word.
#[test]
fn pinned_packages_hold_for_each_command() {
    let world = World::new();
    condarc(&world, "pinned_packages: [where 1.*, arrays 1.25.*]\n");
    world.run("conda create -y -n x where").success();
    assert_eq!(world.installed("x"), ["where 1.1"]);
    // Also for a package that only another one needs.
    world.run("conda install -y -n x frames").success();
    let installed = world.installed("x");
    assert!(installed.contains(&"arrays 1.25.2".to_owned()), "{installed:?}");
    let told = world.run("conda install -y -n x where>=2").failure(1).stderr;
    assert!(told.contains("`pinned_packages` asks for `where 1.*`"), "{told}");
    assert!(told.contains("hint: `--no-pin` ignores `pinned_packages`"), "{told}");
    world.run("conda install -y -n x --no-pin where>=2").success();
    world.run_with("conda create -y -n y where", &[("CONDA_PINNED_PACKAGES", "where=2.0&greet=1")]).failure(1);
    condarc(&world, "");
    world.run_with("conda create -y -n y where", &[("CONDA_PINNED_PACKAGES", "where=1.0&greet=1")]).success();
    assert_eq!(world.installed("y"), ["where 1.0"]);
    let told = world.run("conda config --append pinned_packages where=1").success().stderr;
    assert!(!told.contains("warning"), "{told}");
}

/// They did nothing, without a word. A package that is asked for keeps its own spec.
#[test]
fn default_packages_are_in_each_new_environment() {
    let world = World::new();
    condarc(&world, "create_default_packages: [where 1.0, tzdata]\n");
    let names = |name: &str| {
        let names = world.installed(name);
        names.iter().map(|each| each.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    world.run("conda create -y -n x where=2 libarrays").success();
    assert_eq!(names("x"), "libarrays tzdata where");
    assert!(world.installed("x").contains(&"where 2.0".to_owned()));
    world.run("conda create -y -n y").success();
    assert!(names("y") == "tzdata where" && world.installed("y").contains(&"where 1.0".to_owned()));
    world.run("conda create -y -n z --no-default-packages libarrays").success();
    assert_eq!(names("z"), "libarrays");
    world.run("conda install -y -n z where").success();
    assert_eq!(names("z"), "libarrays where");
    world.shell("conda list -n z --explicit > z.txt").success();
    world.run("conda create -y -n copy --file z.txt").success();
    assert_eq!(names("copy"), "libarrays where");
    world.context.write_environment(&["libarrays"]);
    world.run("conda env create -n file").success();
    assert_eq!(names("file"), "libarrays tzdata where");
}

/// The variable was ignored, and packages were installed.
#[test]
fn a_dry_run_is_set_by_a_variable_too() {
    let world = World::new();
    world.run("conda create -y -n x where=1").success();
    let dry = [("CONDA_DRY_RUN", "1")];
    for line in ["conda install -y -n x where=2", "conda remove -n x where", "conda remove -n x --all"] {
        world.run_with(line, &dry).success();
        assert_eq!(world.installed("x"), ["where 1.1"], "{line}");
    }
    world.run_with("conda install -y -n x where=2", &[("CONDA_DRY_RUN", "false")]).success();
    assert_eq!(world.installed("x"), ["where 2.0"]);
}
