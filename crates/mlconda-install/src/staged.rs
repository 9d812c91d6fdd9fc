//! An environment that is made in a directory, for a prefix that does not exist on this machine: all steps of an
//! installation before the commit. Images are made from it.
//!
//! The files are those that [`install`](crate::install) would write, with the same bytes, modes, times and records. No
//! code of a package runs, except that the environment's python compiles byte code if it can run here. Code that would
//! have to run (post-link scripts, builds of pip) is reported. Nothing is written at the path of the prefix, so neither
//! root nor Linux is needed.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_channel::network::Client;
use mlconda_inspect::plan::Plan;
use mlconda_lock::{Lock, LockedPackage, LockedPip};
use mlconda_prefix::{Prefix, distributions, on_disk};
use mlconda_system::{beneath::Root, files};
use mlconda_types::progress::{Event, Progress};
use rattler_conda_types::Subdir;
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

use super::{
    Bytecode, Clash, Compiled, HISTORY, InstallError, Options, bytecode,
    held::OPEN_PARENTS,
    installation, link_scripts, metadata, pip, read_if_there, record_paths,
    script::{self, ScriptKind},
    stage::Stage,
    staged_package::StagedPackage,
    workers,
};

/// An environment in a directory. Its packages are linked, and clashes are resolved. The next steps are
/// [`Staging::compile`] and [`Staging::finish`].
pub struct Staging {
    plan: Plan,
    /// A prefix that does not exist, so that no environment of this machine is read.
    absent: Prefix,
    stage: Arc<Stage>,
    finished: Vec<StagedPackage>,
    options: Options,
    clashes: Vec<Clash>,
}

/// A package of a [`Staging`].
#[derive(Clone, Debug)]
pub struct PackageFiles {
    /// The package, always with the size of its archive, even if the lock does not have it.
    pub package: LockedPackage,
    /// The build time, in seconds since 1970.
    pub built: Option<i64>,
    /// The sha256 of the record before byte code is added. A record contains the hashes of the archive and of each file
    /// in the prefix, so equal hashes mean equal files.
    pub identity: Sha256Hash,
    /// The paths of the files and links that it owns, with its record. They are relative to the prefix and sorted.
    pub files: Vec<PathBuf>,
    /// The size of the files in bytes.
    pub bytes: u64,
    /// Whether its modules are compiled. True for noarch python packages and wheels.
    pub has_modules: bool,
    /// The text of the post-link script, which does not run.
    pub post_link: Option<String>,
}

/// The files that belong to no package, and all directories.
#[derive(Clone, Debug)]
pub struct EnvironmentFiles {
    /// `conda-meta/history` and, if there are variables, `conda-meta/state`.
    pub files: Vec<PathBuf>,
    /// All directories below the prefix, parents first.
    pub directories: Vec<PathBuf>,
    /// The modification time of these directories and files, in seconds since 1970.
    pub time: i64,
}

