//! The context of every command: the settings, the printer and, for commands that wait, the runtime.

#[cfg(feature = "install")]
mod waiting;

use crate::{global::Global, settings::Settings, ui::Ui};

/// The settings and the printer of a command.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) settings: Settings,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        let settings = Settings::new(global);
        Self { ui: Ui::new(global, &settings), settings }
    }
}
