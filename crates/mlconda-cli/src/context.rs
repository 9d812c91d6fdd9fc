//! What every command gets: the settings and the printer, and, where commands wait, the runtime for that.

#[cfg(feature = "install")]
mod waiting;

use crate::{global::Global, settings::Settings, ui::Ui};

/// The settings and the printer, which every command gets.
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
