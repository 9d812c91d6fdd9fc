//! How an installation is told to stop where it does not wait for anything, and the step after which it is too late.
//!
//! Whoever drops the future of an installation is heard only where that waits. Between two renames nothing waits: there the
//! installation asks this value, and undoes what it has done. Once nothing is left to be undone it finishes, and the value
//! tells the one who asked too late.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use super::InstallError;

/// Tells one installation to stop. Clones are the same value.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// [`WORKING`], [`REQUESTED`] or [`TOO_LATE`]. The last two are for good.
    now: AtomicU8,
    /// The same as `now` being [`REQUESTED`], for work that knows a flag only.
    requested: AtomicBool,
}

const WORKING: u8 = 0;
/// It was told to stop.
const REQUESTED: u8 = 1;
/// It has passed the last step that can be undone.
const TOO_LATE: u8 = 2;

impl Stop {
    /// Tells the installation to stop. `false` if it is too late: it has passed the last step that can be undone.
    pub fn request(&self) -> bool {
        let is_requested = self.decide(REQUESTED);
        self.0.requested.fetch_or(is_requested, Ordering::SeqCst);
        is_requested
    }

    /// Whether it was told in time.
    pub fn is_requested(&self) -> bool {
        self.0.now.load(Ordering::SeqCst) == REQUESTED
    }

    /// Whether the installation has passed the last step that can be undone.
    pub fn is_too_late(&self) -> bool {
        self.0.now.load(Ordering::SeqCst) == TOO_LATE
    }

    /// Sets what was not set yet; `true` if it is this from now on.
    fn decide(&self, to: u8) -> bool {
        let before = self.0.now.compare_exchange(WORKING, to, Ordering::SeqCst, Ordering::SeqCst);
        before.is_ok() || before == Err(to)
    }

    /// The same for work that knows a flag only.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.requested
    }

    /// Gives up if the installation was told to stop.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_requested() { Err(io::Error::other("the installation was stopped")) } else { Ok(()) }
    }

    /// Passes the last step that can be undone; `false` if the installation was told to stop before.
    pub(super) fn enter_final_step(&self) -> bool {
        self.decide(TOO_LATE)
    }

    /// What an error is: whatever fails after this was told to stop was stopped.
    pub(super) fn classify(&self, error: InstallError) -> InstallError {
        match error {
            error @ InstallError::PartlyChanged { .. } => error,
            _ if self.is_requested() => InstallError::Stopped,
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_either_stopped_or_finished() {
        let (stopped, finished) = (Stop::default(), Stop::default());
        assert!(stopped.check().is_ok() && stopped.request() && stopped.request() && !stopped.enter_final_step());
        assert!(stopped.check().is_err() && !stopped.is_too_late());
        assert!(
            finished.enter_final_step()
                && finished.enter_final_step()
                && !finished.request()
                && finished.is_too_late()
                && finished.check().is_ok()
        );
    }
}
