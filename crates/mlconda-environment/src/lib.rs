//! `environment.yml` as meant (CEP-24), with the place of everything it says. Reading is pure: whatever the meaning
//! depends on besides the text comes in as [`ReadOptions`]. `docs/environment.md` lists every form that is accepted.

mod channel;
pub mod decode;
pub mod edit;
mod error;
mod grammar;
mod merge;
mod reader;
mod remedy;
pub mod requirements;
mod selector;
mod spec;
mod suspicion;
pub mod yaml;

#[cfg(test)]
mod tests;

use std::{
    fmt::{self, Display, Formatter, Write},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use mlconda_types::redact;
use rattler_conda_types::{Channel, MatchSpec, Subdir};
use rattler_digest::{Sha256, compute_bytes_digest};

pub use self::suspicion::{WELL_KNOWN_CHANNELS, home};
pub use self::{error::EnvironmentError, selector::Selector};
pub use mlconda_types::diagnostic::{Diagnostic, Excerpt, Location};
pub use requirements::PipFile;

/// A match spec of the `dependencies:` list.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// The spec as written.
    pub text: String,
    /// What it means.
    pub spec: MatchSpec,
    /// The file that it stands in: an environment may be merged from several.
    pub file: Arc<Path>,
    /// Where it stands.
    pub location: Location,
    /// The line, for messages.
    pub excerpt: Excerpt,
    /// For which platforms it counts; `None` for all.
    pub selector: Option<Selector>,
}

/// A line of the `pip:` list, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipLine {
    /// The line.
    pub text: String,
    /// The file that it stands in.
    pub file: Arc<Path>,
    /// The file's directory, an absolute path: what paths in the line are relative to.
    pub directory: PathBuf,
    /// Where it stands.
    pub location: Location,
    /// For which platforms it counts; `None` for all.
    pub selector: Option<Selector>,
}

/// Something accepted that deserves a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What, and what to do.
    pub message: String,
    /// The file.
    pub file: Arc<Path>,
    /// Where.
    pub location: Location,
}

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Location { line, column } = self.location;
        write!(f, "{}:{line}:{column}: {}", self.file.display(), self.message)
    }
}

/// What reading needs to know besides the file, so that reading depends on nothing else.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The directory that the file's own path and the paths in `extra_channels` are relative to: an absolute path.
    /// Paths inside of the file are relative to the file's directory.
    pub directory: PathBuf,
    /// The home directory, for `~`.
    pub home: Option<PathBuf>,
    /// Environment variables, for `$VAR` in channel URLs.
    pub variables: Vec<(String, String)>,
    /// Channels put before those of the file (`-c`).
    pub extra_channels: Vec<String>,
    /// What `defaults` consists of, in order; the public channels if empty. conda's `default_channels`.
    pub default_channels: Vec<String>,
    /// The URL under which channels are found by their name; `https://conda.anaconda.org` if there is none. conda's
    /// `channel_alias`.
    pub channel_alias: Option<String>,
    /// Names of channels, and the channels that each stands for, in order: conda's `custom_channels` and
    /// `custom_multichannels`.
    pub custom_channels: Vec<(String, Vec<String>)>,
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
    /// The files that the `pip:` list names, and those that they name, as far as they are read: [`Self::parse`] reads none.
    pub pip_files: Vec<PipFile>,
    /// `variables:`, in order.
    pub variables: IndexMap<String, String>,
    /// The environment variables that the file refers to, and what they stand for: a lock refers to them too,
    /// where they are secrets. Sorted by name.
    pub expansions: Vec<(String, String)>,
    /// `prefix:`; mlconda never follows it.
    pub prefix: Option<PathBuf>,
    /// `platforms:`
    pub platforms: Vec<Subdir>,
    /// What deserves a word.
    pub warnings: Vec<Warning>,
    /// Where `channels:` stands, if anything stands there: a merged environment takes no channels from a file that
    /// names none.
    channels_key: Option<Box<Diagnostic>>,
    /// Where channels stand, by their URLs without secrets.
    channel_lines: IndexMap<String, Excerpt>,
    /// Where `name`, `channels`, `platforms` and each `variables.NAME` stand.
    places: IndexMap<String, Place>,
}

