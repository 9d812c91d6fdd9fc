//! SIGINT and SIGTERM. The first one ends the future that is waited for, which cleans up after itself; where nothing is waited for,
//! there is nothing to undo, and it ends the process. A second one ends the process whatever is under way: the next run does the
//! rest. A thread of its own listens, so no work that takes long is in the way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::{settings, ui::Ui};

/// What the thread and the rest share.
struct State {
    /// Whether the thread is there.
    listens: bool,
    /// Who is to be told of the first signal.
    waiting: Option<oneshot::Sender<u8>>,
    /// Whether somebody has been told.
    stopping: bool,
}

static STATE: Mutex<State> = Mutex::new(State { listens: false, waiting: None, stopping: false });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who waits for the first signal, until it is dropped.
pub(crate) struct Waiting(oneshot::Receiver<u8>);

impl Waiting {
    /// From now on, a signal is told here.
    ///
    /// # Errors
    /// If no thread can be started to listen.
    pub(crate) fn begin(ui: Ui) -> std::io::Result<Self> {
        let (sender, receiver) = oneshot::channel();
        let mut state = state();
        if !state.listens {
            listen(ui)?;
            state.listens = true;
        }
        state.waiting = Some(sender);
        Ok(Self(receiver))
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
        let mut state = state();
        if !state.stopping {
            state.waiting = None;
        }
    }
}

fn listen(ui: Ui) -> std::io::Result<()> {
    let runtime = settings::runtime()?;
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

fn take(number: u8, ui: &Ui) {
    let mut state = state();
    let is_told = state.waiting.take().is_some_and(|waiting| waiting.send(number).is_ok());
    if is_told {
        state.stopping = true;
        ui.take_bar_away();
        ui.say("stopping: removing what was written. A second signal leaves that to the next run");
        return;
    }
    let text = match state.stopping {
        true => "stopped before all was undone; the next installation into this prefix does the rest",
        false => "stopped; nothing has changed",
    };
    ui.error(text, None);
    std::process::exit(128 + i32::from(number));
}
