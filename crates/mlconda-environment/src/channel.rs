//! Resolves channels: a name means `https://conda.anaconda.org/NAME`, `defaults` means the default channels, and a path
//! means a directory next to the file. The same resolver handles `channels:` and `channel::package`, so that both mean
//! the same.

use std::path::{Path, PathBuf};

use rattler_conda_types::{Channel, ChannelConfig, ParseChannelError, Subdir};
use url::Url;

use super::{EnvironmentError, ReadOptions};

/// The server of `defaults` and `pkgs/…`.
const REPO: &str = "https://repo.anaconda.com/pkgs";
/// The channels of `defaults` on every system but Windows, in order.
const DEFAULTS: &[&str] = &["main", "r"];
/// The channels that conda knows as `pkgs/NAME`.
const REPO_NAMES: &[&str] = &["main", "r", "msys2", "free", "pro", "mro", "archive", "mro-archive"];

/// The error of a text, without its location in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpecError {
    pub(super) message: String,
    pub(super) help: String,
}

impl SpecError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Resolves channels and paths against a directory.
#[derive(Clone, Debug)]
pub(super) struct ChannelResolver<'a> {
    options: &'a ReadOptions,
    directory: PathBuf,
    config: ChannelConfig,
}

impl<'a> ChannelResolver<'a> {
    /// # Errors
    /// If the options' alias is no URL.
    pub(crate) fn new(options: &'a ReadOptions, directory: PathBuf) -> Result<Self, EnvironmentError> {
        let mut resolver = Self { options, config: ChannelConfig::default_with_root_dir(directory.clone()), directory };
        if let Some(alias) = &options.channel_alias {
            let bad = |message: String| EnvironmentError::ExtraChannel {
                channel: alias.clone(),
                message,
                help: "the alias of channels is a URL, as in `https://conda.example.com/mirror`".to_owned(),
            };
            let text = resolver.expand(alias).map_err(|error_found| bad(error_found.message))?;
            // A name is appended after the last `/`.
            let text = format!("{}/", text.trim_end_matches('/'));
            resolver.config.channel_alias = Url::parse(&text).map_err(|error| bad(error.to_string()))?;
        }
        Ok(resolver)
    }

    /// The channels of the options. They are relative to another directory than those of the file.
    pub(super) fn extra_channels(&self) -> Result<Vec<Channel>, EnvironmentError> {
        let outer = Self { directory: self.options.directory.clone(), ..self.clone() };
        let mut channels = Vec::new();
        for text in &self.options.extra_channels {
            channels.extend(outer.channels(text).map_err(|SpecError { message, help }| {
                EnvironmentError::ExtraChannel { channel: text.clone(), message, help }
            })?);
        }
        Ok(channels)
    }

    /// The channels of an entry of `channels:`: none, one, or those of a multichannel.
    pub(super) fn channels(&self, text: &str) -> Result<Vec<Channel>, SpecError> {
        match text.trim() {
            "" => Err(SpecError::new("a channel without a name", "remove the entry, or name a channel")),
            "nodefaults" => Ok(Vec::new()),
            "defaults" => self.defaults(),
            text => match self.custom(text) {
                Some(told) => told.iter().map(|channel| self.channel(channel)).collect(),
                None => self.channel(text).map(|channel| vec![channel]),
            },
        }
    }

    /// The channel in `channel::package`, and its subdir if there is one. `*` is any channel.
    pub(super) fn spec_channel(
        &self,
        text: &str,
        package: &str,
    ) -> Result<(Option<Channel>, Option<Subdir>), SpecError> {
        let (name, subdir) = split_subdir(text.trim());
        let channel = match name {
            "" | "*" => None,
            // A match spec has one channel only. Those of `defaults` do not overlap: `r` has R, `main` the rest.
            "defaults" => self.default_for(package)?,
            name => {
                let told = self.custom(name).and_then(|told| told.first());
                Some(self.channel(told.map_or(name, String::as_str))?)
            }
        };
        Ok((channel, subdir))
    }

