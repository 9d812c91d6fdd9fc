//! The answer of a solve, and what it depends on besides the environment, the repodata and the host. A lock notes which of
//! these options differ from the default, so that it tells how it was made.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rattler_conda_types::{PackageRecord, RepoDataRecord};

/// The chosen records, in no particular order.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The records.
    pub records: Vec<RepoDataRecord>,
    /// How they were chosen.
    pub options: SolveOptions,
}

impl Solution {
    /// The names of the packages that do not tell their age, where that counted ([`SolveOptions::exclude_newer`]): they
    /// may be newer.
    pub fn packages_without_time(&self) -> Vec<&str> {
        let packages = self.records.iter().map(|record| &record.package_record);
        let ageless = packages.filter(|package| self.options.exclude_newer.is_some() && record_time(package).is_none());
        let mut names: Vec<&str> = ageless.map(|package| package.name.as_normalized()).collect();
        names.sort_unstable();
        names
    }
}

/// What a solve depends on besides the environment, the repodata and the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SolveOptions {
    /// What the order of channels means.
    pub channel_priority: ChannelPriority,
    /// Whether python brings pip.
    pub pip: Pip,
    /// What is newer does not exist.
    pub exclude_newer: Option<Cutoff>,
}

/// What the order of channels means (conda's `channel_priority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelPriority {
    /// A package comes from the first channel that has any of its name.
    #[default]
    Strict,
    /// A package comes from the first channel that has one that will do: any version of an earlier channel is better
    /// than the newest of a later one.
    Flexible,
    /// The newest version, whatever its channel.
    Disabled,
}

/// Whether python brings pip (conda's `add_pip_as_python_dependency`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pip {
    /// Every python 2 and 3 depends on pip, as with conda, if a channel has it.
    #[default]
    Added,
    /// There is no pip but where something asks for it.
    NotAdded,
}

/// A moment; records that are newer do not exist for a solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cutoff(Timestamp);

impl Cutoff {
    /// Whether a record was there at that moment: by the time at which its channel indexed it, else by the time at which
    /// it was built. One without either counts as old, for most are from before builds noted it (2017).
    pub fn admits(self, record: &PackageRecord) -> bool {
        record_time(record).is_none_or(|time| time <= self.0)
    }
}

/// When a record came to be, as far as it says so. Seconds and milliseconds are told apart when it is read.
pub fn record_time(record: &PackageRecord) -> Option<Timestamp> {
    record.indexed_timestamp.or(record.timestamp).map(Timestamp::from)
}

/// The first moment that admits a record of this time, in whole seconds.
pub fn cutoff_at(time: Timestamp) -> Option<Cutoff> {
    let second = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(second).ok().map(Cutoff)
}

impl fmt::Display for Cutoff {
    /// RFC 3339, in UTC.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What is neither a date nor a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a date nor a time: expected a date as in `2024-05-31`, or a time as in `2024-05-31T12:00:00Z`"
)]
pub struct CutoffError(String);

impl FromStr for Cutoff {
    type Err = CutoffError;

    /// Reads a time with its offset (RFC 3339), or a date, which means its end in UTC, so that the answer does not depend
    /// on where it is asked for.
    fn from_str(text: &str) -> Result<Self, CutoffError> {
        let text = text.trim();
        let end = |date: Date| date.at(23, 59, 59, 0).to_zoned(TimeZone::UTC).ok().map(|end| end.timestamp());
        let is_date = text.len() == "2024-05-31".len();
        let moment = if is_date { Date::from_str(text).ok().and_then(end) } else { text.parse().ok() };
        moment.map(Self).ok_or_else(|| CutoffError(text.to_owned()))
    }
}

/// A word that is none of those expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no channel priority: `strict`, `flexible` and `disabled` are")]
pub struct ChannelPriorityError(String);

impl FromStr for ChannelPriority {
    type Err = ChannelPriorityError;

    fn from_str(text: &str) -> Result<Self, ChannelPriorityError> {
        [Self::Strict, Self::Flexible, Self::Disabled]
            .into_iter()
            .find(|each| each.to_string() == text)
            .ok_or_else(|| ChannelPriorityError(text.to_owned()))
    }
}

impl fmt::Display for ChannelPriority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Strict => "strict",
            Self::Flexible => "flexible",
            Self::Disabled => "disabled",
        })
    }
}
