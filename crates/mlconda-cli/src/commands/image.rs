//! `mlconda image`: makes an OCI image directly from a lock.

mod args;
mod bill;
mod locks;
mod places;
mod summary;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use mlconda::{
    host::Host,
    image::{Base, Grouping, ImageError, Made, Workspace, make, plan_layers},
    install::InstallError,
    lock::Lock,
    network::Client,
    oci::{Images, Platform},
};

pub(crate) use self::args::Args;
use crate::{
    context::Context,
    error::CliError,
    progress::Display,
    signals::{self, Temporary, Watched},
    slim,
};

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let start = Instant::now();
    // Checked before anything is solved or fetched.
    args.compression()?;
    let target = (!args.dry_run).then(|| places::Target::new(&args, context)).transpose()?;
    let host = Host::detect(Path::new("/"));
    let mut locks = locks::read_all(&args, &host, context)?;
    slim::apply(&args.slim, locks.iter_mut().map(|(_, lock)| lock), context);
    let prefix = prefix(&args, &locks)?;
    let registries = context.settings.registries(&args.plain_http)?;
    let Some(target) = target else {
        for (_, lock) in &locks {
            let (grouping, before) = places::earlier(&args, &platform(lock)?, &registries, context)?;
            let layers = plan_layers(lock, usize::from(args.content.layers), &grouping);
            summary::tell_plan(lock, &layers, &before, &args, context)?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let mut making = Vec::new();
    for (_, lock) in &locks {
        let platform = platform(lock)?;
        let base = places::base(&args, &platform, &registries, context)?;
        making.push((lock, base, places::earlier(&args, &platform, &registries, context)?.0));
    }
    let cache = context.settings.package_cache();
    // An image `FROM scratch` has no directory for temporary files, so the current directory is the alternative.
    let mut named = tempfile::Builder::new();
    let named = named.prefix("mlconda-image-");
    let temporary = named.tempdir().or_else(|error| {
        let directory = std::env::temp_dir();
        let message = format!("cannot make a temporary directory in `{}`: {}", directory.display(), error.kind());
        let none = |_| CliError::world(message, "set `TMPDIR` to a directory that you can write to");
        named.tempdir_in(&context.settings.directory).map_err(none)
    })?;
    let temporary = Temporary::new(temporary);
    // The directory is registered, so that a signal outside of a future also removes it.
    let (workspace, _watched) = signals::whole(|| {
        let workspace = Workspace::new(cache.as_deref(), temporary.path())?;
        let watched = Watched::new(workspace.path());
        Ok::<_, std::io::Error>((Arc::new(workspace), watched))
    })?;
    let mut made = Vec::new();
    for (lock, base, earlier) in &making {
        let image = make_one(lock, base, &prefix, earlier, &workspace, &host, &args, context)?;
        summary::tell_notes(&image, lock, &host, &args, context);
        made.push(image);
    }
    let mut images = match made.iter().map(|made| made.image.clone()).collect::<Vec<_>>() {
        mut images if images.len() == 1 => Images::one(images.remove(0)),
        images => Images::several(images, &[]),
    };
    bill::attach(&mut images, &locks, &args, context)?;
    places::deliver(&images, &target, &args, &registries, context)?;
    summary::tell_made(&images, &made, &target.name.to_string(), &prefix, start, &args, context)?;
    Ok(ExitCode::SUCCESS)
}

/// The image platform of a lock.
fn platform(lock: &Lock) -> Result<Platform, CliError> {
    Ok(Platform::of(lock.platform).ok_or(ImageError::Platform(lock.platform))?)
}

/// The path of the environment, which is the same for all platforms.
fn prefix(args: &Args, locks: &[locks::Read]) -> Result<PathBuf, CliError> {
    match locks.first() {
        Some((file, lock)) => args.prefix(lock, file),
        None => Err(CliError::Usage("no lock is given".to_owned())),
    }
}

#[allow(clippy::too_many_arguments, reason = "each is another thing")]
fn make_one(
    lock: &Lock,
    base: &Base,
    prefix: &Path,
    earlier: &Grouping,
    workspace: &Arc<Workspace>,
    host: &Host,
    args: &Args,
    context: &Context,
) -> Result<Made, CliError> {
    let is_native = lock.platform == host.platform;
    let program = match &args.content.mlconda {
        Some(file) => {
            let file = context.settings.absolute(file);
            mlconda::image::check_program(&file, lock.platform)?;
            Some(file)
        }
        None => context.settings.program.clone().filter(|_| is_native),
    };
    let options = args.options(is_native, context)?;
    let recipe = args.recipe(prefix.to_owned(), earlier.clone(), program, context)?;
    let display = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    let making = make(lock, base, workspace, &client, &options, &recipe, &display);
    match context.install_or_signal(&options.stop, making)? {
        Err(ImageError::Install(InstallError::Stopped)) => Err(CliError::Stopped(signals::told().unwrap_or_default())),
        made => Ok(made?),
    }
}
