//! What a solve may cost: a number of steps, and a token by which somebody else stops it.
//!
//! A solve has no clock, so that the same input gives the same result. A limit of time is a token that a timer stops.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Stops solves from another thread. Clones share their state; each solve that was given one of them ends with
/// [`SolveError::Stopped`](super::SolveError::Stopped).
#[derive(Clone, Debug, Default)]
pub struct SolveStop(Arc<AtomicBool>);

impl SolveStop {
    /// Asks the solves to stop, for good.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they were asked to.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of a solve. By default there are none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SolveLimits {
    /// The most steps: decisions of the solver, and looks at a package. The same input takes the same number on every
    /// machine. A usual environment takes some thousands; one that needs millions has no answer soon.
    pub steps: Option<u64>,
    /// By what it is stopped. It is looked at at every step, and between the stages of a solve.
    pub stop: SolveStop,
}

impl SolveLimits {
    /// A number of steps, and no more.
    pub fn of_steps(steps: u64) -> Self {
        Self { steps: Some(steps), stop: SolveStop::default() }
    }

    /// No limit but this token.
    pub fn until(stop: SolveStop) -> Self {
        Self { steps: None, stop }
    }
}

/// Which limit ended a solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// It was stopped.
    Stopped,
    /// So many steps were not enough.
    Steps(u64),
}

/// Counts the steps of all that one call solves. What has ended stays so.
#[derive(Debug, Default)]
pub(super) struct Meter {
    limits: SolveLimits,
    steps: Cell<u64>,
}

impl Meter {
    pub(super) fn new(limits: &SolveLimits) -> Self {
        Self { limits: limits.clone(), steps: Cell::new(0) }
    }

    /// Counts a step. Gives the limit that is exceeded.
    pub(super) fn step(&self) -> Option<Exceeded> {
        self.steps.set(self.steps.get().saturating_add(1));
        self.exceeded()
    }

    /// The limit that is exceeded.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        if self.limits.stop.is_requested() {
            return Some(Exceeded::Stopped);
        }
        self.limits.steps.filter(|most| self.steps.get() > *most).map(Exceeded::Steps)
    }
}
