//! The progress bar, above which lines are printed.

pub(super) use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;

use super::Ui;

/// A bar that is not shown yet.
pub(super) fn hidden_bar() -> ProgressBar {
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
}

impl Ui {
    /// The progress bar. It is hidden until it gets a draw target.
    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Removes the bar for good.
    pub(crate) fn take_bar_away(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}
