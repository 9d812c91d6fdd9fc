//! The only module that prints: data on stdout, messages on stderr. Text from outside passes [`escape`].

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the module that prints")]

#[cfg(feature = "install")]
mod bar;
#[cfg(not(feature = "install"))]
mod no_bar;

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::json;

#[cfg(feature = "install")]
use self::bar::{ProgressBar, hidden_bar};
#[cfg(not(feature = "install"))]
use self::no_bar::{ProgressBar, hidden_bar};
use crate::{
    error::CliError,
    escape,
    global::{Color, Global, ProgressForm},
    settings::Settings,
};

/// The printer.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    talk: Talk,
    /// Whether `--verbose` is given.
    verbose: bool,
    stdout: Paint,
    stderr: Paint,
    /// The progress bar; lines are printed above it.
    bar: ProgressBar,
}

/// The form of stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Messages for people.
    Words,
    /// Errors only.
    Silence,
    /// Events for programs, messages included: one JSON object per line.
    Events,
}

/// Whether a stream gets colours. They never carry information that the text does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    Plain,
    Colors,
}

/// A colour, with its number in ECMA-48.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

impl Paint {
    /// By `--color`, else by NO_COLOR, CLICOLOR_FORCE, CLICOLOR and TERM, else by the stream.
    fn new(choice: Color, settings: &Settings, is_terminal: bool) -> Self {
        let set = |name: &str| settings.variable(name);
        let colors = match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Color::Auto => is_terminal && set("CLICOLOR") != Some("0") && set("TERM") != Some("dumb"),
        };
        if colors { Self::Colors } else { Self::Plain }
    }

    fn dye(self, ink: Ink, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colors => format!("\x1b[1;{}m{text}\x1b[0m", ink as u8),
        }
    }

    /// A line about a change, with a coloured mark.
    fn change(self, line: &str) -> String {
        let ink = match line.as_bytes() {
            [b'+', b' ', ..] => Ink::Green,
            [b'-', b' ', ..] => Ink::Red,
            [b'~', b' ', ..] => Ink::Yellow,
            _ => return line.to_owned(),
        };
        let (mark, rest) = line.split_at(1);
        format!("{}{rest}", self.dye(ink, mark))
    }
}

impl Ui {
    pub(crate) fn new(global: &Global, settings: &Settings) -> Self {
        let talk = match (global.progress, global.quiet) {
            (ProgressForm::Json, _) => Talk::Events,
            (ProgressForm::Words, true) => Talk::Silence,
            (ProgressForm::Words, false) => Talk::Words,
        };
        let stdout = Paint::new(global.color, settings, std::io::stdout().is_terminal());
        let stderr = Paint::new(global.color, settings, std::io::stderr().is_terminal());
        Self { talk, verbose: global.verbose, stdout, stderr, bar: hidden_bar() }
    }

    /// A printer for errors that occur before the command line is parsed.
    pub(crate) fn before_options(wants_events: bool) -> Self {
        let (stdout, stderr) = (Paint::Plain, Paint::Plain);
        let talk = if wants_events { Talk::Events } else { Talk::Words };
        Self { talk, verbose: false, stdout, stderr, bar: hidden_bar() }
    }

    /// The width of help texts: that of the terminal, at most 100.
    pub(crate) fn width(&self) -> usize {
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { 100 } else { columns.min(100) }
    }

    /// Whether stderr has events for programs.
    pub(crate) fn wants_events(&self) -> bool {
        self.talk == Talk::Events
    }

    /// Whether long lists are printed in full.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// An event on stderr, for programs. A line is written with one call.
    pub(crate) fn event(&self, event: &serde_json::Value) {
        if self.wants_events() {
            let line = format!("{}\n", escape::json(&event.to_string()));
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    /// Whether to show a progress bar: stderr is a terminal, and not quiet.
    pub(crate) fn animated(&self) -> bool {
        self.talk == Talk::Words && std::io::stderr().is_terminal()
    }

    /// Data on stdout for programs, unchanged. On a terminal, control characters are escaped.
    pub(crate) fn data(&self, data: impl AsRef<[u8]>) -> Result<(), CliError> {
        let data = data.as_ref();
        if std::io::stdout().is_terminal() {
            return self.text(&String::from_utf8_lossy(data));
        }
        self.write(data)
    }

    /// Lines on stdout for people, escaped.
    pub(crate) fn text(&self, text: &str) -> Result<(), CliError> {
        self.write(escape::lines(text).as_bytes())
    }

    /// Lines on stdout about changes.
    pub(crate) fn changes(&self, text: &str) -> Result<(), CliError> {
        let text = escape::lines(text);
        let painted: String = text.split_inclusive('\n').map(|line| self.stdout.change(line)).collect();
        self.write(painted.as_bytes())
    }

    /// A closed pipe is not an error: the reader has stopped reading.
    fn write(&self, data: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(data).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A value as JSON on stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
        text.push('\n');
        self.json_text(&text)
    }

    /// JSON text on stdout.
    pub(crate) fn json_text(&self, text: &str) -> Result<(), CliError> {
        self.write(escape::json(text).as_bytes())
    }

    /// A message on stderr.
    pub(crate) fn say(&self, text: &str) {
        match self.talk {
            Talk::Words => self.line(&escape::words(text)),
            Talk::Silence => {}
            Talk::Events => self.event(&json!({"event": "message", "text": text})),
        }
    }

    /// A message about a change, which begins with `+`, `-` or `~`.
    pub(crate) fn say_change(&self, text: &str) {
        match self.talk {
            Talk::Words => self.line(&self.stderr.change(&escape::line(text))),
            _ => self.say(text),
        }
    }

    /// A warning on stderr.
    pub(crate) fn warn(&self, text: &str) {
        match self.talk {
            Talk::Words => self.titled(Ink::Yellow, "warning:", text),
            Talk::Silence => {}
            Talk::Events => self.event(&json!({"event": "warning", "text": text})),
        }
    }

    /// An error on stderr, also with `--quiet`, and its hint.
    pub(crate) fn error(&self, text: &str, hint: Option<&str>) {
        if self.wants_events() {
            return self.event(&json!({"event": "error", "text": text, "hint": hint}));
        }
        self.titled(Ink::Red, "error:", text);
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    /// An error of the command line, in clap's text.
    pub(crate) fn usage(&self, text: &str) {
        if self.wants_events() {
            let (text, hint) = text.split_once("\n\n").unwrap_or((text, ""));
            let hint = Some(hint.trim()).filter(|hint| !hint.is_empty());
            return self.error(text.trim_start_matches("error: ").trim(), hint);
        }
        self.line(escape::lines(text).trim_end());
    }

    /// A hint on stderr.
    pub(crate) fn hint(&self, text: &str) {
        match self.talk {
            Talk::Events => self.event(&json!({"event": "message", "text": text})),
            _ => self.titled(Ink::Cyan, "hint:", text),
        }
    }

    fn titled(&self, ink: Ink, title: &str, text: &str) {
        self.line(&format!("{} {}", self.stderr.dye(ink, title), escape::message(text)));
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }
}
