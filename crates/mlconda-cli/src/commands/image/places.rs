//! The source of the base image, and the destination of the new image.

use std::{
    collections::HashMap,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use mlconda::{
    image::{Base, Grouping, Key, grouping_of},
    oci::{self, Images, Platform, Pushed, Reference, Registries, archive, layout},
};

use super::args::Args;
use crate::{
    context::Context,
    error::CliError,
    progress::Display,
    text::{bytes, count},
};

/// The destination of the image, and its name there.
pub(super) struct Target {
    place: Place,
    /// The name.
    pub(super) name: Reference,
}

enum Place {
    Registry,
    /// A tar; stdout if it has no path.
    Archive(Option<PathBuf>),
    Layout(PathBuf),
}

impl Target {
    /// Reads the destination from the arguments: exactly one, with a name that is valid for it.
    pub(super) fn new(args: &Args, context: &Context) -> Result<Self, CliError> {
        let Some(tag) = &args.tag else { return Err(CliError::Usage("`--tag` is missing".to_owned())) };
        let name: Reference = tag.parse()?;
        if name.digest.is_some() {
            let message = format!("`{tag}` has a digest, but the digest of a new image is not known yet");
            return Err(CliError::Usage(message));
        }
        let destination = &args.destination;
        let place = match (&destination.output, &destination.oci_layout) {
            (Some(output), _) if output == Path::new("-") => {
                if args.json {
                    return Err(CliError::Usage("the image and `--json` cannot both be on stdout".to_owned()));
                }
                if std::io::stdout().is_terminal() {
                    return Err(CliError::Usage(
                        "an image cannot be written to a terminal: name a file, or use a pipe".to_owned(),
                    ));
                }
                Place::Archive(None)
            }
            (Some(output), _) => Place::Archive(Some(context.settings.absolute(output))),
            (None, Some(directory)) => Place::Layout(context.settings.absolute(directory)),
            (None, None) if !destination.push => {
                let message = "say where the image goes: `--push`, `--output FILE` or `--oci-layout DIR`";
                return Err(CliError::Usage(message.to_owned()));
            }
            (None, None) if !tag.contains('/') => {
                let message = format!("`{tag}` has no registry to push to");
                return Err(CliError::world(
                    message,
                    format!("name it, as in `--tag registry.example.org/team/{tag}`"),
                ));
            }
            (None, None) => Place::Registry,
        };
        Ok(Self { place, name })
    }
}

/// The base of an image for a platform.
pub(super) fn base(
    args: &Args,
    platform: &Platform,
    registries: &Registries,
    context: &Context,
) -> Result<Base, CliError> {
    let base = oci::Base::parse(&args.content.base, &context.settings.directory)?;
    let display = Display::new(&context.ui);
    let loading = base.load(registries, platform, &display);
    let oci::BaseImage { name, digest, config, layers, .. } = context.block_on_or_end(loading)??;
    Ok(Base { name, digest, config, layers })
}

/// The grouping of an earlier image, and the packages of each of its layers.
pub(super) type Earlier = (Grouping, HashMap<Key, Vec<String>>);

/// The grouping of the image that `--like` names.
pub(super) fn earlier(
    args: &Args,
    platform: &Platform,
    registries: &Registries,
    context: &Context,
) -> Result<Earlier, CliError> {
    let Some(like) = &args.content.like else { return Ok(Earlier::default()) };
    let like = oci::Base::parse(like, &context.settings.directory)?;
    let display = Display::new(&context.ui);
    let image = context.block_on_or_end(like.load(registries, platform, &display))??;
    let layers: Vec<oci::Descriptor> = image.layers.into_iter().map(|layer| layer.descriptor).collect();
    Ok(grouping_of(&layers))
}

/// Writes or pushes the images to their destination.
pub(super) fn deliver(
    images: &Images,
    target: &Target,
    args: &Args,
    registries: &Registries,
    context: &Context,
) -> Result<(), CliError> {
    let Target { place, name } = target;
    match place {
        Place::Registry => {
            // The layers that the image reuses may be in another repository of the registry.
            let parse = |like| oci::Base::parse(like, &context.settings.directory);
            let like = match args.content.like.as_deref().map(parse).transpose()? {
                Some(oci::Base::Registry(reference)) => vec![reference],
                _ => Vec::new(),
            };
            let display = Display::new(&context.ui);
            let pushed = context.block_on_or_signal(registries.push(images, name, &like, &display))??;
            drop(display);
            tell_pushed(&pushed, context);
        }
        Place::Archive(None) => {
            let (display, mut stdout) = (Display::new(&context.ui), std::io::stdout().lock());
            let writing = archive::write(images, name, &mut stdout, &display);
            // The reader may stop reading; then a signal ends the process.
            context.block_on(registries.report_waits(&display, writing))??;
        }
        Place::Archive(Some(path)) => {
            let display = Display::new(&context.ui);
            let writing = archive::write_file(images, name, path, &display);
            let writing = registries.report_waits(&display, writing);
            match fs_err::metadata(path) {
                // The same is true for a pipe.
                Ok(metadata) if !metadata.is_file() => context.block_on(writing)??,
                _ => context.block_on_or_signal(writing)??,
            }
        }
        Place::Layout(directory) => {
            let display = Display::new(&context.ui);
            let writing = layout::write(images, directory, Some(name.tag_or_latest()), &display);
            context.block_on_or_signal(registries.report_waits(&display, writing))??;
        }
    }
    Ok(())
}

/// Reports which layers a push has sent, and which were already in the registry.
fn tell_pushed(pushed: &Pushed, context: &Context) {
    let sent = if pushed.sent == 0 {
        "nothing was sent".to_owned()
    } else {
        format!("{} sent ({})", count(pushed.sent, "blob"), bytes(pushed.sent_bytes))
    };
    let there = pushed.there + pushed.mounted;
    let there = if there == 0 { String::new() } else { format!(", {} there already", count(there, "blob")) };
    context.ui.say(&format!("Pushed `{}`: {sent}{there}.", pushed.reference));
}
