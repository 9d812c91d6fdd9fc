//! An answer, whose body comes piece by piece and within its limits.

use std::{ops::Deref, sync::Arc, time::Duration};

use reqwest::{Response, StatusCode, header::HeaderName};
use tokio::time::Instant;
use url::Url;

use super::{
    NetworkError,
    cause::{Cause, Way, cause, reason},
    limits::{self, Body, Limit, Limits},
    waits::{Waiting, Waits},
};

/// An answer, of which the body is still to come.
#[derive(Debug)]
pub struct Transfer {
    response: Response,
    limits: Arc<Limits>,
    body: Body,
    arrived: u64,
    /// How long it was waited for pieces: what is done with them takes its own time.
    spent: Duration,
    /// The same, and the bytes, since its rate was looked at last.
    lately: (Duration, u64),
    waiting: Option<Waiting>,
    url: Url,
    waits: Arc<Waits>,
}

impl Transfer {
    pub(super) fn new(response: Response, body: Body, url: &Url, limits: Arc<Limits>, waits: Arc<Waits>) -> Self {
        let (arrived, spent, lately) = (0, Duration::ZERO, (Duration::ZERO, 0));
        Self { response, limits, body, arrived, spent, lately, waiting: None, url: url.clone(), waits }
    }

    /// What the server answers.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    /// A line of the answer's head.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// If the connection ends before, the body has more bytes than its limit, or it takes too long.
    pub async fn chunk(&mut self) -> Result<Option<impl Deref<Target = [u8]> + Into<Vec<u8>> + use<>>, NetworkError> {
        if self.response.content_length().is_some_and(|length| length > self.limit().size) {
            return Err(self.too_long());
        }
        let waiting = self.waiting.take().unwrap_or_else(|| {
            let why = "the rest of its answer does not come".to_owned();
            self.waits.begin(&self.url, why, None)
        });
        let begin = Instant::now();
        let left = self.limit().time.saturating_sub(self.spent).min(self.limits.slow.saturating_sub(self.lately.0));
        let piece = tokio::time::timeout(left, self.response.chunk()).await;
        self.spent += begin.elapsed();
        self.lately.0 += begin.elapsed();
        let piece = match piece {
            Ok(piece) => piece.map_err(|error| NetworkError::Transfer {
                reason: reason(&error),
                cause: match cause(&error, Way::Direct) {
                    Cause::Other => Cause::BrokeOff,
                    cause => cause,
                },
            })?,
            // Looked at below, as what comes too slowly.
            Err(_) => Some(Default::default()),
        };
        if let Some(piece) = &piece {
            let length = piece.len() as u64;
            self.arrived = self.arrived.saturating_add(length);
            self.lately.1 = self.lately.1.saturating_add(length);
        }
        if self.arrived > self.limit().size {
            return Err(self.too_long());
        }
        // What has come whole was fast enough.
        if piece.is_none() {
            return Ok(None);
        }
        self.check_time(&waiting)?;
        self.waiting = Some(waiting);
        Ok(piece)
    }

    fn limit(&self) -> Limit {
        self.limits.of(self.body)
    }

    /// Whether it goes on fast enough.
    fn check_time(&mut self, waiting: &Waiting) -> Result<(), NetworkError> {
        let (time, bytes) = self.lately;
        let least = self.limits.rate.saturating_mul(time.as_secs().max(1));
        if time >= self.limits.slow {
            if bytes == 0 {
                let reason = format!("nothing has come for {} s", time.as_secs());
                return Err(NetworkError::Transfer { reason, cause: Cause::TimedOut });
            }
            if bytes < least {
                let (seconds, rate) = (time.as_secs(), limits::shown(self.limits.rate));
                let came = limits::shown(bytes);
                let reason = format!("it is slow: {came} in {seconds} s, and less than {rate} a second is given up");
                return Err(NetworkError::Transfer { reason, cause: Cause::Slow });
            }
            self.lately = (Duration::ZERO, 0);
        }
        if self.spent >= self.limit().time {
            let minutes = self.limit().time.as_secs() / 60;
            let reason = format!("it is slow: it has not come whole within {minutes} min");
            return Err(NetworkError::Transfer { reason, cause: Cause::Slow });
        }
        // Who gets enough does not wait.
        if bytes >= self.limits.rate.saturating_mul(self.limits.notice.as_secs().max(1)) || time.is_zero() {
            waiting.again("its answer comes slowly".to_owned());
        }
        Ok(())
    }

    fn too_long(&self) -> NetworkError {
        let size = limits::shown(self.limit().size);
        let reason = match self.body {
            Body::Package(Some(_)) => format!("it has more than the {size} that are known of it"),
            _ => format!("it has more than {size}, which is the limit"),
        };
        NetworkError::Transfer { reason, cause: Cause::TooLong }
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Transfer::chunk`].
    pub async fn bytes(mut self) -> Result<Vec<u8>, NetworkError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.chunk().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}
