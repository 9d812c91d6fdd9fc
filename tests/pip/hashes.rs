//! How pip packages are pinned: by given hashes, and by hashes from the index.

use insta::assert_snapshot;

use super::*;

/// A given hash must match, also if the URL is given, and if the index has another kind of hash.
#[test]
fn every_hash_that_is_given_is_checked() {
    let mut world = world();
    let server = serve(&world, &[Wheel::new("a", "1.0").into(), Wheel::new("b", "1.0").into()]);
    let hash = |name: &str| sha512_hex(fs_err::read(world.path().join(format!("index/files/{name}"))).unwrap());
    let (a, b) = (hash("a-1.0-py3-none-any.whl"), hash("b-1.0-py3-none-any.whl"));
    world.filter(&a, "[SHA512 OF A]");
    world.filter(&b, "[SHA512 OF B]");
    let url = server.url("files/b-1.0-py3-none-any.whl");
    write(&world, &[&format!("a --hash=sha512:{a}"), &format!("b @ {url} --hash=sha512:{b}")]);
    lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(pip_lines(&world, "env.lock"), @"
    # pip requirement: a --hash=sha512:[SHA512 OF A]
    # pip requirement: b @ http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl --hash=sha512:[SHA512 OF B]
    # size: [SIZE] a-1.0-py3-none-any.whl
    # size: [SIZE] b-1.0-py3-none-any.whl
    # pip a @ http://127.0.0.1:[PORT]/files/a-1.0-py3-none-any.whl --hash=sha256:[SHA256]
    # pip b @ http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl --hash=sha256:[SHA256] --direct
    ");
    let before = world.read("env.lock");
    let zeros = "0".repeat(64);
    let signed = format!("b @ {url}?signature=s3cret --hash=sha256:{zeros}");
    let told = [format!("b --hash=sha512:{a}"), format!("b @ {url} --hash=sha256:{zeros}"), signed].map(|line| {
        write(&world, &[&line]);
        lock(&world, &Index::url(&server), &[]).failure(1).stderr.lines().next().unwrap().to_owned() + "\n"
    });
    assert_snapshot!(world.normal(&told.concat()), @"
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl`, whose sha256 is [SHA256], has not the hash that is asked for
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl`, whose sha256 is [SHA256], has not the hash that is asked for
    error: environment.yml:9:9: `http://127.0.0.1:[PORT]/files/b-1.0-py3-none-any.whl?********`, whose sha256 is [SHA256], has not the hash that is asked for
    ");
    world.write("mine/pyproject.toml", "[project]\nname = \"mine\"\nversion = \"1\"\n");
    write(&world, &[&format!("./mine --hash=sha256:{zeros}")]);
    assert_snapshot!(lock(&world, &Index::url(&server), &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: environment.yml:9:9: `mine` is not an archive, which could have a hash
      |
    9 |       - ./mine --hash=sha256:[SHA256]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: remove the hash: a repository is locked by its commit, a directory by its path
    ");
    assert_eq!(world.read("env.lock"), before);
}

#[test]
fn what_has_no_hash_is_locked_by_what_it_is() {
    let world = world();
    let server = serve(&world, &[]);
    Sdist::new("mine", "0.5").unpack(&world.work().join("src/mine")).unwrap();
    Sdist::new("copied", "0.5").unpack(&world.work().join("src/copied")).unwrap();
    Sdist::new("repo", "0.5").static_metadata(StaticMetadata::Built).unpack(&world.work().join("repo/python")).unwrap();
    Wheel::new("local", "1.0").write(&world.work().join("wheels")).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = world.command("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-C", "repo"]).args(arguments);
        command.env("GIT_AUTHOR_DATE", "2024-01-01T00:00:00Z").env("GIT_COMMITTER_DATE", "2024-01-01T00:00:00Z");
        world.outcome(&mut command).success()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    git(&["tag", "v1"]);
    let commit = git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    let repository = format!("git+file://{}/repo@v1#subdirectory=python&egg=repo", world.work().display());
    write(&world, &["-e src/mine", "./src/copied", "./wheels/local-1.0-py3-none-any.whl", &repository]);
    let outcome = lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(outcome, @"
    exit code 0
    --- stdout
    --- stderr
    warning: `repo` is locked by its commit: a repository cannot be pinned by hash
    warning: `copied` and `mine` are locked by their paths: a directory cannot be pinned by hash
    4 packages and 4 of pip ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_snapshot!(pip_lines(&world, "env.lock").replace(&commit, "[COMMIT]"), @"
    # pip requirement: -e src/mine
    # pip requirement: ./src/copied
    # pip requirement: ./wheels/local-1.0-py3-none-any.whl
    # pip requirement: git+file://[TEMP]/work/repo@v1#subdirectory=python&egg=repo
    # pip requested: copied
    # pip requested: local
    # pip requested: mine
    # pip requested: repo
    # size: [SIZE] local-1.0-py3-none-any.whl
    # pip copied @ ./src/copied
    # pip local @ file://[TEMP]/work/wheels/local-1.0-py3-none-any.whl --hash=sha256:[SHA256] --direct
    # pip mine @ ./src/mine --editable
    # pip repo @ git+file://[TEMP]/work/repo@[COMMIT]#subdirectory=python --version=0.5
    ");
    // pip would make an editable clone; a lock has the commit, which does not change.
    let locked = |line: &str, arguments: &[&str]| {
        write(&world, &[line]);
        lock(&world, &Index::url(&server), arguments).success();
        pip_lines(&world, "env.lock").replace(&commit, "[COMMIT]").contains("@[COMMIT]#subdirectory=python")
    };
    let branch = format!("-e {}", repository.replace("@v1", "@trunk"));
    git(&["checkout", "-q", "-b", "trunk"]);
    assert!(locked(&branch, &["--update"]));
    git(&["commit", "-q", "--allow-empty", "-m", "second"]);
    assert!(locked(&branch, &[]), "the branch has moved, and what was locked still answers");
    assert!(!locked(&branch, &["--update", "repo"]));
    assert!(locked(&repository, &[]), "another line is another question");
}
