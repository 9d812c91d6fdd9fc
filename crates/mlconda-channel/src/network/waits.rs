//! Reports long waits. If a server does not answer, or sends almost nothing, an event names the server and the reason
//! after ten seconds, and again every ten seconds.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mlconda_types::progress::{Event, Progress};
use tokio::time::Instant;

/// An announced wait that is longer than this is reported at once.
const SHORT: Duration = Duration::from_secs(2);

/// All current waits.
#[derive(Debug, Default)]
pub(super) struct WaitMonitor(Mutex<MonitorState>);

#[derive(Debug, Default)]
struct MonitorState {
    next: u64,
    open: Vec<PendingWait>,
    /// The servers that were reported, and when.
    told: Vec<(String, Instant)>,
}

#[derive(Debug)]
struct PendingWait {
    id: u64,
    host: String,
    url: String,
    why: String,
    since: Instant,
    /// Whether the wait was announced to be long.
    is_long: bool,
}

/// A wait. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct WaitGuard {
    waits: Arc<WaitMonitor>,
    id: u64,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.waits.state().open.retain(|open| open.id != self.id);
    }
}

impl WaitGuard {
    /// Restarts the wait with another reason.
    pub(super) fn restart(&self, why: String) {
        let mut state = self.waits.state();
        if let Some(open) = state.open.iter_mut().find(|open| open.id == self.id) {
            (open.since, open.why) = (Instant::now(), why);
        }
    }
}

impl WaitMonitor {
    fn state(&self) -> MutexGuard<'_, MonitorState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a wait for a URL, whose length may be known.
    pub(super) fn begin(self: &Arc<Self>, url: &url::Url, why: String, known: Option<Duration>) -> WaitGuard {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.open.push(PendingWait {
            id,
            host: url.host_str().unwrap_or_default().to_owned(),
            url: super::redact(url),
            why,
            since: Instant::now(),
            is_long: known.is_some_and(|time| time > SHORT),
        });
        WaitGuard { waits: Arc::clone(self), id }
    }

    /// Reports long waits, each server once in this interval.
    fn report(&self, notice_interval: Duration, progress: &dyn Progress) {
        let mut state = self.state();
        let now = Instant::now();
        let MonitorState { open, told, .. } = &mut *state;
        told.retain(|(_, at)| now.duration_since(*at) < notice_interval);
        let mut events = Vec::new();
        for open in open.iter().filter(|open| open.is_long || now.duration_since(open.since) >= notice_interval) {
            if told.iter().all(|(host, _)| *host != open.host) {
                told.push((open.host.clone(), now));
                let waited = now.duration_since(open.since);
                events.push(Event::Waiting { url: open.url.clone(), waited, reason: open.why.clone() });
            }
        }
        drop(state);
        events.into_iter().for_each(|event| progress.event(event));
    }

    /// Runs `work`, and reports long waits meanwhile.
    pub(crate) async fn report_while<T>(
        &self,
        notice_interval: Duration,
        progress: &dyn Progress,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval((notice_interval / 10).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                _ = ticks.tick() => self.report(notice_interval, progress),
            }
        }
    }
}
