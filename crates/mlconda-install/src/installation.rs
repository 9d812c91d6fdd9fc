//! Executes a plan. [`install`] is the list of the steps.

use std::{borrow::Cow, collections::HashMap, path::Path, sync::Arc};

use mlconda_channel::network::Client;
use mlconda_inspect::plan::Plan;
use mlconda_prefix::{Prefix, activate::snapshot};
use mlconda_system::{self as system, beneath::Root};
use mlconda_types::progress::{Event, Progress};
use rattler_conda_types::{PackageRecord, PrefixRecord};

use super::{
    Clash, Durability, HISTORY, InstallError, LinkScript, Options, Report, Scripts, bytecode,
    commit::{PrefixChange, ScriptTiming},
    layout::Layout,
    link_scripts, metadata, pip, record_file, record_paths, recover, replaced, script, sharing,
    stage::{InstalledPackages, Stage},
    staged_package::{self, StagedPackage},
    transaction::Transaction,
    workers,
};
use crate::python_info::PythonInfo;

/// Executes a plan.
///
/// There are two ways to stop an installation. The future can be dropped at any time; this takes effect at the next
/// `await`. [`Stop::request`](super::Stop::request) on [`Options::stop`] also works between two `await`s. Both kill a
/// running script and restore the prefix, unless the last step that can be undone has passed: then the prefix is the
/// new one. The cache contains only complete packages in each case.
///
/// If restoring fails after the future was dropped, this cannot be reported. (It is also not possible on an overlay
/// file system, after old files were removed.) Then the prefix has records but is not an environment
/// ([`Prefix::is_environment`]), and the next installation repairs it.
///
/// # Errors
/// If any step fails. The prefix is then as it was before, except after [`InstallError::PartlyChanged`].
pub async fn install(
    plan: &Plan,
    client: &Client,
    prefix: &Prefix,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Report, InstallError> {
    let installation = Installation { client, prefix, options, progress };
    installation.run(plan).await.map_err(|error| options.stop.classify(error))
}

/// Whether [`install`] has nothing to do for a plan, and does not even wait for the disk. Then the caller needs no
/// client.
pub fn has_nothing_to_do(plan: &Plan, prefix: &Prefix, options: &Options) -> bool {
    plan.is_empty() && options.durability == Durability::Kills && !misses_activation(prefix, options)
}

/// Whether the snapshot of activation scripts is missing or outdated, and can be written: a process was killed after
/// its last step.
fn misses_activation(prefix: &Prefix, options: &Options) -> bool {
    options.scripts == Scripts::Run
        && prefix.is_environment()
        && system::may_write(&prefix.path().join("conda-meta"))
        && snapshot::is_outdated(prefix)
}

/// The values that each step needs.
struct Installation<'a> {
    client: &'a Client,
    prefix: &'a Prefix,
    options: &'a Options,
    progress: &'a dyn Progress,
}

/// The packages that pip builds during the commit, and the python that runs pip.
struct Builds {
    python: Option<PythonInfo>,
    sources: pip::SourceArchives,
}

/// The code of packages that runs during the commit.
struct PackageCode<'a> {
    /// The removed packages that have a pre-unlink script.
    pre_unlink: Vec<&'a PackageRecord>,
    /// The new packages that have a post-link script, in linking order.
    new: Vec<&'a PrefixRecord>,
    builds: Builds,
    when: ScriptTiming,
}

