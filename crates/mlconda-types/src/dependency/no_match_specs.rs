//! In the place of `match_specs`, where the feature is off: of a dependency of a rare form, only the name counts.

use rattler_conda_types::{GenericVirtualPackage, PackageRecord};

use super::normalized_name;

pub(super) fn satisfies(record: &PackageRecord, spec: &str) -> bool {
    normalized_name(spec) == record.name.as_normalized()
}

pub(super) fn virtually(_: &GenericVirtualPackage, _: &str) -> bool {
    true
}
