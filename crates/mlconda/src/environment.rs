//! `environment.yml` as meant (CEP-24), with the place of everything it says.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use rattler_conda_types::{Channel, MatchSpec, Subdir};

/// A place in a file: line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// A match spec of the `dependencies:` list.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The spec as written.
    pub text: String,
    /// What it means.
    pub spec: MatchSpec,
    /// Where it stands.
    pub location: Location,
}

/// A line of the `pip:` list, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipLine {
    /// The line.
    pub text: String,
    /// Where it stands.
    pub location: Location,
}

/// Something accepted that deserves a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What, and what to do.
    pub message: String,
    /// Where.
    pub location: Location,
}

/// What reading needs to know besides the file, so that reading depends on nothing else.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The directory that relative paths are relative to.
    pub directory: PathBuf,
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// Environment variables, for `$VAR` in channel URLs.
    pub variables: Vec<(String, String)>,
    /// Channels put before those of the file (`-c`).
    pub extra_channels: Vec<String>,
    /// Whether the file's own channels count.
    pub channel_rule: ChannelRule,
}

/// Whether the channels of the file count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelRule {
    /// They come after the extra ones.
    #[default]
    FileToo,
    /// Only the extra ones count (`--override-channels`).
    ExtraOnly,
}

/// An environment as its file means it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The file, for messages.
    pub file: PathBuf,
    /// `name:`
    pub name: Option<String>,
    /// Channels in order of priority, multichannels expanded, `nodefaults` taken out.
    pub channels: Vec<Channel>,
    /// The match specs, in order.
    pub requirements: Vec<Requirement>,
    /// The `pip:` list, in order.
    pub pip: Vec<PipLine>,
    /// `variables:`, in order.
    pub variables: IndexMap<String, String>,
    /// `prefix:`; mlconda never follows it.
    pub prefix: Option<PathBuf>,
    /// `platforms:`
    pub platforms: Vec<Subdir>,
    /// What deserves a word.
    pub warnings: Vec<Warning>,
}

/// An `environment.yml` that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

impl Environment {
    /// Reads a file.
    ///
    /// # Errors
    /// If the file cannot be read, or does not say what an environment is.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let bytes = fs_err::read(path)?;
        Self::parse(&String::from_utf8_lossy(&bytes), path, options)
    }

    /// Reads text; `file` is for messages.
    ///
    /// # Errors
    /// If the text does not say what an environment is.
    pub fn parse(_text: &str, _file: &Path, _options: &ReadOptions) -> Result<Self, EnvironmentError> {
        todo!()
    }

    /// The sha256, in hex, of what the environment means: the same for two files that differ in layout and
    /// comments only.
    pub fn digest(&self) -> String {
        todo!()
    }
}