/// Links all packages of a lock into an empty directory, for a prefix at the path `target`, and resolves clashes.
///
/// If the future is dropped, the contents of the directory are incomplete and must be removed.
///
/// # Errors
/// If the path is not possible as a prefix, or if a package cannot be fetched or linked.
pub async fn stage(
    lock: &Lock,
    client: &Client,
    target: &Path,
    directory: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Staging, InstallError> {
    let staging = link(lock, client, target, directory, options, progress).await;
    staging.map_err(|error| options.stop.classify(error))
}

async fn link(
    lock: &Lock,
    client: &Client,
    target: &Path,
    directory: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Staging, InstallError> {
    installation::check_prefix(target)?;
    let absent = Prefix::open(directory.join(".absent")).map_err(std::io::Error::other)?;
    let plan = Plan::new(lock, &absent).map_err(std::io::Error::other)?;
    pip::check_tags(&plan)?;
    record_paths::check_record_names(&plan, &absent)?;
    let (packages, bytes) = (plan.link.len() + plan.pip.link.len(), plan.download_size());
    progress.event(Event::StagingStarted { prefix: target.to_owned(), packages, bytes });
    let root = Arc::new(Root::open(directory)?.with_open_parents(OPEN_PARENTS));
    root.set_directory_mode(Path::new(""), 0o755)?;
    let stage = Arc::new(Stage::new(&root, target, plan.platform, options.stop.clone())?);
    let linking = workers::link_all(&plan, client, &stage, options, progress);
    let mut finished = client.report_waits(progress, linking).await?;
    let (clashes, _) = installation::resolve_clashes(&plan, &absent, &stage, &finished)?;
    link_scripts::drop_replaced(&stage, &mut finished)?;
    Ok(Staging { plan, absent, stage, finished, options: options.clone(), clashes })
}

/// The script that compiles modules. The environment's python runs it, and the byte code depends on it.
pub fn compiler() -> &'static str {
    bytecode::SCRIPT
}

impl Staging {
    /// The directory with the files.
    pub fn root(&self) -> &Path {
        self.stage.root.path()
    }

    /// The platform of the environment.
    pub fn platform(&self) -> Subdir {
        self.plan.platform
    }

    /// Paths that several packages contain.
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }

    /// The packages of pip without a wheel. They are not in the directory, because the environment's pip would have to
    /// run.
    pub fn unbuilt(&self) -> impl Iterator<Item = String> {
        self.plan.pip.build.iter().map(LockedPip::dist_name)
    }

    /// All packages with their files, in the order of the lock. After [`Staging::compile`], the files include byte
    /// code.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn packages(&self) -> Result<Vec<PackageFiles>, InstallError> {
        let archives = self.plan.archives();
        let mut packages = Vec::with_capacity(self.finished.len());
        for package in &self.finished {
            let record = Path::new("conda-meta").join(distributions::record_name(&package.record));
            let text = self.stage.root.read_all(&record, files::LARGEST_RECORD)?;
            let archive = archives[package.number].clone();
            let size = archive.size.or(package.record.repodata_record.package_record.size);
            packages.push(PackageFiles {
                package: LockedPackage { size, ..archive },
                built: package.built,
                identity: compute_bytes_digest::<Sha256>(&text),
                files: vec![record],
                bytes: package.bytes,
                has_modules: package.record.repodata_record.package_record.noarch.is_python(),
                post_link: self.post_link(package)?,
            });
        }
        for path in self.stage.paths() {
            if let Some(number) = self.stage.owner(&path).filter(|number| *number < packages.len()) {
                packages[number].files.push(path);
            }
        }
        for package in &mut packages {
            mlconda_types::sorting::sort(&mut package.files);
        }
        Ok(packages)
    }

    /// The text of a package's post-link script.
    fn post_link(&self, package: &StagedPackage) -> Result<Option<String>, InstallError> {
        if !package.post_link {
            return Ok(None);
        }
        let name = package.record.repodata_record.package_record.name.as_normalized();
        let place = self.stage.final_path(&script::path(name, ScriptKind::PostLink));
        let text = read_if_there(&self.root().join(place))?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// Compiles the modules of the `wanted` packages, which are file names of archives, and adds the byte code to their
    /// records. The result for a package does not depend on the other packages.
    ///
    /// If the future is dropped, python is stopped, and byte code may be incomplete. Then the directory must be
    /// removed.
    ///
    /// # Errors
    /// If a file cannot be read or written. If python cannot run, that is not an error, but reported in
    /// [`Compiled::unable`].
    pub async fn compile(
        &mut self,
        wanted: &HashSet<String>,
        progress: &dyn Progress,
    ) -> Result<Compiled, InstallError> {
        let Self { plan, absent, stage, finished, options, .. } = self;
        if options.bytecode == Bytecode::Skip {
            return Ok(Compiled::default());
        }
        let archives = plan.archives();
        let is_wanted = |number: usize| wanted.contains(&archives[number].file_name);
        let compiled = bytecode::compile(plan, absent, stage, finished, &is_wanted, options, progress).await;
        compiled.map_err(|error| options.stop.classify(error))
    }

    /// Writes the files that belong to no package.
    ///
    /// # Errors
    /// If a file cannot be written, or if a stop was requested.
    pub fn finish(&self) -> Result<EnvironmentFiles, InstallError> {
        let Self { plan, absent, stage, finished, options, .. } = self;
        options.stop.check().map_err(|error| options.stop.classify(error.into()))?;
        let time = options.time.unwrap_or_else(|| metadata::newest_build_time(plan, finished, absent));
        metadata::write(plan, absent, stage, time, options)?;
        let meta = Path::new("conda-meta");
        stage.root.rename(&meta.join(on_disk::PENDING_HISTORY), &stage.root, &meta.join(HISTORY))?;
        let (mut files, root) = (vec![meta.join(HISTORY)], self.root());
        files.extend(Some(PathBuf::from(mlconda_prefix::STATE)).filter(|state| root.join(state).is_file()));
        Ok(EnvironmentFiles { files, directories: stage.directories(), time })
    }
}
