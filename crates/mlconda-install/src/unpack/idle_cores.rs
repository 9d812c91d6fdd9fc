//! Counts idle cores, so that a thread with much work can use them.
//!
//! Workers link the largest packages first. Near the end, some workers are idle while one still reads a very large
//! archive. A waiting worker lends its core. The borrower checks after each step whether the core is needed again.
//! Nobody waits for a core, so this is a counter and not a lock.

use std::sync::{
    Arc,
    atomic::{AtomicIsize, Ordering},
};

/// The number of idle cores. It is negative if owners of borrowed cores are working again.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleCores(Arc<AtomicIsize>);

impl IdleCores {
    /// Lends the core of the calling thread until the result is dropped.
    pub(crate) fn lend(&self) -> IdleCore<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        IdleCore(self)
    }

    /// Borrows an idle core, if there is one.
    pub(super) fn borrow(&self) -> Option<BorrowedCore> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count > 0).then(|| count - 1));
        taken.is_ok().then(|| BorrowedCore(self.clone()))
    }
}

/// The core of a waiting thread.
pub(crate) struct IdleCore<'a>(&'a IdleCores);

impl Drop for IdleCore<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A borrowed core of another thread.
pub(super) struct BorrowedCore(IdleCores);

impl BorrowedCore {
    /// Whether more threads are working than there are cores.
    pub(super) fn is_wanted_back(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) < 0
    }
}

impl Drop for BorrowedCore {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}
