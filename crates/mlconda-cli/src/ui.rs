//! The only printer: data on stdout, talk on stderr.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the module that prints")]

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

use crate::{
    args::{Global, ProgressForm},
    report::CliError,
};

/// Where words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    talk: Talk,
}

/// What stderr is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Words for people.
    Words,
    /// Errors only.
    Silence,
    /// Events for programs, words among them: one JSON object a line, and nothing else.
    Events,
}

impl Ui {
    pub(crate) fn new(global: &Global) -> Self {
        let talk = match (global.progress, global.quiet) {
            (ProgressForm::Json, _) => Talk::Events,
            (ProgressForm::Words, true) => Talk::Silence,
            (ProgressForm::Words, false) => Talk::Words,
        };
        Self { talk }
    }

    /// For one who does not know what was typed.
    pub(crate) fn of_words() -> Self {
        Self { talk: Talk::Words }
    }

    /// Whether a program listens.
    pub(crate) fn wants_events(&self) -> bool {
        self.talk == Talk::Events
    }

    /// An event on stderr, if a program listens. A line is written in one piece.
    pub(crate) fn event(&self, event: &serde_json::Value) {
        if self.wants_events() {
            let _ = std::io::stderr().lock().write_all(format!("{event}\n").as_bytes());
        }
    }

    /// Whether moving pictures are welcome: stderr is a terminal, and nobody asked for silence.
    pub(crate) fn animated(&self) -> bool {
        self.talk == Talk::Words && std::io::stderr().is_terminal()
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
        match self.talk {
            Talk::Words => self.line(text),
            Talk::Silence => {}
            Talk::Events => self.event(&json!({"event": "message", "text": text})),
        }
    }

    /// A line of talk on stderr, in place of what moves there.
    pub(crate) fn interject(&self, text: &str) {
        if self.animated() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
        self.say(text);
    }

    /// A warning on stderr.
    pub(crate) fn warn(&self, text: &str) {
        match self.talk {
            Talk::Words => self.line(&format!("warning: {text}")),
            Talk::Silence => {}
            Talk::Events => self.event(&json!({"event": "warning", "text": text})),
        }
    }

    /// An error on stderr, even when quiet, and what to do about it.
    pub(crate) fn error(&self, text: &str, hint: Option<&str>) {
        if self.wants_events() {
            return self.event(&json!({"event": "error", "text": text, "hint": hint}));
        }
        self.line(&format!("error: {text}"));
        if let Some(hint) = hint {
            self.line(&format!("hint: {hint}"));
        }
    }

    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
