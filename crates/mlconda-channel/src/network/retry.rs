//! Retries requests after transient failures, within the limits, and reports the waits.

use std::{sync::Arc, time::Duration};

use mlconda_types::time;
use reqwest::{Request, Response, StatusCode, header};
use reqwest_middleware::{Middleware, Next};
use tokio::time::Instant;

use super::{
    cause::{Cause, Route, classify},
    limits::Limits,
    send::Activity,
    waits::WaitMonitor,
};

/// The most attempts for a request.
const MAX_ATTEMPTS: u32 = 4;

/// Retries requests, up to [`MAX_ATTEMPTS`] times each.
pub(super) struct RetryMiddleware {
    pub(super) first_delay: Duration,
    pub(super) limits: Arc<Limits>,
    pub(super) waits: Arc<WaitMonitor>,
}

#[async_trait::async_trait]
impl Middleware for RetryMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let (url, begin) = (request.url().clone(), Instant::now());
        let attempt = async |request: Request, extensions: &mut http::Extensions| {
            let waiting = self.waits.begin(&url, "no answer yet".to_owned(), None);
            let Some(activity) = extensions.get::<Arc<Activity>>().cloned() else {
                let answer = next.clone().run(request, extensions).await;
                drop(waiting);
                return answer;
            };
            // While a body is being sent, each piece restarts the wait.
            activity.hold(Some(waiting));
            let answer = next.clone().run(request, extensions).await;
            activity.hold(None);
            answer
        };
        let mut delay = self.first_delay;
        for _ in 1..MAX_ATTEMPTS {
            let Some(copy) = request.try_clone() else { break };
            let outcome = attempt(copy, extensions).await;
            let (wait, what) = match &outcome {
                Ok(response) if is_transient_status(response.status()) => {
                    let wait = retry_after(response).unwrap_or(delay);
                    (wait, format!("it answers {}", response.status()))
                }
                Err(error) if is_transient_error(error) => (delay, "the connection failed".to_owned()),
                _ => return outcome,
            };
            if wait > self.limits.max_retry_after || begin.elapsed().saturating_add(wait) > self.limits.retry_budget {
                return outcome;
            }
            let seconds = wait.as_secs_f32().ceil();
            let what = format!("{what}, and is asked again after {seconds} s");
            let _waiting = self.waits.begin(&url, what, Some(wait));
            tokio::time::sleep(wait).await;
            delay *= 2;
        }
        attempt(request, extensions).await
    }
}

fn is_transient_status(status: StatusCode) -> bool {
    // 501 is not transient: servers without sharded repodata may answer it.
    status == StatusCode::REQUEST_TIMEOUT
        || status == StatusCode::TOO_MANY_REQUESTS
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether another attempt may succeed.
fn is_transient_error(error: &reqwest_middleware::Error) -> bool {
    let passes = matches!(
        classify(error, Route::Direct),
        Cause::NameServer | Cause::NoRoute | Cause::TimedOut | Cause::BrokeOff | Cause::Proxy | Cause::Other
    );
    passes && !matches!(error, reqwest_middleware::Error::Reqwest(error) if error.is_builder())
}

/// How long the server asks to wait: in seconds, or until a time of its own clock (RFC 9110, section 10.2.3).
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    let asked = header(header::RETRY_AFTER)?;
    // A number that does not fit is too long in any case.
    if !asked.is_empty() && asked.bytes().all(|each| each.is_ascii_digit()) {
        return Some(asked.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let seconds = time::of_http(asked)?.checked_sub(time::of_http(header(header::DATE)?)?)?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}
