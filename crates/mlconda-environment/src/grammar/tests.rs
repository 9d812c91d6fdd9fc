//! Lines of requirements files, as pip reads them.

use super::*;

/// The items of a line, in a short form.
fn read(line: &str) -> String {
    let show = |word: LineItem| match word {
        LineItem::Named(NamedRequirement { name, extras, versions, url, marker, hashes }) => {
            let url = url.map(|url| format!(" @ {url}")).unwrap_or_default();
            format!("{name} {extras:?} {versions}{url} {marker:?} {}", hashes.len())
        }
        other => format!("{other:?}"),
    };
    match parse(line) {
        Ok(words) => words.into_iter().map(show).collect::<Vec<_>>().join(" & "),
        Err(LineError { range, message, help }) => {
            format!("{line}\n{}{}\n{message}; {help}", " ".repeat(range.start), "^".repeat(range.len()))
        }
    }
}

#[test]
fn requirements_are_read_as_pip_reads_them() {
    let sha = "0".repeat(64);
    let lines = [
        ("wandb", "wandb []  None 0"),
        ("Foo.Bar_baz [a, B_c] (>=1.0, <2)", r#"foo-bar-baz ["a", "b-c"] >=1.0, <2 None 0"#),
        (
            "a==1.*;python_version<'3.8' or sys_platform == \"linux\"",
            r#"a [] ==1.* Some("python_version<'3.8' or sys_platform == \"linux\"") 0"#,
        ),
        (
            "a @ https://h/a-1.0.tar.gz#sha256=12 ; os_name=='posix'",
            r#"a []  @ https://h/a-1.0.tar.gz#sha256=12 Some("os_name=='posix'") 0"#,
        ),
        ("torch==2.1.0+cu118,", "torch [] ==2.1.0+cu118 None 0"),
    ];
    for (line, expected) in lines {
        assert_eq!(read(line), expected);
    }
    assert_eq!(read(&format!("a==1 --hash=sha256:{sha} --hash sha256:{sha}")), "a [] ==1 None 2");
    let location = |line: &str| match parse(line).unwrap().remove(0) {
        LineItem::Url(placed) => (placed.location, placed.extras.join(","), placed.editable, placed.marker.is_some()),
        other => panic!("{other:?}"),
    };
    let expected =
        |location: &str, extras: &str, editable, marker| (location.to_owned(), extras.to_owned(), editable, marker);
    assert_eq!(location("-e ."), expected(".", "", true, false));
    assert_eq!(location("-e /src/a b"), expected("/src/a b", "", true, false));
    assert_eq!(location("-e.[dev,test]"), expected(".", "dev,test", true, false));
    assert_eq!(location("./wheels/a-1-py3-none-any.whl"), expected("./wheels/a-1-py3-none-any.whl", "", false, false));
    assert_eq!(location("a-1-py3-none-any.whl"), expected("a-1-py3-none-any.whl", "", false, false));
    assert_eq!(location("../pkg[x] ; os_name=='nt'"), expected("../pkg", "x", false, true));
    let git = "git+https://h/a.git@v1#egg=a&subdirectory=sub";
    assert_eq!(location(git), expected(git, "", false, false));
    assert_eq!(location(&format!("--editable={git}")), expected(git, "", true, false));
}

#[test]
fn options_are_read_as_pip_reads_them() {
    assert_eq!(read("-r a.txt"), r#"Requirements("a.txt")"#);
    assert_eq!(read("-ra.txt"), r#"Requirements("a.txt")"#);
    assert_eq!(read("--requirement=a.txt"), r#"Requirements("a.txt")"#);
    assert_eq!(read("-c 'my file.txt'"), r#"Constraints("my file.txt")"#);
    assert_eq!(read("--no-index --find-links ./w --pre"), r#"NoIndex & FindLinks("./w") & Prereleases"#);
    assert_eq!(
        read("-i https://h/s --extra-index-url=https://u:p@h/t"),
        r#"Index("https://h/s") & ExtraIndex("https://u:p@h/t")"#
    );
    assert_eq!(read("--no-binary :all: --only-binary a,b"), r#"NoBinary(":all:") & OnlyBinary("a,b")"#);
    assert_eq!(read("--trusted-host h --prefer-binary --require-hashes"), r#"TrustedHost("h") & RequireHashes"#);
    assert_eq!(read(""), "");
    assert_eq!(without_comment("a # b"), "a");
    assert_eq!(without_comment("# b"), "");
    assert_eq!(without_comment("git+https://h/a#egg=a\t# b"), "git+https://h/a#egg=a");
}

#[test]
fn what_pip_refuses_is_refused_at_its_place() {
    let lines = [
        "numpy=1.20",
        "numpy 1.20",
        "two words",
        "--extra-index https://h",
        "a --pre",
        "--hash=sha256:12",
        "a --hash=md5:12",
        "a[b",
        "-r",
        "=1",
        "a @",
        "a>=x",
        "--frobnicate",
    ];
    insta::assert_snapshot!(lines.map(read).join("\n\n"), @"
        numpy=1.20
             ^^^^^
        `=1.20` does not say which versions of `numpy`; write `numpy==1.20`

        numpy 1.20
              ^^^^
        `1.20` does not say which versions of `numpy`; write `numpy==1.20`

        two words
            ^^^^^
        `words` does not say which versions of `two`; one line asks for one project: `name`, `name==1.0` or `name>=1,<2`

        --extra-index https://h
        ^^^^^^^^^^^^^
        pip has no option `--extra-index` here; did you mean `--extra-index-url`?

        a --pre
          ^^^^^
        `--pre` is not an option of one requirement; write it as a line of its own

        --hash=sha256:12
        ^^^^^^^^^^^^^^^^
        `--hash` stands on a line without a requirement; write it after the requirement

        a --hash=md5:12
          ^^^^^^^^^^^^^
        `md5:12` is not a sha256, sha384 or sha512; write `--hash=sha256:` and 64 hex digits; others, such as md5, pip does not take either

        a[b
         ^^
        the bracket is not closed; write `name[extra]`

        -r
        ^^
        `-r` lacks its value; write `-r VALUE`

        =1
        ^^
        `=1` is not a requirement; a requirement begins with a project's name, a URL or a path

        a @
          ^
        the URL is missing; write `name @ https://…`

        a>=x
         ^^^
        `>=x` does not say which versions of `a`; versions are as in `>=1.0`, `==2.*` or `~=1.4` (PEP 440)

        --frobnicate
        ^^^^^^^^^^^^
        pip has no option `--frobnicate` here; options of requirements files are `-r`, `-c`, `-e`, `-i`, `--extra-index-url`, `-f`, `--no-index`, `--pre`, `--no-binary`, `--only-binary`, `--trusted-host` and `--hash`
        ");
}

#[test]
fn urls_tell_names() {
    assert_eq!(name_in_url("git+https://h/x.git@v1#egg=My_Tool[x]&subdirectory=y").as_deref(), Some("my-tool"));
    assert_eq!(name_in_url("https://h/My_Tool-1.0-py3-none-any.whl#sha256=1").as_deref(), Some("my-tool"));
    assert_eq!(name_in_url("https://h/my-tool-1.0.tar.gz").as_deref(), Some("my-tool"));
    assert_eq!(name_in_url("git+https://h/x.git"), None);
}
