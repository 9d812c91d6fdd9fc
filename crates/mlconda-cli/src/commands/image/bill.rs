//! Attaches SBOMs to an image, one for each platform.

use std::path::PathBuf;

use mlconda::{
    lock::Lock,
    oci::{Artifact, Blob, Images, annotation},
    records::Wanted,
    repodata::Access,
    sbom::{self, Subject},
};

use super::{args::Args, locks};
use crate::{
    commands::sbom::Format,
    context::Context,
    error::CliError,
    lock_or_prefix::{complete, warn},
};

/// Attaches an SBOM to each image. The images are in the order of the locks.
pub(super) fn attach(
    images: &mut Images,
    locks: &[locks::Read],
    args: &Args,
    context: &Context,
) -> Result<(), CliError> {
    let Some(format) = args.sbom() else { return Ok(()) };
    for (image, (_, lock)) in images.images.iter().zip(locks) {
        let text = bill(lock.clone(), format, (&args.inputs, args.access()), context)?;
        let blob = Blob::new(format.media_type(), text.into_bytes());
        let title = [(annotation::TITLE, "SBOM")];
        images.artifacts.push(Artifact::new(&image.manifest.descriptor, format.media_type(), blob, &title));
    }
    Ok(())
}

fn bill(mut lock: Lock, format: Format, from: (&[PathBuf], Access), context: &Context) -> Result<String, CliError> {
    warn(&complete(&mut lock, None, Wanted::Licences, from, context)?, context);
    let subject = Subject { name: None, time: context.settings.source_date_epoch()?, ..Subject::default() };
    Ok(sbom::sbom(&lock, format.into(), &subject))
}
