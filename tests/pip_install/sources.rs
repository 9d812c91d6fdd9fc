//! Source archives: the environment's own pip builds them.

use insta::assert_snapshot;

use super::*;

/// A python with a stand-in for pip, which always installs `PIP` 1.0 in the way of pip. It compiles in its own way.
fn python_with_pip() -> PackageBuilder {
    const PYTHON: &str = r#"#!/bin/sh
if [ "$2" = -S ]; then
    echo cpython-311
    while read -r time path; do
        text="${10}: $time $path"
        printf '%s\n%s' "${#text}" "$text"
    done
    exit
fi
# An isolated python ignores PYTHONDONTWRITEBYTECODE: without -B, it would write byte code that is in no record.
[ "$1 $2 $3 $5" = '-I -B -c install' ] || exit 3
for last; do :; done
case "$last" in *broken*) echo "no such back end"; exit 1;; esac
site="$PREFIX/lib/python3.11/site-packages"
case "$last" in *below*)
    mkdir -p "$site/below-1.0.dist-info"
    echo below > "$site/named/below.py"
    cd "$site/below-1.0.dist-info"
    printf 'Name: below\nVersion: 1.0\n' > METADATA
    for path in METADATA RECORD; do echo "below-1.0.dist-info/$path,,"; done > RECORD
    echo 'named/below.py,,' >> RECORD
    exit;;
esac
mkdir -p "$site/built-1.0.dist-info" "$PREFIX/bin"
echo "$last" | sed "s#.*/##" > "$site/built.py"
printf '#!/bin/sh\n' > "$PREFIX/bin/built"
chmod 700 "$PREFIX/bin/built"
cd "$site/built-1.0.dist-info"
printf 'Name: built\nVersion: 1.0\n' > METADATA
echo '{"url": "file:///where/it/was"}' > direct_url.json
: > REQUESTED
for path in METADATA direct_url.json REQUESTED RECORD; do echo "built-1.0.dist-info/$path,,"; done > RECORD
printf 'built.py,,\n../../../bin/built,,\n' >> RECORD
"#;
    PackageBuilder::new("python", "3.11.9")
        .executable("bin/python3.11", PYTHON)
        .file(&format!("{SITE}/pip/__main__.py"), "")
}

/// A lock with a python that can build, and with lines for pip packages.
fn lock_to_build(world: &TestContext, lines: &[String]) {
    let python = packages::line(world, &python_with_pip());
    let head = format!("# mlconda lock: 1\n# input: sha256:{}\n# platform: {}\n", "0".repeat(64), host_subdir());
    world.write("env.lock", &format!("{head}{}@EXPLICIT\n{python}", lines.concat()));
}

fn sources(world: &TestContext, name: &str, options: &str) -> String {
    let archive = Sdist::new(name, "1.0").write(&world.path().join("sources")).unwrap();
    let sha256 = sha256_hex(fs_err::read(&archive).unwrap());
    format!("# pip {name} @ file://{} --hash=sha256:{sha256}{options}\n", archive.display())
}

