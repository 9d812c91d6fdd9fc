//! Compares our tree of a YAML file with the crate `serde_yaml`. Its parser is libyaml, which conda uses, too.

use std::path::Path;

use mlconda_types::diagnostic::SourceText;
use proptest::prelude::*;

use super::{Value, YamlNode, parse};

/// A value that both trees can be converted to.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Null,
    Truth(bool),
    Number(f64),
    Text(String),
    List(Vec<Plain>),
    Table(Vec<(Plain, Plain)>),
}

/// The value that we read; `None` if we reject the text.
fn ours(text: &str) -> Option<Plain> {
    // `decode` converts line breaks in the same way.
    let text = &text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let document = parse(SourceText { file: Path::new("environment.yml"), text, lines: &lines }).ok()?;
    document.duplicates.is_empty().then(|| document.root.map_or(Plain::Null, |root| plain(&root)))
}

fn plain(node: &YamlNode) -> Plain {
    match &node.value {
        _ if node.is_null() => Plain::Null,
        Value::Scalar { text, .. } => match node.not_a_string() {
            Some("a boolean") => Plain::Truth(text.eq_ignore_ascii_case("true")),
            Some(_) => Plain::Number(number(text)),
            None => Plain::Text(text.clone()),
        },
        Value::Sequence(items) => Plain::List(items.iter().map(|item| plain(item)).collect()),
        Value::Mapping(entries) => {
            Plain::Table(entries.iter().map(|(key, value)| (plain(key), plain(value))).collect())
        }
    }
}

fn number(text: &str) -> f64 {
    let digits = |prefix, base| i64::from_str_radix(text.strip_prefix(prefix)?, base).ok();
    match digits("0x", 16).or_else(|| digits("0o", 8)) {
        Some(number) => number as f64,
        None if text.ends_with(|end: char| end.is_ascii_alphabetic()) => text.replace('.', "").parse().unwrap(),
        None => text.parse().unwrap(),
    }
}

/// The value that the library reads; `None` if it rejects the text.
fn expected(text: &str) -> Option<Plain> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    value.apply_merge().ok()?;
    known(value)
}

fn known(value: serde_yaml::Value) -> Option<Plain> {
    Some(match value {
        serde_yaml::Value::Null => Plain::Null,
        serde_yaml::Value::Bool(value) => Plain::Truth(value),
        serde_yaml::Value::Number(number) => Plain::Number(number.as_f64()?),
        serde_yaml::Value::String(text) => Plain::Text(text),
        serde_yaml::Value::Sequence(items) => Plain::List(items.into_iter().map(known).collect::<Option<_>>()?),
        serde_yaml::Value::Mapping(entries) => Plain::Table(
            entries.into_iter().map(|(key, value)| Some((known(key)?, known(value)?))).collect::<Option<_>>()?,
        ),
        serde_yaml::Value::Tagged(_) => return None,
    })
}

/// Lines of environment files as people write them, including unusual ones.
const LINES: &[&str] = &[
    "name: ml",
    "name: \"ml\" # ours",
    "channels:",
    "channels: [conda-forge, 'nvidia']",
    "channels: []",
    "- conda-forge",
    "  - defaults",
    "  - https://conda.example/t/$TOKEN/lab",
    "dependencies:",
    "dependencies: &common",
    "- python=3.10",
    "  - python >=3.8,<3.13",
    "  - numpy=1.26.*=*_openblas # [linux]",
    "  - 'scipy # no comment'",
    "  - \"pip\\t\\u00e9\"",
    "  - pip:",
    "    - requests==2.31",
    "      - -r requirements.txt",
    "      - \"torch @ https://files.example/torch.whl#sha256=00\"",
    "      - --index-url https://index.example/simple",
    "  - {pip: [a, 'b>=1', \"c\"]}",
    "  - conda-forge::blas=*=mkl",
    "  -",
    "  - ~",
    "  - null",
    "  - 3.10",
    "  - on",
    "- a: b",
    "variables:",
    "  PATH_OF: C:\\data",
    "  LEVEL: 3",
    "  DEBUG: true",
    "  NOTE: 'it''s'",
    "  EMPTY:",
    "  LONG: >-",
    "  TEXT: |",
    "    two words",
    "      and: more",
    "  folded into",
    "prefix: /opt/conda/envs/ml",
    "platforms: [linux-64,",
    "  osx-arm64]",
    "<<: *common",
    "- *common",
    "# a comment",
    "   # a comment",
    "",
    "---",
    "...",
];

