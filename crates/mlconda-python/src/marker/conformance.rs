//! Compares our evaluation of markers with the crate `pep508_rs`, on random markers.

use std::{collections::BTreeSet, str::FromStr};

use pep508_rs::{ExtraName, MarkerTree};
use proptest::prelude::*;
use rattler_conda_types::Subdir;

use super::MarkerEnvironment;

const PYTHONS: [&str; 4] = ["3.8.20", "3.11.0", "3.12.7", "3.13.0"];
const PLATFORMS: [Subdir; 5] = [Subdir::Linux64, Subdir::LinuxAarch64, Subdir::Osx64, Subdir::OsxArm64, Subdir::Win64];

/// The result of the library; `None` if it rejects the marker.
fn expected(marker: &str, platform: Subdir, python: &str, extras: &[&str]) -> Option<bool> {
    let ours = MarkerEnvironment::new(platform, Some(python.to_owned()));
    let value = |name: &str| ours.value(name).unwrap();
    let environment = pep508_rs::MarkerEnvironment::try_from(pep508_rs::MarkerEnvironmentBuilder {
        implementation_name: &value("implementation_name"),
        implementation_version: python,
        os_name: &value("os_name"),
        platform_machine: &value("platform_machine"),
        platform_python_implementation: &value("platform_python_implementation"),
        platform_release: "",
        platform_system: &value("platform_system"),
        platform_version: "",
        python_full_version: python,
        python_version: &value("python_version"),
        sys_platform: &value("sys_platform"),
    });
    let extras: Vec<ExtraName> = extras.iter().map(|extra| ExtraName::from_str(extra).unwrap()).collect();
    Some(MarkerTree::from_str(marker).ok()?.evaluate(&environment.unwrap(), &extras))
}

fn ours(marker: &str, platform: Subdir, python: &str, extras: &[&str]) -> bool {
    let own: BTreeSet<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
    MarkerEnvironment::new(platform, Some(python.to_owned())).evaluate(marker, &own)
}

fn version() -> impl Strategy<Value = String> {
    let parts = (
        prop::sample::select(vec!["python_version", "python_full_version", "implementation_version"]),
        prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "~="]),
        prop::sample::select(vec!["3.8", "3.9", "3.11", "3.12", "3.12.7", "3.13", "3.13.0", "4.0"]),
        any::<bool>(),
    );
    parts.prop_map(|(name, operator, value, is_turned)| match is_turned && operator != "~=" {
        true => format!("'{value}' {operator} {name}"),
        false => format!("{name} {operator} '{value}'"),
    })
}

fn star() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["python_version", "python_full_version"]);
    let stars = prop::sample::select(vec!["3.*", "3.11.*", "3.12.*"]);
    (names, prop::sample::select(vec!["==", "!="]), stars)
        .prop_map(|(name, operator, value)| format!("{name} {operator} '{value}'"))
}

fn text() -> impl Strategy<Value = String> {
    let texts = [
        ("sys_platform", vec!["linux", "darwin", "win32"]),
        ("sys.platform", vec!["linux", "linux2"]),
        ("platform_system", vec!["Linux", "Darwin", "Windows", "Java"]),
        ("os_name", vec!["posix", "nt"]),
        ("os.name", vec!["posix", "nt", "java"]),
        ("platform_machine", vec!["x86_64", "aarch64", "arm64", "AMD64"]),
        ("platform.machine", vec!["x86_64", "aarch64"]),
        ("implementation_name", vec!["cpython", "pypy"]),
        ("platform_python_implementation", vec!["CPython", "PyPy"]),
        ("python_implementation", vec!["CPython", "Jython"]),
    ];
    let signs = prop::sample::select(vec!["==", "!=", "in", "not in", "turned", "turned not"]);
    (prop::sample::select(texts.to_vec()), 0..4_usize, signs).prop_map(|((name, values), index, operator)| {
        let value = values[index % values.len()];
        match operator {
            "in" | "not in" => format!("{name} {operator} \"{}\"", values[..=index % values.len()].join(" ")),
            "turned" => format!("'{value}' in {name}"),
            "turned not" => format!("'{}' not in {name}", &value[..3.min(value.len())]),
            operator => format!("{name} {operator} \"{value}\""),
        }
    })
}