#[test]
fn sources_are_built_by_the_environments_own_pip() {
    let world = world();
    lock_to_build(&world, &[sources(&world, "built", "")]);
    let install = || world.mlconda(["install", "env.lock", "-p", "../prefix"]);
    assert_snapshot!(install().success(), @"
    exit code 0
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    Building `built` with the environment's pip
    + python 3.11.9
    + built 1.0 (pip)
    Linked 2 packages in `[TEMP]/prefix`: 3 files, [SIZE], in [TIME].
    1 package ran code to be built by pip: `built`.
    ");
    assert_eq!(text(&world, &format!("{SITE}/built.py")), "built-1.0.tar.gz\n", "it is given the checked archive");
    let modified = fs_err::metadata(prefix(&world).join(SITE).join("built.py")).unwrap().mtime();
    let code = text(&world, &format!("{SITE}/__pycache__/built.cpython-311.pyc"));
    assert_eq!(code, format!("timestamp: {modified} {SITE}/built.py"));
    assert!(
        text(&world, &format!("{SITE}/built-1.0.dist-info/RECORD")).contains("\n__pycache__/built.cpython-311.pyc,,\n")
    );
    assert_snapshot!(site(&world), @"
    lib/python3.11/site-packages/__pycache__
    lib/python3.11/site-packages/__pycache__/built.cpython-311.pyc
    lib/python3.11/site-packages/built-1.0.dist-info
    lib/python3.11/site-packages/built-1.0.dist-info/METADATA
    lib/python3.11/site-packages/built-1.0.dist-info/RECORD
    lib/python3.11/site-packages/built.py
    lib/python3.11/site-packages/pip
    lib/python3.11/site-packages/pip/__main__.py
    ");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    let fresh = tree::archived(&prefix(&world)).unwrap();
    assert!(install().success().stderr.contains("is up to date: 2 packages"));
    fs_err::remove_dir_all(prefix(&world)).unwrap();
    install().success();
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    // If an archive cannot be built, the old environment stays.
    lock_to_build(&world, &[sources(&world, "broken", "")]);
    assert_snapshot!(install().failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 1 package into `[TEMP]/prefix`
    Building `broken` with the environment's pip
    error: pip could not install `broken` (exit status: 1):
    no such back end

    hint: the prefix is unchanged. What the build needs, such as `setuptools`, must be a package of the environment
    ");
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    let right = sources(&world, "built", "");
    let wrong = right.replace(right.rsplit(':').next().unwrap(), &format!("{}\n", sha256_hex("other")));
    lock_to_build(&world, &[wrong]);
    assert!(install().failure(1).stderr.contains("is not what the lock says"));
    assert_eq!(tree::difference(&fresh, &tree::archived(&prefix(&world)).unwrap()), "");
    lock_to_build(&world, &[]);
    install().success();
    assert!(!prefix(&world).join("bin/built").exists());
}

#[test]
fn what_pip_builds_is_whole_and_stays_where_the_lock_is_slim() {
    let world = world();
    lock_to_build(&world, &[sources(&world, "built", "")]);
    let install = || world.mlconda(["install", "env.lock", "-p", "../prefix", "--slim=bytecode"]).success();
    install();
    let again = install().to_string();
    assert!(again.contains("is up to date: 2 packages"), "{again}");
}

/// pip writes through a link of a package, and python reads through it.
#[test]
fn what_is_built_below_a_link_of_a_package_is_compiled() {
    let world = world();
    let linked =
        PackageBuilder::new("linked", "1.0").link(&format!("{SITE}/named"), "../../real").directory("lib/real");
    let lines = [packages::line(&world, &python_with_pip()), packages::line(&world, &linked)];
    let head = format!("# mlconda lock: 1\n# input: sha256:{}\n# platform: {}\n", "0".repeat(64), host_subdir());
    let below = sources(&world, "below", "");
    world.write("env.lock", &format!("{head}{below}@EXPLICIT\n{}", lines.concat()));
    let outcome = world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(!outcome.stderr.contains("warning"), "{outcome}");
    let modified = fs_err::metadata(prefix(&world).join("lib/real/below.py")).unwrap().mtime();
    let code = text(&world, "lib/real/__pycache__/below.cpython-311.pyc");
    assert_eq!(code, format!("timestamp: {modified} {SITE}/named/below.py"));
    let record = text(&world, &format!("{SITE}/below-1.0.dist-info/RECORD"));
    assert!(record.contains("\nnamed/__pycache__/below.cpython-311.pyc,,\n"), "{record}");
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    lock_to_build(&world, &[]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(!prefix(&world).join("lib/real/__pycache__").exists());
}

/// A failure restores the old prefix, also for a change in place after one package was already built.
#[test]
fn a_second_package_that_cannot_be_built_takes_the_first_with_it() {
    let world = world();
    let real = world.path().join("real");
    fs_err::create_dir(&real).unwrap();
    fs_err::os::unix::fs::symlink(&real, prefix(&world)).unwrap();
    lock_to_build(&world, &[]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    let before = tree::tree(&real).unwrap();
    lock_to_build(&world, &[sources(&world, "built", ""), sources(&world, "broken", "")]);
    let outcome = world.mlconda(["install", "env.lock", "-p", "../prefix"]).failure(1);
    assert!(outcome.stderr.contains("Building `broken`") && outcome.stderr.contains("the prefix is unchanged"));
    assert_eq!(tree::difference(&before, &tree::tree(&real).unwrap()), "");
}

#[test]
fn what_is_built_is_not_built_without_pip_or_against_the_users_will() {
    let world = world();
    let line = sources(&world, "built", "");
    lock(&world, &PACKAGES, std::slice::from_ref(&line));
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 3 packages into `[TEMP]/prefix`
    error: `built` has to be built from its sources, but the environment has no pip to do that
    hint: add `pip` and the packages that the build needs to the environment.yml, and lock it again
    ");
    lock_to_build(&world, &[line]);
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--no-scripts"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    error: `built` has to be built from its sources, which runs code of the package
    hint: install without `--no-scripts`, or use a version that has a wheel
    ");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    lock_to_build(&world, &[format!("# pip built @ git+https://host.example/built.git@{commit}\n")]);
    assert_snapshot!(world.mlconda(["install", "env.lock", "-p", "../prefix", "--offline"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    Installing 2 packages into `[TEMP]/prefix`
    error: `built` has to be fetched with git, and network access is disabled
    hint: install without `--offline`
    ");
    assert!(!prefix(&world).exists());
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert_eq!(text(&world, &format!("{SITE}/built.py")), format!("built.git@{commit}\n"));
    world.mlconda(["verify", "../prefix", "env.lock"]).success();
    lock_to_build(&world, &["# pip built @ ./built --editable\n".to_owned()]);
    world.mlconda(["install", "env.lock", "-p", "../prefix"]).success();
    assert!(world.mlconda(["install", "env.lock", "-p", "../prefix"]).success().stderr.contains("up to date"));
}
