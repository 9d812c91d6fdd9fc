//! In the place of `signals` where nothing waits: the only commands replace the process, or end at once.

use crate::ui::Ui;

/// Signals end the process as they always do.
pub(crate) fn listen(_ui: &Ui) -> std::io::Result<()> {
    Ok(())
}

/// No other thread ends the process.
pub(crate) fn give_way() {}
