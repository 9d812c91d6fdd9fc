//! A response whose body is read in chunks, within its limits.

use std::{ops::Deref, sync::Arc, time::Duration};

use reqwest::{Response, StatusCode, header::HeaderName};
use tokio::time::Instant;
use url::Url;

use super::{
    NetworkError, RegistryError,
    cause::{Cause, Route, classify, reason, source_chain},
    limits::{self, BodyKind, Limit, Limits},
    waits::{WaitGuard, WaitMonitor},
};

/// A response whose body was not read yet.
#[derive(Debug)]
pub struct Transfer {
    response: Response,
    limits: Arc<Limits>,
    kind: BodyKind,
    arrived: u64,
    /// The time spent waiting for chunks, without the time that the caller took.
    elapsed_time: Duration,
    /// The time and the bytes since the transfer rate was last checked.
    window: (Duration, u64),
    waiting: Option<WaitGuard>,
    url: Url,
    waits: Arc<WaitMonitor>,
}

impl Transfer {
    pub(super) fn new(
        response: Response,
        kind: BodyKind,
        url: &Url,
        limits: Arc<Limits>,
        waits: Arc<WaitMonitor>,
    ) -> Self {
        let (arrived, elapsed_time, window) = (0, Duration::ZERO, (Duration::ZERO, 0));
        Self { response, limits, kind, arrived, elapsed_time, window, waiting: None, url: url.clone(), waits }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    /// A header.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The values of a header that may occur several times.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.response.headers().get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }

    /// The URL of the response: the requested URL, or the last URL after redirects.
    pub fn url(&self) -> &Url {
        self.response.url()
    }

    /// The next chunk of the body; `None` at its end.
    ///
    /// The future may be dropped if the transfer is dropped with it: bytes that had arrived may be lost.
    ///
    /// # Errors
    /// If the connection is closed early, the body exceeds its limit, or the transfer takes too long.
    pub async fn chunk(&mut self) -> Result<Option<impl Deref<Target = [u8]> + Into<Vec<u8>> + use<>>, NetworkError> {
        if self.response.content_length().is_some_and(|length| length > self.limit().size) {
            return Err(self.too_large_error());
        }
        let waiting = self.waiting.take().unwrap_or_else(|| {
            let why = "the rest of its answer does not come".to_owned();
            self.waits.begin(&self.url, why, None)
        });
        let begin = Instant::now();
        let left = self
            .limit()
            .time
            .saturating_sub(self.elapsed_time)
            .min(self.limits.slow_window.saturating_sub(self.window.0));
        let piece = tokio::time::timeout(left, self.response.chunk()).await;
        self.elapsed_time += begin.elapsed();
        self.window.0 += begin.elapsed();
        let piece = match piece {
            Ok(piece) => piece.map_err(|error| {
                let known = source_chain(&error).find_map(|cause| cause.downcast_ref::<RegistryError>());
                if let Some(error) = known {
                    return NetworkError::from(error.clone());
                }
                let cause = match classify(&error, Route::Direct) {
                    Cause::Other => Cause::BrokeOff,
                    cause => cause,
                };
                NetworkError::Transfer { reason: reason(&error), cause }
            })?,
            // The check below reports it as too slow.
            Err(_) => Some(Default::default()),
        };
        if let Some(piece) = &piece {
            let length = piece.len() as u64;
            self.arrived = self.arrived.saturating_add(length);
            self.window.1 = self.window.1.saturating_add(length);
        }
        if self.arrived > self.limit().size {
            return Err(self.too_large_error());
        }
        // The body is complete, so it was fast enough.
        if piece.is_none() {
            return Ok(None);
        }
        self.check_time(&waiting)?;
        self.waiting = Some(waiting);
        Ok(piece)
    }

    fn limit(&self) -> Limit {
        self.limits.for_body(self.kind)
    }

    /// Checks the transfer rate and the total time.
    fn check_time(&mut self, waiting: &WaitGuard) -> Result<(), NetworkError> {
        let (time, bytes) = self.window;
        let least = self.limits.min_rate.saturating_mul(time.as_secs().max(1));
        if time >= self.limits.slow_window {
            if bytes == 0 {
                let reason = format!("nothing has come for {} s", time.as_secs());
                return Err(NetworkError::Transfer { reason, cause: Cause::TimedOut });
            }
            if bytes < least {
                let (seconds, rate) = (time.as_secs(), limits::display_size(self.limits.min_rate));
                let came = limits::display_size(bytes);
                let reason = format!("it is slow: {came} in {seconds} s, and less than {rate} a second is given up");
                return Err(NetworkError::Transfer { reason, cause: Cause::Slow });
            }
            self.window = (Duration::ZERO, 0);
        }
        if self.elapsed_time >= self.limit().time {
            let minutes = self.limit().time.as_secs() / 60;
            let reason = format!("it is slow: it has not come whole within {minutes} min");
            return Err(NetworkError::Transfer { reason, cause: Cause::Slow });
        }
        // The transfer is fast enough: restart the wait.
        if bytes >= self.limits.min_rate.saturating_mul(self.limits.notice_interval.as_secs().max(1)) || time.is_zero()
        {
            waiting.restart("its answer comes slowly".to_owned());
        }
        Ok(())
    }

    fn too_large_error(&self) -> NetworkError {
        let size = limits::display_size(self.limit().size);
        let reason = match self.kind {
            BodyKind::Package(Some(_)) => format!("it has more than the {size} expected"),
            _ => format!("it has more than {size}, which is the limit"),
        };
        NetworkError::Transfer { reason, cause: Cause::TooLong }
    }

    /// The whole body.
    ///
    /// The future may be dropped: the connection is closed.
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
