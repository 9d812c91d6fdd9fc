//! The SAT solve, and its explanation when there is no answer. Pure: the same input, the same answer.

use rattler_conda_types::RepoDataRecord;

use crate::{environment::Environment, host::Host, repodata::Repodata};

/// The chosen records, in no particular order.
#[derive(Clone, Debug)]
pub struct Solution {
    /// The records.
    pub records: Vec<RepoDataRecord>,
}

/// There is no solution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// No channel has packages of these names.
    #[error("unknown packages")]
    Unknown,
}

/// Solves.
///
/// # Errors
/// If there is no solution, with the reason in plain words.
pub fn solve(_environment: &Environment, _repodata: &Repodata, _host: &Host) -> Result<Solution, SolveError> {
    todo!()
}
