//! Compares versions as numbers.
//!
//! conda's comparison takes a hundred steps, and a solve compares a hundred thousand times. But most versions are a few
//! numbers with dots between them, and compare as these numbers. This also holds for the form of most upper bounds,
//! `2.0a0`, which is just below `2.0`. All other versions are compared by rattler.

use std::{cmp::Ordering, ops::Range};

use rattler_conda_types::{
    Version, VersionSpec,
    version_spec::{EqualityOperator, LogicalOperator, RangeOperator, StrictRangeOperator},
};

/// The most numbers that a version may have here. Most versions have two or three.
const MAX_SEGMENTS: usize = 6;

/// A version that consists of a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumericVersion {
    /// The numbers. Missing ones count as 0, as in conda.
    key: [u32; MAX_SEGMENTS],
    /// The number of numbers that the version has.
    count: u8,
    /// Whether letters follow, as in `2.0a0`. Such a version is below the one without letters.
    is_below: bool,
}

impl NumericVersion {
    /// The numbers of a version without letters; `None` for any other version.
    pub fn release(version: &Version) -> Option<Self> {
        Self::of(version).filter(|numeric| !numeric.is_below)
    }

    fn of(version: &Version) -> Option<Self> {
        if version.has_epoch() || version.has_local() {
            return None;
        }
        let (mut key, mut count) = ([0; MAX_SEGMENTS], 0);
        for segment in version.segments() {
            let mut components = segment.components();
            let number = components.next()?.as_number().and_then(|number| u32::try_from(number).ok())?;
            *key.get_mut(usize::from(count))? = number;
            count += 1;
            match components.next() {
                None => {}
                Some(next) if next.is_dev() || next.as_iden().is_some() => {
                    return Some(Self { key, count, is_below: true });
                }
                Some(_) => return None,
            }
        }
        Some(Self { key, count, is_below: false })
    }

    /// How a version without letters compares to this one: `Less` if it is below.
    fn compared_with(self, release: Self) -> Ordering {
        let is_same = if self.is_below { Ordering::Greater } else { Ordering::Equal };
        release.key.cmp(&self.key).then(is_same)
    }

    /// Whether a version without letters starts with this one; `None` if the numbers do not tell.
    fn starts_with(self, release: Self) -> Option<bool> {
        let is_known = !self.is_below && self.count <= release.count;
        let count = usize::from(self.count);
        is_known.then(|| self.key[..count] == release.key[..count])
    }
}

/// A version, and its numbers if it consists of numbers only.
#[derive(Clone, Copy)]
pub struct ComparableVersion<'a> {
    /// The version.
    pub version: &'a Version,
    /// Its numbers: the result of [`NumericVersion::release`].
    pub numeric: Option<NumericVersion>,
}

impl ComparableVersion<'_> {
    /// Compares in conda's order: `1.0` and `1.0.0` are equal.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self.numeric, other.numeric) {
            (Some(one), Some(other)) => one.key.cmp(&other.key),
            _ => self.version.cmp(other.version),
        }
    }
}

/// A version spec whose numbers are parsed already.
pub struct VersionMatcher<'s>(MatcherKind<'s>);

