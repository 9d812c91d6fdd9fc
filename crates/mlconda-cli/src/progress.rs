//! Events to indicatif's bars where stderr is a terminal, and to single sober lines where it is not.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mlconda::progress::{Event, Progress};

use crate::{
    ui::Ui,
    words::{bytes, count},
};

/// Shows events.
#[derive(Debug)]
pub(crate) struct Display<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    packages: AtomicU64,
    linked: AtomicU64,
}

impl<'a> Display<'a> {
    pub(crate) fn new(ui: &'a Ui) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if ui.animated() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        Self { ui, bar, packages: AtomicU64::new(0), linked: AtomicU64::new(0) }
    }

    /// Says a line above the bar.
    fn say(&self, text: &str) {
        self.bar.suspend(|| self.ui.say(text));
    }

    fn spin(&self, text: String) {
        if self.ui.animated() {
            self.bar.set_style(ProgressStyle::default_spinner());
            self.bar.enable_steady_tick(Duration::from_millis(100));
            self.bar.set_message(text);
        }
    }

    fn start(&self, packages: usize, size: Option<u64>) {
        self.packages.store(packages as u64, Ordering::Relaxed);
        self.linked.store(0, Ordering::Relaxed);
        self.bar.set_position(0);
        match size {
            Some(size) => self.bar.set_length(size),
            None => self.bar.unset_length(),
        }
        let template = "{bar:24} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {msg}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style);
        self.bar.reset();
    }

    fn start_reading(&self, files: usize, size: u64) {
        self.start(0, Some(size));
        self.bar.set_message(format!("of {}", count(files, "file")));
    }

    fn linked(&self) {
        let linked = self.linked.fetch_add(1, Ordering::Relaxed) + 1;
        self.bar.set_message(format!("{linked}/{} packages", self.packages.load(Ordering::Relaxed)));
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Display<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::RepodataStarted { subdir } => self.spin(format!("Loading {subdir}")),
            Event::RepodataFinished { .. } => {}
            Event::SolveStarted { records } => self.spin(format!("Solving with {}", count(records, "record"))),
            Event::SolveFinished { .. } => self.bar.finish_and_clear(),
            Event::InstallStarted { packages: 0, .. } => {}
            Event::InstallStarted { prefix, packages, bytes: size } => {
                let download = size.map_or_else(String::new, |size| format!(" ({})", bytes(size)));
                self.say(&format!("Installing {}{download} into `{}`", count(packages, "package"), prefix.display()));
                self.start(packages, size);
            }
            Event::VerifyStarted { files, bytes } => self.start_reading(files, bytes),
            Event::Downloaded { bytes } | Event::Verified { bytes } => self.bar.inc(bytes),
            Event::DownloadedAgain { bytes } => self.bar.dec(bytes),
            Event::Retrying { package, reason } => self.say(&format!("`{package}` again: {reason}")),
            Event::PackageInstalled { .. } => self.linked(),
            Event::LinkScript { package } => self.say(&format!("Running the post-link script of `{package}`")),
            Event::Warning(text) => self.bar.suspend(|| self.ui.warn(&text)),
            _ => {}
        }
    }
}
