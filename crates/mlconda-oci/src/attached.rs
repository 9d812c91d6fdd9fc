//! What is attached to an image: artifacts whose `subject` is its manifest, or the index that it is of.

use mlconda_types::progress::Progress;

use crate::{
    Base, Blob, Descriptor, Digest, OciError, Platform, Registries,
    base::{Place, Resolved},
    json,
};

/// A blob that is attached to an image.
#[derive(Clone, Debug)]
pub struct Attached {
    /// What it is: the artifact's type.
    pub artifact_type: String,
    /// The blob.
    pub blob: Blob,
}

/// All that is attached to an image for a platform, in the order in which the place tells it. Only registries and
/// layouts have such things.
///
/// # Errors
/// If the image is not there, or the place refuses.
pub async fn attached(
    image: &Base,
    registries: &Registries,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Vec<Attached>, OciError> {
    let (place, selector) = match image {
        Base::Registry(reference) => (Place::Registry(registries.repository(reference)?), Some(reference.selector())),
        Base::Layout { directory, tag } => (Place::Layout(directory.clone()), tag.clone()),
        Base::DockerArchive { .. } | Base::Scratch => return Ok(Vec::new()),
    };
    registries.report_waits(progress, all(&place, selector.as_deref(), platform)).await
}

async fn all(place: &Place, selector: Option<&str>, platform: &Platform) -> Result<Vec<Attached>, OciError> {
    let Resolved { root, manifest, .. } = place.resolve(selector, platform).await?;
    let mut subjects = vec![manifest.digest, root.digest];
    subjects.dedup();
    let mut found = Vec::new();
    for subject in subjects {
        let entries = match place {
            Place::Registry(repository) => repository.referrers(&subject).await?,
            // Those without a type are images.
            Place::Layout(_) => place.entries()?.into_iter().filter(|entry| entry.artifact_type.is_some()).collect(),
        };
        for entry in entries.iter().filter(|entry| entry.is_manifest()) {
            found.extend(blobs_of(place, entry, &subject).await?);
        }
    }
    Ok(found)
}

/// The blobs of an artifact, if it refers to a manifest.
async fn blobs_of(place: &Place, entry: &Descriptor, subject: &Digest) -> Result<Vec<Attached>, OciError> {
    let what = format!("the artifact `{}`", entry.digest);
    let document = json::parse_object(&place.manifest(entry, &what).await?, &what)?;
    let named = document.get("subject").map(|subject| Descriptor::from_json(subject, &what)).transpose()?;
    if named.is_none_or(|named| named.digest != *subject) {
        return Ok(Vec::new());
    }
    let own = json::text(&document, "artifactType").or_else(|| entry.artifact_type.clone());
    let layers = document.get("layers").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let blob = |layer: &serde_json::Value| {
        let blob = place.blob(Descriptor::from_json(layer, &what)?);
        let artifact_type = own.clone().unwrap_or_else(|| blob.descriptor.media_type.clone());
        Ok(Attached { artifact_type, blob })
    };
    layers.iter().map(blob).collect()
}
