//! Replaces the progress bar in a program without long commands.

/// No bar.
#[derive(Clone, Debug)]
pub(super) struct ProgressBar;

/// No bar.
pub(super) fn hidden_bar() -> ProgressBar {
    ProgressBar
}

impl ProgressBar {
    /// Prints at once: there is no bar to print above.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        print();
    }
}
