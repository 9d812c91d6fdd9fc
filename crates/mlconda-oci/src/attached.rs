//! Reads artifacts that are attached to an image: their `subject` is the image's manifest, or the index that contains
//! it.

use mlconda_types::progress::Progress;

use crate::{
    Base, Blob, Descriptor, Digest, OciError, Platform, Registries,
    base::{Place, Resolved},
    json,
    registry::Referrers,
};

/// The artifacts that are attached to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// The content of the wanted artifact; `None` if there is none that can be read.
    pub bytes: Option<Vec<u8>>,
    /// The types of the other attached artifacts, if known.
    pub types: Vec<String>,
    /// Messages about artifacts that could not be read.
    pub unread: Vec<String>,
}

/// The artifact to look for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The type of the artifact. Artifacts of other types are not read.
    pub artifact_type: &'a str,
    /// The platform, for images of several platforms.
    pub platform: &'a Platform,
    /// The largest size of the content, in bytes.
    pub limit: u64,
}

/// Looks for artifacts that are attached to an image, and reads the first one of the wanted type that can be read.
/// Images in archives have no artifacts, and neither has `scratch`.
///
/// The future may be dropped: nothing is written.
///
/// # Errors
/// If the image does not exist, or if the registry or the layout cannot be read.
pub async fn attached(
    image: &Base,
    wanted: &Wanted<'_>,
    registries: &Registries,
    progress: &dyn Progress,
) -> Result<Attached, OciError> {
    let (place, selector) = match image {
        Base::Registry(reference) => (Place::Registry(registries.repository(reference)?), Some(reference.selector())),
        Base::Layout { directory, tag } => (Place::Layout(directory.clone()), tag.clone()),
        Base::DockerArchive { .. } | Base::Scratch => return Ok(Attached::default()),
    };
    registries.report_waits(progress, look(&place, selector.as_deref(), wanted)).await
}

async fn look(place: &Place, selector: Option<&str>, wanted: &Wanted<'_>) -> Result<Attached, OciError> {
    let Resolved { root, manifest, .. } = place.resolve(selector, wanted.platform).await?;
    let mut subjects = vec![manifest.digest, root.digest];
    subjects.dedup();
    let mut found = Attached::default();
    for subject in subjects {
        let Referrers { entries, unread } = match place {
            Place::Registry(repository) => repository.referrers(&subject).await?,
            // Entries without a type are images.
            Place::Layout(_) => Referrers {
                entries: place.entries()?.into_iter().filter(|entry| entry.artifact_type.is_some()).collect(),
                unread: Vec::new(),
            },
        };
        unread.into_iter().for_each(|unread| found.pass_over(unread));
        for entry in entries.iter().filter(|entry| entry.is_manifest()) {
            let other = entry.artifact_type.as_ref().filter(|kind| *kind != wanted.artifact_type);
            if let (Some(kind), Place::Registry(_)) = (other, place) {
                found.types.push(kind.clone());
                continue;
            }
            match read(place, entry, &subject, wanted, &mut found).await {
                Ok(Some(bytes)) => return Ok(Attached { bytes: Some(bytes), ..found }),
                Ok(None) => {}
                // The registry failed, so the artifact may be fine.
                Err(error @ (OciError::Network { .. } | OciError::Denied { .. })) => return Err(error),
                // In a layout, an artifact of another type may belong to another image.
                Err(_) if other.is_some() => {}
                Err(error) => found.pass_over(error.to_string()),
            }
        }
    }
    Ok(found)
}

impl Attached {
    /// Adds a message about an unreadable artifact, once. In a layout, the same artifact is read for the image and
    /// again for its index.
    fn pass_over(&mut self, unread: String) {
        if !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
    }
}

/// The content of an artifact, if it has the wanted type and its `subject` is this manifest.
async fn read(
    place: &Place,
    entry: &Descriptor,
    subject: &Digest,
    wanted: &Wanted<'_>,
    found: &mut Attached,
) -> Result<Option<Vec<u8>>, OciError> {
    let what = format!("the artifact `{}`", entry.digest);
    let document = json::parse_object(&place.manifest(entry, &what).await?, &what)?;
    let named = document.get("subject").map(|subject| Descriptor::from_json(subject, &what)).transpose()?;
    if named.is_none_or(|named| named.digest != *subject) {
        return Ok(None);
    }
    let layers = document.get("layers").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let blobs = layers.iter().map(|layer| Ok(place.blob(Descriptor::from_json(layer, &what)?)));
    let blobs = blobs.collect::<Result<Vec<Blob>, OciError>>()?;
    let own = json::text(&document, "artifactType").or_else(|| entry.artifact_type.clone());
    let mut is_there = false;
    for blob in &blobs {
        let kind = own.as_ref().unwrap_or(&blob.descriptor.media_type);
        if kind == wanted.artifact_type {
            let bytes = blob.bytes(wanted.limit).await?;
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            if kind.ends_with("json") && !is_json {
                return Err(OciError::invalid(what, "its content is no JSON"));
            }
            return Ok(Some(bytes));
        }
        found.types.push(kind.clone());
        is_there = true;
    }
    if !is_there {
        return Err(OciError::invalid(what, "it has no content"));
    }
    Ok(None)
}