/// A file, and where in it.
type Place = (Arc<Path>, Location);

/// Whether an environment may have this name: it becomes a directory. conda refuses the same characters, and a name of
/// dots would lead out of the directory of environments.
pub fn is_name(name: &str) -> bool {
    !(name.contains(['/', '\\', ' ', ':', '#']) || name.contains(char::is_control) || matches!(name, "" | "." | ".."))
}

/// No file that somebody has written is larger than this, in bytes; one that has no end would fill the memory.
const LARGEST: u64 = 16 << 20;

/// A file's bytes.
fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

impl Environment {
    /// Reads a file in UTF-8 or UTF-16.
    ///
    /// # Errors
    /// If the file cannot be read, or does not say what an environment is.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let bytes = bounded(path).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                io::Error::new(error.kind(), format!("cannot read `{}`: {error}", path.display()))
            }
            _ => error,
        })?;
        Self::read_text(&decode::decode(&bytes, path)?, path, options)
    }

    /// Reads text as if it stood in a file, with the files that its `pip:` list names.
    ///
    /// # Errors
    /// If one of these cannot be read, or the text does not say what an environment is.
    pub fn read_text(text: &str, path: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let mut environment = Self::parse(text, path, options)?;
        environment.read_pip_files(&options.variables)?;
        Ok(environment)
    }

    /// Reads the files that the `pip:` list names, so that the environment is known with them.
    fn read_pip_files(&mut self, variables: &[(String, String)]) -> Result<(), EnvironmentError> {
        let mut files: Vec<PipFile> = Vec::new();
        let mut read = |path: &Path| {
            // A pipe could keep the reader waiting for ever.
            let metadata = fs_err::metadata(path)?;
            if !metadata.is_file() {
                let what = if metadata.is_dir() { "it is a directory" } else { "it is no regular file" };
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            let text = decode::decode(&bounded(path)?, path)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))?;
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
        self.expansions.sort_unstable();
        self.expansions.dedup();
        self.pip_files = files;
        Ok(())
    }

    /// Reads text; `file` is for messages and for what paths in the text are relative to.
    ///
    /// # Errors
    /// If the text does not say what an environment is.
    pub fn parse(text: &str, file: &Path, options: &ReadOptions) -> Result<Self, EnvironmentError> {
        reader::read(&decode::normalize(text), file, options)
    }

    /// An environment of match specs that were given one by one, on a command line say, which messages name as the file.
    /// The channels are those of the options.
    ///
    /// # Errors
    /// If one of them is no match spec.
    pub fn of_specs<S: AsRef<str>>(specs: &[S], options: &ReadOptions) -> Result<Self, EnvironmentError> {
        let mut text = String::from("dependencies:\n");
        for spec in specs {
            text.push_str("  - ");
            text.push_str(&yaml::scalar(spec.as_ref()));
            text.push('\n');
        }
        if specs.is_empty() {
            text = "dependencies: []\n".to_owned();
        }
        Self::parse(&text, Path::new("command line"), options)
    }

    /// Whether the file has a list of channels.
    pub fn names_channels(&self) -> bool {
        self.channels_key.is_some()
    }

    /// Reads several files as one environment, as conda-lock does; see [`Self::merge`].
    ///
    /// # Errors
    /// If one of them cannot be read, or they contradict each other. What is wrong in one is told with what is wrong
    /// in the others.
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

    /// One environment that asks for all that several ask for. Every dependency counts, so that two specs of one
    /// package must both hold. A variable has its value from the last file that sets it; the name is the first one's.
    /// Of the channels, each file's list must be part of the longest one, in the same order. So no two channels change
    /// their order; but a channel that only another file names counts for this one's packages too, and hides those of the
    /// channels after it where the order is strict.
    ///
    /// # Errors
    /// If there is no such order of the channels, or no environment.
    pub fn merge(environments: Vec<Self>) -> Result<Self, EnvironmentError> {
        merge::merge(environments)
    }

    /// What is odd about locking this for a platform: packages and builds that only another one has.
    pub fn suspicions(&self, platform: Subdir) -> Vec<Warning> {
        suspicion::foreign(self, platform).into_iter().collect()
    }

    /// The environment on one platform: without the lines whose selectors rule it out, and without selectors.
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

    /// Where a key stands: `name`, `channels`, `platforms`, or `variables.NAME`.
    pub fn place(&self, key: &str) -> Option<(&Path, Location)> {
        self.places.get(key).map(|(file, location)| (file.as_ref(), *location))
    }

    /// Whether nothing is asked for.
    fn is_empty(&self) -> bool {
        self.requirements.is_empty() && self.pip.is_empty()
    }

    /// What is asked for, one for each requirement.
    pub fn specs(&self) -> Vec<MatchSpec> {
        self.requirements.iter().map(|requirement| requirement.spec.clone()).collect()
    }

    /// Every channel that packages may come from: [`Self::channels`], then those that only a `channel::package` names,
    /// in the order of the specs. conda searches these too, with lower priority.
    pub fn all_channels(&self) -> Vec<Channel> {
        let mut channels = self.channels.clone();
        for channel in self.requirements.iter().filter_map(|requirement| requirement.spec.channel.as_deref()) {
            if !channels.iter().any(|known| known.base_url == channel.base_url) {
                channels.push(channel.clone());
            }
        }
        channels
    }

    /// The sha256, in hex, of what the environment means: the same for two files that differ in layout and
    /// comments only.
    ///
    /// The order of channels and of pip lines counts, and what the files say that these name; that of dependencies, variables and platforms does not. The name
    /// counts, since a lock carries it; `prefix:`, warnings and places do not, nor do secrets in URLs.
    pub fn digest(&self) -> String {
        hex::encode(compute_bytes_digest::<Sha256>(self.meaning()))
    }

    /// What [`Self::digest`] is taken of: a line for everything that counts, the strings escaped, so that two
    /// environments with the same text are the same.
    fn meaning(&self) -> String {
        let mut text = String::from("mlconda environment 1\n");
        // Writing to a string cannot fail.
        let mut line = |key: &str, value: &str| _ = writeln!(text, "{key} {value:?}");
        if let Some(name) = &self.name {
            line("name", name);
        }
        for channel in &self.channels {
            line("channel", &channel.canonical_name());
        }
        let mut specs: Vec<String> = self.requirements.iter().map(Requirement::meaning).collect();
        specs.sort_unstable();
        specs.dedup();
        specs.iter().for_each(|spec| line("spec", spec));
        for each in &self.pip {
            line("pip", &redact::text(&each.text));
            if let Some(selector) = &each.selector {
                line("pip-selector", &selector.to_string());
            }
        }
        self.pip_files.iter().for_each(|file| line("pip-file", &redact::text(&file.meaning())));
        let mut variables: Vec<_> = self.variables.iter().collect();
        variables.sort_unstable();
        variables.iter().for_each(|(name, value)| line("variable", &format!("{name}={value}")));
        let mut platforms: Vec<_> = self.platforms.iter().map(|platform| platform.as_str()).collect();
        platforms.sort_unstable();
        platforms.iter().for_each(|platform| line("platform", platform));
        text
    }
}

impl Requirement {
    /// The spec in one canonical text, with its selector.
    fn meaning(&self) -> String {
        let spec = self.spec.to_canonical_string().unwrap_or_else(|_| self.spec.to_string());
        self.selector.as_ref().map_or(spec.clone(), |selector| format!("{spec} # [{selector}]"))
    }
}
