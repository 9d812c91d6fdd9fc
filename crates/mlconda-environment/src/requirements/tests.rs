//! Lists of requirements and the files that they name.

use std::io;

use super::*;
use crate::PipLine;

/// Reads lines as if they were in `/project/environment.yml`, with these files beside it.
fn read(lines: &[&str], files: &[(&str, &str)]) -> Result<Requirements, String> {
    let line = |(index, text): (usize, &&str)| PipLine {
        text: (*text).to_owned(),
        file: Arc::from(Path::new("environment.yml")),
        directory: "/project".into(),
        location: Location { line: 10 + index, column: 9 },
        selector: None,
    };
    let list: Vec<PipLine> = lines.iter().enumerate().map(line).collect();
    let variables = [("TOKEN".to_owned(), "s3cret".to_owned())];
    let mut reader = |path: &Path| match files.iter().find(|(name, _)| Path::new(name) == path) {
        Some((_, text)) => Ok((*text).to_owned()),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    collect(&list, &variables, &mut reader)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
}

#[test]
fn files_are_read_relative_to_the_file_that_names_them() {
    let files = [
        (
            "/project/req/base.txt",
            "\u{feff}# a comment\nsix \\\n  >= 1.0  # why\n-c file:limits.txt\n-e ../src/mine[dev]\n--find-links ./wheels\n",
        ),
        ("/project/req/limits.txt", "urllib3<2\n"),
    ];
    let read = read(&["-r req/base.txt", "./a b.whl", "wandb"], &files).unwrap();
    let lines: Vec<String> =
        read.entries.iter().map(|entry| format!("{:?} {} {}", entry.role, entry.text, entry.display())).collect();
    assert_eq!(
        lines,
        [
            "Requested six>=1.0 `six   >= 1.0` (req/base.txt:2)",
            "Constraint urllib3<2 `urllib3<2` (req/limits.txt:1)",
            "Requested -e file:///project/src/mine[dev] `-e ../src/mine[dev]` (req/base.txt:5)",
            "Requested file:///project/a%20b.whl `./a b.whl` (environment.yml:11)",
            "Requested wandb `wandb` (environment.yml:12)",
        ]
    );
    assert_eq!(read.indexes.find_links, ["file:///project/req/wheels"]);
    assert_eq!(read.entries[2].path.as_deref(), Some(Path::new("/project/src/mine")));
}

#[test]
fn variables_are_expanded_and_not_shown() {
    let lines = ["--index-url https://me:${TOKEN}@host/simple", "tool @ https://me:pw@host/tool-1.0.tar.gz"];
    let read = read(&lines, &[]).unwrap();
    assert_eq!(read.indexes.index.as_deref(), Some("https://me:s3cret@host/simple"));
    assert_eq!(read.entries[0].display(), "`tool @ https://********@host/tool-1.0.tar.gz` (environment.yml:11)");
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let files = [("/project/a.txt", "six\nnumpy=1.20\n-r a.txt\n--frob\n"), ("/project/b.txt", "-c ../none.txt\n")];
    let lines =
        ["-r a.txt", "-r b.txt", "-r none.txt", "a==${NOT_SET}", "-r https://h/r.txt", "--index-urk https://me:pw@h/s"];
    insta::assert_snapshot!(read(&lines, &files).unwrap_err(), @"
        a.txt:2:6: `=1.20` does not say which versions of `numpy`
          |
        2 | numpy=1.20
          |      ^^^^^
          = help: write `numpy==1.20`

        a.txt:3:4: `a.txt` names itself
          |
        3 | -r a.txt
          |    ^^^^^
          = help: remove one of the lines

        a.txt:4:1: pip has no option `--frob` here
          |
        4 | --frob
          | ^^^^^^
          = help: options of requirements files are `-r`, `-c`, `-e`, `-i`, `--extra-index-url`, `-f`, `--no-index`, `--pre`, `--no-binary`, `--only-binary`, `--trusted-host` and `--hash`

        b.txt:1:4: there is no file `/none.txt`
          |
        1 | -c ../none.txt
          |    ^^^^^^^^^^^
          = help: paths are relative to the file that names them

        environment.yml:12:12: there is no file `/project/none.txt`
           |
        12 |       - -r none.txt
           |            ^^^^^^^^
           = help: paths are relative to the file that names them

        environment.yml:13:12: the environment variable `NOT_SET` is not set
           |
        13 |       - a==${NOT_SET}
           |            ^^^^^^^^^^
           = help: set it, or write its value

        environment.yml:14:12: a requirements file is not read from a server
           |
        14 |       - -r https://h/r.txt
           |            ^^^^^^^^^^^^^^^
           = help: download it, and name the file; then the lock depends on what is here

        environment.yml:15:9: pip has no option `--index-urk` here
           |
        15 |       - --index-urk https://********@h/s
           |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = help: did you mean `--index-url`?
        ");
}
