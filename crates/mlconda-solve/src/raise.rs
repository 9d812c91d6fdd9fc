//! Which virtual packages of a declared system may be raised, and to which version.

use std::str::FromStr;

use mlconda_types::host::{Host, Override};
use rattler_conda_types::Version;

use super::VirtualDemand;

/// The virtual packages that may be raised, and a version that no system exceeds.
const NEWEST_SYSTEM: [(&str, &str); 3] = [("__glibc", "2.44"), ("__linux", "7.99"), ("__osx", "27.99")];

/// The host with all raisable virtual packages at their newest version.
pub(super) fn newest_host(host: &Host, pinned: &[Override]) -> Host {
    let may_be_raised = |name: &str| {
        let is_there = host.virtual_packages.iter().any(|package| package.name.as_normalized() == name);
        is_there && pinned.iter().all(|pinned| pinned.name != name)
    };
    let newest = NEWEST_SYSTEM.iter().filter(|(name, _)| may_be_raised(name));
    let newest: Vec<Override> =
        newest.filter_map(|(name, version)| Override::from_str(&format!("{name}={version}")).ok()).collect();
    host.clone().with(&newest)
}

/// Whether the virtual package of this name may be raised.
pub(super) fn is_raisable(name: &str) -> bool {
    NEWEST_SYSTEM.iter().any(|(known, _)| *known == name)
}

/// The host with one virtual package raised to the lowest version that is asked for; `None` if that would not help.
pub(super) fn raise_host(host: &Host, dependencies: &[VirtualDemand], pinned: &[Override]) -> Option<Host> {
    let may_be_raised = |name: &str, least: &Version| {
        let newest = NEWEST_SYSTEM.iter().find(|(known, _)| *known == name);
        let exists =
            newest.and_then(|(_, newest)| Version::from_str(newest).ok()).is_some_and(|newest| *least <= newest);
        exists && pinned.iter().all(|pinned| pinned.name != name)
    };
    let (name, version) = dependencies
        .iter()
        .filter_map(|demand| {
            let least = demand.wanted.split(',').find_map(|part| part.trim().strip_prefix(">="))?;
            let least = Version::from_str(least).ok()?;
            let raises = may_be_raised(&demand.name, &least) && demand.assumed.as_ref()? < &least;
            raises.then_some((&demand.name, least))
        })
        .min()?;
    let newer = Override::from_str(&format!("{name}={version}")).ok()?;
    Some(host.clone().with(&[newer]))
}
