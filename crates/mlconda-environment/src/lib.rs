//! Reads `environment.yml` files (CEP-24) and requirements files, and keeps the location of every value. It never
//! writes a file, runs no program and uses no network.
//!
//! Only [`Environment::read`], [`Environment::read_text`] and [`Environment::read_all`] read files. All other input is
//! passed as [`ReadOptions`]. `docs/environment.md` lists the accepted forms.
//!
//! Read in this order:
//! - [`Environment`]: the result of reading a file;
//! - [`decode`] and [`yaml`]: bytes to a tree;
//! - `reader`, with `spec`, `channel` and `selector`: the tree to an environment;
//! - `lint`, `suggestion` and `error`: warnings and errors;
//! - `merge`: several files as one environment;
//! - [`requirements`] and `grammar`: the `pip:` list;
//! - [`edit`]: changes a file in place.

mod channel;
pub mod decode;
pub mod edit;
mod error;
mod grammar;
mod keys;
mod lint;
mod merge;
mod near_names;
mod reader;
pub mod requirements;
mod selector;
mod spec;
mod suggestion;
pub mod yaml;

/// Replaces a location in the text that [`Environment::from_placed_specs`] writes by the place of the spec. Returns the
/// spec.
fn place<'a>(location: &mut Location, specs: &[(&'a str, Location)]) -> Option<&'a str> {
    // The first spec is on the second line.
    let (spec, place) = specs.get(location.line.checked_sub(2)?)?;
    *location = *place;
    Some(spec.trim())
}

#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Formatter, Write},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use mlconda_types::{redact, slim::Slim};
use rattler_conda_types::{Channel, MatchSpec, Subdir};
use rattler_digest::{Sha256, compute_bytes_digest};

pub use self::lint::{WELL_KNOWN_CHANNELS, native_platform};
pub use self::near_names::near_names;
pub use self::{error::EnvironmentError, selector::Selector};
pub use mlconda_types::diagnostic::{Diagnostic, Excerpt, Location};
pub use requirements::PipFile;

/// A match spec of the `dependencies:` list.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The spec as written.
    pub text: String,
    /// The parsed spec.
    pub spec: MatchSpec,
    /// Its file. A merged environment has several.
    pub file: Arc<Path>,
    /// Its location in the file.
    pub location: Location,
    /// The line, for messages.
    pub excerpt: Excerpt,
    /// The platforms that it applies to; `None` for all.
    pub selector: Option<Selector>,
}

/// The name of the command line in the place of a file.
pub const COMMAND_LINE: &str = "the command line";

/// A line of the `pip:` list, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipLine {
    /// The text of the line.
    pub text: String,
    /// Its file.
    pub file: Arc<Path>,
    /// The absolute path of the file's directory. Paths in the line are relative to it.
    pub directory: PathBuf,
    /// Its location in the file.
    pub location: Location,
    /// The platforms that it applies to; `None` for all.
    pub selector: Option<Selector>,
}

/// A warning about a file that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The message.
    pub message: String,
    /// The file.
    pub file: Arc<Path>,
    /// The location.
    pub location: Location,
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Location { line, column } = self.location;
        write!(f, "{}:{line}:{column}: {}", self.file.display(), self.message)
    }
}

/// The input of reading, besides the file itself.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The directory that the path of the file and the paths in `extra_channels` are relative to: an absolute path.
    /// Paths in the file are relative to the file's directory.
    pub directory: PathBuf,
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// Environment variables, for `$VAR` in channel URLs.
    pub variables: Vec<(String, String)>,
    /// Channels before those of the file (`-c`).
    pub extra_channels: Vec<String>,
    /// The channels of `defaults`, in order (conda's `default_channels`); if empty, the public ones.
    pub default_channels: Vec<String>,
    /// The base URL of channel names (conda's `channel_alias`); `None` for `https://conda.anaconda.org`.
    pub channel_alias: Option<String>,
    /// Custom channel names, and the channels that each stands for, in order (conda's `custom_channels` and
    /// `custom_multichannels`).
    pub custom_channels: Vec<(String, Vec<String>)>,
    /// Whether the channels of the file are used.
    pub channel_rule: ChannelRule,
}

