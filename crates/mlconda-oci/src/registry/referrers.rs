//! What refers to a manifest: asked of the registry (referrers API), or where it has none, of an index under the tag
//! that the spec has for that: `sha256-…`.

use mlconda_channel::network::send::Method;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::Value;

use super::{Ask, Repository, header};
use crate::{Artifact, Blob, Descriptor, Digest, OciError, json, media_type};

impl Repository {
    /// The manifests that refer to the manifest of a digest.
    ///
    /// # Errors
    /// If the registry refuses, or its answer is invalid.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let what = format!("what refers to `{self}@{subject}`");
        let url = self.join(&format!("referrers/{subject}"))?;
        let transfer = self.ask(Ask::new(Method::GET, &url, &what)).await?;
        let is_index = header(&transfer, CONTENT_TYPE).is_some_and(|kind| kind.starts_with(media_type::INDEX));
        if transfer.status() == StatusCode::OK && is_index {
            let bytes = transfer.bytes().await.map_err(OciError::network(&what))?;
            return index_entries(&bytes, &what);
        }
        match transfer.status() {
            // Registries without it answer all sorts of things.
            status if status.is_success() || status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                self.referrers_by_tag(subject).await
            }
            _ => self.successful(transfer, &what).await.map(|_| Vec::new()),
        }
    }

    async fn referrers_by_tag(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        match self.manifest(&tag_of(subject)).await {
            Ok((_, bytes)) => index_entries(&bytes, &format!("what refers to `{self}@{subject}`")),
            Err(OciError::Missing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds an artifact to the index under the subject's tag.
    pub(super) async fn refer(&self, artifact: &Artifact) -> Result<(), OciError> {
        let subject = artifact.subject()?;
        let mut entries = self.referrers_by_tag(&subject).await?;
        entries.retain(|entry| entry.digest != artifact.manifest.descriptor.digest);
        entries.push(artifact.manifest.descriptor.clone());
        let index = Blob::document(
            media_type::INDEX,
            json::object([
                ("schemaVersion", Some(2.into())),
                ("mediaType", Some(media_type::INDEX.into())),
                ("manifests", Some(entries.iter().map(Descriptor::to_json).collect())),
            ]),
        );
        self.put_manifest(&index, &tag_of(&subject)).await?;
        Ok(())
    }
}

/// The tag of the index of what refers to a manifest.
fn tag_of(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The entries of an index.
pub(crate) fn index_entries(bytes: &[u8], what: &str) -> Result<Vec<Descriptor>, OciError> {
    let index = json::parse_object(bytes, what)?;
    match index.get("manifests") {
        Some(Value::Array(entries)) => entries.iter().map(|entry| Descriptor::from_json(entry, what)).collect(),
        Some(Value::Null) | None if index.contains_key("schemaVersion") => Ok(Vec::new()),
        _ => Err(OciError::invalid(what, "it is not an index")),
    }
}
