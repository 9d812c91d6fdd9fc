//! What is attached to an image: artifacts whose `subject` is its manifest, or the index that it is of.

use mlconda_types::progress::Progress;

use crate::{
    Base, Blob, Descriptor, Digest, OciError, Platform, Registries,
    base::{Place, Resolved},
    json,
    registry::Referrers,
};

/// What is attached to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// The content of what was wanted, if it is there and can be read.
    pub bytes: Option<Vec<u8>>,
    /// The types of all that is attached, as far as they are known.
    pub types: Vec<String>,
    /// What cannot be read, and why.
    pub unread: Vec<String>,
}

/// What is wanted of that.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The artifact's type. Artifacts of another type are not read.
    pub artifact_type: &'a str,
    /// The platform, of an image for several.
    pub platform: &'a Platform,
    /// The most bytes that it may have.
    pub limit: u64,
}

/// Looks for what is attached to an image, and reads the first artifact of a type that can be read. Only registries and
/// layouts have such things.
///
/// The future may be dropped: nothing is written.
///
/// # Errors
/// If the image is not there, or the place refuses.
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
            // Those without a type are images.
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
                // This says nothing of the artifact.
                Err(error @ (OciError::Network { .. } | OciError::Denied { .. })) => return Err(error),
                // What of a layout is of another type, may be of another image.
                Err(_) if other.is_some() => {}
                Err(error) => found.pass_over(error.to_string()),
            }
        }
    }
    Ok(found)
}

impl Attached {
    /// Notes what cannot be read. In a layout, an artifact is looked at for the image and for the index that it is of.
    fn pass_over(&mut self, unread: String) {
        if !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
    }
}

/// The content of an artifact, if it is of the type and refers to the manifest.
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
