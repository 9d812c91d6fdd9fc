//! Tests every item of the lists in `docs/environment.md`, so that the page stays correct. Then tests the errors, and
//! forms that the lists do not contain.

mod channels;
mod merge;
mod mistakes;
mod selectors;

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

/// The items of the list below a heading: the example, and what the page says about it. Indented lines continue an
/// item.
pub(crate) fn items(heading: &str) -> Vec<(String, String)> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let joined = section.replace("\n  ", " ");
    let items = joined.lines().filter_map(|line| line.strip_prefix("- `")?.split_once("` → "));
    items.map(|(left, right)| (left.replace('⏎', "\n").replace('⇥', "\t"), right.to_owned())).collect()
}

/// Compares what the page says about each example with what the code says.
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

/// A line break or a no-break space before the build string used to become part of the version, and no package has such
/// a version.
#[test]
fn all_white_space_in_a_spec_separates_as_a_blank_does() {
    let spec = |text: &str| {
        let environment = Environment::from_specs(&[text], &ReadOptions::default()).unwrap();
        let warnings: Vec<String> = environment.warnings.iter().map(|warning| warning.message.clone()).collect();
        (environment.requirements[0].spec.clone(), warnings)
    };
    assert_eq!(spec("python 3.11").1.len(), 1);
    for text in
        ["numpy 1.26 py_0", "numpy >=1.26, <2 *mkl", "a[version=1.26 build=py_0]", "a 1.26 if linux", "python 3.11"]
    {
        for space in ['\t', '\n', '\r', '\u{b}', '\u{85}', '\u{a0}', '\u{2003}', '\u{3000}'] {
            assert_eq!(spec(&text.replace(' ', &space.to_string())), spec(text), "{text:?} with {space:?}");
        }
    }
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

/// The contents of requirements files are part of the environment: without them, the input hash in a lock would be
/// wrong.
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
