//! Reads manifests and blobs from a registry or a layout, and chooses the manifest for a platform from an index.

use std::path::PathBuf;

use mlconda_system::files;

use crate::{
    Blob, Content, Descriptor, OciError, Platform, Repository, json::LARGEST_DOCUMENT, registry::index_entries,
};

/// The place of an image's manifests and blobs.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Registry(Repository),
    Layout(PathBuf),
}

/// The manifest of an image for one platform.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The document that the reference names: the index, or the manifest itself.
    pub(crate) root: Descriptor,
    /// The manifest of the image, and its bytes.
    pub(crate) manifest: Descriptor,
    pub(crate) bytes: Vec<u8>,
    /// The name of the manifest in messages.
    pub(crate) what: String,
}

impl Place {
    /// A blob at this place.
    pub(crate) fn blob(&self, descriptor: Descriptor) -> Blob {
        match self {
            Self::Registry(repository) => repository.blob(descriptor),
            Self::Layout(directory) => {
                let path = directory.join("blobs/sha256").join(descriptor.digest.hex());
                Blob { descriptor, content: Content::File(path) }
            }
        }
    }

    /// Reads a manifest or an index that is named by a descriptor.
    pub(crate) async fn manifest(&self, descriptor: &Descriptor, what: &str) -> Result<Vec<u8>, OciError> {
        let Self::Registry(repository) = self else {
            return self.blob(descriptor.clone()).bytes(LARGEST_DOCUMENT).await;
        };
        let (found, bytes) = repository.manifest(&descriptor.digest.to_string()).await?;
        if found.size != descriptor.size || found.media_type != descriptor.media_type {
            let reason = format!(
                "its index says that it is `{}` of {} bytes, and it is `{}` of {}",
                descriptor.media_type, descriptor.size, found.media_type, found.size
            );
            return Err(OciError::invalid(what, reason));
        }
        Ok(bytes)
    }

    /// Reads the manifest for a platform. `selector` is a tag or a digest.
    pub(crate) async fn resolve(&self, selector: Option<&str>, wanted: &Platform) -> Result<Resolved, OciError> {
        let (root, bytes, what) = match self {
            Self::Registry(repository) => {
                let selector = selector.unwrap_or("latest");
                let separator = if selector.contains(':') { '@' } else { ':' };
                let (root, bytes) = repository.manifest(selector).await?;
                (root, bytes, format!("the image `{repository}{separator}{selector}`"))
            }
            Self::Layout(directory) => {
                let named = selector.map_or_else(String::new, |tag| format!(":{tag}"));
                let what = format!("the image `oci:{}{named}`", directory.display());
                let root = chosen(&self.entries()?, selector, &what)?;
                let bytes = self.manifest(&root, &what).await?;
                (root, bytes, what)
            }
        };
        if root.is_manifest() {
            return Ok(Resolved { manifest: root.clone(), root, bytes, what });
        }
        if !root.is_index() {
            return Err(OciError::invalid(what, format!("it is `{}`, which is no image", root.media_type)));
        }
        let manifest = for_platform(&index_entries(&bytes, &what)?, wanted, &what)?;
        if !manifest.is_manifest() {
            let reason = format!("its entry for {wanted} is `{}`, which is no image", manifest.media_type);
            return Err(OciError::invalid(what, reason));
        }
        let bytes = self.manifest(&manifest, &what).await?;
        Ok(Resolved { root, manifest, bytes, what })
    }

    /// The entries of a layout's `index.json`. Empty for a registry.
    pub(crate) fn entries(&self) -> Result<Vec<Descriptor>, OciError> {
        let Self::Layout(directory) = self else { return Ok(Vec::new()) };
        let path = directory.join("index.json");
        let bytes = match files::read(&path, LARGEST_DOCUMENT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("OCI layout in `{}`: no file `index.json` is in it", directory.display());
                return Err(OciError::Missing { what, said: String::new() });
            }
            bytes => bytes?,
        };
        index_entries(&bytes, &format!("`{}`", path.display()))
    }
}

/// The image with a tag in a layout. Without a tag, the layout must contain only one image.
fn chosen(entries: &[Descriptor], tag: Option<&str>, what: &str) -> Result<Descriptor, OciError> {
    let tag_of = |entry: &Descriptor| entry.annotations.get(crate::annotation::REF_NAME).cloned();
    let images: Vec<&Descriptor> = entries
        .iter()
        .filter(|entry| (entry.is_manifest() || entry.is_index()) && entry.artifact_type.is_none())
        .filter(|entry| tag.is_none_or(|tag| tag_of(entry).as_deref() == Some(tag)))
        .collect();
    if let [first, others @ ..] = images.as_slice()
        && others.iter().all(|other| other.digest == first.digest)
    {
        return Ok((*first).clone());
    }
    let tags: Vec<String> = entries.iter().filter_map(tag_of).map(|tag| format!("`{tag}`")).collect();
    let said = match (images.len(), tags.as_slice()) {
        (0, []) => "no image of the layout has a tag".to_owned(),
        (0, _) => format!("the layout has {}", tags.join(", ")),
        _ => format!("it holds several, so name one: {}", tags.join(", ")),
    };
    Err(OciError::Missing { what: what.to_owned(), said })
}

/// The entry for a platform in an index.
fn for_platform(entries: &[Descriptor], wanted: &Platform, what: &str) -> Result<Descriptor, OciError> {
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.fits(wanted));
    let only = || entries.first().filter(|entry| entries.len() == 1 && entry.platform.is_none());
    if let Some(entry) = entries.iter().find(fits).or_else(only) {
        return Ok(entry.clone());
    }
    // Attestations of builds are entries, too, for the system `unknown`.
    let platforms = entries.iter().filter_map(|entry| entry.platform.clone());
    let there = platforms.filter(|platform| platform.os != "unknown").collect();
    Err(OciError::Platform { what: what.to_owned(), wanted: Box::new(wanted.clone()), there })
}
