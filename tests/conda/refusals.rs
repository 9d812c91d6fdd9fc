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
