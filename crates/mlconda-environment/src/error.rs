//! Errors of an `environment.yml`. All errors are reported at once, so that a file can be fixed in one go.

use super::Diagnostic;

/// The most errors that are shown. More of them usually have one cause.
const MAX_SHOWN: usize = 20;

/// The most errors of a file that are kept. Each contains its line, which may be the whole file.
pub(super) const MAX_KEPT: usize = 100;

/// Why an `environment.yml` could not be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The bytes are not text.
    #[error("{0}")]
    Encoding(Box<Diagnostic>),
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(Box<Diagnostic>),
    /// The YAML is not an environment.
    #[error("{0}")]
    Structure(Box<Diagnostic>),
    /// A channel is invalid.
    #[error("{0}")]
    Channel(Box<Diagnostic>),
    /// A dependency is not a match spec.
    #[error("{0}")]
    Spec(Box<Diagnostic>),
    /// A line for pip, or a line of a file that it names, is invalid.
    #[error("{0}")]
    Pip(Box<Diagnostic>),
    /// The channels of several files have no common order.
    #[error("{0}")]
    Merge(Box<Diagnostic>),
    /// No file was given.
    #[error("no environment file is named")]
    Nothing,
    /// Several errors, at least two, in the order of their locations.
    #[error("{}", join_messages(.0))]
    Several(Vec<EnvironmentError>),
    /// How many more errors a file has than are kept; only inside of [`Self::Several`].
    #[error("and {0} more")]
    More(usize),
    /// A channel of the options is invalid: one of [`super::ReadOptions::extra_channels`], the alias or a default
    /// channel.
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

mlconda_types::debug_as_words!(EnvironmentError);

impl EnvironmentError {
    /// Combines several errors into one.
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

    /// The diagnostics of all errors that have a location.
    pub fn diagnostics(&self) -> Vec<&Diagnostic> {
        match self {
            Self::Several(errors) => errors.iter().filter_map(Self::diagnostic).collect(),
            error => error.diagnostic().into_iter().collect(),
        }
    }

    /// Changes the diagnostics of all errors that have a location.
    pub(crate) fn for_each_diagnostic(&mut self, change: &mut impl FnMut(&mut Diagnostic)) {
        match self {
            Self::Read(_) | Self::ExtraChannel { .. } | Self::Nothing | Self::More(_) => {}
            Self::Several(errors) => errors.iter_mut().for_each(|error| error.for_each_diagnostic(change)),
            Self::Encoding(diagnostic)
            | Self::Syntax(diagnostic)
            | Self::Structure(diagnostic)
            | Self::Channel(diagnostic)
            | Self::Merge(diagnostic)
            | Self::Pip(diagnostic)
            | Self::Spec(diagnostic) => change(diagnostic),
        }
    }

    /// The diagnostic of the error, if it has a location; of several errors, the first one.
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

/// Several errors as text, separated by blank lines.
fn join_messages(errors: &[EnvironmentError]) -> String {
    let (more, told): (Vec<_>, Vec<_>) = errors.iter().partition(|error| matches!(error, EnvironmentError::More(_)));
    let shown: Vec<String> = told.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let counts = more.iter().map(|error| if let EnvironmentError::More(count) = error { *count } else { 0 });
    let more = told.len().saturating_sub(MAX_SHOWN) + counts.sum::<usize>();
    let rest = if more == 0 { String::new() } else { format!("\n\nand {more} more") };
    shown.join("\n\n") + &rest
}