/// A document written by the library.
fn value() -> impl Strategy<Value = serde_yaml::Value> {
    let leaf = prop_oneof![
        "[ -~]{0,12}|[é\t\"\\\\'#\u{1}\n: -]{0,6}".prop_map(serde_yaml::Value::from),
        any::<i32>().prop_map(serde_yaml::Value::from),
        any::<bool>().prop_map(serde_yaml::Value::from),
        Just(serde_yaml::Value::Null),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_yaml::Value::Sequence),
            prop::collection::btree_map("[a-z-]{1,8}|[ -~é]{0,4}", inner, 0..4).prop_map(|table| {
                let table = table.into_iter().filter(|(key, _)| key != "<<");
                serde_yaml::Value::Mapping(table.map(|(key, value)| (key.into(), value)).collect())
            }),
        ]
    })
}

#[test]
fn the_end_of_a_block_that_ends_with_the_file() {
    for text in [
        "a: |\n  x",
        "a: |\n  x\n",
        "a: |\n  x\n  ",
        "a: |\n  x\n\n  ",
        "a: |+\n  x",
        "a: |+\n  x\n\n  ",
        "a: |+\n  x\n\n",
        "a: |-\n  x",
        "a: >\n  x\n  y",
        "a: >\n  x\n  ",
        "a: |\n  x \n  ",
        "a: |\n  x\n    ",
    ] {
        assert_eq!(ours(text), expected(text), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_library_writes_is_read(value in value()) {
        let text = serde_yaml::to_string(&value).unwrap();
        prop_assert_eq!(ours(&text), known(value), "{}", text);
    }

    #[test]
    fn what_both_read_is_the_same(
        lines in prop::collection::vec(prop::sample::select(LINES.to_vec()), 0..9), end in prop::sample::select(vec!["\n", "\r\n"])
    ) {
        let text = lines.join(end);
        if let (Some(found), Some(expected)) = (ours(&text), expected(&text)) {
            prop_assert_eq!(found, expected, "{}", text);
        }
    }
}

#[test]
fn scalars_are_what_they_are_to_the_library() {
    for text in [
        "0x1F",
        "0o17",
        ".inf",
        "-.inf",
        "+.INF",
        "1_000",
        "1e3",
        "1.",
        ".5",
        "+1",
        "-0",
        "1e",
        "12:30",
        "2024-01-01",
        "yes",
        "Null",
        "nUll",
        "~",
        "=",
        "!!str 1",
        "\"a\\\n  b\"",
        "'a\n\n  b'",
        "a: |2\n   x",
        "a: |+\n  x\n\n",
        "a: |\n  x",
        "a: >-\n  x\n  y",
        "a: >\n  x\n   y\n\n  z\n",
        "a: |+\n  x",
        "- |\n  - b\n- b",
        "a: |\n  x\n# c",
        "? a\n: b",
        "- - a\n  - b",
        "{a, b: c}",
        "{\"a\":b}",
        "a:b",
        "%YAML 1.1\n---\na",
        "\u{feff}a",
        "a: &x [b]\nc: *x",
        "a: &x {b: c}\nd:\n  <<: *x\n  e: f",
    ] {
        assert_eq!(ours(text), expected(text), "{text:?}");
        assert!(ours(text).is_some(), "{text:?} is refused");
    }
}

/// Texts for which the library has another result, and the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("007", "a number, as YAML 1.2 has it; the library takes it for text"),
    ("0b1", "text, as YAML 1.2 has it; the library reads the number that only YAML 1.1 knew"),
    ("!!int '1'", "no tag but `!!str` counts: nothing in these files needs one"),
    ("a\u{85}b", "no end of a line, as YAML 1.2 has it"),
    ("-\ta", "a tab behind the dash is a space, as YAML 1.2 has it; libyaml refuses it"),
    ("a:\tb", "refused with the advice to replace the tab; conda refuses it too, and libyaml reads it"),
    ("...\na: b", "an end of a document before its beginning; libyaml refuses it"),
];

#[test]
fn all_known_differences_have_a_reason() {
    for (text, reason) in DIFFERENCES {
        assert_ne!(ours(text), expected(text), "{text:?}: no difference any more ({reason})");
    }
}
