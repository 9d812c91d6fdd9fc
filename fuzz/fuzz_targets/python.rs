//! Files and texts of python's tools: `pylock.toml`, markers, metadata, names of wheels.

use std::{collections::BTreeSet, str::FromStr};

use arbitrary::Unstructured;
use mlconda_pip::fuzzing;
use mlconda_python::{archive_version, marker::MarkerEnvironment, metadata::Metadata, normalize, tags::WheelName};
use pep508_rs::{ExtraName, MarkerTree};
use rattler_conda_types::Subdir;
use serde_json::Value;

use crate::bits;

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(_) => "a date".into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}

/// Replaces each value that may be a date by `a date`.
fn without_dates(value: Value) -> Value {
    let digits = |text: &str| {
        text.len() >= 10 && text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.as_bytes()[4] == b'-'
    };
    match value {
        Value::String(text) if digits(&text) => "a date".into(),
        Value::Array(values) => values.into_iter().map(without_dates).collect(),
        Value::Object(table) => table.into_iter().map(|(key, value)| (key, without_dates(value))).collect(),
        other => other,
    }
}

/// Valid TOML is never read wrongly, and a lock of python packages is read or refused.
pub(crate) fn pylock(data: &[u8]) {
    let Some(text) = bits::text(data) else { return };
    let _ = fuzzing::pylock(text);
    let Ok(ours) = fuzzing::toml(text) else { return };
    let Ok(theirs) = text.parse::<toml::Table>() else { return };
    assert_eq!(without_dates(ours), without_dates(json(toml::Value::Table(theirs))), "{text}");
}

const VERSION_NAMES: [&str; 3] = ["python_version", "python_full_version", "implementation_version"];
const TEXT_NAMES: [&str; 8] = [
    "sys_platform",
    "platform_system",
    "os_name",
    "platform_machine",
    "implementation_name",
    "platform_python_implementation",
    "sys.platform",
    "python_implementation",
];

/// A comparison of a marker.
fn comparison(input: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let texts =
        ["linux", "darwin", "win32", "Linux", "posix", "nt", "x86_64", "arm64", "cpython", "CPython", "", "x y"];
    Ok(match input.int_in_range(0..=5)? {
        0 | 1 => {
            let (name, sign) =
                (input.choose(&VERSION_NAMES)?, input.choose(&["==", "!=", "<", "<=", ">", ">=", "~="])?);
            // pip and mlconda read `~= '3.6.0'` as 3.6 only. `pep508_rs` drops the zero at the end, and accepts later
            // ones.
            let least = u8::from(*sign == "~=");
            let count = if *sign == "~=" { 2..=3 } else { 1..=4 };
            let numbers = input.int_in_range(count)?;
            let version: Vec<String> = (0..numbers)
                .map(|_| Ok(input.int_in_range(least..=14_u8)?.to_string()))
                .collect::<arbitrary::Result<_>>()?;
            format!("{name} {sign} '{}'", version.join("."))
        }
        2 => format!("'{}' {} extra", input.choose(&["a", "B.c", "b_c"])?, input.choose(&["==", "!="])?),
        3 => format!("{} {} '{}'", input.choose(&TEXT_NAMES)?, input.choose(&["in", "not in"])?, input.choose(&texts)?),
        _ => format!("{} {} \"{}\"", input.choose(&TEXT_NAMES)?, input.choose(&["==", "!="])?, input.choose(&texts)?),
    })
}

fn marker_of(input: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<String> {
    if depth == 0 || input.int_in_range(0..=2_u8)? == 0 {
        return comparison(input);
    }
    let (one, other) = (marker_of(input, depth - 1)?, marker_of(input, depth - 1)?);
    let word = input.choose(&["and", "or"])?;
    Ok(if input.arbitrary()? { format!("({one} {word} {other})") } else { format!("{one} {word} {other}") })
}

/// Markers have the same value as with `pep508_rs`; any other text is read or counts as true.
pub(crate) fn marker(data: &[u8]) {
    let (flags, rest) = bits::flags(data);
    let python = ["3.8.20", "3.11.0", "3.12.7", "3.13.0"][usize::from(flags >> 1 & 3)];
    let ours = MarkerEnvironment::new(Subdir::Linux64, Some(python.to_owned()));
    let extras = BTreeSet::from(["a".to_owned(), "b-c".to_owned()]);
    if flags & 1 == 0 {
        if let Some(text) = bits::text(rest) {
            let _ = ours.evaluate(text, &extras);
        }
        return;
    }
    let Ok(text) = marker_of(&mut Unstructured::new(rest), 4) else { return };
    let environment = pep508_rs::MarkerEnvironment::try_from(pep508_rs::MarkerEnvironmentBuilder {
        implementation_name: "cpython",
        implementation_version: python,
        os_name: "posix",
        platform_machine: "x86_64",
        platform_python_implementation: "CPython",
        platform_release: "",
        platform_system: "Linux",
        platform_version: "",
        python_full_version: python,
        python_version: &python[..python.rfind('.').unwrap_or(python.len())],
        sys_platform: "linux",
    })
    .expect("an environment");
    let theirs: Vec<ExtraName> = extras.iter().map(|name| ExtraName::from_str(name).expect("a name")).collect();
    let Ok(tree) = MarkerTree::from_str(&text) else { return };
    assert_eq!(ours.evaluate(&text, &extras), tree.evaluate(&environment, &theirs), "{text} with {python}");
}

/// Metadata, and names of projects, archives and wheels.
pub(crate) fn metadata(data: &[u8]) {
    let Some(text) = bits::text(data) else { return };
    let _ = Metadata::read(text);
    for line in text.lines().take(20) {
        let name = normalize(line);
        assert_eq!(normalize(&name), name);
        let _ = archive_version(line, line.split('-').next().unwrap_or_default());
        if let Some(wheel) = WheelName::parse(line) {
            let _ = wheel.tags();
        }
    }
}
