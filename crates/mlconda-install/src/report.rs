//! What an installation did: counts, clashes of paths, and what the user should know.

use std::path::PathBuf;

use mlconda_inspect::plan::Plan;
use mlconda_types::dependency::{dependency_name, is_within_limits};
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, ParseStrictness};

use super::{
    Clash, Compiled, Options, commit::PrefixChange, record_paths, source::PackageOrigin, workers::StagedPackage,
};

/// What an installation did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many packages were linked.
    pub linked: usize,
    /// How many were unlinked, those that changed among them.
    pub unlinked: usize,
    /// How many stayed as they were.
    pub unchanged: usize,
    /// How many files were written.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many packages came out of the cache.
    pub cached: usize,
    /// How many of the bytes take no room of their own: they are in hard links to files that were there before, in the
    /// cache or in an environment of the same call.
    pub shared: u64,
    /// Paths that several packages hold.
    pub clashes: Vec<Clash>,
    /// Files that belonged to no package, and that a package's file has replaced.
    pub replaced: Vec<PathBuf>,
    /// Links that no package has made. Behind them files of packages that went would have been: they were left alone.
    pub foreign_links: Vec<PathBuf>,
    /// Paths that records of packages that went name, and that are not in the prefix: they were left alone. Each comes
    /// after the name of its record.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// What became of the variables and the history.
    pub meta: MetadataOutcome,
    /// What packages need of the machine that the machine is known not to have.
    pub unmet: Vec<UnmetVirtualPackage>,
    /// What became of the modules of noarch python packages.
    pub compiled: Compiled,
    /// Why nothing is kept of what activation scripts set, for images without a shell, where a file could not be written.
    pub activation_error: Option<String>,
    /// What post-link scripts left for the user to read, by package.
    pub messages: Vec<(String, String)>,
}

impl Report {
    /// What the stage holds by now.
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
            compiled,
            unmet: unmet(plan, finished, &options.virtual_packages),
            ..Self::default()
        }
    }

    /// Takes what is told of a change.
    pub(super) fn add_change(&mut self, change: &PrefixChange<'_>, plan: &Plan) {
        self.replaced.clone_from(&change.replaced);
        self.foreign_links.clone_from(&change.links);
        self.outside = record_paths::outside_prefix(plan);
    }

    /// Counts in what was compiled.
    pub(super) fn add_compiled(&mut self, compiled: Compiled) {
        self.files += compiled.modules;
        self.bytes += compiled.bytes;
        self.compiled.count(compiled);
    }
}

/// What became of a prefix's variables and history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataOutcome {
    /// They were as the lock says.
    #[default]
    Unchanged,
    /// They were written anew.
    Written,
}

/// A package that needs more of the machine than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetVirtualPackage {
    /// The package, by file name without extension.
    pub package: String,
    /// What it needs, as a match spec: `__glibc >=2.36`.
    pub need: String,
    /// What the machine has.
    pub found: String,
}

/// What packages need that the machine is known not to have.
fn unmet(
    plan: &Plan,
    finished: &[StagedPackage],
    virtual_packages: &[GenericVirtualPackage],
) -> Vec<UnmetVirtualPackage> {
    let mut all = Vec::new();
    for package in finished {
        for need in &package.record.repodata_record.package_record.depends {
            let found = virtual_packages.iter().find(|found| found.name.as_normalized() == dependency_name(need));
            let is_sound = is_within_limits(need);
            let spec = is_sound.then(|| MatchSpec::from_str(need, ParseStrictness::Lenient).ok()).flatten();
            if let (Some(found), Some(spec)) = (found, spec)
                && !spec.matches(found)
            {
                let package = plan.link[package.number].dist_name();
                all.push(UnmetVirtualPackage { package, need: need.clone(), found: found.version.to_string() });
            }
        }
    }
    all
}