/// Whether the channels of the file are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelRule {
    /// The extra channels first, then the channels of the file.
    #[default]
    FileAndExtra,
    /// Only the extra channels (`--override-channels`).
    ExtraOnly,
}

/// An environment.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The file, for messages.
    pub file: PathBuf,
    /// `name:`
    pub name: Option<String>,
    /// The channels in order of priority. Multichannels are expanded, and `nodefaults` is removed.
    pub channels: Vec<Channel>,
    /// The match specs, in order.
    pub requirements: Vec<Requirement>,
    /// The `pip:` list, in order.
    pub pip: Vec<PipLine>,
    /// The files that the `pip:` list names, directly or indirectly. [`Self::parse`] reads none.
    pub pip_files: Vec<PipFile>,
    /// `variables:`, in order.
    pub variables: IndexMap<String, String>,
    /// The environment variables that the file refers to, and their values, sorted by name. If a value is a secret, a
    /// lock refers to the variable, too.
    pub expansions: Vec<(String, String)>,
    /// `prefix:`; mlconda ignores it.
    pub prefix: Option<PathBuf>,
    /// `platforms:`
    pub platforms: Vec<Subdir>,
    /// `slim:` of `x-mlconda:`: the parts of packages that the environment leaves out.
    pub slim: Option<Slim>,
    /// Warnings about the file.
    pub warnings: Vec<Warning>,
    /// The location of `channels:`, if the file has this key. When environments are merged, a file without it has no
    /// say in the list of channels.
    channels_key: Option<Box<Diagnostic>>,
    /// The lines of channels, by their URLs without secrets.
    channel_lines: IndexMap<String, Excerpt>,
    /// The locations of `name`, `channels`, `platforms`, `x-mlconda` and each `variables.NAME`.
    key_locations: IndexMap<String, FileLocation>,
}

/// A file and a location in it.
type FileLocation = (Arc<Path>, Location);

/// Whether this is a valid name of an environment. It becomes the name of a directory. conda rejects the same
/// characters, and `.` and `..` would lead to other directories.
pub fn is_name(name: &str) -> bool {
    !(name.contains(['/', '\\', ' ', ':', '#']) || name.contains(char::is_control) || matches!(name, "" | "." | ".."))
}

/// The largest file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// Reads a file of limited size.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        let message = format!("it is larger than {} MiB", MAX_FILE_SIZE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

