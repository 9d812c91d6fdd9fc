//! The solution of a solve, and the options of the solver. A lock records the options that differ from the defaults.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rattler_conda_types::{PackageRecord, RepoDataRecord};

use crate::time;

/// The chosen records, in no particular order.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The records.
    pub records: Vec<RepoDataRecord>,
    /// The options of the solve.
    pub options: SolveOptions,
}

impl Solution {
    /// The names of the packages whose records have no time, if the solve had a cutoff
    /// ([`SolveOptions::exclude_newer`]). These packages may be newer than the cutoff.
    pub fn packages_without_time(&self) -> Vec<&str> {
        let packages = self.records.iter().map(|record| &record.package_record);
        let ageless = packages.filter(|package| self.options.exclude_newer.is_some() && record_time(package).is_none());
        let mut names: Vec<&str> = ageless.map(|package| package.name.as_normalized()).collect();
        crate::sorting::sort(&mut names);
        names
    }
}

/// The options of a solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SolveOptions {
    /// The channel priority.
    pub channel_priority: ChannelPriority,
    /// Whether python depends on pip.
    pub pip: Pip,
    /// Records after this time are ignored.
    pub exclude_newer: Option<Cutoff>,
}

/// The channel priority (conda's `channel_priority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelPriority {
    /// A package comes from the first channel that has any record with its name.
    #[default]
    Strict,
    /// A package comes from the first channel that has a suitable record. Any version of an earlier channel is
    /// preferred to the newest version of a later one.
    Flexible,
    /// The newest version is chosen, from whichever channel.
    Disabled,
}

/// Whether python depends on pip (conda's `add_pip_as_python_dependency`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pip {
    /// Each python 2 or 3 depends on pip, as in conda, if a channel has pip.
    #[default]
    Added,
    /// pip is installed only if something asks for it.
    NotAdded,
}

/// A point in time. A solve ignores newer records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cutoff(Timestamp);

impl Cutoff {
    /// Whether a record existed at this time. Its time is when the channel indexed it, or else when it was built. A
    /// record without a time counts as old, because most of these records are from before 2017.
    pub fn admits(self, record: &PackageRecord) -> bool {
        record_time(record).is_none_or(|time| time <= self.0)
    }
}

/// The time of a record, if it has one. Seconds and milliseconds are already converted.
pub fn record_time(record: &PackageRecord) -> Option<Timestamp> {
    record.indexed_timestamp.or(record.timestamp).map(Timestamp::from)
}

/// The earliest cutoff, in whole seconds, that admits records of this time.
pub fn cutoff_at(time: Timestamp) -> Option<Cutoff> {
    let second = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(second).ok().map(Cutoff)
}

impl fmt::Display for Cutoff {
    /// Writes the time in UTC (RFC 3339).
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&time::rfc3339(self.0.as_second(), self.0.subsec_nanosecond()))
    }
}

/// The text is neither a date nor a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a date nor a time: expected a date as in `2024-05-31`, or a time as in `2024-05-31T12:00:00Z`"
)]
pub struct CutoffError(String);

impl FromStr for Cutoff {
    type Err = CutoffError;

    /// Parses a time with its offset (RFC 3339), or a date. A date stands for its last moment in UTC, so the result
    /// does not depend on the time zone.
    fn from_str(text: &str) -> Result<Self, CutoffError> {
        let text = text.trim();
        let moment = match text.len() {
            10 => time::parse(&format!("{text} 23:59:59")).map(|end| (end, 0)),
            _ => time::of_rfc3339(text),
        };
        let moment = moment.and_then(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).ok());
        moment.map(Self).ok_or_else(|| CutoffError(text.to_owned()))
    }
}

/// The text is not a channel priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a channel priority: use `strict`, `flexible` or `disabled`")]
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