fn comparison() -> impl Strategy<Value = String> {
    let extra = vec!["extra == 'a'", "extra == 'b_c'", "'b-c' == extra", "extra != 'a'", "'B.C' != extra"];
    let extra = prop::sample::select(extra).prop_map(str::to_owned);
    prop_oneof![version(), star(), text(), extra]
}

fn marker() -> impl Strategy<Value = String> {
    comparison().prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner, prop::sample::select(vec!["and", "or"]), any::<bool>()).prop_map(
            |(one, other, word, in_brackets)| match in_brackets {
                true => format!("({one} {word} {other})"),
                false => format!("{one}  {word} {other}"),
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn markers_mean_what_the_library_takes_them_for(
        marker in marker(), platform in prop::sample::select(PLATFORMS.to_vec()),
        python in prop::sample::select(PYTHONS.to_vec()),
        extras in prop::sample::subsequence(vec!["a", "b-c"], 0..=2),
    ) {
        let expected = expected(&marker, platform, python, &extras);
        prop_assert_eq!(Some(ours(&marker, platform, python, &extras)), expected, "{}", marker);
    }
}

/// Markers for which the library has another result, on Linux with the extra `a`: the marker, the python version, our
/// result, and the reason.
const DIFFERENCES: &[(&str, &str, bool, &str)] = &[
    // Versions before a release. The library drops the `rc1`, or takes 3.13.0rc1 for a version of 3.12.
    ("python_full_version < '3.13'", "3.13.0rc1", false, "PEP 440: `<3.13` leaves out what comes before 3.13 itself"),
    ("python_full_version >= '3.13.0rc1'", "3.13.0rc1", true, "it is that version"),
    ("python_version == '3.12'", "3.13.0rc1", false, "python says 3.13"),
    ("python_version == '3.13'", "3.13.0rc1", true, "python says 3.13"),
    // `in` compares text (PEP 508); the library splits the text into versions.
    ("python_version in '3.121'", "3.12.7", true, "`3.12` is in the text"),
    ("python_version not in '3.80 3.11'", "3.8.20", false, "`3.8` is in the text"),
    ("'3.12' in python_full_version", "3.8.20", false, "the library passes over it"),
    // A text that is not a version is compared as text (PEP 508); the library ignores the comparison.
    ("python_version >= 'three'", "3.12.7", false, "the text is larger"),
    ("'3.8.*' == python_version", "3.8.20", false, "the left side is no version"),
    ("'3.8' ~= python_version", "3.12.7", false, "3.8 is not at least 3.12"),
    ("python_version == '3.12+x'", "3.12.7", false, "PEP 440: a local version is another one"),
    // Old metadata contains such stars; the library ignores the comparison.
    ("python_version < '3.11.*'", "3.12.7", false, "read without the star"),
    // A value that a lock does not contain counts as true; the library takes it for an empty text.
    ("platform_release >= '20'", "3.12.7", true, "the release of the kernel is not known"),
    // A marker that cannot be parsed counts as true; the library rejects it.
    ("sys_platform === 'linux'", "3.12.7", true, "the grammar has `===`"),
    ("nonsense == 'x'", "3.12.7", true, "no such variable"),
    ("os_name == posix", "3.12.7", true, "no quotes"),
    ("python_version >= '3.8' and", "3.12.7", true, "it ends early"),
    ("(python_version >= '3.8'", "3.12.7", true, "a bracket is not closed"),
];

#[test]
fn all_known_differences_have_a_reason() {
    for (marker, python, says, reason) in DIFFERENCES {
        let library = expected(marker, Subdir::Linux64, python, &["a"]);
        assert_eq!(ours(marker, Subdir::Linux64, python, &["a"]), *says, "{marker}: {reason}");
        assert_ne!(library, Some(*says), "{marker}: the library says the same by now");
    }
}
