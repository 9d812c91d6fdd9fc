//! Finds the manifests that refer to a manifest (distribution spec, section "Listing Referrers"). If the registry lacks
//! this API, they are in an index with the tag `sha256-…`.

use mlconda_channel::network::send::Method;
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, LINK},
};
use serde_json::{Map, Value};

use super::{Ask, Repository, header};
use crate::{Artifact, Blob, Descriptor, Digest, OciError, json, media_type};

/// The largest number of pages that are requested.
const MOST_PAGES: usize = 50;

/// The manifests that refer to a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Referrers {
    pub(crate) entries: Vec<Descriptor>,
    /// Messages about entries that cannot be read.
    pub(crate) unread: Vec<String>,
}

impl Repository {
    /// Finds the manifests that refer to the manifest with a digest. An error in one entry, or in a further page, does
    /// not hide the other entries.
    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Referrers, OciError> {
        let what = format!("what refers to `{self}@{subject}`");
        let mut url = self.join(&format!("referrers/{subject}"))?;
        let mut found = Referrers::default();
        for page in 0..MOST_PAGES {
            let transfer = match self.ask(Ask::new(Method::GET, &url, &what)).await {
                Err(error) if page > 0 => return Ok(found.without(&what, &error)),
                answer => answer?,
            };
            let is_index = header(&transfer, CONTENT_TYPE).is_some_and(|kind| kind.starts_with(media_type::INDEX));
            if transfer.status() != StatusCode::OK || !is_index {
                if page > 0 {
                    let error = OciError::invalid("the answer", format!("it is no index ({})", transfer.status()));
                    return Ok(found.without(&what, &error));
                }
                return match transfer.status() {
                    // Registries without the API answer with various statuses.
                    status if status.is_success() || status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                        self.referrers_by_tag(subject).await
                    }
                    _ => self.successful(transfer, &what).await.map(|_| Referrers::default()),
                };
            }
            let next = header(&transfer, LINK).and_then(next_page).map(|next| url.join(&next));
            let bytes = transfer.bytes().await.map_err(OciError::network(&what));
            match bytes.and_then(|bytes| json::parse_object(&bytes, &what)) {
                Ok(index) => found.add(&index, &what),
                // Without the first page, nothing is known.
                Err(error @ OciError::Network { .. }) if page == 0 => return Err(error),
                Err(error) => found.unread.push(error.to_string()),
            }
            url = match next {
                None if found.entries.is_empty() && found.unread.is_empty() => {
                    // The artifact may have been pushed before the registry had the API.
                    return self.referrers_by_tag(subject).await;
                }
                None => return Ok(found),
                Some(Ok(next)) if self.is_own(&next) => next,
                Some(_) => {
                    found.unread.push(format!("a further page of {what}, which is at another host"));
                    return Ok(found);
                }
            };
        }
        found.unread.push(format!("{what}, beyond {MOST_PAGES} pages"));
        Ok(found)
    }

    async fn referrers_by_tag(&self, subject: &Digest) -> Result<Referrers, OciError> {
        let what = format!("what refers to `{self}@{subject}`");
        let mut found = Referrers::default();
        match self.tagged(subject).await {
            Ok(index) => found.add(&index, &what),
            Err(error @ OciError::Invalid { .. }) => found.unread.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// The index with the tag of the subject; an empty object if there is none.
    async fn tagged(&self, subject: &Digest) -> Result<Map<String, Value>, OciError> {
        match self.manifest(&tag_of(subject)).await {
            Ok((descriptor, _)) if !descriptor.is_index() => {
                Err(OciError::invalid(format!("`{self}:{}`", tag_of(subject)), "it is no index"))
            }
            Ok((_, bytes)) => json::parse_object(&bytes, &format!("what refers to `{self}@{subject}`")),
            Err(OciError::Missing { .. }) => Ok(Map::new()),
            Err(error) => Err(error),
        }
    }

    /// Adds an artifact to the index with the tag of its subject. Other entries are kept.
    pub(super) async fn refer(&self, artifact: &Artifact) -> Result<(), OciError> {
        let subject = artifact.subject()?;
        let mut index = self.tagged(&subject).await?;
        let mut entries = match index.remove("manifests") {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        };
        let own = artifact.manifest.descriptor.digest.to_string();
        entries.retain(|entry| entry["digest"].as_str() != Some(&own));
        entries.push(artifact.manifest.descriptor.to_json());
        index.insert("schemaVersion".to_owned(), 2.into());
        index.insert("mediaType".to_owned(), media_type::INDEX.into());
        index.insert("manifests".to_owned(), entries.into());
        self.put_manifest(&Blob::document(media_type::INDEX, index), &tag_of(&subject)).await?;
        Ok(())
    }
}

impl Referrers {
    /// Adds the entries of an index.
    fn add(&mut self, index: &Map<String, Value>, what: &str) {
        let Some(Value::Array(entries)) = index.get("manifests") else { return };
        for entry in entries {
            match Descriptor::from_json(entry, what) {
                Ok(entry) => self.entries.push(entry),
                Err(error) => self.unread.push(error.to_string()),
            }
        }
    }

    fn without(mut self, what: &str, error: &OciError) -> Self {
        self.unread.push(format!("a further page of {what}: {error}"));
        self
    }
}

/// The URL of the next page in a `Link` header (RFC 8288): `<URL>; rel="next"`.
fn next_page(links: &str) -> Option<String> {
    let mut rest = links;
    while let Some((_, begin)) = rest.split_once('<') {
        let (url, parameters) = begin.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let is_next = parameters[..end].split([';', ',']).any(|parameter| {
            let value = parameter.trim().strip_prefix("rel=").map(|value| value.trim_matches('"'));
            value.is_some_and(|value| value.split(' ').any(|each| each.eq_ignore_ascii_case("next")))
        });
        if is_next {
            return Some(url.to_owned());
        }
        rest = &parameters[end..];
    }
    None
}

/// The tag of the index with the referrers of a manifest.
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
