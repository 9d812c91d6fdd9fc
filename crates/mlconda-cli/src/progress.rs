//! Events to lines, or to indicatif's bars where stderr is a terminal.

use mlconda::progress::{Event, Progress};

use crate::ui::Ui;

/// Shows events.
#[derive(Debug)]
pub(crate) struct Display<'a> {
    ui: &'a Ui,
}

impl<'a> Display<'a> {
    pub(crate) fn new(ui: &'a Ui) -> Self {
        Self { ui }
    }
}

impl Progress for Display<'_> {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.ui.warn(&text);
        }
    }
}
