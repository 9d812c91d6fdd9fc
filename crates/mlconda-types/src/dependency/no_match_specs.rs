//! Stands in for `match_specs` if the feature `match-specs` is off. A match spec in a rare form is compared by name
//! only.

use rattler_conda_types::{GenericVirtualPackage, PackageRecord};

use super::normalized_name;

pub(super) fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    normalized_name(spec) == record.name.as_normalized()
}

pub(super) fn virtually(_: &GenericVirtualPackage, _: &str) -> bool {
    true
}
