//! Compares our detection with the crate `rattler_virtual_packages`, on the machine that runs the tests.

use std::{collections::BTreeMap, path::Path};

use rattler_conda_types::GenericVirtualPackage;
use rattler_virtual_packages::{Archspec, VirtualPackageOverrides, VirtualPackages};

use crate::host::Host;

/// Virtual packages that the library finds and this code does not, or finds in another way, with the reasons.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "__archspec",
        "the library names the model of the processor, from a table; ours its level, which packages ask for",
    ),
    ("__cuda", "the library loads the driver's library or runs `nvidia-smi`; a static program can do neither"),
    ("__cuda_arch", "only the driver's library tells it"),
    ("__amdgpu", "only the driver's library tells it"),
    ("__amdgpu_arch", "only the driver's library tells it"),
];

fn by_name(packages: impl IntoIterator<Item = GenericVirtualPackage>) -> BTreeMap<String, String> {
    let parts = |package: GenericVirtualPackage| {
        (package.name.as_normalized().to_owned(), format!("{}={}", package.version, package.build_string))
    };
    packages.into_iter().map(parts).collect()
}

#[test]
fn this_machine_is_for_both_the_same() {
    let theirs = VirtualPackages::detect(&VirtualPackageOverrides::default(), None).unwrap();
    let mut theirs = by_name(theirs.into_generic_virtual_packages());
    let mut ours = by_name(Host::detect(Path::new("/")).virtual_packages);
    let level = ours["__archspec"].replace("1=", "");
    let model = theirs["__archspec"].replace("1=", "");
    let (level, model) = (Archspec::from_known_name(&level).unwrap(), Archspec::from_name(&model));
    assert!(model.is_compatible_with(&level), "{} on {}", level.as_str(), model.as_str());
    for (name, _reason) in DIFFERENCES {
        ours.remove(*name);
        theirs.remove(*name);
    }
    assert_eq!(ours, theirs);
}
