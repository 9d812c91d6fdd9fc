//! `add --pip`: the line is added to the `pip:` list, the real resolver locks it, and it is installed if a prefix is
//! named.

use mlconda_test::{
    context::{Outcome, TestContext},
    index::{Index, Pages, Release},
    server::Server,
    wheel::Wheel,
};

use crate::{pip::resolver, world};

const FILE: &str = "\
name: small
channels:
  - ${CHANNELS}/main
dependencies:
  - python=3.11  # ours
  - greet=2.0
";

/// An index with `app`, which needs `dep`, in two versions.
fn serve(world: &TestContext) -> Server {
    let app = |version: &str| Wheel::new("My.App", version).requires("dep>=1").file("my_app.py", version);
    let releases: [Release; 3] = [app("1.0").into(), app("2.0").into(), Wheel::new("dep", "1.5").into()];
    Index::write(world.path().join("index"), &releases, Pages::HtmlAndJson).unwrap();
    Server::serve(world.path().join("index")).unwrap()
}

fn run(world: &TestContext, index: &str, words: &[&str]) -> Outcome {
    let (uv, path) = resolver();
    let mut command = world.mlconda_command(words.iter().copied());
    command.env("MLCONDA_UV", uv).env("PATH", path).env("PIP_INDEX_URL", index).env("HOME", world.developer());
    command.env("UV_HTTP_RETRIES", "0").env("no_proxy", "127.0.0.1");
    world.outcome(&mut command)
}

/// The pip packages in the lock.
fn locked(world: &TestContext) -> Vec<String> {
    let text = world.read("env.lock");
    let wheels = text.lines().filter(|line| line.starts_with("# pip ") && line.contains(".whl"));
    wheels.map(|line| line.split(' ').nth(2).unwrap().to_owned() + " " + version(line)).collect()
}

fn version(line: &str) -> &str {
    line.rsplit('/').next().unwrap().split('-').nth(1).unwrap()
}

#[test]
fn a_line_for_pip_is_added_locked_and_installed() {
    let world = world();
    let server = serve(&world);
    let index = Index::url(&server);
    let file = world.write("environment.yml", FILE);
    let before = fs_err::read_to_string(&file).unwrap();
    run(&world, &index, &["add", "--pip", "My.App<2", "-p", "../prefix"]).success();
    assert!(world.read("environment.yml").ends_with("  - pip:\n    - My.App<2\n"), "{}", world.read("environment.yml"));
    assert_eq!(locked(&world), ["dep 1.5", "my-app 1.0"]);
    let place = world.path().join("prefix/lib/python3.11/site-packages/my_app.py");
    assert_eq!(fs_err::read_to_string(&place).unwrap(), "1.0");
    run(&world, &index, &["add", "--pip", "my-app==2.0", "-p", "../prefix"]).success();
    assert_eq!(locked(&world), ["dep 1.5", "my-app 2.0"]);
    assert_eq!(fs_err::read_to_string(&place).unwrap(), "2.0");
    let (file_then, lock_then) = (world.read("environment.yml"), world.read("env.lock"));
    run(&world, &index, &["add", "--pip", "nothing-like-it"]).failure(1);
    assert_eq!((world.read("environment.yml"), world.read("env.lock")), (file_then, lock_then));
    run(&world, &index, &["drop", "--pip", "My_App", "-p", "../prefix"]).success();
    assert!(!place.exists() && locked(&world).is_empty());
    assert!(world.read("environment.yml").starts_with(&before), "{}", world.read("environment.yml"));
}
