//! The result of an installation: counts, clashes of paths, and other facts for the user.

use std::path::PathBuf;

use mlconda_inspect::plan::Plan;
use mlconda_types::dependency::{dependency_name, is_satisfied_by};
use rattler_conda_types::GenericVirtualPackage;

use super::{
    Clash, Compiled, Options,
    commit::PrefixChange,
    left_out::{self, LeftOutSize},
    record_paths,
    source::PackageOrigin,
    staged_package::StagedPackage,
};

/// The result of an installation.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The number of linked packages.
    pub linked: usize,
    /// The number of unlinked packages, including those that were replaced by another version.
    pub unlinked: usize,
    /// The number of kept packages.
    pub unchanged: usize,
    /// The number of written files.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of packages that were linked from the cache.
    pub cached: usize,
    /// The number of bytes that need no additional disk space, because they are hard links to files in the cache or in
    /// another environment of the same call.
    pub shared: u64,
    /// The parts that were left out of the linked packages, the largest first.
    pub left_out: Vec<LeftOutSize>,
    /// Paths that several packages contain.
    pub clashes: Vec<Clash>,
    /// Untracked files that a file of a package has replaced.
    pub replaced: Vec<PathBuf>,
    /// Untracked soft links above paths of removed packages. The files behind them were not removed.
    pub foreign_links: Vec<PathBuf>,
    /// Paths outside of the prefix in records of removed packages: (record, path). These files were not removed.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// Whether the variables and the history were written.
    pub meta: MetadataOutcome,
    /// Dependencies on virtual packages that the machine does not satisfy.
    pub unmet: Vec<UnmetVirtualPackage>,
    /// The result of compiling the modules of noarch python packages.
    pub compiled: Compiled,
    /// Why the snapshot of activation scripts, for images without a shell, could not be written, if a file could not be
    /// written.
    pub activation_error: Option<String>,
    /// The copy of an unreadable `conda-meta/state`, if there was one. The variables are now those of the lock.
    pub damaged_state: Option<PathBuf>,
    /// Messages of post-link scripts (`.messages.txt`): (package, text).
    pub messages: Vec<(String, String)>,
    /// The code of packages that ran.
    pub scripts: ScriptAudit,
}

/// The code of packages that ran during an installation, and code that did not run although it exists. The python that
/// compiles byte code is not listed, because it runs none of the modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptAudit {
    /// Scripts that ran, in this order.
    pub ran: Vec<LinkScript>,
    /// Scripts that did not run, because of [`Scripts::Skip`](super::Scripts::Skip).
    pub not_run: Vec<LinkScript>,
    /// Activation scripts that ran once at the end, to write the snapshot. Paths are relative to the prefix.
    pub activation: Vec<PathBuf>,
    /// The names of packages that the environment's pip built, which runs their build code.
    pub built: Vec<String>,
}

/// A script of a package that runs when it is linked or unlinked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkScript {
    /// The name of the package.
    pub package: String,
    /// `post-link` or `pre-unlink`.
    pub kind: &'static str,
}

impl LinkScript {
    pub(super) fn post_link(package: &str) -> Self {
        Self { package: package.to_owned(), kind: "post-link" }
    }

    pub(super) fn pre_unlink(package: &str) -> Self {
        Self { package: package.to_owned(), kind: "pre-unlink" }
    }
}

impl Report {
    /// The report for the packages in the stage.
    pub(super) fn new(plan: &Plan, finished: &[StagedPackage], compiled: Compiled, options: &Options) -> Self {
        Self {
            linked: plan.link.len() + plan.pip.link.len() + plan.pip.build.len(),
            meta: MetadataOutcome::Written,
            unlinked: plan.unlink.len() + plan.pip.unlink.len(),
            unchanged: plan.unchanged,
            files: finished.iter().map(|package| package.files).sum::<usize>() + compiled.modules,
            bytes: finished.iter().map(|package| package.bytes).sum::<u64>() + compiled.bytes,
            cached: finished.iter().filter(|package| package.origin.is_some_and(PackageOrigin::is_cache)).count(),
            shared: finished.iter().map(|package| package.shared).sum(),
            left_out: left_out::sum(finished.iter().flat_map(|package| &package.left_out)),
            compiled,
            unmet: unmet(plan, finished, &options.virtual_packages),
            ..Self::default()
        }
    }

    /// Adds the files that a change replaces, and those that it does not touch.
    pub(super) fn add_change(&mut self, change: &PrefixChange<'_>, plan: &Plan) {
        self.replaced.clone_from(&change.replaced);
        self.foreign_links.clone_from(&change.links);
        self.outside = record_paths::outside_prefix(plan);
    }

    /// Adds the result of another compilation.
    pub(super) fn add_compiled(&mut self, compiled: Compiled) {
        self.files += compiled.modules;
        self.bytes += compiled.bytes;
        self.compiled.count(compiled);
    }
}

/// Whether an installation wrote the variables and the history of a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataOutcome {
    /// They were up to date already.
    #[default]
    Unchanged,
    /// They were written.
    Written,
}

/// A dependency on a virtual package that the machine does not satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetVirtualPackage {
    /// The package, by file name without extension.
    pub package: String,
    /// The dependency, as a match spec: `__glibc >=2.36`.
    pub need: String,
    /// The version of the virtual package on the machine.
    pub found: String,
}

/// Dependencies of new packages on virtual packages that the machine does not satisfy.
fn unmet(
    plan: &Plan,
    finished: &[StagedPackage],
    virtual_packages: &[GenericVirtualPackage],
) -> Vec<UnmetVirtualPackage> {
    let mut all = Vec::new();
    for package in finished {
        for need in &package.record.repodata_record.package_record.depends {
            let found = virtual_packages.iter().find(|found| found.name.as_normalized() == dependency_name(need));
            if let Some(found) = found.filter(|found| !is_satisfied_by(need, found)) {
                let package = plan.link[package.number].dist_name();
                all.push(UnmetVirtualPackage { package, need: need.clone(), found: found.version.to_string() });
            }
        }
    }
    all
}