impl Installation<'_> {
    /// Runs all steps, in order.
    async fn run(&self, plan: &Plan) -> Result<Report, InstallError> {
        check_prefix(self.prefix.path())?;
        if plan.is_empty() {
            recover(self.prefix)?;
            let mut report = Report { unchanged: plan.unchanged, ..Report::default() };
            self.renew_activation(&mut report).await;
            // The process that has made the prefix may not have waited for the disk.
            if self.prefix.path().exists() {
                self.options.durability.wait_for(self.prefix.path(), self.progress)?;
            }
            return Ok(report);
        }
        let transaction = self.begin(plan)?;
        let stage = self.make_stage(plan, &transaction)?;
        let mut finished = self.fetch_and_link(plan, &stage).await?;
        let plan: Cow<'_, Plan> = replaced::with_replaced(plan, self.prefix, &stage)?;
        let (clashes, layout) = resolve_clashes(&plan, self.prefix, &stage, &finished)?;
        link_scripts::drop_replaced(&stage, &mut finished)?;
        let builds = self.prepare_builds(&plan, &stage, &finished).await?;
        let time = self.options.time.unwrap_or_else(|| metadata::newest_build_time(&plan, &finished, self.prefix));
        transaction.stage()?.check()?;
        let (all, options, progress) = (|_| true, self.options, self.progress);
        let compiled = bytecode::compile(&plan, self.prefix, &stage, &finished, &all, options, progress).await?;
        let mut report = Report { clashes, ..Report::new(&plan, &finished, compiled, self.options) };
        metadata::write(&plan, self.prefix, &stage, time, self.options)?;
        stage.set_directory_times(time)?;
        let change = PrefixChange::new(&plan, layout.as_ref(), self.prefix, &stage, time)?;
        report.add_change(&change, &plan);
        let code = self.find_code(&plan, &finished, builds, &mut report)?;
        self.commit(&plan, transaction, &change, code, &mut report).await?;
        report.damaged_state = metadata::damaged_state(&plan, self.prefix);
        self.keep_activation(time, &mut report).await;
        Ok(report)
    }

    /// Checks the plan, and locks the prefix for this process.
    fn begin(&self, plan: &Plan) -> Result<Transaction<'_>, InstallError> {
        pip::check_tags(plan)?;
        record_paths::check_record_names(plan, self.prefix)?;
        sharing::remove_leftovers(self.prefix);
        let transaction = Transaction::prepare(self.prefix, self.options.durability, self.progress)?;
        let names = self.prefix.record_names().map_err(std::io::Error::other)?;
        let stamp = plan.made_of.as_ref().map(|_| self.prefix.stamp()).transpose().map_err(std::io::Error::other)?;
        if names != plan.record_names || stamp != plan.made_of {
            return Err(InstallError::Changed { prefix: self.prefix.path().to_owned() });
        }
        Ok(transaction)
    }

    fn make_stage(&self, plan: &Plan, transaction: &Transaction<'_>) -> Result<Arc<Stage>, InstallError> {
        let packages = plan.link.len() + plan.pip.link.len() + plan.pip.build.len();
        let (path, bytes) = (self.prefix.path().to_owned(), plan.download_size());
        self.progress.event(Event::InstallStarted { prefix: path, packages, bytes });
        let root = transaction.stage()?.root();
        Ok(Arc::new(Stage::new(root, self.prefix.path(), plan.platform, self.options.stop.clone())?))
    }

    /// Downloads all packages and links them into the stage.
    async fn fetch_and_link(&self, plan: &Plan, stage: &Arc<Stage>) -> Result<Vec<StagedPackage>, InstallError> {
        let Self { client, options, progress, .. } = *self;
        client.report_waits(progress, workers::link_all(plan, client, stage, options, progress)).await
    }

    /// Fetches the sources of packages that pip is to build.
    async fn prepare_builds(
        &self,
        plan: &Plan,
        stage: &Stage,
        finished: &[StagedPackage],
    ) -> Result<Builds, InstallError> {
        let python = staged_package::python(plan, finished);
        let Self { client, options, progress, .. } = *self;
        let sources = pip::prepare(plan, client, stage, python.as_ref(), options, progress).await?;
        Ok(Builds { python, sources })
    }

    /// Finds the code of packages that will run. This is the last step before the prefix changes.
    fn find_code<'p>(
        &self,
        plan: &'p Plan,
        finished: &'p [StagedPackage],
        builds: Builds,
        report: &mut Report,
    ) -> Result<PackageCode<'p>, InstallError> {
        let mut new = link_scripts::with_post_link(plan, finished);
        self.progress.event(Event::Committing);
        self.options.stop.check()?;
        // Without a history, the installation of the old packages did not finish, so there is nothing that their
        // scripts could undo.
        let is_finished = self.prefix.is_environment();
        let mut pre_unlink = match is_finished {
            true => link_scripts::with_pre_unlink(self.prefix, plan),
            false => Vec::new(),
        };
        if self.options.scripts == Scripts::Skip {
            let old = pre_unlink.drain(..).map(|package| LinkScript::pre_unlink(package.name.as_normalized()));
            report.scripts.not_run.extend(old);
            let name = |record: &PrefixRecord| {
                LinkScript::post_link(record.repodata_record.package_record.name.as_normalized())
            };
            report.scripts.not_run.extend(new.drain(..).map(name));
        }
        let after = !new.is_empty() || !builds.sources.is_empty();
        let when = match after {
            _ if !pre_unlink.is_empty() => ScriptTiming::BeforeAndAfter,
            true => ScriptTiming::After,
            false => ScriptTiming::Never,
        };
        Ok(PackageCode { pre_unlink, new, builds, when })
    }

    /// Makes the stage the prefix, and runs the code of packages. If a step fails, both are undone.
    async fn commit(
        &self,
        plan: &Plan,
        transaction: Transaction<'_>,
        change: &PrefixChange<'_>,
        code: PackageCode<'_>,
        report: &mut Report,
    ) -> Result<(), InstallError> {
        let Self { prefix, options, progress, .. } = *self;
        let mut commit = transaction.begin(change, code.when)?;
        options.sharing.iter().filter(|_| code.when != ScriptTiming::Never).for_each(|sharing| sharing.mark_modified());
        let (variables, limit) = (&options.script_variables, options.script_timeout);
        let context = script::ScriptContext { variables, time: change.time, limit, progress };
        let committed = async {
            link_scripts::run_pre_unlink(prefix, &code.pre_unlink, context, report).await?;
            commit.place()?;
            if code.when != ScriptTiming::Never && options.scripts == Scripts::Run {
                link_scripts::run_post_link(prefix, &code.new, context, report).await?;
            }
            let Builds { python, sources } = &code.builds;
            if let Some(python) = python.as_ref().filter(|_| !sources.is_empty()) {
                report.scripts.built = plan.pip.build.iter().map(|package| package.name.clone()).collect();
                report.add_compiled(
                    pip::build(plan, prefix, python, sources, context, options.bytecode, progress).await?,
                );
            }
            Ok(())
        };
        match committed.await {
            Ok(()) => commit.finish(),
            Err(error) => Err(commit.undo(error)),
        }
    }

    /// Writes the snapshot of activation scripts, if an earlier process was killed before it had written it.
    async fn renew_activation(&self, report: &mut Report) {
        if !misses_activation(self.prefix, self.options) {
            return;
        }
        // If another process has locked the prefix, it writes the snapshot itself.
        let path = self.prefix.path();
        if let (Ok(Some(_lock)), Ok(history)) =
            (system::lock_directory(path), fs_err::metadata(path.join("conda-meta").join(HISTORY)))
        {
            self.keep_activation(system::modified(&history), report).await;
        }
    }

    /// Writes the snapshot of activation scripts. The environment is finished, so an error is only reported.
    async fn keep_activation(&self, time: i64, report: &mut Report) {
        if self.options.scripts == Scripts::Run {
            let durable = |scripts: &Vec<_>| match scripts.is_empty() {
                true => Ok(()),
                false => self.options.durability.wait_for(self.prefix.path(), self.progress),
            };
            match snapshot::write(self.prefix, time).await.and_then(|scripts| durable(&scripts).map(|()| scripts)) {
                Ok(scripts) => report.scripts.activation = scripts,
                Err(error) => report.activation_error = Some(error.to_string()),
            }
        }
    }
}

