//! How work ends before its end: the first signal drops it, which cleans up after it, and says so at once; a second one leaves
//! the cleaning up to the next run.

use tokio::signal::unix::{SignalKind, signal};

use crate::{report::CliError, settings::Context, ui::Ui};

impl Context {
    /// Runs a future until its end, or until the user or the engine wants us to stop: then it is dropped, and so
    /// cleans up after itself.
    pub(crate) fn block_on_or_signal<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        self.or_signal("stopping", future)
    }

    /// The same, of an installation.
    pub(crate) fn install_or_signal<F: Future>(&self, future: F) -> Result<F::Output, CliError> {
        self.or_signal("stopping: removing what was written", future)
    }

    fn or_signal<F: Future>(&self, words: &str, future: F) -> Result<F::Output, CliError> {
        self.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            let mut future = Box::pin(future);
            let number = tokio::select! {
                output = &mut future => return Ok(output),
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            };
            self.ui.take_bar_away();
            self.ui.say(words);
            let ui = self.ui.clone();
            // It ends with the process. Where there is no thread for it, a second signal changes nothing.
            let _ = std::thread::Builder::new().spawn(move || leave_on_second_signal(&ui, number));
            drop(future);
            Err(CliError::Stopped(number))
        })?
    }
}

/// Ends the process at the next signal. What it leaves lies beside the prefix, under names that the next run looks for.
fn leave_on_second_signal(ui: &Ui, number: u8) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        ui.say("stopped at once: the next run removes what is left");
        std::process::exit(128 + i32::from(number));
    });
}
