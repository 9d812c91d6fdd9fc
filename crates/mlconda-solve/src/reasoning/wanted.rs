//! What a line or a package asks for of another package, and which of its candidates that is.

use std::rc::Rc;

use rattler_conda_types::{Matches, NamelessMatchSpec, VersionSpec};

use super::{Candidate, What};

/// What is asked for of a package.
pub(super) struct Wanted {
    version: Option<VersionSpec>,
    /// All else, if it is anything.
    rest: Option<NamelessMatchSpec>,
}

impl Wanted {
    pub(super) fn new(mut spec: NamelessMatchSpec) -> Self {
        let version = spec.version.take().filter(|version| *version != VersionSpec::Any);
        Self { version, rest: Some(spec).filter(|rest| *rest != NamelessMatchSpec::default()) }
    }

    /// Which of the candidates of a package are wanted. Those of one version stand side by side.
    pub(super) fn of<'c>(&self, candidates: &'c [Candidate<'_>]) -> Rc<[bool]> {
        let mut last: Option<(&What<'_>, bool)> = None;
        let mut has_version = |what: &'c What<'_>| {
            let Some(wanted) = &self.version else { return true };
            let known = last.filter(|(known, _)| what.is_of_the_version_of(known)).map(|(_, fits)| fits);
            let fits = known.unwrap_or_else(|| wanted.matches(what.version()));
            last = Some((what, fits));
            fits
        };
        let has_rest = |what: &What<'_>, rest: &NamelessMatchSpec| match what {
            What::Record(record) => rest.matches(*record),
            What::Virtual(package) => {
                rest.build.as_ref().is_none_or(|build| build.matches(package.build_string.as_str()))
            }
        };
        let wants = |Candidate { what, .. }: &'c Candidate<'_>| {
            has_version(what) && self.rest.as_ref().is_none_or(|rest| has_rest(what, rest))
        };
        candidates.iter().map(wants).collect()
    }
}
