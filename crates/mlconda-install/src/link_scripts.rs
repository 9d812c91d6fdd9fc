//! The post-link and pre-unlink scripts of all packages of an installation.

use std::path::Path;

use mlconda_inspect::plan::Plan;
use mlconda_prefix::Prefix;
use mlconda_system::beneath::Root;
use mlconda_types::progress::{Event, Progress};
use rattler_conda_types::{PackageRecord, PrefixRecord};

use super::{
    InstallError,
    layout::PackageLinks,
    script,
    staged_package::{self, StagedPackage},
};

/// The records of the new conda packages, in linking order.
pub(super) fn in_linking_order<'a>(plan: &Plan, finished: &'a [StagedPackage]) -> Vec<&'a PrefixRecord> {
    let order = staged_package::order(plan, finished);
    // Only conda packages have link scripts. A file of a wheel with such a name is an ordinary file.
    let of_conda = finished.iter().filter(|package| package.number < plan.link.len());
    let mut new: Vec<&PrefixRecord> = of_conda.map(|package| &package.record).collect();
    mlconda_types::sorting::sort_by_key(&mut new, |record| {
        let name = record.repodata_record.package_record.name.as_normalized();
        order.iter().position(|other| other == name)
    });
    new
}

/// The removed packages that have a pre-unlink script.
pub(super) fn with_pre_unlink<'a>(prefix: &Prefix, plan: &'a Plan) -> Vec<&'a PackageRecord> {
    let Ok(root) = Root::open(prefix.path()) else { return Vec::new() };
    let is_there = |path: &Path| root.lookup(path).is_ok_and(|there| there.is_some());
    // Links of packages are followed, links of the user are not.
    let place = |path: &Path| PackageLinks::new(&root, plan.unlink.iter().chain(&plan.keep)).place(path).ok().flatten();
    let has = |name: &str| {
        let path = script::path(name, script::ScriptKind::PreUnlink);
        prefix.path().join(&path).is_file() && (is_there(&path) || place(&path).is_some_and(|path| is_there(&path)))
    };
    let packages = plan.unlink.iter().map(|old| &old.repodata_record.package_record);
    packages.filter(|package| has(package.name.as_normalized())).collect()
}

/// Runs the pre-unlink scripts of old packages.
pub(super) async fn run_pre_unlink(
    prefix: &Prefix,
    old: &[&PackageRecord],
    context: script::ScriptContext<'_>,
) -> Result<(), InstallError> {
    if old.is_empty() {
        return Ok(());
    }
    let since = script::start_time(prefix.path())?;
    for package in old {
        script::run(prefix.path(), package, script::ScriptKind::PreUnlink, context).await?;
    }
    script::set_times_since(prefix.path(), since, context.time)
}

/// Runs the post-link scripts of new packages, in linking order.
pub(super) async fn run_post_link(
    prefix: &Prefix,
    new: &[&PrefixRecord],
    context: script::ScriptContext<'_>,
    progress: &dyn Progress,
) -> Result<Vec<(String, String)>, InstallError> {
    let mut messages = Vec::new();
    let since = script::start_time(prefix.path())?;
    for record in new {
        let record = &record.repodata_record.package_record;
        let name = record.name.as_normalized();
        if prefix.path().join(script::path(name, script::ScriptKind::PostLink)).is_file() {
            progress.event(Event::LinkScript { package: name.to_owned() });
            if let Some(message) = script::run(prefix.path(), record, script::ScriptKind::PostLink, context).await? {
                messages.push((name.to_owned(), message));
            }
        }
    }
    script::set_times_since(prefix.path(), since, context.time)?;
    Ok(messages)
}
