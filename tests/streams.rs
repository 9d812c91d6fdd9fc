//! `-` and pipes as files: of each command that reads or writes a text.

use crate::world;

/// `lock`, `convert` and the others wrote a file with the name `-`.
#[test]
fn a_dash_is_stdout_for_every_text() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "where"]);
    world.mlconda(["install", "env.lock", "-n", "ml"]).success();
    let prefix = world.named_prefix("ml").display().to_string();
    for arguments in [
        &["lock", "environment.yml"][..],
        &["lock", "environment.yml", "--format", "pixi"],
        &["lock", "--from-prefix", &prefix],
        &["convert", "env.lock", "--to", "pixi"],
        &["export", "-n", "ml"],
        &["sbom", "env.lock"],
    ] {
        let named = world.mlconda([arguments, &["-o", "out"]].concat()).success();
        assert_eq!(named.stdout, "", "{arguments:?}");
        let printed = world.mlconda([arguments, &["-o", "-"]].concat()).success();
        assert_eq!(printed.stdout, world.read("out"), "{arguments:?}");
        fs_err::remove_file(world.work().join("out")).unwrap();
    }
    let page = world.mlconda(["size", "env.lock", "--html", "-"]).success().stdout;
    assert!(page.starts_with("<!"), "{page}");
    for arguments in [
        &["lock", "-o", "-", "--json"][..],
        &["lock", "-o", "-", "--check"],
        &["lock", "-o", "-", "--platform", "linux-64", "--platform", "osx-arm64"],
        &["add", "special", "-o", "-"],
        &["init", "-f", "-"],
        &["size", "env.lock", "--html", "-", "--json"],
    ] {
        world.mlconda(arguments).failure(2);
    }
    assert!(!world.work().join("-").exists());
}
