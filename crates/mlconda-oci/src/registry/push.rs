//! Pushes images: first the blobs, several at once, then the manifests, then the index, then the artifacts. So the
//! registry never has a manifest without its blobs, even if the push is interrupted.

use futures::{StreamExt, TryStreamExt, stream};
use mlconda_channel::network::send::Method;
use mlconda_types::progress::{Event, Progress};
use reqwest::header::{CONTENT_TYPE, HeaderName};

use super::{Ask, DIGEST, Registries, Repository, header, upload::Outcome};
use crate::{Artifact, Blob, Content, Digest, Images, OciError, Reference};

/// The result of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The reference, with its digest.
    pub reference: Reference,
    /// The number of blobs that were sent.
    pub sent: usize,
    /// The size of the sent blobs, in bytes.
    pub sent_bytes: u64,
    /// The number of blobs that were mounted from other repositories of the registry.
    pub mounted: usize,
    /// The number of blobs that the repository already had.
    pub there: usize,
}

/// By this header, a registry confirms that it supports the `subject` of a manifest.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Registries {
    /// Pushes images and the artifacts that refer to them. `mount_from` are images that may have some of the same
    /// layers, to be mounted.
    ///
    /// If the future is dropped, the sent blobs stay in the registry. No manifest refers to them before all are there.
    ///
    /// # Errors
    /// If the registry refuses, or a blob cannot be read. Then the tag names either a complete image or what it named
    /// before.
    pub async fn push(
        &self,
        images: &Images,
        target: &Reference,
        mount_from: &[Reference],
        progress: &dyn Progress,
    ) -> Result<Pushed, OciError> {
        self.0.client.report_waits(progress, self.push_all(images, target, mount_from, progress)).await
    }

    async fn push_all(
        &self,
        images: &Images,
        target: &Reference,
        mount_from: &[Reference],
        progress: &dyn Progress,
    ) -> Result<Pushed, OciError> {
        let repository = self.repository(target)?;
        let blobs = blobs(images);
        let hints = mount_from.iter().filter(|from| from.registry == target.registry);
        let hints: Vec<String> = hints.map(|from| from.repository.clone()).collect();
        let mut sources: Vec<String> = hints.clone();
        sources.extend(blobs.iter().filter_map(|blob| repository.source(blob)));
        sources.retain(|name| *name != target.repository);
        mlconda_types::sorting::sort(&mut sources);
        sources.dedup();
        let repository = repository.for_push(&sources);
        let bytes = blobs.iter().map(|blob| blob.descriptor.size).sum();
        progress.event(Event::PushStarted { blobs: blobs.len(), bytes });
        let outcomes: Vec<(Outcome, u64)> =
            stream::iter(&blobs)
                .map(|blob| {
                    let repository = &repository;
                    // A blob of a base image is in a known repository. Other blobs may be in the repositories of
                    // `mount_from`.
                    let mounts = match repository.source(blob) {
                        Some(from) if from == target.repository => Vec::new(),
                        Some(from) => vec![from],
                        None => hints.iter().filter(|name| **name != target.repository).cloned().collect(),
                    };
                    async move {
                        Ok::<_, OciError>((repository.bring(blob, &mounts, progress).await?, blob.descriptor.size))
                    }
                })
                .buffer_unordered(self.0.options.uploads.max(1))
                .try_collect()
                .await?;
        let tag = target.tag.clone().unwrap_or_else(|| target.selector());
        for image in &images.images {
            let selector =
                if images.index.is_some() { image.manifest.descriptor.digest.to_string() } else { tag.clone() };
            repository.put_manifest(&image.manifest, &selector).await?;
        }
        if let Some(index) = &images.index {
            repository.put_manifest(index, &tag).await?;
        }
        for artifact in &images.artifacts {
            repository.attach(artifact).await?;
        }
        let count = |wanted: Outcome| outcomes.iter().filter(|(outcome, _)| *outcome == wanted).count();
        let sent = outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Sent);
        Ok(Pushed {
            reference: Reference { digest: Some(images.root().digest), ..target.clone() },
            sent: count(Outcome::Sent),
            sent_bytes: sent.map(|(_, size)| size).sum(),
            mounted: count(Outcome::Mounted),
            there: count(Outcome::There),
        })
    }
}

/// All blobs of images and artifacts, each digest once.
fn blobs(images: &Images) -> Vec<&Blob> {
    let of_images = images.images.iter().flat_map(|image| image.layers.iter().chain([&image.config]));
    let of_artifacts = images.artifacts.iter().flat_map(|artifact| &artifact.blobs);
    let mut seen = std::collections::BTreeSet::<Digest>::new();
    let mut blobs: Vec<&Blob> =
        of_images.chain(of_artifacts).filter(|blob| seen.insert(blob.descriptor.digest)).collect();
    // The largest blobs come first, so that no long upload is left for the end.
    mlconda_types::sorting::sort_by_key(&mut blobs, |blob| std::cmp::Reverse(blob.descriptor.size));
    blobs
}

impl Repository {
    /// The repository of the same registry that contains a blob.
    fn source(&self, blob: &Blob) -> Option<String> {
        match &blob.content {
            Content::Remote(other) if other.is_beside(self) => Some(other.name.repository.clone()),
            _ => None,
        }
    }

    /// Sends a manifest or an index. Returns whether the registry supports its `subject`.
    pub(super) async fn put_manifest(&self, manifest: &Blob, selector: &str) -> Result<bool, OciError> {
        let separator = if selector.contains(':') { '@' } else { ':' };
        let what = format!("the manifest of `{self}{separator}{selector}`");
        let url = self.join(&format!("manifests/{selector}"))?;
        let bytes = manifest.bytes(crate::json::LARGEST_DOCUMENT).await?;
        let headers = [(CONTENT_TYPE, manifest.descriptor.media_type.as_str())];
        let ask = Ask { headers: &headers, body: Some(&bytes), ..Ask::new(Method::PUT, &url, &what) };
        let transfer = self.successful(self.ask(ask).await?, &what).await?;
        let stored = header(&transfer, DIGEST).and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(stored) = stored.filter(|stored| *stored != manifest.descriptor.digest) {
            let reason = format!("`{}` was sent, and the registry has stored `{stored}`", manifest.descriptor.digest);
            return Err(OciError::invalid(what, reason));
        }
        Ok(header(&transfer, SUBJECT).is_some())
    }

    /// Attaches an artifact whose blobs are in the repository already.
    async fn attach(&self, artifact: &Artifact) -> Result<(), OciError> {
        let selector = artifact.manifest.descriptor.digest.to_string();
        if self.put_manifest(&artifact.manifest, &selector).await? {
            return Ok(());
        }
        self.refer(artifact).await
    }
}
