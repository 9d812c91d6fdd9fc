//! Matches a spec against the candidates of a package.

use std::rc::Rc;

use rattler_conda_types::{Matches, NamelessMatchSpec, VersionSpec};

use super::{Candidate, CandidateRecord};

/// A spec for the candidates of one package.
pub(super) struct SpecMatcher {
    version: Option<VersionSpec>,
    /// Everything but the version, if there is anything.
    rest: Option<NamelessMatchSpec>,
}

impl SpecMatcher {
    pub(super) fn new(mut spec: NamelessMatchSpec) -> Self {
        let version = spec.version.take().filter(|version| *version != VersionSpec::Any);
        Self { version, rest: Some(spec).filter(|rest| *rest != NamelessMatchSpec::default()) }
    }

    /// Which candidates match. Candidates of the same version must be adjacent.
    pub(super) fn of<'c>(&self, candidates: &'c [Candidate<'_>]) -> Rc<[bool]> {
        let mut last: Option<(&CandidateRecord<'_>, bool)> = None;
        let mut has_version = |record: &'c CandidateRecord<'_>| {
            let Some(matcher) = &self.version else { return true };
            let known = last.filter(|(known, _)| record.has_version_of(known)).map(|(_, fits)| fits);
            let fits = known.unwrap_or_else(|| matcher.matches(record.version()));
            last = Some((record, fits));
            fits
        };
        let has_rest = |record: &CandidateRecord<'_>, rest: &NamelessMatchSpec| match record {
            CandidateRecord::Record(record) => rest.matches(*record),
            CandidateRecord::Virtual(package) => {
                rest.build.as_ref().is_none_or(|build| build.matches(package.build_string.as_str()))
            }
        };
        let wants = |Candidate { record, .. }: &'c Candidate<'_>| {
            has_version(record) && self.rest.as_ref().is_none_or(|rest| has_rest(record, rest))
        };
        candidates.iter().map(wants).collect()
    }
}
