//! What an installation does with packages that are from no channel, besides what it does with all.

use std::collections::{BTreeSet, HashMap};

use rattler_conda_types::PrefixRecord;
use serde_json::json;

use super::{InstallError, link::wheel::Request, stage::Stage};
use crate::{
    lock::{LockedPip, Origin, PipSource},
    network,
    plan::Plan,
    prefix::distributions,
};

/// What the prefix is to know of a wheel besides the wheel itself.
pub(super) fn request(wheel: &LockedPip, requested: &BTreeSet<String>) -> Request {
    Request { requested: requested.contains(&wheel.name), direct_url: direct_url(wheel) }
}

/// The text of `direct_url.json` (PEP 610) for what did not come from an index.
fn direct_url(wheel: &LockedPip) -> Option<String> {
    let PipSource::Archive { url, sha256, origin: Origin::Direct, .. } = &wheel.source else { return None };
    let hash = sha256.map(hex::encode);
    let archive = hash.map_or_else(|| json!({}), |hash| json!({"hash": format!("sha256={hash}"), "hashes": {"sha256": hash}}));
    Some(json!({"archive_info": archive, "url": network::redact(url)}).to_string())
}

/// Makes sure that no conda package is the same distribution as one of pip: two sets of metadata for one name would be
/// there, and each tool would believe another one.
pub(super) fn check_distributions(plan: &Plan, stage: &Stage) -> Result<(), InstallError> {
    let wheels: HashMap<&str, &LockedPip> = plan.pip.link.iter().map(|wheel| (wheel.name.as_str(), wheel)).collect();
    let same = |path: &std::path::Path, package: &dyn Fn() -> String| {
        let name = distributions::name_of(path)?;
        let wheel = wheels.get(name.as_str())?;
        let (package, wheel) = (package(), wheel.file_name().unwrap_or_default());
        Some(InstallError::SameDistribution { name, package, wheel })
    };
    for path in stage.paths().iter().filter(|path| distributions::is_metadata(path)) {
        let Some(package) = stage.holder(path).and_then(|number| plan.link.get(number)) else { continue };
        if let Some(error) = same(path, &|| package.dist_name()) {
            return Err(error);
        }
    }
    let dist_name = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        format!("{}-{}-{}", package.name.as_normalized(), package.version, package.build)
    };
    for record in &plan.keep {
        let paths = record.files.iter().filter(|path| distributions::is_metadata(path));
        if let Some(error) = paths.filter_map(|path| same(path, &|| dist_name(record))).next() {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::normalize;

    #[test]
    fn names_are_compared_in_their_normal_form() {
        let path = std::path::Path::new("lib/python3.11/site-packages/Foo_Bar-1.0.dist-info/METADATA");
        assert_eq!(distributions::name_of(path), Some(normalize("foo.bar")));
    }
}
