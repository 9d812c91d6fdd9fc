//! Packages in the stage, and the python, the scripts and the linking order of the new environment.

use mlconda_inspect::plan::{LinkOrder, Plan};
use mlconda_lock::linking_order;
use mlconda_prefix::distributions;
use rattler_conda_types::PrefixRecord;

use super::{left_out::LeftOutSize, source::PackageOrigin};
use crate::python_info::PythonInfo;

/// A package in the stage.
pub(super) struct StagedPackage {
    /// Its number in [`Plan::archives`].
    pub(super) number: usize,
    /// Its record, without the list of files, which is in the stage already.
    pub(super) record: PrefixRecord,
    /// The build time, in seconds since 1970.
    pub(super) built: Option<i64>,
    /// The number of its files.
    pub(super) files: usize,
    /// Their size in bytes.
    pub(super) bytes: u64,
    /// The number of these bytes in hard links to existing files.
    pub(super) shared: u64,
    /// The origin of the extracted package; `None` if it was linked from its archive.
    pub(super) origin: Option<PackageOrigin>,
    /// The parts that were left out of it.
    pub(super) left_out: Vec<LeftOutSize>,
    /// Whether it is a conda package with a post-link script of its own. After clashes are resolved, that script is the
    /// file at the script's path.
    pub(super) post_link: bool,
}

/// The interpreter among the kept packages.
pub(super) fn kept_python(plan: &Plan) -> Option<PythonInfo> {
    let records = plan.keep.iter().map(|record| &record.repodata_record.package_record);
    let python = records.into_iter().find(|record| record.name.as_normalized() == "python")?;
    PythonInfo::from_record(python)
}

/// The interpreter of the new environment.
pub(super) fn python(plan: &Plan, finished: &[StagedPackage]) -> Option<PythonInfo> {
    let of_conda = finished.iter().filter(|package| package.number < plan.link.len());
    let mut records = of_conda.map(|package| &package.record.repodata_record.package_record);
    match records.find(|record| record.name.as_normalized() == "python") {
        Some(record) => PythonInfo::from_record(record),
        None => kept_python(plan),
    }
}

/// The names of all conda packages of the new environment, in linking order.
pub(super) fn order(plan: &Plan, finished: &[StagedPackage]) -> Vec<String> {
    if plan.order == LinkOrder::Lock {
        return plan.names.clone();
    }
    let records = finished.iter().map(|package| &package.record).chain(&plan.keep);
    let records = records.filter(|record| !distributions::is_distribution(&record.repodata_record.package_record));
    let records: Vec<_> = records.map(|record| record.repodata_record.clone()).collect();
    linking_order(&records).into_iter().map(|record| record.package_record.name.as_normalized().to_owned()).collect()
}
