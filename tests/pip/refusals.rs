//! Lists that cannot be locked: each is rejected at its line.

use insta::assert_snapshot;

use super::*;

/// Archives from which no list of [`REFUSED`] can be satisfied.
fn unhelpful() -> Vec<Release> {
    vec![
        Wheel::new("a", "1.0").requires("b<2").into(),
        Wheel::new("b", "2.0").into(),
        Wheel::new("b", "1.0").into(),
        Release::from(Wheel::new("taken-back", "1.0")).yanked("it is broken"),
        Wheel::new("windows-only", "1.0").tags("cp311-cp311-win_amd64").into(),
        Sdist::new("src-only", "0.3").into(),
    ]
}

/// Lists that cannot be locked.
const REFUSED: [&[&str]; 10] = [
    &["no-such-project"],
    &["pytorch"],
    &["a", "b>=2"],
    &["taken-back>=1"],
    &["windows-only"],
    &["--only-binary :all:", "src-only"],
    &["b==2.0 --hash=sha256:HASH"],
    &["b; python_versio < '3'"],
    &["./no/such/directory"],
    &["-e ."],
];

#[test]
fn lists_that_cannot_be_locked_are_refused_at_their_lines() {
    let mut world = world();
    let platforms = ["manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "macosx_13_0_x86_64", "macosx_13_0_arm64"];
    platforms.iter().for_each(|platform| world.filter(platform, "[PLATFORM]"));
    let server = serve(&world, &unhelpful());
    let mut told = String::new();
    for lines in REFUSED {
        let quoted = |line: &&str| format!("\"{}\"", line.replace("HASH", &"0".repeat(64)));
        let lines: Vec<String> = lines.iter().map(quoted).collect();
        write(&world, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let text = lock(&world, &Index::url(&server), &[]).failure(1).to_string();
        told.push_str(&format!("{}\n{}\n\n", lines.join(", "), text.split("--- stderr\n").nth(1).unwrap()));
        assert!(!world.work().join("env.lock").exists());
    }
    assert_snapshot!(world.normal(&told), @r#"
    "no-such-project"
    error: the `pip:` list cannot be locked for [HOST]:
      Because no-such-project was not found in the package registry and you require no-such-project, we can conclude that your requirements are unsatisfiable.
      asked for: `no-such-project` (environment.yml:9)
    hint: correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`

    "pytorch"
    error: the `pip:` list cannot be locked for [HOST]:
      Because pytorch was not found in the package registry and you require pytorch, we can conclude that your requirements are unsatisfiable.
      asked for: `pytorch` (environment.yml:9)
      conda's `pytorch` is called `torch` there
    hint: correct the name: a project can have another name than its module or its conda package. A package that only conda has belongs above `pip:`

    "a", "b>=2"
    error: the `pip:` list cannot be locked for [HOST]:
      Because all versions of a depend on b<2 and you require a, we can conclude that you require b<2.
      And because you require b>=2, we can conclude that your requirements are unsatisfiable.
      asked for: `a` (environment.yml:9)
      asked for: `b>=2` (environment.yml:10)

    "taken-back>=1"
    error: the `pip:` list cannot be locked for [HOST]:
      Because taken-back==1.0 was yanked (reason: it is broken) and you require taken-back==1.0, we can conclude that your requirements are unsatisfiable.
      asked for: `taken-back>=1` (environment.yml:9)

    "windows-only"
    error: the `pip:` list cannot be locked for [HOST]:
      Because windows-only==1.0 has no wheels with a matching platform tag (e.g., `[PLATFORM]`) and only windows-only==1.0 is available, we can conclude that all versions of windows-only cannot be used.
      And because you require windows-only, we can conclude that your requirements are unsatisfiable.
      Wheels are available for `windows-only` (v1.0) on the following platform: `win_amd64`
      asked for: `windows-only` (environment.yml:9)

    "--only-binary :all:", "src-only"
    error: the `pip:` list cannot be locked for [HOST]:
      Because src-only==0.3 has no usable wheels and only src-only==0.3 is available, we can conclude that all versions of src-only cannot be used.
      And because you require src-only, we can conclude that your requirements are unsatisfiable.
      asked for: `src-only` (environment.yml:10)

    "b==2.0 --hash=sha256:[SHA256]"
    error: `b` has no suitable file for [HOST]: none has the hash that is asked for
      asked for: `b==2.0 --hash=sha256:[SHA256]` (environment.yml:9)
      there is: b-2.0-py3-none-any.whl (sha256:[SHA256])
    hint: if you know that the index replaced the file, correct the hash; otherwise somebody has changed the file

    "b; python_versio < '3'"
    error: environment.yml:9:9: expected a quoted string or a valid marker name, found `python_versio`
      |
    9 |       - b; python_versio < '3'
      |         ^^^^^^^^^^^^^^^^^^^^^^
      = help: a requirement is as in PEP 508: `name>=1; python_version < '3.12'`

    "./no/such/directory"
    error: environment.yml:9:9: there is no `[TEMP]/work/no/such/directory`
      |
    9 |       - ./no/such/directory
      |         ^^^^^^^^^^^^^^^^^^^
      = help: paths are relative to the file that names them

    "-e ."
    error: environment.yml:9:9: `[TEMP]/work` is not a project of python: it has no `pyproject.toml` and no `setup.py`
      |
    9 |       - -e .
      |         ^^^^
      = help: name the directory that has it; paths are relative to the file that names them
    "#);
}

/// Errors also name the lines if the resolver does not name the package, and if only the server knows the reason.
#[test]
fn what_is_wrong_with_places_is_told_with_their_lines() {
    let world = world();
    let server =
        serve(&world, &[Wheel::new("forbidden", "1.0").into(), Wheel::new("deep", "1.0").requires("no-such").into()]);
    server.fail("simple/forbidden", Fault::Status(403));
    world.write("broken/pyproject.toml", "[project]\nname = \n");
    let missing = format!("x @ {}", server.url("files/x-1.0-py3-none-any.whl"));
    let mut told = String::new();
    write(&world, &["./broken"]);
    let broken = lock(&world, &Index::url(&server), &[]).failure(1);
    assert!(broken.stderr.contains("asked for: `./broken` (environment.yml:9)"), "{broken}");
    for line in ["--find-links ./nowhere", &missing, "forbidden", "deep", "-r no.txt"] {
        write(&world, &[line]);
        let outcome = lock(&world, &Index::url(&server), &[]).failure(1);
        told.push_str(&format!("{line}\n{}\n", outcome.stderr));
        assert!(!world.work().join("env.lock").exists());
    }
    assert_snapshot!(world.normal(&told), @"
    --find-links ./nowhere
    error: environment.yml:9:9: there is no `[TEMP]/work/nowhere`
      |
    9 |       - --find-links ./nowhere
      |         ^^^^^^^^^^^^^^^^^^^^^^
      = help: paths are relative to the file that names them

    x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl
    error: the `pip:` list cannot be locked for [HOST]:
      Failed to download `x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl`
      Failed to fetch: http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl
      HTTP status client error (404 Not Found) for url (http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl)
      asked for: `x @ http://127.0.0.1:[PORT]/files/x-1.0-py3-none-any.whl` (environment.yml:9)
    hint: correct the URL: its server has no such file

    forbidden
    error: the `pip:` list cannot be locked for [HOST]:
      Because forbidden was not found in the package registry and you require forbidden, we can conclude that your requirements are unsatisfiable.
      An index (http://127.0.0.1:[PORT]/simple/) returned a 403 Forbidden error. Check that the index URL is correct and the credentials are valid.
      asked for: `forbidden` (environment.yml:9)
    hint: the index needs a login: in its URL, as `https://${USER}:${PASSWORD}@host/simple`, or in `~/.netrc`

    deep
    error: the `pip:` list cannot be locked for [HOST]:
      Because no-such was not found in the package registry and all versions of deep depend on no-such, we can conclude that all versions of deep cannot be used.
      And because you require deep, we can conclude that your requirements are unsatisfiable.
      asked for: `deep` (environment.yml:9)

    -r no.txt
    error: environment.yml:9:12: there is no file `[TEMP]/work/no.txt`
      |
    9 |       - -r no.txt
      |            ^^^^^^
      = help: paths are relative to the file that names them
    ");
}

#[test]
fn extras_that_no_index_knows_are_told() {
    let world = world();
    let newer = Wheel::new("greet", "2.5").extra("loud", "sirens");
    let server = serve(&world, &[newer.into(), Wheel::new("sirens", "1.0").into(), Wheel::new("a", "1.0").into()]);
    write(&world, &["greet[loud]", "a"]);
    let outcome = lock(&world, &Index::url(&server), &[]).success();
    assert_snapshot!(outcome, @"
    exit code 0
    --- stdout
    --- stderr
    warning: what the extras of `greet` need is not known, and not locked: conda has a version that the index lacks
    4 packages and 1 of pip ([SIZE] to download) for [HOST] locked in `env.lock`, in [TIME]
    ");
    assert_eq!(pip_lines(&world, "env.lock").matches(" @ ").count(), 1);
}
