//! SIGINT and SIGTERM. The first one ends the future that is waited for, which cleans up after itself. Where none is waited
//! for, there is nothing to undo: the process ends at once, whatever it computes or reads; temporary directories go, and a
//! file that is being written is finished first. A second signal ends the process in any case: the next run does the rest.
//! A thread of its own listens, so no work that takes long is in the way.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use mlconda::install::Stop;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::ui::Ui;

/// Whatever is done at the end is not waited for longer than this.
const BRIEFLY: Duration = Duration::from_millis(500);

/// What the thread and the rest share.
struct State {
    /// Whether the thread is there.
    listens: bool,
    /// Who is to be told of the first signal, and what is to be said then.
    waiting: Option<(oneshot::Sender<u8>, Undo)>,
    /// What tells the installation that is under way.
    stop: Option<Stop>,
    phase: Phase,
    /// The temporary directories.
    temporary: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There was no signal.
    Working,
    /// Somebody was told of the one of this number, and undoes this.
    Undoing(Undo, u8),
    /// The process is about to end.
    Ending,
}

/// What is to be undone when a signal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// What has been written.
    Written,
    /// Nothing that takes time.
    Nothing,
}

static STATE: Mutex<State> =
    Mutex::new(State { listens: false, waiting: None, stop: None, phase: Phase::Working, temporary: Vec::new() });

/// Held while a file is written, so that the process does not end in the middle.
static WHOLE: Mutex<()> = Mutex::new(());

fn held<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does work that the first signal does not interrupt: it is short.
pub(crate) fn whole<T>(work: impl FnOnce() -> T) -> T {
    let _whole = held(&WHOLE);
    work()
}

/// From now on, a signal for which nobody waits ends the process in order.
///
/// # Errors
/// If no thread can be started to listen.
pub(crate) fn listen(ui: &Ui) -> std::io::Result<()> {
    let mut state = held(&STATE);
    if !state.listens {
        begin(ui.clone())?;
        state.listens = true;
    }
    Ok(())
}

/// Waits for ever if a signal is about to end the process: an error may come of what it took away.
pub(crate) fn give_way() {
    if held(&STATE).phase == Phase::Ending {
        loop {
            std::thread::park();
        }
    }
}

/// Somebody who waits for the first signal, until it is dropped.
pub(crate) struct Waiting(oneshot::Receiver<u8>);

impl Waiting {
    /// From now on, a signal is told here.
    ///
    /// # Errors
    /// If no thread can be started to listen.
    pub(crate) fn begin(ui: &Ui, undo: Undo) -> std::io::Result<Self> {
        listen(ui)?;
        let (sender, receiver) = oneshot::channel();
        let mut state = held(&STATE);
        match state.phase {
            // Whoever was told has finished all the same; what comes after it does not begin.
            Phase::Undoing(_, number) => _ = sender.send(number),
            _ => state.waiting = Some((sender, undo)),
        }
        Ok(Self(receiver))
    }

    /// The same for an installation, which is told by this as well, where it does not wait.
    pub(crate) fn begin_to_install(ui: &Ui, stop: &Stop) -> std::io::Result<Self> {
        held(&STATE).stop = Some(stop.clone());
        Self::begin(ui, Undo::Written)
    }

    /// Waits no longer. Gives the number of a signal that has come and has not been noticed.
    pub(crate) fn end(mut self) -> Option<u8> {
        // None comes any more: they are told under this lock.
        held(&STATE).waiting = None;
        self.0.try_recv().ok()
    }

    /// The number of the signal that has come.
    pub(crate) async fn signal(&mut self) -> u8 {
        match (&mut self.0).await {
            Ok(number) => number,
            // Nobody will tell any more.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = held(&STATE);
        (state.waiting, state.stop) = (None, None);
    }
}

/// The number of a signal that has come and has been told to somebody.
pub(crate) fn told() -> Option<u8> {
    match held(&STATE).phase {
        Phase::Undoing(_, number) => Some(number),
        _ => None,
    }
}

/// A temporary directory. It goes with the value, and when a signal ends the process.
#[derive(Debug)]
pub(crate) struct Temporary(tempfile::TempDir);

impl Temporary {
    pub(crate) fn new(directory: tempfile::TempDir) -> Self {
        held(&STATE).temporary.push(directory.path().to_owned());
        Self(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        held(&STATE).temporary.retain(|path| path != self.0.path());
    }
}

/// What runs futures on this thread.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    // What listens to signals panics where it cannot open what it needs: at most so many files.
    let room: std::io::Result<Vec<_>> = (0..4).map(|_| std::os::unix::net::UnixStream::pair()).collect();
    drop(room?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn begin(ui: Ui) -> std::io::Result<()> {
    let runtime = runtime()?;
    // Both are caught before this returns.
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let work = async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            take(number, &ui);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(work)).map(drop)
}

/// Takes a signal. It does not wait for anybody, so that the next one can be taken.
fn take(number: u8, ui: &Ui) {
    let (ui, mut state) = (ui.clone(), held(&STATE));
    let temporary = state.temporary.clone();
    // What is left of them lies where the system looks for what is left over.
    let tidy = move || temporary.iter().for_each(|directory| _ = fs_err::remove_dir_all(directory));
    if state.phase != Phase::Working {
        let is_left = matches!(state.phase, Phase::Undoing(Undo::Written, _));
        drop(state);
        briefly(tidy);
        if is_left {
            let text = "stopped before all was undone; the next installation into this prefix does the rest";
            briefly(move || ui.error(text, None));
        }
        end(number);
    }
    if let Some((waiting, undo)) = state.waiting.take()
        && !waiting.is_closed()
    {
        // Before it is told that there is something to be heard.
        let is_late = state.stop.take().is_some_and(|stop| !stop.request());
        _ = waiting.send(number);
        state.phase = Phase::Undoing(undo, number);
        drop(state);
        if undo == Undo::Written {
            briefly(move || {
                ui.take_bar_away();
                ui.say(match is_late {
                    true => "stopping: it is too late to undo what was done. A second signal leaves the rest to the next run",
                    false => "stopping: removing what was written. A second signal leaves that to the next run",
                });
            });
        }
        return;
    }
    state.phase = Phase::Ending;
    drop(state);
    let ending = move || {
        // For good, so that nothing is begun any more.
        briefly(|| std::mem::forget(held(&WHOLE)));
        briefly(tidy);
        briefly(move || {
            ui.take_bar_away();
            ui.error("stopped", None);
        });
        end(number);
    };
    if std::thread::Builder::new().spawn(ending).is_err() {
        end(number);
    }
}

/// Does something, and does not wait long for its end: nobody may read what is said.
fn briefly(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel::<()>();
    let doing = move || {
        work();
        drop(done);
    };
    if std::thread::Builder::new().spawn(doing).is_ok() {
        _ = wait.recv_timeout(BRIEFLY);
    }
}

fn end(number: u8) -> ! {
    std::process::exit(128 + i32::from(number))
}
