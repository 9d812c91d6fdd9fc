//! Stops an installation, also between two `await`s.
//!
//! If the future of an installation is dropped, this takes effect only at the next `await`. There is none between two
//! renames. So there the installation checks this value, and rolls back if a stop was requested. After the last step
//! that can be rolled back, it finishes, and a later request returns `false`.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use super::InstallError;

/// The handle to stop one installation. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// [`WORKING`], [`REQUESTED`] or [`TOO_LATE`]. The last two are final.
    now: AtomicU8,
    /// Whether `now` is [`REQUESTED`], for functions that take a flag.
    requested: AtomicBool,
}

const WORKING: u8 = 0;
/// The installation was asked to stop.
const REQUESTED: u8 = 1;
/// The last step that can be rolled back has passed.
const TOO_LATE: u8 = 2;

impl Stop {
    /// Asks the installation to stop. `false` if it is too late: the installation has passed the last step that can be
    /// rolled back.
    pub fn request(&self) -> bool {
        let is_requested = self.decide(REQUESTED);
        self.0.requested.fetch_or(is_requested, Ordering::SeqCst);
        is_requested
    }

    /// Whether the installation was asked to stop in time.
    pub fn is_requested(&self) -> bool {
        self.0.now.load(Ordering::SeqCst) == REQUESTED
    }

    /// Whether the installation has passed the last step that can be rolled back.
    pub fn is_too_late(&self) -> bool {
        self.0.now.load(Ordering::SeqCst) == TOO_LATE
    }

    /// Sets the state if it is not set yet. `true` if it is `to` afterwards.
    fn decide(&self, to: u8) -> bool {
        let before = self.0.now.compare_exchange(WORKING, to, Ordering::SeqCst, Ordering::SeqCst);
        before.is_ok() || before == Err(to)
    }

    /// A flag that is set when the installation is asked to stop.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0.requested
    }

    /// Fails if the installation was asked to stop.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.is_requested() { Err(io::Error::other("the installation was stopped")) } else { Ok(()) }
    }

    /// Enters the final step, which cannot be rolled back. `false` if the installation was asked to stop before.
    pub(super) fn enter_final_step(&self) -> bool {
        self.decide(TOO_LATE)
    }

    /// Replaces an error by [`InstallError::Stopped`] if the installation was asked to stop.
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
