//! `-` and pipes as files: of each command that reads or writes a text.

use insta::assert_snapshot;

use crate::{conda::World, world};

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

/// `-` was a file name, and `conda create --file` refused a pipe, which `mlconda install` reads.
#[test]
fn every_kind_of_file_comes_from_a_pipe() {
    let world = World::new();
    let context = &world.context;
    context.locked("env.lock", &["where"]);
    context.write("specs.txt", "# words\nwhere\n");
    let channel = "name: small\nchannels: ['${CHANNELS}/main']\ndependencies:\n  - where\n";
    context.write("environment.yml", channel);
    for (number, line) in [
        "cat env.lock | mlconda install - -n NAME",
        "cat env.lock | mlconda install /dev/stdin -n NAME",
        "cat specs.txt | conda create -y -n NAME --file -",
        "cat specs.txt | conda create -y -n NAME --file /dev/stdin",
        "cat env.lock | conda create -y -n NAME --file /dev/stdin",
        "cat env.lock | conda create -y -n NAME --file -",
        "cat environment.yml | conda env create -n NAME -f -",
        "cat environment.yml | conda env create -n NAME -f /dev/stdin",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("e{number}");
        world.shell(&line.replace("NAME", &name)).success();
        assert_eq!(world.installed(&name), ["where 2.0"], "{line}");
    }
    for line in ["mlconda lock - -o -", "mlconda lock /dev/stdin -o -"] {
        world.shell(&format!("cat environment.yml | {line}")).success();
    }
    for line in [
        "mlconda tree -",
        "mlconda convert - --to pixi",
        "mlconda diff - env.lock",
        "mlconda sbom -",
        "mlconda size -",
        "mlconda verify -n e0 -",
        "mlconda fetch -",
        "mlconda bundle - -o out.bundle",
        "mlconda image - --base scratch --tag x -n e0 --output out.tar",
        "mlconda cache prune --dry-run --keep-locks -",
    ] {
        world.shell(&format!("cat env.lock | {line}")).success();
    }
    assert_snapshot!(world.shell("cat environment.yml | conda create -y -n x --file -"), @"
    exit code 1
    --- stdout
    --- stderr
    error: `-` has an environment.yml, not match specs
    hint: `env create -f -` reads one from a pipe
    ");
    assert!(!context.work().join("-").exists());
}

/// `why` and `diff` had errors that did not help, for orders of words and options that others take.
#[test]
fn the_words_of_why_and_the_environment_of_diff_are_understood() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "where"]);
    world.mlconda(["install", "env.lock", "-n", "ml"]).success();
    let why = |words: [&str; 2]| world.mlconda(["why", words[0], words[1]]).success().stdout;
    assert_eq!(why(["env.lock", "where"]), why(["where", "env.lock"]));
    world.mlconda(["why", "where", "no.lock"]).failure(1);
    let prefix = world.named_prefix("ml").display().to_string();
    let diff = |words: &[&str]| world.mlconda([&["diff", "env.lock"], words].concat());
    assert_eq!(diff(&["-n", "ml"]).success().stdout, diff(&[&prefix]).success().stdout);
    assert_eq!(diff(&["-p", &prefix]).success().stdout, diff(&[&prefix]).success().stdout);
    diff(&[&prefix, "-n", "ml"]).failure(2);
    diff(&["-n", "none"]).failure(1);
}
