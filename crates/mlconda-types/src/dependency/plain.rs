//! Match specs in the common form: a name, a version or version bounds, and perhaps a build. This parser is faster and
//! much smaller than rattler's `MatchSpec`, which knows all forms.

use rattler_conda_types::{ParseStrictness, Version, VersionSpec};

use super::is_within_limits;

/// The form of most dependencies: a name with version bounds (`zlib >=1.2.11,<1.3.0a0`), or a name with a version and
/// perhaps a build string (`libzlib 1.3.1 hb9d3cd8_2`).
#[derive(Debug, PartialEq, Eq)]
pub struct PlainSpec<'t> {
    /// The name of the package.
    pub name: &'t str,
    /// Its version or version bounds.
    pub version: VersionSpec,
    /// Its build string.
    pub build: Option<&'t str>,
}

/// Whether a text is not empty, and consists of letters, digits and the bytes in `others` only.
fn is_of(text: &str, others: &[u8], is_letter: fn(&u8) -> bool) -> bool {
    let is_one = |byte: u8| is_letter(&byte) || byte.is_ascii_digit() || others.contains(&byte);
    !text.is_empty() && text.bytes().all(is_one)
}

fn is_name(text: &str) -> bool {
    is_of(text, b"-_.", u8::is_ascii_lowercase)
}

/// Parses the simple form; `None` for any other text.
pub fn parse_plain(text: &str) -> Option<PlainSpec<'_>> {
    let (name, rest) = text.split_once(' ')?;
    let (version, build) = rest.split_once(' ').map_or((rest, None), |(version, build)| (version, Some(build)));
    let is_build = build.is_none_or(|build| is_of(build, b"._", u8::is_ascii_alphabetic));
    let is_plain = is_build && is_name(name) && is_within_limits(text);
    let version = if is_plain { parse_version(version, build)? } else { return None };
    Some(PlainSpec { name, version, build })
}

/// Parses the version in the common form. `build` is the build string that follows it in the spec.
fn parse_version(version: &str, build: Option<&str>) -> Option<VersionSpec> {
    let is_version = if version.starts_with(['<', '>']) {
        // rattler gives a version that ends in `_` a special meaning.
        build.is_none() && !version.ends_with('_') && is_of(version, b"<>=,._!", u8::is_ascii_alphabetic)
    } else {
        let whole = version.strip_suffix(".*").unwrap_or(version);
        version.starts_with(|first: char| first.is_ascii_digit()) && is_of(whole, b".", u8::is_ascii_lowercase)
    };
    is_version.then(|| VersionSpec::from_str(version, ParseStrictness::Lenient))?.ok()
}

/// Parses a version in the common or in a rarer form: `==1.0`, `=1.0`, `!=1.0`, `~=1.0`, `1.0|1.1`, `1.2*`, `1!2.0`.
/// `build` is the build string that follows it in the spec.
fn parse_any_version(version: &str, build: Option<&str>) -> Option<VersionSpec> {
    if let Some(common) = parse_version(version, build) {
        return Some(common);
    }
    let is_known = is_of(version, b"<>=,._!|*~+", u8::is_ascii_alphabetic) && version.split([',', '|']).all(is_clause);
    let starts_with = version.strip_prefix('=').filter(|rest| !rest.starts_with('='));
    let text = match (starts_with, build) {
        (Some(rest), _) if rest.contains([',', '|', '*']) => None,
        // If a build string follows, `=1.0` means exactly this version.
        (Some(rest), Some(_)) => Some(rest),
        (None, Some(_)) if version.starts_with(['<', '>', '!', '~']) || version.contains([',', '|']) => None,
        _ => Some(version),
    };
    VersionSpec::from_str(text.filter(|_| is_known)?, ParseStrictness::Lenient).ok()
}

/// Whether a text is one version, with at most one operator before it.
fn is_clause(clause: &str) -> bool {
    let version = clause.trim_start_matches(['<', '>', '=', '!', '~']);
    version.starts_with(|first: char| first.is_ascii_digit())
        && !version.ends_with('_')
        && !version.contains(['<', '>', '=', '~'])
}

/// Whether a package of this name, version and build satisfies a match spec.
///
/// Knows these forms: [`PlainSpec`], a bare name, any version (`*`), builds with `*`, and the versions of
/// [`parse_any_version`], with or without a space before them. `None` for other forms (brackets, regular expressions,
/// channels).
pub(super) fn satisfies((name, version, build): (&str, &Version, &str), spec: &str) -> Option<bool> {
    let (wanted, rest) = spec.split_at(spec.find([' ', '<', '>', '=', '!', '~']).unwrap_or(spec.len()));
    let mut words = rest.split_ascii_whitespace();
    let (of_version, of_build) = (words.next(), words.next());
    if !is_name(wanted) || words.next().is_some() {
        return None;
    }
    let is_version = match of_version {
        None | Some("*") => true,
        Some(text) => parse_any_version(text, of_build)?.matches(version),
    };
    let is_build = match of_build {
        None => true,
        // rattler refuses a pattern that contains `**`.
        Some(text) if text.contains("**") && text != "**" => return None,
        Some(text) if is_of(text, b"._*", u8::is_ascii_alphabetic) => is_like(build, text),
        Some(_) => return None,
    };
    Some(wanted == name && is_version && is_build)
}

