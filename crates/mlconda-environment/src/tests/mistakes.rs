//! Messages for mistakes: what is wrong, where it is, and what to do.

use super::*;

/// The example on the page is the text that is printed.
#[test]
fn a_missing_comma_is_shown_with_the_spec_that_was_meant() {
    let example = PAGE.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let text = "name: x\nchannels:\n  - a\ndependencies:\n  - python >=3.8 <3.12\n";
    assert_eq!(error_found(text).strip_prefix("env/"), Some(example));
}

/// All errors are reported at once, in the order of the lines.
#[test]
fn all_mistakes_are_told_at_once() {
    let text = "name: a b\nchannels: [two words, a]\nchannels: [b]\ndependencies:\n  - python >=3.8 <3.12\n  - 3.10\n  - pip:\n    \
                - [x]\n  - sel(linux): [numpy==, {npm: x}]\nplatforms: [linux64]\nvariables: {A: [1]}\n";
    let error = read(text).unwrap_err();
    let told: Vec<String> = error.diagnostics().iter().map(|d| format!("{}: {}", d.location.line, d.message)).collect();
    assert_snapshot!(told.join("\n"), @"
    1: `a b` cannot be the name of an environment
    2: `two words` is not a channel: it has a space in it
    3: the key `channels` stands here and on line 2
    5: `python >=3.8 <3.12` lacks a comma between two version constraints
    6: `3.10` is a number to YAML, and a dependency begins with a package's name
    8: a line for pip is a string, and this is a list
    9: `numpy==` is not a match spec: no version follows `==`
    9: `npm:` is not a section of the dependencies; only `pip:` and `sel(…):` are
    10: `linux64` is not a platform
    11: the variable `A` is a list, and should be a string
    ");
    let mistakes = |count: usize| error_found(&format!("channels: [a]\ndependencies:\n{}", "  - 1\n".repeat(count)));
    assert_snapshot!(mistakes(2), @"
    env/environment.yml:3:5: `1` is a number to YAML, and a dependency begins with a package's name
      |
    3 |   - 1
      |     ^
      = help: write `- NAME=1`

    env/environment.yml:4:5: `1` is a number to YAML, and a dependency begins with a package's name
      |
    4 |   - 1
      |     ^
      = help: write `- NAME=1`
    ");
    let many = mistakes(33);
    assert!(many.matches("= help").count() == 20 && many.ends_with("\n\nand 13 more"), "{many}");
    // Each error contains its line; after the first hundred, errors are only counted.
    assert!(mistakes(5000).ends_with("\n\nand 4980 more"));
    let kept = read(&format!("dependencies:\n{}", "  - 1\n".repeat(5000))).unwrap_err();
    assert_eq!(kept.diagnostics().len(), 100);
}

/// The parser of versions needs stack in proportion to the depth of parentheses, and time in proportion to the square
/// of the length.
#[test]
fn specs_beyond_reason_are_refused() {
    let spec = |spec: &str| error_found(&format!("channels: [a]\ndependencies:\n  - '{spec}'\n"));
    let deep = spec(&format!("a {}1{}", "(".repeat(20_000), ")".repeat(20_000)));
    assert!(deep.contains(":3:5: `a ((((") && deep.contains("is too long"), "{deep}");
    let bracketed = spec(&format!("a[version=\"{}1\"]", "(".repeat(3000)));
    assert!(bracketed.contains("too deeply nested"), "{bracketed}");
    let long = spec(&format!("a >=1{}", ",!=1.1".repeat(20_000)));
    assert!(long.contains("is too long") && long.len() < 1000, "{long}");
    let entries: Vec<String> = (0..10_001).map(|number| format!("k{number}: x\n")).collect();
    let many = error_found(&format!("variables:\n  {}", entries.join("  ")));
    assert!(many.contains(":10002:3: a mapping of more than 10000 keys"), "{many}");
}

/// A device such as `/dev/zero` has no end.
#[test]
fn files_beyond_reason_are_not_read_whole() {
    let message = Environment::read(Path::new("/dev/zero"), &options()).unwrap_err().to_string();
    assert_eq!(message, "cannot read `/dev/zero`: it is larger than 16 MiB");
}

/// Text of a file must not reach the terminal as a control sequence, and invisible characters are shown escaped.
#[test]
fn invisible_characters_are_written_out() {
    let file = |spec: &str| error_found(&format!("channels: [a]\ndependencies:\n  - {spec}\n"));
    assert_snapshot!(file("num\u{200b}py"), @r"
    env/environment.yml:3:5: `num\u{200b}py` has a character in it that cannot be seen (\u{200b})
      |
    3 |   - num py
      |     ^^^^^^
      = help: write `numpy`
    ");
    assert_snapshot!(file("\u{1b}[31mnumpy"), @r"
    env/environment.yml:3:5: `\u{1b}[31mnumpy` has a character in it that cannot be seen (\u{1b})
      |
    3 |   -  [31mnumpy
      |     ^^^^^^^^^^
      = help: write a package's name, then a version if need be: `numpy`, `numpy=1.26`, `numpy >=1.24,<2`
    ");
    // This character reverses the direction of the text after it.
    assert!(file("num\u{2067}py").starts_with(r"env/environment.yml:3:5: `num\u{2067}py` has a character in it"));
    assert_snapshot!(file("a\n  -\u{a0}b\n  - c"), @"
    env/environment.yml:4:4: the YAML is broken here
      |
    4 |   - b
      |    ^
      = help: a character that only looks like a space or a `-` stands here: type it anew
    ");
    // The first such character is shown, even if the parser reports an error at another place.
    assert_snapshot!(file("a\n\u{a0} - b\n\u{a0} - c"), @"
    env/environment.yml:4:1: the YAML is broken here
      |
    4 |   - b
      | ^
      = help: a character that only looks like a space or a `-` stands here, and on one more line: type it anew
    ");
}

#[test]
fn aliases_that_stand_for_more_than_memory_holds_are_refused() {
    let chain = |each: &str, length: usize| {
        let before = |number: usize| each.replace('?', &(number - 1).to_string());
        let lines = (1..length).map(|number| format!("a{number}: &a{number} {}\n", before(number)));
        format!("a0: &a0 [x]\n{}dependencies: [a]\n", lines.collect::<String>())
    };
    assert_snapshot!(error_found(&chain("[*a?, *a?]", 40)), @"
    env/environment.yml:19:12: the aliases expand to too many values
       |
    19 | a18: &a18 [*a17, *a17]
       |            ^^^^
       = help: write the values out
    ");
    assert_snapshot!(error_found(&chain("[*a?]", 100)), @"
    env/environment.yml:64:12: the aliases expand to too many values
       |
    64 | a63: &a63 [*a62]
       |            ^^^^
       = help: write the values out
    ");
    assert!(read(&chain("[*a?]", 10)).is_ok());
}

#[test]
fn broken_yaml_is_shown_with_its_place() {
    assert_snapshot!(error_found("name: x\ndependencies:\n  - a\n   - pip:\n"), @r"
    env/environment.yml:4:9: the YAML is broken: mapping values are not allowed in this context
      |
    4 |    - pip:
      |         ^
      = help: check the indentation, the `- ` and the `:` on this line and on the one above it
    ");
    assert_snapshot!(error_found("dependencies:\n\t- a\n"), @r"
    env/environment.yml:2:2: the YAML is broken: tabs disallowed within this context (block indentation)
      |
    2 | 	- a
      | 	^
      = help: YAML is indented by spaces only: replace the tab
    ");
    assert_snapshot!(error_found("dependencies: [a, b\n"), @"
    env/environment.yml:1:20: the YAML is broken: while parsing a flow sequence, expected ',' or ']'
      |
    1 | dependencies: [a, b
      |                    ^
      = help: check the brackets: what is opened is closed, and commas stand between the entries
    ");
    assert_snapshot!(error_found("dependencies:\n  - ***\n"), @r"
    env/environment.yml:2:5: the YAML is broken: while parsing node, found unknown anchor
      |
    2 |   - ***
      |     ^
      = help: put the value in quotes: it begins with a character that means something to YAML
    ");
    assert_snapshot!(error_found("- ".repeat(100).as_str()), @r"
    env/environment.yml:1:129: values are nested more than 64 deep
      |
    1 | …- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - 
      |                                          ^
      = help: check that this is an environment file
    ");
}

/// A line of ten thousand characters is not printed in full, and the marker is still below the right place.
#[test]
fn long_lines_are_cut() {
    let text = format!("dependencies: [{}a >=1 <2{}]", "x, ".repeat(100), ", y".repeat(1000));
    assert_snapshot!(error_found(&text), @r"
    env/environment.yml:1:316: `a >=1 <2` lacks a comma between two version constraints
      |
    1 | … x, x, x, x, x, x, x, x, x, x, x, x, x, a >=1 <2, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y, y…
      |                                          ^^^^^^^^
      = help: write `a >=1,<2`
    ");
}

/// The value of a variable is often a secret, so it is not shown.
#[test]
fn messages_show_variables_by_name() {
    let message = error_found("channels: ['a:$TOKEN']");
    assert!(message.contains("a:$TOKEN") && !message.contains("secret"), "{message}");
}

#[test]
fn files_of_other_kinds_are_told_by_their_names() {
    let error_found = |name: &str, text: &str| {
        let error = Environment::parse(text, Path::new(name), &options()).unwrap_err();
        format!("{name}: {}", refused(&error))
    };
    assert_snapshot!(error_found("pyproject.toml", "[project]\nname = 'x'\n"), @"pyproject.toml: refused: this is TOML, and an environment is YAML; name an environment.yml");
    assert_snapshot!(error_found("requirements.txt", "numpy\npandas>=2\n"), @"requirements.txt: refused: an environment is a mapping, and this is a string; list conda's packages under `dependencies:` of an environment.yml, and name what pip requires there: `- -r requirements.txt` under `- pip:`");
    // The output of pip-compile is not YAML.
    assert_snapshot!(error_found("requirements.txt", "numpy==2.0 # via x\npandas==2.2\n"), @"requirements.txt: refused: an environment is YAML, but this file is not; list conda's packages under `dependencies:` of an environment.yml, and name what pip requires there: `- -r requirements.txt` under `- pip:`");
}

/// Files without an end, and files that expand to more lines than fit in memory, are rejected at the line that names
/// them.
#[test]
fn requirements_files_have_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    fs_err::File::create(place("large.txt")).unwrap().file().set_len(crate::MAX_FILE_SIZE + 1).unwrap();
    fs_err::write(place("latin.txt"), b"six # caf\xe9\n").unwrap();
    for level in 0..40 {
        fs_err::write(place(&format!("{level}.txt")), format!("-r {0}.txt\n-r {0}.txt\n", level + 1)).unwrap();
    }
    fs_err::write(place("40.txt"), "six\n").unwrap();
    let files = ["/dev/zero", ".", "large.txt", "latin.txt", "0.txt"];
    let lines: String = files.iter().map(|file| format!("      - -r {file}\n")).collect();
    let text = format!("dependencies:\n  - python\n  - pip:\n{lines}");
    fs_err::write(place("environment.yml"), text).unwrap();
    let options = ReadOptions { directory: directory.path().to_owned(), ..ReadOptions::default() };
    let error = Environment::read(&place("environment.yml"), &options).unwrap_err().to_string();
    let error = error.replace(&format!("{}/", directory.path().display()), "");
    let told: Vec<&str> = error.lines().filter(|line| line.contains(".yml:")).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    environment.yml:4:12: `/dev/zero` cannot be read: it is not a regular file
    environment.yml:5:12: `.` cannot be read: it is a directory
    environment.yml:6:12: `large.txt` cannot be read: it is larger than 16 MiB
    environment.yml:7:12: `latin.txt` cannot be read: it is not UTF-8 text
    ");
    assert!(error.contains("more than 1000 requirements files are named"), "{error}");
    // The same limit holds for an environment.yml.
    let error = Environment::read(&place("large.txt"), &options).unwrap_err().to_string();
    assert!(error.contains("large.txt`: it is larger than 16 MiB"), "{error}");
}