/// Refuses a path that packages cannot have as their prefix.
pub(super) fn check_prefix(prefix: &Path) -> Result<(), InstallError> {
    let reason = match prefix.to_str() {
        None => "it is not UTF-8, but packages contain the prefix as text",
        Some(text) if text.contains(':') => "it contains a `:`, which separates directories in `PATH`",
        Some(text) if text.contains(char::is_control) => {
            "it contains a control character, such as a line break, which breaks scripts"
        }
        Some(_) => return Ok(()),
    };
    Err(InstallError::Unusable { prefix: prefix.to_owned(), reason })
}

/// Decides which package's file is installed if several packages contain the same path.
pub(super) fn resolve_clashes(
    plan: &Plan,
    prefix: &Prefix,
    stage: &Stage,
    finished: &[StagedPackage],
) -> Result<(Vec<Clash>, Option<Layout>), InstallError> {
    let order = staged_package::order(plan, finished);
    let rank: HashMap<&str, usize> = order.iter().enumerate().map(|(rank, name)| (name.as_str(), rank)).collect();
    let rank = |name: &str| rank.get(name).copied().unwrap_or(0);
    let mut packages: Vec<_> = plan.link.iter().map(|package| (rank(&package.name), package.dist_name())).collect();
    // Wheels are linked after all conda packages.
    let last = |name: &str| order.len() + plan.pip.names.iter().position(|other| other == name).unwrap_or(0);
    packages.extend(plan.archives().iter().skip(packages.len()).map(|wheel| (last(&wheel.name), wheel.dist_name())));
    let name = |record: &PrefixRecord| record.repodata_record.package_record.name.as_normalized().to_owned();
    let conda = plan.keep.iter().map(|record| (record, (rank(&name(record)), record_file::dist_name(record))));
    let wheels = plan.pip.keep.iter().map(|record| (record, (last(&name(record)), record_file::dist_name(record))));
    pip::check_distributions(plan, stage)?;
    let root = if prefix.path().exists() { Some(Root::open(prefix.path())?) } else { None };
    let there = root.as_ref().map(|root| InstalledPackages {
        prefix: root,
        unlink: plan.unlink.iter().chain(&plan.pip.unlink).collect(),
        keep: conda.chain(wheels).collect(),
    });
    stage.resolve_clashes(&packages, there.as_ref())
}
