//! Cores that nobody uses at the moment, for whoever can divide his work.
//!
//! The threads that link packages take the largest first, one each; near the end some have nothing left while one
//! still reads a very large archive. A thread that waits lends its core; whoever borrows it asks at every step whether
//! it is wanted back. Nobody ever waits for a core, so it is a count and not a lock.

use std::sync::{
    Arc,
    atomic::{AtomicIsize, Ordering},
};

/// The count. Below zero, cores are lent whose owners are back at work.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleCores(Arc<AtomicIsize>);

impl IdleCores {
    /// Lends the calling thread's core until the result is dropped.
    pub(crate) fn lend(&self) -> IdleCore<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        IdleCore(self)
    }

    /// Borrows a core, if there is one.
    pub(super) fn borrow(&self) -> Option<BorrowedCore> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then(|| count - 1));
        taken.is_ok().then(|| BorrowedCore(self.clone()))
    }
}

/// A core whose thread waits.
pub(crate) struct IdleCore<'a>(&'a IdleCores);

impl Drop for IdleCore<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A core of another thread.
pub(super) struct BorrowedCore(IdleCores);

impl BorrowedCore {
    /// Whether there are more threads at work than cores.
    pub(super) fn is_wanted_back(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) < 0
    }
}

impl Drop for BorrowedCore {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}
