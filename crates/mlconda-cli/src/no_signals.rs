//! Replaces `signals` in a program in which nothing waits: its commands replace the process, or end at once.

use crate::ui::Ui;

/// Does nothing: signals end the process by default.
pub(crate) fn listen(_ui: &Ui) -> std::io::Result<()> {
    Ok(())
}

/// Does nothing: no other thread ends the process.
pub(crate) fn give_way() {}