/// Whether a build string matches a pattern, in which `*` stands for any text. Upper and lower case are equal.
fn is_like(build: &str, pattern: &str) -> bool {
    let (build, pattern) = (build.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = build.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::{MatchSpec, PackageName, PackageRecord};

    use super::*;

    fn parse(text: &str) -> Result<MatchSpec, String> {
        MatchSpec::from_str(text, ParseStrictness::Lenient).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_plain_is_read_as_the_library_reads_it() {
        let texts = [
            "zlib >=1.2.11,<1.3.0a0",
            "a.b-c_d <2|>=3",
            "numpy >=1.21,!=1.22.*",
            "x >1!2",
            "x >=1.2.*",
            "x >=1=0",
            "x >=1=py_0",
            "x >=1,==2",
            "x >=1,",
            "x >=1.",
            "x >==1",
            "x <>1",
            "_x >=1",
            ".x >=1",
            "libzlib 1.3.1 hb9d3cd8_2",
            "python 3.11.* 0_73_pypy",
            "expat 2.7.4.*",
            "libbrotlienc 1.0.9",
            "x 1.2.x",
            "x 1..2",
            "x 1.*.*",
            "x 1.2rc1 py27_0",
            "x 2 2",
            "x 1. a",
            "x 1.2.3.",
            "x 1a.b.c",
        ];
        let mut count = 0;
        for text in texts {
            let Some(PlainSpec { name, version, build }) = parse_plain(text) else { continue };
            let build = build.map(|build| build.parse().unwrap());
            let read =
                MatchSpec { version: Some(version), build, ..MatchSpec::from(name.parse::<PackageName>().unwrap()) };
            assert_eq!(Ok(read), parse(text), "{text}");
            count += 1;
        }
        assert!(count > 10, "{count} of them");
        let others = [
            "zlib",
            "zlib <1._",
            "Zlib >=1",
            "zlib 1.2.*  a",
            "zlib >=1 py_0",
            "zlib >=1[build=x]",
            "a::b >=1",
            "zlib >=1; if x",
        ];
        for text in others.into_iter().chain(["zlib >=>1", "zlib =1.2", "zlib 1.2*", "zlib 1.2 py*", "zlib * *"]) {
            assert_eq!(parse_plain(text), None, "{text}");
        }
    }

    const SPECS: [&str; 51] = [
        "x",
        "y",
        "x *",
        "x * *",
        "x 1.2",
        "x 1.2.*",
        "x 1.2.* *_cp311",
        "x * py3*",
        "x * *a*b*",
        "x * **",
        "x * a*a",
        "x 1.3 PY_0",
        "x 1.3 py_0",
        "x >=1.2,<1.3.0a0",
        "x >=1.3",
        "x <1.3",
        "x 2!1 py",
        "__glibc >=2.17,<3.0.a0",
        "x ==1.3",
        "x =1.2",
        "x==1.2",
        "x=1.2",
        "x>=1.3",
        "x !=1.2",
        "x ~=1.2",
        "x >=1.3|<0.5",
        "x 1.2*",
        "x >=1.0,!=1.2.*",
        "x =1.2=py_0",
        "x =1.2 py_0",
        "x ==1.2 py_0",
        "x 1.2|1.3",
        "x 1.2|1.2.*",
        "x 1!2.0",
        "x 1.2RC1",
        "x  1.2",
        "x ~=1.2.0",
        "x =1.2.*",
        "x <1.3|>1.3",
        "x !=1.2,!=1.3",
        "x 1.2,1.3",
        "x >=1.2 <1.4",
        "x >=1 py_0",
        "x[version='>=1']",
        "x * ^py.*$",
        "c::x >=1",
        " x",
        "x * p**0",
        "X",
        "x*",
        "",
    ];

    /// For each spec that is decided here, the answer is the one of rattler's `MatchSpec`, for each of some records.
    #[test]
    fn what_is_judged_without_the_library_is_judged_as_by_it() {
        let builds = ["py_0", "PY_0", "0_cp311", "h1_cp311", "py311h1_1", "a", "aa", "aab", "xaxbx"];
        let mut judged = 0;
        for spec in SPECS {
            for name in ["x", "y", "__glibc"] {
                for (version, build) in ["1.2", "1.2.0", "1.2.7", "1.3", "2", "2.35"]
                    .iter()
                    .flat_map(|version| builds.map(|build| (version, build)))
                {
                    let record = PackageRecord::new(
                        PackageName::new_unchecked(name),
                        version.parse::<Version>().unwrap(),
                        build.parse().unwrap(),
                    );
                    let Some(ours) = satisfies((name, record.version.version(), build), spec) else { continue };
                    let theirs = parse(spec).map(|parsed| rattler_conda_types::Matches::matches(&parsed, &record));
                    assert_eq!(Ok(ours), theirs, "{spec}: {name} {version} {build}");
                    judged += 1;
                }
            }
        }
        assert_eq!(judged, 39 * 3 * 6 * 9);
    }
}
