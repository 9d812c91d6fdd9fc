//! The post-link and pre-unlink scripts of all packages of an installation.

use std::path::Path;

use mlconda_inspect::{
    links::{PackageLinks, Replaced},
    plan::Plan,
};
use mlconda_prefix::{Prefix, distributions};
use mlconda_system::beneath::Root;
use mlconda_types::progress::Event;
use rattler_conda_types::{PackageRecord, PrefixRecord};

use super::{
    InstallError, LinkScript, Report, record_file, script,
    stage::Stage,
    staged_package::{self, StagedPackage},
};

/// Marks packages as having no post-link script if another package owns the path of the script: the file there is not
/// theirs, and no script of theirs was skipped.
pub(super) fn drop_replaced(stage: &Stage, finished: &mut [StagedPackage]) -> Result<(), InstallError> {
    for package in finished.iter_mut().filter(|package| package.post_link) {
        let script = script::path(name(&package.record), script::ScriptKind::PostLink);
        if stage.owner(&stage.final_path(&script)) == Some(package.number) {
            continue;
        }
        package.post_link = false;
        let place = Path::new("conda-meta").join(distributions::record_name(&package.record));
        let (record, mut own) = record_file::read(&stage.root, &place)?;
        if std::mem::take(&mut own.scripts_not_run) {
            stage.root.put(&place, &record_file::render(&record, &own)?, package.built.unwrap_or(0))?;
        }
    }
    Ok(())
}

fn name(record: &PrefixRecord) -> &str {
    record.repodata_record.package_record.name.as_normalized()
}

/// The records of the new packages that have a post-link script of their own, in linking order.
pub(super) fn with_post_link<'a>(plan: &Plan, finished: &'a [StagedPackage]) -> Vec<&'a PrefixRecord> {
    let mut new: Vec<&PrefixRecord> =
        finished.iter().filter(|package| package.post_link).map(|package| &package.record).collect();
    if new.is_empty() {
        return new;
    }
    let order = staged_package::order(plan, finished);
    mlconda_types::sorting::sort_by_key(&mut new, |record| order.iter().position(|other| other == name(record)));
    new
}

/// The removed packages that have a pre-unlink script of their own and whose post-link script has run, because
/// otherwise there is nothing to undo. If another package has a file at the path of the script, the file may belong to
/// that package, and does not run.
pub(super) fn with_pre_unlink<'a>(prefix: &Prefix, plan: &'a Plan) -> Vec<&'a PackageRecord> {
    let Ok(root) = Root::open(prefix.path()) else { return Vec::new() };
    let is_there = |path: &Path| root.lookup(path).is_ok_and(|there| there.is_some());
    // Links of packages are followed, but not links of the user.
    let records = || plan.unlink.iter().chain(&plan.keep);
    let links = || PackageLinks::new(&root, records(), Replaced::NotFollowed);
    let place = |path: &Path| links().place(path).ok().flatten();
    let others_have = |old: &PrefixRecord, path: &Path| {
        let conda = plan.unlink.iter().chain(&plan.keep).filter(|other| name(other) != name(old));
        let mut files = conda.chain(&plan.pip.unlink).chain(&plan.pip.keep).flat_map(record_file::files);
        // Another package may have the same file under another path, below a link of a package.
        files.any(|other| other == path || (other.file_name() == path.file_name() && place(other) == place(path)))
    };
    let has = |old: &&PrefixRecord| {
        let path = script::path(name(old), script::ScriptKind::PreUnlink);
        !plan.scripts_not_run.contains(name(old))
            && old.files.contains(&path)
            && prefix.path().join(&path).is_file()
            && !others_have(old, &path)
            && (is_there(&path) || place(&path).is_some_and(|path| is_there(&path)))
    };
    plan.unlink.iter().filter(has).map(|old| &old.repodata_record.package_record).collect()
}

/// Runs the pre-unlink scripts of old packages, and adds them to the report.
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

/// Runs the post-link scripts of new packages, in linking order, and adds them and their messages to the report.
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
