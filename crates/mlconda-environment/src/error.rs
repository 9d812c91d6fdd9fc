//! What can be wrong with an `environment.yml`. All that is wrong is told at once, so that a file is mended in one go.

use super::Diagnostic;

/// How many mistakes are shown. Whoever has more of them has one that they all come from.
const SHOWN: usize = 20;

/// How many mistakes of one file are kept. Each has its line with it, which may be the whole file.
pub(super) const KEPT: usize = 100;

/// An `environment.yml` that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The bytes are no text.
    #[error("{0}")]
    Encoding(Box<Diagnostic>),
    /// The text is no YAML.
    #[error("{0}")]
    Syntax(Box<Diagnostic>),
    /// The YAML is no environment.
    #[error("{0}")]
    Structure(Box<Diagnostic>),
    /// A channel is none.
    #[error("{0}")]
    Channel(Box<Diagnostic>),
    /// A dependency is no match spec.
    #[error("{0}")]
    Spec(Box<Diagnostic>),
    /// A line for pip, or of a file that such a line names, is none that pip can read.
    #[error("{0}")]
    Pip(Box<Diagnostic>),
    /// The channels of several files have no common order.
    #[error("{0}")]
    Merge(Box<Diagnostic>),
    /// There was no file to read.
    #[error("no environment file is named")]
    Nothing,
    /// More than one thing is wrong; at least two, in the order of their places.
    #[error("{}", joined(.0))]
    Several(Vec<EnvironmentError>),
    /// So many more mistakes, of a file that has too many to keep them all; one of [`Self::Several`].
    #[error("and {0} more")]
    More(usize),
    /// A channel of the options is none: one of [`super::ReadOptions::extra_channels`], the alias or a default channel.
    #[error("the channel `{channel}` cannot be used: {message}\n  = help: {help}")]
    ExtraChannel {
        /// The channel as it was given.
        channel: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
}

impl EnvironmentError {
    /// One error for all that is wrong.
    pub fn several(errors: Vec<Self>) -> Self {
        let mut all: Vec<Self> = Vec::new();
        for error in errors {
            match error {
                Self::Several(errors) => all.extend(errors),
                error => all.push(error),
            }
        }
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                all.push(last);
                Self::Several(all)
            }
            (None, _) => Self::Nothing,
        }
    }

    /// The places in the files and the remedies, of all that is wrong and has a place.
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        match self {
            Self::Several(errors) => errors.iter().filter_map(Self::diagnostic).collect(),
            error => error.diagnostic().into_iter().collect(),
        }
    }

    /// The place in the file and the remedy, if the error has a place; of several errors, the first one's.
    pub fn diagnostic(&self) -> Option<&Diagnostic> {
        match self {
            Self::Read(_) | Self::ExtraChannel { .. } | Self::Nothing | Self::More(_) => None,
            Self::Several(errors) => errors.iter().find_map(Self::diagnostic),
            Self::Encoding(diagnostic)
            | Self::Syntax(diagnostic)
            | Self::Structure(diagnostic)
            | Self::Channel(diagnostic)
            | Self::Merge(diagnostic)
            | Self::Pip(diagnostic)
            | Self::Spec(diagnostic) => Some(diagnostic),
        }
    }
}

/// Several errors as one text, a blank line between them.
fn joined(errors: &[EnvironmentError]) -> String {
    let (more, told): (Vec<_>, Vec<_>) = errors.iter().partition(|error| matches!(error, EnvironmentError::More(_)));
    let shown: Vec<String> = told.iter().take(SHOWN).map(ToString::to_string).collect();
    let counts = more.iter().map(|error| if let EnvironmentError::More(count) = error { *count } else { 0 });
    let more = told.len().saturating_sub(SHOWN) + counts.sum::<usize>();
    let rest = if more == 0 { String::new() } else { format!("\n\nand {more} more") };
    shown.join("\n\n") + &rest
}
