//! Where the base comes from, and where the image goes.

use std::path::Path;

use mlconda::{
    image::{Base, ImageError},
    oci::{Images, Platform},
};

use super::args::Args;
use crate::{context::Context, error::CliError};

/// The base of an image for a platform.
pub(super) fn base(args: &Args, platform: &Platform, context: &Context) -> Result<Base, CliError> {
    match args.content.base.split_once(':') {
        None if args.content.base == "scratch" => Ok(Base::scratch(platform)),
        Some(("docker-archive", file)) => {
            Ok(mlconda::image::archive::read(&context.settings.absolute(Path::new(file)))?)
        }
        _ => Err(CliError::world("bases in registries are not there yet", "name a `docker-archive:FILE`")),
    }
}

/// Writes the images to where they are to go.
pub(super) fn deliver(images: &Images, tag: &str, args: &Args, context: &Context) -> Result<(), CliError> {
    let Some(output) = &args.destination.output else {
        return Err(CliError::Usage(
            "say where the image goes: `--push`, `--output FILE` or `--oci-layout DIR`".to_owned(),
        ));
    };
    let written = if output == Path::new("-") {
        mlconda::image::archive::write(images, tag, &mut std::io::stdout().lock())
    } else {
        let path = context.settings.absolute(output);
        fs_err::File::create(path).and_then(|mut file| mlconda::image::archive::write(images, tag, &mut file))
    };
    Ok(written.map_err(ImageError::from)?)
}
