//! Requests of any method, with bodies that are sent in pieces: what registries of images are asked.
//!
//! A client for these ([`Client::for_registries`]) knows no mirrors and no stored logins of channels: the caller says
//! what is sent. A body may take as long as it moves: the limit of the wait for an answer begins anew with each piece. After
//! the last one it is longer, for the server may have to hash the whole and bring it elsewhere.

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

/// A request. It holds secrets, and so has no form to be printed in.
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
    /// What the body of the answer is.
    pub answer: BodyKind,
}

/// The body of a request.
pub enum Body {
    /// None.
    Empty,
    /// Bytes in memory. Such a request is repeated after transient failures.
    Bytes(Vec<u8>),
    /// Pieces that come one by one, made by [`pieces`]. Such a request is not repeated.
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

/// Both ends of a body of `length` bytes. If the sending end is dropped before, the request fails.
pub fn pieces(length: u64) -> (PieceSender, Body) {
    let (sender, receiver) = mpsc::channel(2);
    let activity = Arc::new(Activity::new(length));
    (PieceSender(sender), Body::Pieces(Pieces { length, receiver, activity }))
}

impl PieceSender {
    /// Sends a piece, once there is room. Waits for ever after the request has ended: run it beside the request, and
    /// drop it then.
    ///
    /// The future may be dropped, and the body with it: the server may lack this piece.
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

/// When a body has last moved.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Moves>);

#[derive(Debug)]
struct Moves {
    last: Instant,
    /// The report of the wait.
    waiting: Option<WaitGuard>,
    /// How many bytes are still to come; `None` if there is no body in pieces.
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

    /// Takes the report of the wait over, until the request ends.
    pub(super) fn hold(&self, waiting: Option<WaitGuard>) {
        self.state().waiting = waiting;
    }

    /// How long the wait may still be; `None` if it is over.
    fn left(&self, watch: &Watch) -> Option<Duration> {
        let state = self.state();
        let limit = if state.left == Some(0) { watch.stored } else { watch.moves };
        limit.checked_sub(state.last.elapsed()).filter(|left| !left.is_zero())
    }
}

/// Gives up a request whose body does not move, and that is not answered.
pub(super) struct Watch {
    /// The limit for the wait for an answer, and for a body that does not move.
    pub(super) moves: Duration,
    /// The limit for the wait for the answer to a body in pieces, when all of it has gone.
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
    /// Sends a request, with retries where its body allows them, up to the headers of the answer. Any status is
    /// returned, also that of a redirect that is not followed.
    ///
    /// The future may be dropped: the connection is closed. The server may have acted upon the request.
    ///
    /// # Errors
    /// If there is no answer.
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
            // Servers want to hear that there is none.
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
