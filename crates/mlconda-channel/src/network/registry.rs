//! Channels in registries of images (`oci://`). A crate above this one implements [`ChannelRegistry`]. Here, its
//! answers are converted to HTTP responses, so that callers treat them like those of other channels.

use std::{fmt, sync::Arc};

use reqwest::{
    Body, Request, Response, ResponseBuilderExt, StatusCode,
    header::{HeaderName, HeaderValue},
};
use reqwest_middleware::{Error, Middleware, Next};

use super::{Cause, waits::WaitMonitor};

/// Loads files of channels from registries of images.
#[async_trait::async_trait]
pub trait ChannelRegistry: fmt::Debug + Send + Sync {
    /// Answers a request for an `oci://` URL (GET or HEAD). The header `Authorization` has the login of the URL, and
    /// `If-None-Match` has the `ETag` of an earlier answer.
    ///
    /// # Errors
    /// If the registry gives no answer, or an unusable one. A missing file is not an error, but an answer with a
    /// status.
    async fn answer(&self, request: &Request) -> Result<RegistryAnswer, RegistryError>;
}

/// The answer of a registry.
#[derive(Debug)]
pub struct RegistryAnswer {
    /// The HTTP status: that of the registry, or one that corresponds to its answer.
    pub status: StatusCode,
    /// The message for an error status; empty if there is none.
    pub said: String,
    /// The headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The contents of the file. If reading them fails with a [`RegistryError`], its cause is kept.
    pub body: Body,
}

impl RegistryAnswer {
    /// An answer without a body.
    pub fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self { status, said: said.into(), headers: Vec::new(), body: Body::default() }
    }
}

/// Why a registry did not give a file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct RegistryError {
    /// The reason, without secrets.
    pub reason: String,
    /// The reason, as a value.
    pub cause: Cause,
}

/// The message of a registry for an error status, kept with the response.
#[derive(Clone)]
pub(super) struct Said(pub(super) String);

/// Answers `oci://` URLs.
pub(super) struct RegistryMiddleware {
    pub(super) registry: Arc<dyn ChannelRegistry>,
    pub(super) waits: Arc<WaitMonitor>,
}

#[async_trait::async_trait]
impl Middleware for RegistryMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        if request.url().scheme() != "oci" {
            return next.run(request, extensions).await;
        }
        let waiting = self.waits.begin(request.url(), "the registry has not given the file yet".to_owned(), None);
        let answer = self.registry.answer(&request).await.map_err(Error::middleware)?;
        drop(waiting);
        let response = http::Response::builder().url(request.url().clone()).status(answer.status);
        let mut response = response.extension(Said(answer.said)).body(answer.body).map_err(Error::middleware)?;
        let value = |text: &str| HeaderValue::from_str(text).ok();
        let headers = answer.headers.iter().filter_map(|(name, text)| Some((name.clone(), value(text)?)));
        response.headers_mut().extend(headers);
        Ok(response.into())
    }
}
