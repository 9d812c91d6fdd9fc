//! SIGINT and SIGTERM. The first signal drops the running future, which cleans up. Without such a future there is
//! nothing to undo, and the process ends at once: temporary directories are removed, and a file that is being written
//! is finished first. A second signal always ends the process; the next run cleans up. A separate thread waits for
//! signals, so that long work does not delay them.

use std::{
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use mlconda::install::Stop;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::ui::Ui;

/// The longest time for each step at the end.
const BRIEFLY: Duration = Duration::from_millis(500);

/// The state that the thread and the program share.
struct State {
    /// Whether the thread runs.
    listens: bool,
    /// The receiver of the first signal, and what it will undo.
    waiting: Option<(oneshot::Sender<u8>, Undo)>,
    /// Stops the running installation.
    stop: Option<Stop>,
    phase: Phase,
    /// Whether the thread is about to print the effect of the signal.
    announces: bool,
    /// The temporary directories.
    temporary: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There was no signal so far.
    Working,
    /// A signal with this number was passed on, and the receiver undoes this.
    Undoing(Undo, u8),
    /// The process is about to end.
    Ending,
}

/// What is undone after a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// Written files.
    Written,
    /// Nothing that takes time.
    Nothing,
}

static STATE: Mutex<State> = Mutex::new(State {
    listens: false,
    waiting: None,
    stop: None,
    phase: Phase::Working,
    announces: false,
    temporary: Vec::new(),
});

/// Notified after the thread has printed the effect of the signal.
static ANNOUNCED: Condvar = Condvar::new();

/// Locked while a file is written, so that the process does not end in the middle.
static WHOLE: Mutex<()> = Mutex::new(());

fn held<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does short work that the first signal must not interrupt.
pub(crate) fn whole<T>(work: impl FnOnce() -> T) -> T {
    let _whole = held(&WHOLE);
    work()
}

/// Starts to handle signals: a signal without a receiver removes temporary directories and ends the process.
///
/// # Errors
/// If no thread for signals can be started.
pub(crate) fn listen(ui: &Ui) -> std::io::Result<()> {
    let mut state = held(&STATE);
    if !state.listens {
        begin(ui.clone())?;
        state.listens = true;
    }
    Ok(())
}

/// Waits until the effect of a signal was printed, so that the outcome is printed after it. Waits for ever if a signal
/// is about to end the process: an error may then be a result of its cleanup.
pub(crate) fn give_way() {
    let waited = ANNOUNCED.wait_timeout_while(held(&STATE), 2 * BRIEFLY, |state| state.announces);
    let is_ending = waited.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Ending;
    if is_ending {
        loop {
            std::thread::park();
        }
    }
}

/// The receiver of the first signal, until it is dropped.
pub(crate) struct Waiting(oneshot::Receiver<u8>);

impl Waiting {
    /// Receives the next signal.
    ///
    /// # Errors
    /// If no thread for signals can be started.
    pub(crate) fn begin(ui: &Ui, undo: Undo) -> std::io::Result<Self> {
        listen(ui)?;
        let (sender, receiver) = oneshot::channel();
        let mut state = held(&STATE);
        match state.phase {
            // The earlier receiver had already finished; the next step must not begin.
            Phase::Undoing(_, number) => _ = sender.send(number),
            _ => state.waiting = Some((sender, undo)),
        }
        Ok(Self(receiver))
    }

    /// The same for an installation. `stop` stops its parts that do not wait.
    pub(crate) fn begin_to_install(ui: &Ui, stop: &Stop) -> std::io::Result<Self> {
        held(&STATE).stop = Some(stop.clone());
        Self::begin(ui, Undo::Written)
    }

    /// The same for work that keeps the files that it has written.
    pub(crate) fn begin_to_keep(ui: &Ui, stop: &Stop) -> std::io::Result<Self> {
        held(&STATE).stop = Some(stop.clone());
        Self::begin(ui, Undo::Nothing)
    }

    /// Stops waiting. Returns the number of a signal that was not received yet.
    pub(crate) fn end(mut self) -> Option<u8> {
        // No other signal is passed on now, because that needs this lock.
        held(&STATE).waiting = None;
        self.0.try_recv().ok()
    }

    /// Waits for a signal, and returns its number.
    pub(crate) async fn signal(&mut self) -> u8 {
        match (&mut self.0).await {
            Ok(number) => number,
            // No signal will come.
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

/// A directory that other code removes at the end. If a signal ends the process, it is removed, too.
#[derive(Debug)]
pub(crate) struct Watched(PathBuf);

impl Watched {
    pub(crate) fn new(path: &Path) -> Self {
        held(&STATE).temporary.push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        held(&STATE).temporary.retain(|path| *path != self.0);
    }
}

/// The number of a signal that was passed to a receiver.
pub(crate) fn told() -> Option<u8> {
    match held(&STATE).phase {
        Phase::Undoing(_, number) => Some(number),
        _ => None,
    }
}

/// A temporary directory. It is removed with the value, and when a signal ends the process.
#[derive(Debug)]
pub(crate) struct Temporary {
    _watched: Watched,
    directory: tempfile::TempDir,
}

impl Temporary {
    pub(crate) fn new(directory: tempfile::TempDir) -> Self {
        Self { _watched: Watched::new(directory.path()), directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A runtime for futures on this thread.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    // tokio's signal handling panics if it cannot open these files, so that is checked first.
    let room: std::io::Result<Vec<_>> = (0..4).map(|_| std::os::unix::net::UnixStream::pair()).collect();
    drop(room?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn begin(ui: Ui) -> std::io::Result<()> {
    let runtime = runtime()?;
    // Both signals are caught before this function returns.
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

/// Handles a signal. It does not wait for anything, so that the next signal can be handled.
fn take(number: u8, ui: &Ui) {
    let (ui, mut state) = (ui.clone(), held(&STATE));
    // Leftovers are in the system's temporary directory, or are removed by the next run.
    let tidy = || {
        let temporary = held(&STATE).temporary.clone();
        temporary.iter().for_each(|directory| _ = fs_err::remove_dir_all(directory));
    };
    if state.phase != Phase::Working {
        let is_left = matches!(state.phase, Phase::Undoing(Undo::Written, _));
        drop(state);
        briefly(tidy);
        if is_left {
            let text = "stopped before everything was undone; the next installation into this prefix finishes it";
            briefly(move || ui.error(text, None));
        }
        end(number);
    }
    if let Some((waiting, undo)) = state.waiting.take()
        && !waiting.is_closed()
    {
        // This is set before the receiver gets the signal.
        let is_late = state.stop.take().is_some_and(|stop| !stop.request());
        state.announces = undo == Undo::Written;
        _ = waiting.send(number);
        state.phase = Phase::Undoing(undo, number);
        drop(state);
        if undo == Undo::Written {
            briefly(move || {
                ui.take_bar_away();
                ui.say(match is_late {
                    true => {
                        "stopping: the change can no longer be undone. A second signal leaves the rest to the next run"
                    }
                    false => "stopping: removing what was written. A second signal leaves that to the next run",
                });
            });
            held(&STATE).announces = false;
            ANNOUNCED.notify_all();
        }
        return;
    }
    state.phase = Phase::Ending;
    drop(state);
    let ending = move || {
        // Locked for ever, so that no other file is begun.
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

/// Does some work, and waits for its end only for a short time, because stderr may be blocked.
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
