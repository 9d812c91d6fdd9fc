//! Requests of any method, with bodies that are sent in pieces, for registries of images.
//!
//! A client for these ([`Client::for_registries`]) has no mirrors and no stored logins of channels: the caller sets all
//! headers. Sending a body may take any time if it makes progress, because each piece restarts the limit for the
//! response. After the last piece the limit is longer, because the server may have to hash the whole body and move it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
pub use reqwest::Method;
use reqwest::{
    Request, Response,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue},
};
use reqwest_middleware::{Middleware, Next};
use tokio::{sync::mpsc, time::Instant};
use url::Url;

use super::{BodyKind, Client, NetworkError, Transfer, waits::WaitGuard};

/// A request. It contains secrets, so it does not implement `Debug`.
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// The URL.
    pub url: &'a Url,
    /// Headers.
    pub headers: &'a [(HeaderName, &'a str)],
    /// The header `Authorization`, which is a secret.
    pub authorization: Option<&'a str>,
    /// The body.
    pub body: Body,
    /// The kind of the response body.
    pub answer: BodyKind,
}

/// The body of a request.
pub enum Body {
    /// No body.
    Empty,
    /// Bytes in memory. Such a request is repeated after transient failures.
    Bytes(Vec<u8>),
    /// Pieces that are sent one by one, made by [`pieces`]. Such a request is not repeated.
    Pieces(Pieces),
}

/// The receiving end of a body.
#[derive(Debug)]
pub struct Pieces {
    length: u64,
    receiver: mpsc::Receiver<Vec<u8>>,
    activity: Arc<Activity>,
}

/// The sending end of a body.
#[derive(Debug)]
pub struct PieceSender(mpsc::Sender<Vec<u8>>);

/// Both ends of a body of `length` bytes. If the sending end is dropped too early, the request fails.
pub fn pieces(length: u64) -> (PieceSender, Body) {
    let (sender, receiver) = mpsc::channel(2);
    let activity = Arc::new(Activity::new(length));
    (PieceSender(sender), Body::Pieces(Pieces { length, receiver, activity }))
}

impl PieceSender {
    /// Sends a piece, as soon as there is room. After the request has ended, this never returns: run it concurrently
    /// with the request, and drop it when the request ends.
    ///
    /// The future may be dropped together with the body: the server may not have received the piece.
    pub async fn send(&self, piece: Vec<u8>) {
        if self.0.send(piece).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Stream for Pieces {
    type Item = Result<Vec<u8>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.receiver.poll_recv(context);
        if let Poll::Ready(piece) = &piece {
            self.activity.moved(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        }
        piece.map(|piece| piece.map(Ok))
    }
}

/// The time at which a body last made progress.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Moves>);

#[derive(Debug)]
struct Moves {
    last: Instant,
    /// The report of the wait for the response.
    waiting: Option<WaitGuard>,
    /// How many bytes are still to be sent; `None` if the body is not sent in pieces.
    left: Option<u64>,
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(Moves { last: Instant::now(), waiting: None, left: None }))
    }
}

impl Activity {
    fn new(length: u64) -> Self {
        Self(Mutex::new(Moves { last: Instant::now(), waiting: None, left: Some(length) }))
    }

    fn state(&self) -> MutexGuard<'_, Moves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, bytes: u64) {
        let mut state = self.state();
        state.last = Instant::now();
        state.left = state.left.map(|left| left.saturating_sub(bytes));
        if let Some(waiting) = &state.waiting {
            waiting.restart("no answer yet".to_owned());
        }
    }

    /// Keeps the report of the wait, until the request ends.
    pub(super) fn hold(&self, waiting: Option<WaitGuard>) {
        self.state().waiting = waiting;
    }

    /// The remaining time to wait; `None` if the time is over.
    fn left(&self, watch: &Watch) -> Option<Duration> {
        let state = self.state();
        let limit = if state.left == Some(0) { watch.stored } else { watch.moves };
        limit.checked_sub(state.last.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Ends a request with an error if its body makes no progress, and there is no response.
pub(super) struct Watch {
    /// The limit for the response, and for a body without progress.
    pub(super) moves: Duration,
    /// The limit for the response after a body in pieces was sent completely.
    pub(super) stored: Duration,
}

#[async_trait::async_trait]
impl Middleware for Watch {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let activity = extensions.get::<Arc<Activity>>().cloned().unwrap_or_default();
        let mut answer = next.run(request, extensions);
        loop {
            let Some(left) = activity.left(self) else {
                let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
                return Err(reqwest_middleware::Error::middleware(error));
            };
            if let Ok(answer) = tokio::time::timeout(left, &mut answer).await {
                return answer;
            }
        }
    }
}

impl Client {
    /// Sends a request, with retries if its body allows them, up to the headers of the response. Any status is
    /// returned, also that of a redirect, which is not followed.
    ///
    /// The future may be dropped: the connection is closed. The server may already have handled the request.
    ///
    /// # Errors
    /// If there is no response.
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<Transfer, NetworkError> {
        let has_body = ![Method::GET, Method::HEAD].contains(&outgoing.method);
        let mut request = self.http.request(outgoing.method, outgoing.url.clone());
        for (name, value) in outgoing.headers {
            request = request.header(name, *value);
        }
        if let Some(mut value) = outgoing.authorization.and_then(|value| HeaderValue::from_str(value).ok()) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request = match outgoing.body {
            // Some servers require the length, even if there is no body.
            Body::Empty if has_body => request.header(CONTENT_LENGTH, 0),
            Body::Empty => request,
            Body::Bytes(bytes) => request.body(bytes),
            Body::Pieces(pieces) => request
                .header(CONTENT_LENGTH, pieces.length)
                .with_extension(Arc::clone(&pieces.activity))
                .body(reqwest::Body::wrap_stream(pieces)),
        };
        let response = request.send().await.map_err(|error| self.unreachable_error(outgoing.url, &error))?;
        Ok(self.transfer(response, outgoing.answer, outgoing.url))
    }
}