    /// The channels of a name that the caller defines.
    fn custom(&self, name: &str) -> Option<&'a Vec<String>> {
        self.options.custom_channels.iter().find(|(known, _)| known == name).map(|(_, told)| told)
    }

    /// The channels of `defaults`.
    fn defaults(&self) -> Result<Vec<Channel>, SpecError> {
        let outer = Self { directory: self.options.directory.clone(), ..self.clone() };
        match self.options.default_channels.as_slice() {
            [] => DEFAULTS.iter().map(|name| self.repo(name)).collect(),
            // `defaults` must not contain itself.
            told => {
                told.iter().filter(|name| name.trim() != "defaults").map(|name| outer.channel(name.trim())).collect()
            }
        }
    }

    /// The channel of `defaults` that has a package. If these are the public channels, R packages are in `r` and all
    /// others in `main`; otherwise, it is the first channel.
    fn default_for(&self, package: &str) -> Result<Option<Channel>, SpecError> {
        let channels = self.defaults()?;
        let place = usize::from(self.options.default_channels.is_empty() && is_r(package));
        Ok(channels.into_iter().nth(place))
    }

    /// Resolves a path that is relative to the file.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, SpecError> {
        let path = self.directory.join(self.expand(text)?);
        if !path.is_absolute() {
            return Err(SpecError::new(
                format!("the path `{text}` is relative to a directory that is not known"),
                "write an absolute path",
            ));
        }
        // By its text only, as in URLs: the result of `..` must not depend on links.
        Ok(super::requirements::normalize_path(&path))
    }

    fn channel(&self, written: &str) -> Result<Channel, SpecError> {
        let text = self.expand(written)?;
        let invalid = |reason: String| SpecError::new(format!("`{written}` is not a channel: {reason}"), CHANNEL_HELP);
        if let Some(path) = local_path(&text) {
            let path = self.path(path)?;
            let url = Url::from_directory_path(&path).map_err(|()| invalid("its path has no URL".into()))?;
            return Ok(Channel::from_url(url));
        }
        let text = if text.ends_with("://") { &text } else { text.trim_end_matches('/') };
        let (text, _) = split_subdir(text);
        if text.contains(char::is_whitespace) {
            return Err(invalid("it has a space in it".into()));
        }
        match text.strip_prefix("pkgs/") {
            Some(name) if REPO_NAMES.contains(&name) => self.repo(name),
            // The parser's message would show the values of the variables, which are mostly tokens.
            _ => Channel::from_str(text, &self.config).map_err(|error| match error {
                ParseChannelError::ParseUrlError(url::ParseError::IdnaError) => SpecError::new(
                    format!("`{written}` is not a channel: its host has letters in it beyond ASCII"),
                    "write the host as DNS has it: `xn--…`",
                ),
                ParseChannelError::ParseUrlError(error) => invalid(error.to_string()),
                ParseChannelError::ParseSubdirError(_) => invalid("what stands in brackets is not a platform".into()),
                _ => invalid("a name has no `:`, `\\` or brackets in it".into()),
            }),
        }
    }

    fn repo(&self, name: &str) -> Result<Channel, SpecError> {
        let url = format!("{REPO}/{name}");
        Channel::from_str(&url, &self.config)
            .map_err(|error| SpecError::new(format!("`{url}` is not a channel: {error}"), CHANNEL_HELP))
    }

    /// Expands `~`, `$NAME` and `${NAME}`.
    fn expand(&self, text: &str) -> Result<String, SpecError> {
        let mut expanded = String::new();
        let mut rest = text;
        if text == "~" || text.starts_with("~/") {
            let home = self.options.home.as_deref().and_then(Path::to_str).ok_or_else(|| {
                SpecError::new(
                    format!("`~` in `{text}` stands for a home directory, and there is none"),
                    "write the path out",
                )
            })?;
            expanded.push_str(home);
            rest = &text[1..];
        }
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let (name, behind) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some(braced) => braced,
                None => {
                    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            rest = behind;
            match self.options.variables.iter().rfind(|(known, _)| known == name) {
                _ if name.is_empty() => expanded.push('$'),
                Some((_, value)) => expanded.push_str(value),
                None => {
                    return Err(SpecError::new(
                        format!("the environment variable `{name}` is not set"),
                        format!("set `{name}`, or write the channel without it"),
                    ));
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

const CHANNEL_HELP: &str = "a channel is a name such as `conda-forge`, a URL, or a path that begins with `./` or `/`";

/// The path of a local channel: `./x`, `/x` or `file:x`, but not `file:///x`, which is a URL.
fn local_path(text: &str) -> Option<&str> {
    let is_path = |text: &str| matches!(text, "." | "..") || ["./", "../", "/"].iter().any(|p| text.starts_with(p));
    match text.strip_prefix("file:") {
        Some(rest) => match rest.strip_prefix("//") {
            Some(rest) => (is_path(rest) && !rest.starts_with('/')).then_some(rest),
            None => Some(rest),
        },
        None => is_path(text).then_some(text),
    }
}

/// Splits the subdir off a channel: `conda-forge/linux-64`, `https://…/conda-forge/noarch`.
fn split_subdir(text: &str) -> (&str, Option<Subdir>) {
    match text.rsplit_once('/') {
        Some((channel, last)) => match last.parse::<Subdir>() {
            Ok(subdir) if subdir.as_str() == last => (channel, Some(subdir)),
            _ => (text, None),
        },
        None => (text, None),
    }
}

fn is_r(package: &str) -> bool {
    let package = package.to_ascii_lowercase();
    package.starts_with("r-") || matches!(package.as_str(), "r" | "_r-mutex" | "rstudio" | "mro-base")
}
