//! Parses names of images, in commands that accept a lock, a prefix or an image.

use std::path::Path;

use mlconda::{Subdir, oci};

use crate::{
    bundles,
    context::Context,
    error::CliError,
    lock_or_prefix::{self, LockOrPrefixArgs, has_kind_of_file},
};

/// The given image; `None` for a lock or a prefix. An image is a text with a transport (`oci:`), a directory with a
/// layout, a tar, or a reference that is not a file.
///
/// # Errors
/// If the text is neither an existing file or directory nor a reference, or a directory that is neither a prefix nor a
/// layout.
pub(crate) fn image_named(place: &Path, context: &Context) -> Result<Option<oci::Base>, CliError> {
    let (path, directory) = (context.settings.input(place), &context.settings.directory);
    let text = place.to_str().unwrap_or_default();
    let has_transport = ["docker://", "oci:", "docker-archive:"].iter().any(|transport| text.starts_with(transport));
    if has_transport || !path.exists() && is_reference(text, &path) {
        return Ok(Some(oci::Base::parse(text, directory)?));
    }
    let is_tar = path.is_file() && path.extension().is_some_and(|kind| kind == "tar");
    // A bundle is a tar, too. If it is damaged, its reader reports that.
    let is_archive = || is_tar && !bundles::may_be_bundle(&path);
    let is_prefix = || path.ends_with("conda-meta") || path.join("conda-meta").is_dir();
    if path.is_dir() && !is_prefix() {
        if !path.join("oci-layout").is_file() {
            let message = format!(
                "`{}` is neither the prefix of an environment (it has no `conda-meta`) nor an image layout (it has no \
                 `oci-layout`)",
                place.display()
            );
            return Err(CliError::world(message, "name a lock, the prefix of an environment, or an image"));
        }
        return Ok(Some(oci::Base::Layout { directory: path, tag: None }));
    }
    match (is_archive(), path.exists()) {
        (true, _) => Ok(Some(oci::Base::DockerArchive { file: path, tag: None })),
        (false, true) => Ok(None),
        (false, false) => Err(not_there(place, &path)),
    }
}

/// The platform of the image if there are several: the given one, else that of containers on this machine.
pub(crate) fn platform(args: &LockOrPrefixArgs) -> Result<oci::Platform, CliError> {
    let subdir = args.platform().or_else(Subdir::current).unwrap_or(Subdir::Linux64);
    let platform = oci::Platform::of(subdir).or_else(|| oci::Platform::of(Subdir::Linux64));
    platform.ok_or_else(|| CliError::Usage("no platform".to_owned()))
}

/// If a name that may be a file was taken for an image and that failed, reports this.
pub(crate) fn tell_if_unclear(place: &Path, context: &Context) {
    let text = place.to_str().unwrap_or_default();
    let is_explicit = text.contains(':') || text.split('/').next().is_some_and(|first| first.contains('.'));
    if !is_explicit && !context.settings.absolute(place).exists() {
        context.ui.warn(&format!("there is no file or directory `{text}`, so it was looked for as an image"));
    }
}

/// Whether a text that is not an existing file is the name of an image.
fn is_reference(text: &str, path: &Path) -> bool {
    // If the directory `envs` exists, `envs/typo` is a path.
    let is_beside = || !text.contains(':') && path.parent().is_some_and(Path::is_dir);
    !has_kind_of_file(Path::new(text))
        && text.contains([':', '/'])
        && text.parse::<oci::Reference>().is_ok()
        && !is_beside()
}

/// The error for a path where nothing exists.
fn not_there(place: &Path, path: &Path) -> CliError {
    let name = place.display();
    let prefix = "an environment under the root prefix is named by `-n NAME`";
    let is_image = || format!("{name}:latest").parse::<oci::Reference>().is_ok();
    let otherwise = match has_kind_of_file(path) {
        true => "make a lock with `mlconda lock environment.yml`".to_owned(),
        false if is_image() => {
            format!("an image is named with its registry or its tag, as in `{name}:latest`; {prefix}")
        }
        false => prefix.to_owned(),
    };
    lock_or_prefix::not_there(place, path, &otherwise)
}