enum MatcherKind<'s> {
    Range(RangeOperator, NumericVersion, &'s VersionSpec),
    StartsWith(StrictRangeOperator, NumericVersion, &'s VersionSpec),
    /// `==` or `!=`.
    Equal(EqualityOperator, NumericVersion, &'s VersionSpec),
    Group(LogicalOperator, Vec<MatcherKind<'s>>),
    Other(&'s VersionSpec),
}

impl<'s> VersionMatcher<'s> {
    /// Parses the numbers of a spec.
    pub fn new(spec: &'s VersionSpec) -> Self {
        Self(MatcherKind::new(spec))
    }

    /// Whether a version matches the spec.
    pub fn matches(&self, version: ComparableVersion<'_>) -> bool {
        self.0.matches(version)
    }

    /// The range of the matching items in a list that is sorted by version. `None` if the matching items may not be
    /// adjacent.
    pub fn matching_range<'v, T>(
        &self,
        sorted: &[T],
        version: &impl Fn(&T) -> ComparableVersion<'v>,
    ) -> Option<Range<usize>> {
        self.0.matching_range(sorted, version)
    }
}

impl<'s> MatcherKind<'s> {
    fn matching_range<'v, T>(
        &self,
        sorted: &[T],
        version: &impl Fn(&T) -> ComparableVersion<'v>,
    ) -> Option<Range<usize>> {
        let operator = match self {
            Self::Group(LogicalOperator::And, group) => {
                let both = |one: Range<usize>, other: Range<usize>| one.start.max(other.start)..one.end.min(other.end);
                let of_all = |all, form: &Self| Some(both(all, form.matching_range(sorted, version)?));
                return group.iter().try_fold(0..sorted.len(), of_all);
            }
            Self::Range(operator, ..) | Self::Other(VersionSpec::Range(operator, _)) => operator,
            _ => return None,
        };
        let matches = |item: &T| self.matches(version(item));
        Some(match operator {
            RangeOperator::Greater | RangeOperator::GreaterEquals => {
                sorted.partition_point(|item| !matches(item))..sorted.len()
            }
            RangeOperator::Less | RangeOperator::LessEquals => 0..sorted.partition_point(matches),
        })
    }

    fn new(spec: &'s VersionSpec) -> Self {
        let numeric = |version: &Version| NumericVersion::of(version);
        let test = match spec {
            VersionSpec::Range(operator, limit) => numeric(limit).map(|limit| Self::Range(*operator, limit, spec)),
            VersionSpec::StrictRange(operator, limit) => {
                numeric(limit.as_ref()).map(|limit| Self::StartsWith(*operator, limit, spec))
            }
            VersionSpec::Exact(operator, limit) => numeric(limit).map(|limit| Self::Equal(*operator, limit, spec)),
            VersionSpec::Group(operator, group) => Some(Self::Group(*operator, group.iter().map(Self::new).collect())),
            VersionSpec::None | VersionSpec::Any => None,
        };
        test.unwrap_or(Self::Other(spec))
    }

    fn matches(&self, version: ComparableVersion<'_>) -> bool {
        let (by_numbers, spec) = match self {
            Self::Group(LogicalOperator::And, group) => return group.iter().all(|test| test.matches(version)),
            Self::Group(LogicalOperator::Or, group) => return group.iter().any(|test| test.matches(version)),
            Self::Other(spec) => (None, spec),
            Self::Range(operator, limit, spec) => {
                let in_range = |release| {
                    let order = limit.compared_with(release);
                    match operator {
                        RangeOperator::Greater => order.is_gt(),
                        RangeOperator::GreaterEquals => order.is_ge(),
                        RangeOperator::Less => order.is_lt(),
                        RangeOperator::LessEquals => order.is_le(),
                    }
                };
                (version.numeric.map(in_range), spec)
            }
            Self::StartsWith(operator, limit, spec) => {
                let begins = version.numeric.and_then(|release| limit.starts_with(release));
                let matches = match operator {
                    StrictRangeOperator::StartsWith => begins,
                    StrictRangeOperator::NotStartsWith => begins.map(|begins| !begins),
                    StrictRangeOperator::Compatible | StrictRangeOperator::NotCompatible => None,
                };
                (matches, spec)
            }
            // Versions with equal numbers may still differ.
            Self::Equal(operator, limit, spec) => {
                let differs = version.numeric.is_some_and(|release| release.key != limit.key);
                (differs.then_some(*operator == EqualityOperator::NotEquals), spec)
            }
        };
        by_numbers.unwrap_or_else(|| spec.matches(version.version))
    }
}

#[cfg(test)]
mod tests {
    use itertools::iproduct;
    use rattler_conda_types::ParseStrictness;

    use super::*;

    const VERSIONS: &[&str] = &[
        "0",
        "1",
        "1.0",
        "1.0.0",
        "1.0.0.0.0",
        "1.0.1",
        "1.1",
        "1.10",
        "1.2",
        "1.2.0",
        "1.2.0.1",
        "1.2a0",
        "1.2.0a0",
        "1.2.a0",
        "1.2.3",
        "1.2.3.4",
        "1.2.3.4.5",
        "1.2.3.4.5.6",
        "1.2.3.4.5.6.7",
        "1.2dev0",
        "1.2.dev0",
        "1.2rc1",
        "1.2post1",
        "1.2.post1",
        "1.2_1",
        "1.2-1",
        "1!1.2",
        "1.2+3",
        "2",
        "2.0a0",
        "2.0",
        "20230101",
        "4294967296",
        "4294967295.1",
        "a",
        "3.11",
        "3.110",
        "3.11.5",
    ];

    fn numbered(version: &Version) -> ComparableVersion<'_> {
        ComparableVersion { version, numeric: NumericVersion::release(version) }
    }

    #[test]
    fn numbers_tell_what_the_library_tells() {
        let versions: Vec<Version> = VERSIONS.iter().map(|text| text.parse().unwrap()).collect();
        for (one, other) in iproduct!(&versions, &versions) {
            assert_eq!(numbered(one).compare(&numbered(other)), one.cmp(other), "{one} and {other}");
        }
        let operators = ["==", "!=", ">", ">=", "<", "<=", "=", "!=={}.*", "~="];
        let mut sorted: Vec<ComparableVersion<'_>> = versions.iter().map(numbered).collect();
        sorted.sort_by(ComparableVersion::compare);
        let (mut decided, mut between) = (0, 0);
        for (operator, limit) in iproduct!(operators, VERSIONS) {
            let text = match operator {
                "!=={}.*" => format!("!={limit}.*"),
                "=" => format!("{limit}.*"),
                _ => format!("{operator}{limit}"),
            };
            let Ok(spec) = VersionSpec::from_str(&text, ParseStrictness::Lenient) else { continue };
            let both = VersionSpec::Group(
                LogicalOperator::And,
                vec![spec.clone(), VersionSpec::Range(RangeOperator::Less, limit.parse().unwrap())],
            );
            let either = VersionSpec::Group(LogicalOperator::Or, vec![spec.clone(), VersionSpec::None]);
            for spec in [&spec, &both, &either] {
                let Some(range) = VersionMatcher::new(spec).matching_range(&sorted, &|version| *version) else {
                    continue;
                };
                let matches = |index: &usize| spec.matches(sorted[*index].version);
                assert!((0..sorted.len()).filter(matches).eq(range), "{spec}");
                between += 1;
            }
            for version in &versions {
                for spec in [&spec, &both, &either] {
                    let told = VersionMatcher::new(spec).matches(numbered(version));
                    assert_eq!(told, spec.matches(version), "{version} and {spec}");
                }
                decided += usize::from(!matches!(MatcherKind::new(&spec), MatcherKind::Other(_)));
            }
        }
        assert!(decided > 5000, "{decided} of these can be told by numbers");
        assert!(between > 100, "{between} of these are between bounds");
    }
}
