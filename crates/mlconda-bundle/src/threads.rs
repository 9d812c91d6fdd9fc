//! Work on the members of a bundle by several threads.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use mlconda_install::{InstallError, Stop};

use crate::BundleError;

/// Calls `work` with the numbers below `count` on several threads, and returns the results in order. After a call
/// failed or a stop was requested, no further call is begun.
pub(crate) fn each<T: Send>(
    count: usize,
    threads: NonZero<usize>,
    stop: &Stop,
    work: &(dyn Fn(usize) -> Result<T, BundleError> + Sync),
) -> Result<Vec<T>, BundleError> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let done = Mutex::new((0..count).map(|_| None).collect::<Vec<_>>());
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let outcome = if stop.is_requested() { Err(InstallError::Stopped.into()) } else { work(number) };
            match outcome {
                Ok(value) => done.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(value),
                Err(error) => {
                    next.store(usize::MAX / 2, Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            scope.spawn(run);
        }
        run();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(count: usize, threads: usize, stop: &Stop, bad: usize) -> Result<Vec<usize>, BundleError> {
        let work = |number| if number == bad { Err(std::io::Error::other("bad").into()) } else { Ok(number * 2) };
        each(count, NonZero::new(threads).unwrap(), stop, &work)
    }

    #[test]
    fn all_is_done_in_order_and_a_failure_or_a_stop_ends_it() {
        let stop = Stop::default();
        for threads in [1, 4] {
            assert_eq!(run(100, threads, &stop, 100).unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
            assert_eq!(run(0, threads, &stop, 0).unwrap(), [0; 0]);
            assert_eq!(run(100, threads, &stop, 60).unwrap_err().to_string(), "bad");
        }
        stop.request();
        let stopped = run(100, 4, &stop, 100).unwrap_err();
        assert!(matches!(stopped, BundleError::Install(InstallError::Stopped)), "{stopped}");
    }
}
