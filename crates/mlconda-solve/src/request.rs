//! The input of one solve, and the reasons why it can fail.

use std::collections::HashMap;

use mlconda_channel::repodata::DependencyRows;
use mlconda_types::host::Host;
use rattler_conda_types::{MatchSpec, RepoDataRecord};
use url::Url;

use super::{
    SolveOptions,
    conflict::Reasons,
    limits::{Exceeded, Meter},
};

/// The input of one solve.
pub(super) struct SolveRequest<'q> {
    pub(super) specs: &'q [MatchSpec],
    /// Specs that are not requested, but whose channels count.
    pub(super) channel_specs: &'q [MatchSpec],
    pub(super) host: &'q Host,
    pub(super) options: SolveOptions,
    pub(super) kept: &'q KeptRecords<'q>,
    pub(super) scope: Scope,
    pub(super) meter: &'q Meter,
}

/// Which records the solver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Only the records that may be in a solution.
    Pruned,
    /// All records: slower, but a failure has every reason.
    All,
}

/// Why there is no solution.
pub(super) enum SolveFailure {
    /// The solver's reasons.
    Unsolvable(Reasons),
    /// A limit was reached before an answer.
    Exceeded(Exceeded),
}

/// Records of one name and one channel.
pub(super) struct RecordRun<'a> {
    pub(super) records: Vec<&'a RepoDataRecord>,
    /// The tier of its `SubdirRecords`.
    pub(super) tier: Option<&'a str>,
    pub(super) rows: DependencyRows<'a>,
}

/// The records of an older solution to keep.
#[derive(Clone, Default)]
pub(super) struct KeptRecords<'a> {
    /// By package name, the URL of the only record that exists for this solve.
    pub(super) only: HashMap<String, Url>,
    /// Records that are tried before all others of their name. Each must exist and be in a channel that counts: the
    /// solver does not check this.
    pub(super) favored: Vec<&'a RepoDataRecord>,
}

/// Whether a record of this tier is in the channel that a spec of the environment names.
pub(super) fn is_in_channel(record: &RepoDataRecord, tier: Option<&str>, spec: &MatchSpec) -> bool {
    let Some(channel) = &spec.channel else { return true };
    match tier.filter(|tier| channel.name.as_deref() == Some(tier)) {
        Some(_) => true,
        None => record.channel.as_ref() == Some(&channel.canonical_name()),
    }
}
