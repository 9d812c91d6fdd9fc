//! What is accepted, by the lists of `docs/environment.md`: every item is tested here, so that the page is always true. Then
//! how errors look, and what the lists do not contain.

use std::path::Path;

use insta::assert_snapshot;
use rattler_conda_types::Subdir;

use super::{ChannelRule, Environment, EnvironmentError, ReadOptions, Selector, decode};

const PAGE: &str = include_str!("../../../docs/environment.md");

fn options() -> ReadOptions {
    ReadOptions {
        directory: "/project".into(),
        home: Some("/home/user".into()),
        variables: vec![("TOKEN".into(), "secret".into())],
        ..ReadOptions::default()
    }
}

fn read(text: &str) -> Result<Environment, EnvironmentError> {
    Environment::parse(text, Path::new("env/environment.yml"), &options())
}

fn error_found(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// The items of the list below a heading: what is written, and what is said of it. An item continues in indented lines.
pub(crate) fn items(heading: &str) -> Vec<(String, String)> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let joined = section.replace("\n  ", " ");
    let items = joined.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("` → "));
    items.map(|(left, right)| (left.replace('⏎', "\n").replace('⇥', "\t"), right.to_owned())).collect()
}

/// Compares every item with what the code says of its left side.
fn check(heading: &str, say: impl Fn(&str) -> String) {
    let items = items(heading);
    assert!(items.len() > 10, "the list under `{heading}` was not found");
    let wrong: Vec<String> = items
        .iter()
        .filter(|(written, expected)| say(written) != *expected)
        .map(|(written, expected)| format!("{written:?}\n  page: {expected}\n  code: {}", say(written)))
        .collect();
    assert!(wrong.is_empty(), "{} items differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn refused(error: &EnvironmentError) -> String {
    let diagnostic = error.diagnostic().unwrap();
    format!("refused: {}; {}", diagnostic.message, diagnostic.help)
}

fn list<T>(label: &str, items: &[T], say: impl Fn(&T) -> String) -> Option<String> {
    let said: Vec<String> = items.iter().map(|item| format!("`{}`", say(item))).collect();
    (!said.is_empty()).then(|| format!("{label} {}", said.join(", ")))
}

fn selected(text: &str, selector: Option<&Selector>) -> String {
    selector.map_or(text.to_owned(), |selector| format!("{text} if {selector}"))
}

fn summary(environment: &Environment) -> String {
    let variables: Vec<String> = environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parts = [
        environment.name.as_ref().map(|name| format!("name `{name}`")),
        list("channels", &environment.all_channels(), |channel| {
            let url = channel.canonical_name();
            url.replace("https://conda.anaconda.org/", "").trim_end_matches('/').to_owned()
        }),
        list("specs", &environment.requirements, |r| selected(&r.text, r.selector.as_ref())),
        list("pip", &environment.pip, |line| selected(&line.text, line.selector.as_ref())),
        list("variables", &variables, Clone::clone),
        list("platforms", &environment.platforms, ToString::to_string),
        environment.prefix.as_ref().map(|prefix| format!("prefix `{}`", prefix.display())),
        (!environment.warnings.is_empty()).then(|| {
            environment.warnings.iter().map(|w| format!("warning: {}", w.message)).collect::<Vec<_>>().join("; ")
        }),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[test]
fn files_are_read_as_documented() {
    check("Files", |text| match read(text) {
        Ok(environment) => summary(&environment),
        Err(error) => refused(&error),
    });
}

#[test]
fn channels_are_read_as_documented() {
    check("Channels", |text| match read(&format!("channels: ['{text}']")) {
        Ok(environment) => {
            let urls: Vec<_> = environment.channels.iter().map(|c| format!("`{}`", c.base_url)).collect();
            if urls.is_empty() { "nothing".to_owned() } else { urls.join(", ") }
        }
        Err(error) => refused(&error),
    });
}

#[test]
fn match_specs_are_read_as_documented() {
    check("Match specs", |text| {
        let quoted = text.replace('\'', "''");
        match read(&format!("channels: [a]\ndependencies: ['{quoted}']")) {
            Ok(environment) => {
                let spec = environment.requirements[0].spec.to_canonical_string().unwrap();
                let remarks: String =
                    environment.warnings.iter().map(|w| format!("; warning: {}", w.message)).collect();
                format!("`{spec}`{remarks}")
            }
            Err(error) => refused(&error),
        }
    });
}

/// The example on the page is what is printed.
#[test]
fn a_missing_comma_is_shown_with_the_spec_that_was_meant() {
    let example = PAGE.split("```text\n").nth(1).unwrap().split("\n```").next().unwrap();
    let text = "name: x\nchannels:\n  - a\ndependencies:\n  - python >=3.8 <3.12\n";
    assert_eq!(error_found(text).strip_prefix("env/"), Some(example));
}

/// One run tells all that has to be mended, in the order of the lines.
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
    9: `numpy==` is not a match spec: no version stands behind `==`
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
    // Each has its line with it; more than a hundred of them are only counted.
    assert!(mistakes(5000).ends_with("\n\nand 4980 more"));
    let kept = read(&format!("dependencies:\n{}", "  - 1\n".repeat(5000))).unwrap_err();
    assert_eq!(kept.diagnostics().len(), 100);
}

/// The parser of versions takes stack by the depth of parentheses, and time by the square of the length.
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

/// A device has no end.
#[test]
fn files_beyond_reason_are_not_read_whole() {
    let message = Environment::read(Path::new("/dev/zero"), &options()).unwrap_err().to_string();
    assert_eq!(message, "cannot read `/dev/zero`: it is larger than 16 MiB");
}

/// What a file says does not reach the terminal as a command, and what is not seen is shown.
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
    // It shows what is behind it in another order.
    assert!(file("num\u{2067}py").starts_with(r"env/environment.yml:3:5: `num\u{2067}py` has a character in it"));
    assert_snapshot!(file("a\n  -\u{a0}b\n  - c"), @"
    env/environment.yml:4:4: the YAML is broken here
      |
    4 |   - b
      |    ^
      = help: a character that only looks like a space or a `-` stands here: type it anew
    ");
    // The first of them is shown, wherever the parser stumbles.
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
    env/environment.yml:19:12: aliases stand for more than a file can mean
       |
    19 | a18: &a18 [*a17, *a17]
       |            ^^^^
       = help: write the values out
    ");
    assert_snapshot!(error_found(&chain("[*a?]", 100)), @"
    env/environment.yml:64:12: aliases stand for more than a file can mean
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

/// A line of ten thousand characters is not printed whole, and the mark still stands under its place.
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

#[test]
fn every_encoding_that_editors_write_is_read() {
    let text = "name: ümläut\nchannels: [a]\ndependencies: [numpy]\n";
    let units = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    let little = units(u16::to_le_bytes);
    let big = units(u16::to_be_bytes);
    let encoded = [
        text.as_bytes().to_vec(),
        [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        text.replace("channels", "\u{feff}channels").into_bytes(),
        text.replace('\n', "\r\n").into_bytes(),
        text.replace('\n', "\r").into_bytes(),
        [&[0xff, 0xfe], little.as_slice()].concat(),
        [&[0xfe, 0xff], big.as_slice()].concat(),
        little,
        big,
    ];
    let expected = read(text).unwrap();
    for bytes in encoded {
        let environment = read(&decode::decode(&bytes, Path::new("e.yml")).unwrap()).unwrap();
        assert_eq!(environment.digest(), expected.digest(), "{bytes:?}");
        assert_eq!(environment.requirements[0].location, expected.requirements[0].location);
    }
    let error = decode::decode(b"name: x\ndependencies: [\xe9]\n", Path::new("e.yml")).unwrap_err();
    assert_snapshot!(error, @r"
    e.yml:2:16: the byte 0xe9 is no part of a text in UTF-8
      |
    2 | dependencies: [�]
      |                ^
      = help: save the file in UTF-8
    ");
}

#[test]
fn selectors_are_resolved_for_a_platform() {
    let environment = read(
        "channels: [a]\ndependencies:\n  - always\n  - sel(linux): onlinux\n  - sel(osx or win):\n      - elsewhere\n      \
         - mac # [osx]\n  - x86 # [linux64 or osx-64]\n  - arm # [not (x86_64 or win)]\n  - pip\n  - pip:\n      - p # [unix]\n",
    )
    .unwrap();
    let names = |platform| {
        let environment = environment.for_platform(platform);
        let specs = environment.requirements.iter().map(|r| selected(&r.text, r.selector.as_ref()));
        specs.chain(environment.pip.iter().map(|line| line.text.clone())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Subdir::Linux64), "always onlinux x86 pip p");
    assert_eq!(names(Subdir::LinuxAarch64), "always onlinux arm pip p");
    assert_eq!(names(Subdir::Osx64), "always elsewhere mac x86 pip p");
    assert_eq!(names(Subdir::OsxArm64), "always elsewhere mac arm pip p");
    assert_eq!(names(Subdir::Win64), "always elsewhere pip");
}

/// What is found wrong later is shown with the line, in a log of a build for example.
#[test]
fn lines_that_are_kept_show_no_token() {
    let text = "channels: [https://h/t/tk-1/lab]\ndependencies:\n  - https://h/t/tk-2/lab::numpy\n";
    let environment = read(text).unwrap();
    let channel = environment.channel_line("https://h/t/********/lab/").unwrap();
    let shown = [channel, &environment.requirements[0].excerpt].map(|place| place.diagnostic("x", "y").to_string());
    assert!(shown[0].contains("https://h/t/********/lab]"), "{}", shown[0]);
    assert!(shown[1].contains("https://h/t/********/lab::numpy"), "{}", shown[1]);
}

/// A file can be one key of sixteen million letters.
#[test]
fn no_selector_is_too_long_for_the_stack() {
    assert_eq!(Selector::parse(&format!("linux{}", " or linux".repeat(1 << 20))), None);
}

#[test]
fn what_is_not_a_selector_is_not_taken_for_one() {
    for text in
        ["", "linux and", "linux linux", "(linux", "linux)", "py>36", "pip install x", "!linux", &"not ".repeat(99)]
    {
        assert_eq!(Selector::parse(text), None, "{text}");
    }
    assert!(Selector::parse(" not linux or osx and(arm64) ").unwrap().matches(Subdir::OsxArm64));
    let matches = |word: &str, platform| Selector::parse(word).unwrap().matches(platform);
    assert!(matches("armv7l", Subdir::LinuxArmV7l) && !matches("armv6l", Subdir::LinuxArmV7l));
    assert!(matches("emscripten and wasm32", Subdir::EmscriptenWasm32) && !matches("wasi", Subdir::EmscriptenWasm32));
}

#[test]
fn the_digest_is_of_the_meaning() {
    let digest = |text: &str| read(text).unwrap().digest();
    let base =
        "name: x\nchannels: [a, b]\ndependencies: [python=3.11, numpy, pip, {pip: [p, q]}]\nvariables: {A: 1, B: 2}\n";
    let same = [
        "# a comment\nvariables:\n  B: '2'\n  A: 1\ndependencies:\n- numpy  # fast\n- python = 3.11.*\n- pip\n- pip:\n  - p\n  \
         - \"q\"\nchannels:\n- a\n- https://conda.anaconda.org/b/\nname: x\n",
        &format!("{base}prefix: /opt\n"),
    ];
    for text in same {
        assert_eq!(digest(text), digest(base), "{text}");
    }
    let changes = [
        ("x", "y"),
        ("[a, b]", "[b, a]"),
        ("3.11", "3.12"),
        ("[p, q]", "[q, p]"),
        ("B: 2", "B: 3"),
        ("numpy", "scipy"),
    ];
    for (from, to) in changes {
        assert_ne!(digest(&base.replace(from, to)), digest(base), "{from} → {to}");
    }
    let secret =
        |token: &str| digest(&format!("channels: ['https://u:{token}@example.com/t/{token}/a']\ndependencies: [x]"));
    assert_eq!(secret("one"), secret("two"));
}

#[test]
fn channels_of_the_command_line_come_first_or_alone() {
    let channels = |extra: &[&str], channel_rule| {
        let extra_channels = extra.iter().map(ToString::to_string).collect();
        let options = ReadOptions { extra_channels, channel_rule, ..options() };
        let text = "channels: [b, conda-forge]\ndependencies: [c::x, 'https://conda.anaconda.org/b::y']";
        let environment = Environment::parse(text, Path::new("env/environment.yml"), &options)?;
        Ok::<_, EnvironmentError>(list("", &environment.all_channels(), |channel| channel.name().to_owned()).unwrap())
    };
    assert_eq!(channels(&[], ChannelRule::FileAndExtra).unwrap(), " `b`, `conda-forge`, `c`");
    assert_eq!(
        channels(&["conda-forge", "./d"], ChannelRule::FileAndExtra).unwrap(),
        " `conda-forge`, `file:///project/d/`, `b`, `c`"
    );
    assert_eq!(channels(&["d"], ChannelRule::ExtraOnly).unwrap(), " `d`, `c`, `b`");
    assert_snapshot!(channels(&["$X"], ChannelRule::FileAndExtra).unwrap_err(), @r"
    the channel `$X` cannot be used: the environment variable `X` is not set
      = help: set `X`, or write the channel without it
    ");
}

/// The solver compares the channel of a spec with those of records by URL.
#[test]
fn a_spec_means_the_same_channel_as_the_list() {
    for name in ["conda-forge", "./local", "https://example.com/t/$TOKEN/c", "pkgs/r", "file:local"] {
        let environment = read(&format!("channels: ['{name}']\ndependencies: ['{name}::x']")).unwrap();
        assert_eq!(environment.requirements[0].spec.channel.as_deref(), Some(&environment.channels[0]), "{name}");
        assert_eq!(environment.all_channels().len(), 1, "{name}");
    }
}

/// What a variable stands for is a secret as a rule, and is not shown.
#[test]
fn messages_show_variables_by_name() {
    let message = error_found("channels: ['a:$TOKEN']");
    assert!(message.contains("a:$TOKEN") && !message.contains("secret"), "{message}");
}

fn named(file: &str, text: &str) -> Environment {
    Environment::parse(text, Path::new(file), &options()).unwrap()
}

/// As conda-lock merges them: every dependency counts, and the channels must have one order.
#[test]
fn several_files_are_one_environment() {
    let base = named(
        "base.yml",
        "name: ml\nchannels: [nvidia, conda-forge]\ndependencies: [python=3.11, numpy]\nvariables: {A: 1, B: 1}\n\
         platforms: [linux-64]",
    );
    let more = named(
        "more.yml",
        "name: other\nchannels: [conda-forge]\ndependencies:\n  - numpy<2\n  - python=3.11\n  - pip\n  - pip: [x]\n\
         variables: {B: 2}\nplatforms: [osx-arm64, linux-64]",
    );
    // A file without channels has no say in them, and one without dependencies brings none.
    let rest = named("rest.yml", "variables: {C: 3}");
    let merged = Environment::merge(vec![rest.clone(), more.clone(), base.clone()]).unwrap();
    assert_snapshot!(summary(&merged), @"name `other`; channels `nvidia`, `conda-forge`; specs `numpy<2`, `python=3.11`, `pip`, `numpy`; pip `x`; variables `C=3`, `B=1`, `A=1`; platforms `osx-arm64`, `linux-64`");
    let places = merged.requirements.iter().map(|r| format!("{}:{} {}", r.file.display(), r.location.line, r.text));
    assert_snapshot!(places.collect::<Vec<_>>().join("\n"), @"
    more.yml:4 numpy<2
    more.yml:5 python=3.11
    more.yml:6 pip
    base.yml:3 numpy
    ");
    let defaults = Environment::merge(vec![rest.clone(), rest]).unwrap();
    assert_eq!(defaults.channels.len(), 2);

    let other = named("other.yml", "name: o\nchannels: [conda-forge, pytorch]\ndependencies: [x]");
    assert_snapshot!(Environment::merge(vec![base, other]).unwrap_err(), @"
    other.yml:2:1: these channels (conda-forge, pytorch) and those of `base.yml` (nvidia, conda-forge) have no common order: neither list is a part of the other
      |
    2 | channels: [conda-forge, pytorch]
      | ^^^^^^^^
      = help: write the same `channels:` in both files, or leave them out of one
    ");
    assert_snapshot!(Environment::merge(Vec::new()).unwrap_err(), @"no environment file is named");
}

/// A file alone is told what the others settle, and what the others change.
#[test]
fn what_a_merge_changes_is_told() {
    let base = named("base.yml", "channels: [nvidia, conda-forge]\ndependencies: [python=3.11, pip]");
    let more = named("more.yml", "dependencies:\n  - numpy\n  - pip: [x]");
    let warnings = |environments: Vec<Environment>| {
        let merged = Environment::merge(environments).unwrap();
        merged.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(warnings(vec![more.clone(), base]), @"more.yml:1:1: there is no `channels:` here; those of `base.yml` count for it, too");
    assert_snapshot!(warnings(vec![more]), @"more.yml:3:11: there is a `pip:` list, and `pip` is not among the dependencies; it is added, as conda does");
}

/// What an export of another machine leads to is said once, and not where its builds can be had.
#[test]
fn builds_of_another_platform_are_told_once() {
    let text = "name: x\nchannels: [a]\ndependencies:\n  - numpy=1.26\n  - zlib=1.2.13=h8cc25b3_0\n  - vc=14.2\n  \
                - python=3.11.5=he1021f5_0\n  - m2w64-gcc-libs\n  - sel(win): pywin32\n";
    let environment = read(text).unwrap();
    let told = |platform| environment.platform_warnings(platform).iter().map(ToString::to_string).collect::<String>();
    assert_snapshot!(told(Subdir::Linux64), @"env/environment.yml:5:5: `zlib=1.2.13=h8cc25b3_0` and 2 more lines cannot be had for linux-64, but for win-64: the file seems to be an export from there. Export it with `--no-builds` or `--from-history`, or hold lines back as in `- sel(win): zlib`");
    assert_eq!(told(Subdir::Win64), "");
    let by_hand = read("channels: [a]\ndependencies: [make, 'm2-grep[version=3]', m2w64-gcc >=5]")
        .unwrap()
        .platform_warnings(Subdir::Linux64);
    assert_snapshot!(by_hand.iter().map(ToString::to_string).collect::<String>(), @"env/environment.yml:2:22: `m2-grep[version=3]` and one more line cannot be had for linux-64, but for win: hold lines back as in `- sel(win): m2-grep`");
    for (spec, at_home, elsewhere) in [
        ("a=1=py39h06a4308_0", Subdir::Linux64, Subdir::OsxArm64),
        ("a=1=py39hca03da5_0", Subdir::OsxArm64, Subdir::Osx64),
        ("a=1=hecd8cb5_0", Subdir::Osx64, Subdir::Linux64),
        ("a=1=cpu_vs2019_1", Subdir::Win64, Subdir::Linux64),
        ("appnope", Subdir::OsxArm64, Subdir::Linux64),
        ("_libgcc_mutex=0.1=main", Subdir::LinuxAarch64, Subdir::Win64),
    ] {
        let environment = read(&format!("channels: [a]\ndependencies: ['{spec}']")).unwrap();
        assert!(environment.platform_warnings(at_home).is_empty(), "{spec}");
        assert_eq!(environment.platform_warnings(elsewhere).len(), 1, "{spec}");
    }
}

#[test]
fn files_of_other_kinds_are_told_by_their_names() {
    let error_found = |name: &str, text: &str| {
        let error = Environment::parse(text, Path::new(name), &options()).unwrap_err();
        format!("{name}: {}", refused(&error))
    };
    assert_snapshot!(error_found("pyproject.toml", "[project]\nname = 'x'\n"), @"pyproject.toml: refused: this is TOML, and an environment is YAML; name an environment.yml");
    assert_snapshot!(error_found("requirements.txt", "numpy\npandas>=2\n"), @"requirements.txt: refused: an environment is a mapping, and this is a string; list conda's packages under `dependencies:` of an environment.yml, and name what pip requires there: `- -r requirements.txt` under `- pip:`");
    // As pip-compile writes it, it is no YAML.
    assert_snapshot!(error_found("requirements.txt", "numpy==2.0 # via x\npandas==2.2\n"), @"requirements.txt: refused: an environment is YAML, and this is none; list conda's packages under `dependencies:` of an environment.yml, and name what pip requires there: `- -r requirements.txt` under `- pip:`");
}

/// conda's `channel_alias` and `default_channels`.
#[test]
fn a_mirror_takes_the_place_of_the_public_channels() {
    let options = ReadOptions {
        channel_alias: Some("https://$TOKEN@conda.example.com/mirror".into()),
        default_channels: vec![
            "main".into(),
            "./local".into(),
            "https://conda.example.com/r".into(),
            "defaults".into(),
        ],
        ..options()
    };
    let read = |text: &str| Environment::parse(text, Path::new("env/environment.yml"), &options).unwrap();
    let text = "channels: [conda-forge, defaults, 'https://conda.anaconda.org/x', pkgs/r]\n\
                dependencies: ['defaults::a', 'bioconda::b', 'c[channel=conda-forge]']";
    let channels = read(text).all_channels();
    assert_snapshot!(channels.iter().map(|channel| format!("{}\n", channel.base_url)).collect::<String>(), @"
    https://secret@conda.example.com/mirror/conda-forge/
    https://secret@conda.example.com/mirror/main/
    file:///project/local/
    https://conda.example.com/r/
    https://conda.anaconda.org/x/
    https://repo.anaconda.com/pkgs/r/
    https://secret@conda.example.com/mirror/bioconda/
    ");
    assert_eq!(read("dependencies: [x]").channels.len(), 3);
    let options = ReadOptions { channel_alias: Some("mirror".into()), ..options.clone() };
    assert_snapshot!(Environment::parse(text, Path::new("e.yml"), &options).unwrap_err(), @"
    the channel `mirror` cannot be used: relative URL without a base
      = help: the alias of channels is a URL, as in `https://conda.example.com/mirror`
    ");
}

/// What a requirements file says belongs to the environment: the lock's hash of its input would lie without it.
#[test]
fn requirements_files_count_in_the_digest_and_logins_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let digest = |requirements: &str, login: &str| {
        fs_err::write(directory.path().join("requirements.txt"), requirements).unwrap();
        let text = format!(
            "channels: [c]\ndependencies:\n  - python\n  - pip\n  - pip:\n    - -r requirements.txt\n    - --index-url https://{login}h/s\n"
        );
        fs_err::write(directory.path().join("environment.yml"), text).unwrap();
        let options = ReadOptions { directory: directory.path().to_owned(), ..ReadOptions::default() };
        Environment::read(&directory.path().join("environment.yml"), &options).unwrap().digest()
    };
    let before = digest("six==1.0\n", "me:pw@");
    assert_eq!(digest("# why\nsix==1.0  # so\n\n", "me:other@"), before);
    assert_ne!(digest("six==1.1\n", "me:pw@"), before);
}

/// Files without an end, and files that stand for more lines than there is memory for, are refused where they are named.
#[test]
fn requirements_files_have_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    fs_err::File::create(place("large.txt")).unwrap().file().set_len(super::MAX_FILE_SIZE + 1).unwrap();
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
    // Nor does an environment.yml.
    let error = Environment::read(&place("large.txt"), &options).unwrap_err().to_string();
    assert!(error.contains("large.txt`: it is larger than 16 MiB"), "{error}");
}