impl Environment {
    /// Reads a file in UTF-8 or UTF-16.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a valid environment.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let bytes = read_bounded(path).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                io::Error::new(error.kind(), format!("cannot read `{}`: {error}", path.display()))
            }
            _ => error,
        })?;
        Self::read_text(&decode::decode(&bytes, path)?, path, options)
    }

    /// Reads text as if it were the contents of a file, and the files that its `pip:` list names.
    ///
    /// # Errors
    /// If one of these cannot be read, or the text is not a valid environment.
    pub fn read_text(text: &str, path: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let mut environment = Self::parse(text, path, options)?;
        environment.read_pip_files(&options.variables)?;
        Ok(environment)
    }

    /// Reads the files that the `pip:` list names. They count as part of the environment.
    fn read_pip_files(&mut self, variables: &[(String, String)]) -> Result<(), EnvironmentError> {
        let mut files: Vec<PipFile> = Vec::new();
        let mut read = |path: &Path| {
            // Opening a pipe could block forever.
            let metadata = fs_err::metadata(path)?;
            if !metadata.is_file() {
                let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            let text = decode::decode(&read_bounded(path)?, path)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?;
            if !files.iter().any(|file| file.path == path) {
                files.push(PipFile { path: path.to_owned(), text: text.clone() });
            }
            Ok(text)
        };
        let collected = requirements::collect(&self.pip, variables, &mut read);
        collected.map_err(|mistakes| {
            EnvironmentError::several(mistakes.into_iter().map(Box::new).map(EnvironmentError::Pip).collect())
        })?;
        for file in &files {
            let names = requirements::variable_names(&file.text);
            self.expansions
                .extend(names.filter_map(|name| variables.iter().rfind(|(known, _)| known == name).cloned()));
        }
        mlconda_types::sorting::sort(&mut self.expansions);
        self.expansions.dedup();
        self.pip_files = files;
        Ok(())
    }

    /// Parses text; `file` is used in messages, and paths in the text are relative to it.
    ///
    /// # Errors
    /// If the text is not a valid environment.
    pub fn parse(text: &str, file: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        reader::read(&decode::normalize(text), file, options)
    }

    /// Makes an environment of single match specs of a command line, which messages call [`COMMAND_LINE`]. The channels
    /// are those of the options.
    ///
    /// # Errors
    /// If one of them is not a match spec.
    pub fn from_specs<S: AsRef<str>>(specs: &[S], options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let place = Location { line: 0, column: 1 };
        let specs: Vec<(&str, Location)> = specs.iter().map(|spec| (spec.as_ref(), place)).collect();
        Self::from_placed_specs(&specs, Path::new(COMMAND_LINE), options)
    }

    /// Like [`from_specs`](Self::from_specs), with the file of the specs, and the place of each of them.
    ///
    /// # Errors
    /// If one of them is not a match spec.
    pub fn from_placed_specs(
        specs: &[(&str, Location)],
        file: &Path,
        options: &ReadOptions,
    ) -> Result<Self, EnvironmentError> {
        let mut text = String::from("dependencies:\n");
        for (spec, _) in specs {
            text.push_str("  - ");
            text.push_str(&yaml::scalar(spec));
            text.push('\n');
        }
        if specs.is_empty() {
            text = "dependencies: []\n".to_owned();
        }
        let mut environment = Self::parse(&text, file, options).map_err(|mut error| {
            error.for_each_diagnostic(&mut |diagnostic| {
                if let Some(spec) = place(&mut diagnostic.location, specs) {
                    (diagnostic.line, diagnostic.length) = (spec.to_owned(), spec.chars().count());
                }
            });
            error
        })?;
        for requirement in &mut environment.requirements {
            let excerpt = &mut requirement.excerpt;
            _ = place(&mut requirement.location, specs);
            if let Some(spec) = place(&mut excerpt.location, specs) {
                (excerpt.line, excerpt.length) = (spec.into(), spec.chars().count());
            }
        }
        Ok(environment)
    }

    /// Whether the file has a list of channels.
    pub fn names_channels(&self) -> bool {
        self.channels_key.is_some()
    }

    /// Reads several files as one environment, as conda-lock does; see [`Self::merge`].
    ///
    /// # Errors
    /// If a file cannot be read, or the files contradict each other. The errors of all files are reported.
    pub fn read_all<P: AsRef<Path>>(files: &[P], options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let (mut environments, mut errors) = (Vec::new(), Vec::new());
        for file in files {
            match Self::read(file.as_ref(), options) {
                Ok(environment) => environments.push(environment),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Self::merge(environments) } else { Err(EnvironmentError::several(errors)) }
    }

    /// Merges environments. All dependencies count, so two specs for one package must both hold. The last file that
    /// sets a variable wins; the name is that of the first file. Each list of channels must be part of the longest
    /// one, in the same order, so that no two channels change their order. But a channel that only one file names
    /// counts for the packages of all files, and with strict priority it hides the channels after it.
    ///
    /// # Errors
    /// If the channels have no such order, or there is no environment.
    pub fn merge(environments: Vec<Self>) -> Result<Self, EnvironmentError> {
        merge::merge(environments)
    }

    /// Warnings about packages and builds that exist only for another platform.
    pub fn platform_warnings(&self, platform: Subdir) -> Vec<Warning> {
        lint::foreign_platform(self, platform).into_iter().collect()
    }

    /// The environment for one platform: without the lines for other platforms, and without selectors.
    #[must_use]
    pub fn for_platform(&self, platform: Subdir) -> Self {
        let counts = |selector: &Option<Selector>| selector.as_ref().is_none_or(|s| s.matches(platform));
        let mut environment = self.clone();
        environment.requirements.retain(|requirement| counts(&requirement.selector));
        environment.pip.retain(|line| counts(&line.selector));
        environment.requirements.iter_mut().for_each(|requirement| requirement.selector = None);
        environment.pip.iter_mut().for_each(|line| line.selector = None);
        environment
    }

    /// The line that names a channel, by its URL without secrets.
    pub fn channel_line(&self, url: &str) -> Option<&Excerpt> {
        let of_spec = |requirement: &&Requirement| {
            let channel = requirement.spec.channel.as_deref();
            channel.is_some_and(|channel| redact::url(channel.base_url.as_ref()) == url)
        };
        let spec = || self.requirements.iter().find(of_spec).map(|requirement| &requirement.excerpt);
        self.channel_lines.get(url).or_else(spec)
    }

    /// The location of a key: `name`, `channels`, `platforms`, `x-mlconda`, or `variables.NAME`.
    pub fn place(&self, key: &str) -> Option<(&Path, Location)> {
        self.key_locations.get(key).map(|(file, location)| (file.as_ref(), *location))
    }

    /// Whether there are no dependencies.
    fn is_empty(&self) -> bool {
        self.requirements.is_empty() && self.pip.is_empty()
    }

    /// The match specs of all requirements.
    pub fn specs(&self) -> Vec<MatchSpec> {
        self.requirements.iter().map(|requirement| requirement.spec.clone()).collect()
    }

    /// All channels: [`Self::channels`], then the channels that are named only in a `channel::package`, in order. conda
    /// searches these too, with lower priority.
    pub fn all_channels(&self) -> Vec<Channel> {
        let mut channels = self.channels.clone();
        for channel in self.requirements.iter().filter_map(|requirement| requirement.spec.channel.as_deref()) {
            if !channels.iter().any(|known| known.base_url == channel.base_url) {
                channels.push(channel.clone());
            }
        }
        channels
    }

    /// The sha256 of the meaning of the environment, in hex. Files that differ only in layout and comments have the
    /// same digest.
    ///
    /// It depends on the name, the order of channels and of pip lines, and the contents of the files that the pip lines
    /// name. It does not depend on the order of dependencies, variables and platforms, nor on `prefix:`, warnings,
    /// locations and secrets in URLs.
    pub fn digest(&self) -> String {
        hex::encode(compute_bytes_digest::<Sha256>(self.canonical_text()))
    }

    /// The input of [`Self::digest`]: one line for each value that it depends on, with escaped strings.
    fn canonical_text(&self) -> String {
        let mut text = String::from("mlconda environment 1\n");
        // Writing to a string cannot fail.
        let mut line = |key: &str, value: &str| _ = writeln!(text, "{key} {value:?}");
        if let Some(name) = &self.name {
            line("name", name);
        }
        for channel in &self.channels {
            line("channel", &channel.canonical_name());
        }
        let mut specs: Vec<String> = self.requirements.iter().map(Requirement::canonical_text).collect();
        mlconda_types::sorting::sort(&mut specs);
        specs.dedup();
        specs.iter().for_each(|spec| line("spec", spec));
        for each in &self.pip {
            line("pip", &redact::text(&each.text));
            if let Some(selector) = &each.selector {
                line("pip-selector", &selector.to_string());
            }
        }
        self.pip_files.iter().for_each(|file| line("pip-file", &redact::text(&file.canonical_text())));
        let mut variables: Vec<_> = self.variables.iter().collect();
        mlconda_types::sorting::sort(&mut variables);
        variables.iter().for_each(|(name, value)| line("variable", &format!("{name}={value}")));
        let mut platforms: Vec<_> = self.platforms.iter().map(|platform| platform.as_str()).collect();
        mlconda_types::sorting::sort(&mut platforms);
        platforms.iter().for_each(|platform| line("platform", platform));
        if let Some(slim) = &self.slim {
            line("slim", &slim.to_string());
        }
        text
    }
}

impl Requirement {
    /// The spec in canonical form, with its selector.
    fn canonical_text(&self) -> String {
        let spec = self.spec.to_canonical_string().unwrap_or_else(|_| self.spec.to_string());
        self.selector.as_ref().map_or(spec.clone(), |selector| format!("{spec} # [{selector}]"))
    }
}
