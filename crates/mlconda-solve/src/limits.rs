//! Limits of a solve: a number of steps, and a token that stops it from outside.
//!
//! A solve uses no clock, so that the same input gives the same result. To limit the time, stop the token with a timer.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Stops solves from another thread. Clones share their state. Each solve that was given one of them ends with
/// [`SolveError::Stopped`](super::SolveError::Stopped).
#[derive(Clone, Debug, Default)]
pub struct SolveStop(Arc<AtomicBool>);

impl SolveStop {
    /// Asks the solves to stop. This cannot be undone.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of a solve. By default there are none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SolveLimits {
    /// The most steps: decisions of the solver, and visits of packages. The same input takes the same number on every
    /// machine. A usual environment takes some thousands. One that needs millions will not be solved soon.
    pub steps: Option<u64>,
    /// The token that stops the solve. It is checked at every step, and between the stages of a solve.
    pub stop: SolveStop,
}

impl SolveLimits {
    /// A limit of steps only.
    pub fn of_steps(steps: u64) -> Self {
        Self { steps: Some(steps), stop: SolveStop::default() }
    }

    /// No limit except this token.
    pub fn until(stop: SolveStop) -> Self {
        Self { steps: None, stop }
    }
}

/// The limit that ended a solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The token was stopped.
    Stopped,
    /// This number of steps was not enough.
    Steps(u64),
}

/// Counts the steps of all solves of one call. After a limit is exceeded, it stays exceeded.
#[derive(Debug, Default)]
pub(super) struct Meter {
    limits: SolveLimits,
    steps: Cell<u64>,
}

impl Meter {
    pub(super) fn new(limits: &SolveLimits) -> Self {
        Self { limits: limits.clone(), steps: Cell::new(0) }
    }

    /// Counts a step. Returns the limit that is exceeded, if one is.
    pub(super) fn step(&self) -> Option<Exceeded> {
        self.steps.set(self.steps.get().saturating_add(1));
        self.exceeded()
    }

    /// The limit that is exceeded, if one is.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        if self.limits.stop.is_requested() {
            return Some(Exceeded::Stopped);
        }
        self.limits.steps.filter(|most| self.steps.get() > *most).map(Exceeded::Steps)
    }
}
