//! Selects one lock from a file with several, for `install`, `convert` and other commands.

use std::{io::ErrorKind, path::Path, str::FromStr};

use mlconda::{
    Subdir,
    host::Host,
    lock::{Lock, LockError, LockFile, LockKind, Selection, SourcePackages, kind_of},
};

use crate::{bundles, context::Context, error::CliError, text::list};

/// The lock to use of a file with several
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options for locks of other tools")]
pub(crate) struct SelectionArgs {
    /// The environment of a pixi.lock [default: `default`, or the only one]
    #[arg(long, value_name = "NAME", hide_short_help = true, hide = !cfg!(any(feature = "bundle", feature = "formats")))]
    pub(crate) environment: Option<String>,
    /// Add the packages of this category of a conda-lock.yml to those of `main` (repeatable)
    #[arg(long = "with-category", visible_alias = "category", value_name = "NAME")]
    #[arg(hide_short_help = true, hide = !cfg!(feature = "formats"))]
    pub(crate) categories: Vec<String>,
    /// The same as `--with-category dev`
    #[arg(long, hide_short_help = true, hide = !cfg!(feature = "formats"))]
    pub(crate) dev: bool,
}

impl SelectionArgs {
    /// The selection for a platform, or for the only one.
    pub(crate) fn selection(&self, platform: Option<Subdir>, sources: SourcePackages) -> Selection {
        let mut categories = self.categories.clone();
        if self.dev && !categories.iter().any(|name| name == "dev") {
            categories.push("dev".to_owned());
        }
        Selection { platform, environment: self.environment.clone(), categories, sources }
    }

    /// The only lock of a file, or the one for this machine.
    pub(crate) fn of_this_machine(&self, file: &Path, context: &Context) -> Result<Lock, CliError> {
        let found = read(file, context)?;
        let platform = match found.platforms().as_slice() {
            [_] => None,
            _ => Some(Host::detect(Path::new("/")).platform),
        };
        Ok(found.select(&self.selection(platform, SourcePackages::LeaveOut))?)
    }
}

/// The locks of a file, each with the environment name by which it was selected: that of its only platform, else those
/// of the given platforms or of this machine. A bundle has the locks of all environments, unless one is selected.
pub(crate) fn of_platforms(
    file: &Path,
    platforms: &[Subdir],
    selection: &SelectionArgs,
    machine: Subdir,
    context: &Context,
) -> Result<Vec<(Option<String>, Lock)>, CliError> {
    let locks = read(file, context)?;
    let there = locks.platforms();
    let platforms: Vec<Option<Subdir>> = match (there.as_slice(), platforms) {
        ([] | [_], _) => vec![None],
        (_, []) => vec![Some(machine)],
        (_, typed) => typed.iter().copied().map(Some).collect(),
    };
    let environments: Vec<String> = match (&selection.environment, bundles::is_bundle(file, context)?) {
        (None, true) => locks.environments().into_iter().map(str::to_owned).collect(),
        (typed, _) => vec![typed.clone().unwrap_or_default()],
    };
    let mut found = Vec::new();
    for environment in environments {
        for platform in &platforms {
            let mut chosen = selection.selection(*platform, SourcePackages::Refuse);
            chosen.environment = Some(environment.clone()).filter(|name| !name.is_empty());
            let lock = locks.select(&chosen)?;
            tell_of_categories(&locks, &chosen, context);
            found.push((chosen.environment, lock));
        }
    }
    Ok(found)
}

/// Reads a file of locks of any kind, a bundle, or the records of a prefix. Warns if these do not have what pip has
/// changed in the prefix.
pub(crate) fn read(file: &Path, context: &Context) -> Result<LockFile, CliError> {
    let found = read_quietly(file, context)?;
    #[cfg(feature = "lock")]
    if found.kind == LockKind::Prefix {
        crate::by_pip::warn_of_path(&context.settings.absolute(file), crate::by_pip::Purpose::Lock, context)?;
    }
    Ok(found)
}

/// Like [`read`], without the warnings.
pub(crate) fn read_quietly(file: &Path, context: &Context) -> Result<LockFile, CliError> {
    if let Some(locks) = bundles::locks(file, context)? {
        return Ok(locks);
    }
    let settings = &context.settings;
    let expansion = settings.expansion();
    Ok(LockFile::read(&settings.input(file), &expansion)?)
}

/// Like [`read`], for installations: they take an environment.yml as well.
pub(crate) fn read_to_install(file: &Path, context: &Context) -> Result<LockFile, CliError> {
    read(file, context).map_err(|error| match error {
        CliError::Library(mlconda::Error::Lock(LockError::File(error))) if error.kind() == ErrorKind::NotFound => {
            let hint =
                "make a lock with `mlconda lock environment.yml`; `mlconda install` takes an environment.yml as well";
            CliError::world(error.to_string(), hint)
        }
        error => error,
    })
}

/// Whether a file is an environment.yml: by its extension, unless its content is a lock.
pub(crate) fn is_environment(file: &Path, context: &Context) -> bool {
    let named = file.extension().is_some_and(|kind| kind == "yml" || kind == "yaml");
    let path = context.settings.absolute(file);
    named && !path.is_dir() && kind_of_file(&path).is_none()
}

/// The kind of a lock file; `None` for other files. A pipe is not read, because it can be read only once.
pub(crate) fn kind_of_file(path: &Path) -> Option<LockKind> {
    // If a bundle is damaged, the error comes later, when it is read.
    if bundles::may_be_bundle(path) {
        return Some(LockKind::Explicit);
    }
    let bytes = mlconda::files::read(path, mlconda::files::LARGEST_LOCK).ok()?;
    kind_of(&String::from_utf8_lossy(&bytes))
}

/// Reports the categories that were not selected: conda-lock installs some of them by default.
pub(crate) fn tell_of_categories(file: &LockFile, selection: &Selection, context: &Context) {
    let is_left_out = |name: &&str| *name != "main" && !selection.categories.iter().any(|chosen| chosen == name);
    let left_out: Vec<&str> = file.categories().into_iter().filter(is_left_out).collect();
    if let (LockKind::CondaLock, [first, others @ ..]) = (file.kind, left_out.as_slice()) {
        let categories = if others.is_empty() { "category" } else { "categories" };
        context.ui.say(&format!(
            "`{}` has the {categories} {} too: `--with-category {first}` adds it",
            file.file.display(),
            list(&left_out)
        ));
    }
}

/// Reads the value of `--platform`.
pub(crate) fn platform(text: &str) -> Result<Subdir, String> {
    match Subdir::from_str(text) {
        Ok(Subdir::NoArch) | Err(_) => {
            Err("platforms are named as in `linux-64`, `linux-aarch64`, `osx-arm64`, `osx-64`, `win-64`".to_owned())
        }
        Ok(platform) => Ok(platform),
    }
}
