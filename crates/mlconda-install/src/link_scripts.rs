//! The post-link and pre-unlink scripts of all packages of an installation.

use std::path::Path;

use mlconda_inspect::plan::Plan;
use mlconda_prefix::Prefix;
use mlconda_system::beneath::Root;
use mlconda_types::progress::Event;
use rattler_conda_types::{PackageRecord, PrefixRecord};

use super::{
    InstallError, LinkScript, Report,
    layout::PackageLinks,
    script,
    staged_package::{self, StagedPackage},
};

/// The records of the new packages that have a post-link script of their own, in linking order.
pub(super) fn with_post_link<'a>(plan: &Plan, finished: &'a [StagedPackage]) -> Vec<&'a PrefixRecord> {
    let mut new: Vec<&PrefixRecord> =
        finished.iter().filter(|package| package.post_link).map(|package| &package.record).collect();
    if new.is_empty() {
        return new;
    }
    let order = staged_package::order(plan, finished);
    mlconda_types::sorting::sort_by_key(&mut new, |record| {
        let name = record.repodata_record.package_record.name.as_normalized();
        order.iter().position(|other| other == name)
    });
    new
}

/// The removed packages that have a pre-unlink script of their own, and whose post-link script was not left out: what it did
/// not set up cannot be undone.
pub(super) fn with_pre_unlink<'a>(prefix: &Prefix, plan: &'a Plan) -> Vec<&'a PackageRecord> {
    let Ok(root) = Root::open(prefix.path()) else { return Vec::new() };
    let is_there = |path: &Path| root.lookup(path).is_ok_and(|there| there.is_some());
    // Links of packages are followed, links of the user are not.
    let place = |path: &Path| PackageLinks::new(&root, plan.unlink.iter().chain(&plan.keep)).place(path).ok().flatten();
    let has = |old: &&PrefixRecord| {
        let name = old.repodata_record.package_record.name.as_normalized();
        let path = script::path(name, script::ScriptKind::PreUnlink);
        !plan.scripts_not_run.contains(name)
            && old.files.contains(&path)
            && prefix.path().join(&path).is_file()
            && (is_there(&path) || place(&path).is_some_and(|path| is_there(&path)))
    };
    plan.unlink.iter().filter(has).map(|old| &old.repodata_record.package_record).collect()
}

/// Runs the pre-unlink scripts of old packages, and notes them.
pub(super) async fn run_pre_unlink(
    prefix: &Prefix,
    old: &[&PackageRecord],
    context: script::ScriptContext<'_>,
    report: &mut Report,
) -> Result<(), InstallError> {
    if old.is_empty() {
        return Ok(());
    }
    let since = script::start_time(prefix.path())?;
    for package in old {
        script::run(prefix.path(), package, script::ScriptKind::PreUnlink, context).await?;
        report.scripts.ran.push(LinkScript::pre_unlink(package.name.as_normalized()));
    }
    script::set_times_since(prefix.path(), since, context.time)
}

/// Runs the post-link scripts of new packages, in linking order, and notes them and what they say.
pub(super) async fn run_post_link(
    prefix: &Prefix,
    new: &[&PrefixRecord],
    context: script::ScriptContext<'_>,
    report: &mut Report,
) -> Result<(), InstallError> {
    let since = script::start_time(prefix.path())?;
    for record in new {
        let record = &record.repodata_record.package_record;
        let name = record.name.as_normalized();
        if prefix.path().join(script::path(name, script::ScriptKind::PostLink)).is_file() {
            context.progress.event(Event::LinkScript { package: name.to_owned() });
            let message = script::run(prefix.path(), record, script::ScriptKind::PostLink, context).await?;
            report.scripts.ran.push(LinkScript::post_link(name));
            report.messages.extend(message.map(|message| (name.to_owned(), message)));
        }
    }
    script::set_times_since(prefix.path(), since, context.time)
}
