//! Channels in registries of images (`oci://`). Registries are asked by a crate above this one; here its answers become
//! answers of HTTP, so that whoever asks for a file of a channel sees no difference.

use std::{fmt, sync::Arc};

use reqwest::{
    Body, Request, Response, ResponseBuilderExt, StatusCode,
    header::{HeaderName, HeaderValue},
};
use reqwest_middleware::{Error, Middleware, Next};

use super::{Cause, waits::WaitMonitor};

/// Who asks registries for the files of channels.
#[async_trait::async_trait]
pub trait ChannelRegistry: fmt::Debug + Send + Sync {
    /// Answers a request for an `oci://` URL (GET or HEAD). The header `Authorization` is the login of the URL, and
    /// `If-None-Match` has the `ETag` of an earlier answer.
    ///
    /// # Errors
    /// If the registry gives no answer, or one that cannot be used. That it does not have the file is an answer.
    async fn answer(&self, request: &Request) -> Result<RegistryAnswer, RegistryError>;
}

/// What a registry answers.
#[derive(Debug)]
pub struct RegistryAnswer {
    /// The status: of the registry, or what its answer means.
    pub status: StatusCode,
    /// What there is to say of an error status; empty if nothing.
    pub said: String,
    /// Headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The file. An error of it that is a [`RegistryError`] keeps its cause.
    pub body: Body,
}

impl RegistryAnswer {
    /// An answer without a body.
    pub fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self { status, said: said.into(), headers: Vec::new(), body: Body::default() }
    }
}

/// Why a registry gave no file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct RegistryError {
    /// The reason, without secrets.
    pub reason: String,
    /// The reason, as a value.
    pub cause: Cause,
}

/// What a registry said with an error status, kept with the response.
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
