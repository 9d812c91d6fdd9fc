//! Parses the texts of dependencies and constraints as rattler does. There are thousands, and most have a simple form
//! that is parsed faster here.

use mlconda_types::dependency::is_within_limits;
use rattler_conda_types::{
    MatchSpec, MatchSpecCondition, ParseMatchSpecOptions, ParseStrictness, RepodataRevision, VersionSpec,
};

/// The number of alternatives of a condition.
pub(super) fn alternatives(condition: &MatchSpecCondition) -> usize {
    match condition {
        MatchSpecCondition::MatchSpec(_) => 1,
        MatchSpecCondition::And(one, other) => alternatives(one).saturating_mul(alternatives(other)),
        MatchSpecCondition::Or(one, other) => alternatives(one).saturating_add(alternatives(other)),
    }
}

/// Parses a dependency, with conditions and extras.
pub(crate) fn parse(text: &str) -> Result<MatchSpec, String> {
    if !is_within_limits(text) {
        return Err("it is too long or too deeply nested".to_owned());
    }
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    MatchSpec::from_str(text, options).map_err(|error| error.to_string())
}

/// The form of most dependencies: a name with version bounds (`zlib >=1.2.11,<1.3.0a0`), or a name with a version and
/// perhaps a build string (`libzlib 1.3.1 hb9d3cd8_2`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainSpec<'t> {
    pub(super) name: &'t str,
    pub(super) version: VersionSpec,
    pub(super) build: Option<&'t str>,
}

/// Parses the simple form; `None` for any other text.
pub(super) fn parse_plain(text: &str) -> Option<PlainSpec<'_>> {
    let is_of = |text: &str, others: &[u8], is_letter: fn(&u8) -> bool| {
        let is_one = |byte: u8| is_letter(&byte) || byte.is_ascii_digit() || others.contains(&byte);
        !text.is_empty() && text.bytes().all(is_one)
    };
    let (name, rest) = text.split_once(' ')?;
    let (version, build) = rest.split_once(' ').map_or((rest, None), |(version, build)| (version, Some(build)));
    let is_version = if version.starts_with(['<', '>']) {
        // rattler treats a version that ends in `_` in a special way.
        build.is_none() && !version.ends_with('_') && is_of(version, b"<>=,._!", u8::is_ascii_alphabetic)
    } else {
        let whole = version.strip_suffix(".*").unwrap_or(version);
        version.starts_with(|first: char| first.is_ascii_digit()) && is_of(whole, b".", u8::is_ascii_lowercase)
    };
    let is_build = build.is_none_or(|build| is_of(build, b"._", u8::is_ascii_alphabetic));
    let is_plain = is_version && is_build && is_of(name, b"-_.", u8::is_ascii_lowercase) && is_within_limits(text);
    let version = is_plain.then(|| VersionSpec::from_str(version, ParseStrictness::Lenient))?.ok()?;
    Some(PlainSpec { name, version, build })
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::PackageName;

    use super::*;

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
}
