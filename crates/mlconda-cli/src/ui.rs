//! The only printer: data on stdout, talk on stderr.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the module that prints")]

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::report::CliError;

/// Where words go.
#[derive(Debug)]
pub(crate) struct Ui {
    quiet: bool,
}

impl Ui {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Whether moving pictures are welcome: stderr is a terminal, and nobody asked for silence.
    pub(crate) fn animated(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Data on stdout. A closed pipe is no error: the reader has had enough.
    pub(crate) fn data(&self, data: impl AsRef<[u8]>) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(data.as_ref()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A value as JSON on stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
        text.push('\n');
        self.data(&text)
    }

    /// A line of talk on stderr.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// A warning on stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }

    /// An error on stderr, even when quiet.
    pub(crate) fn error(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
