//! Waits until the disk has stored all data, and reports long waits. A slow or busy disk may need minutes for data that
//! the kernel has accepted within a second.

use std::{io, sync::mpsc, thread, time::Duration};

use mlconda_system::beneath::FileSystem;
use mlconda_types::progress::{Event, Progress};

/// The time before the first event. A further event comes each time that the elapsed time has doubled.
const FIRST_NOTICE: Duration = Duration::from_secs(10);

/// A disk to wait for.
pub(super) struct Disk<'a> {
    pub(super) file_system: FileSystem,
    pub(super) progress: &'a dyn Progress,
}

impl Disk<'_> {
    /// Waits until the disk has stored all data that was written until now, also by other programs.
    pub(super) fn sync(&self) -> io::Result<()> {
        telling_from(FIRST_NOTICE, self.progress, || self.file_system.sync())
    }
}

/// Runs `work` on this thread, while another thread reports how long it takes.
fn telling_from<T>(first: Duration, progress: &dyn Progress, work: impl FnOnce() -> T) -> T {
    let (end, has_ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // If no other thread can be started, nothing is reported.
        let _ = thread::Builder::new().spawn_scoped(scope, move || {
            let mut waited = first;
            let mut pause = first;
            while has_ended.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                progress.event(Event::WaitingForDisk { waited });
                pause = waited;
                waited += pause;
            }
        });
        let outcome = work();
        drop(end);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Heard(mpsc::Sender<u128>);

    impl Progress for Heard {
        fn event(&self, event: Event) {
            if let Event::WaitingForDisk { waited } = event {
                let _ = self.0.send(waited.as_millis());
            }
        }
    }

    #[test]
    fn a_disk_that_takes_long_is_told_of() {
        let (sender, heard) = mpsc::channel();
        let heard = Mutex::new(heard);
        // The work ends after three events.
        let wait = || [(); 3].map(|()| heard.lock().unwrap().recv().unwrap());
        let told = telling_from(Duration::from_millis(1), &Heard(sender), wait);
        assert_eq!(told, [1, 2, 4]);
    }

    #[test]
    fn a_disk_that_is_fast_is_not_told_of() {
        let (sender, heard) = mpsc::channel();
        assert_eq!(telling_from(FIRST_NOTICE, &Heard(sender), || 1), 1);
        assert_eq!(heard.recv(), Err(mpsc::RecvError));
    }
}
