//! Channels: from what a file calls them to where they are. Names stand for `https://conda.anaconda.org/NAME`,
//! `defaults` for the channels that it consists of, paths for directories next to the file. One resolver serves both
//! `channels:` and `channel::package`, so that the same words always mean the same channel.

use std::path::{Path, PathBuf};

use rattler_conda_types::{Channel, ChannelConfig, ParseChannelError, Subdir};
use url::Url;

use super::{EnvironmentError, ReadOptions};

/// Where the channels of `defaults` and `pkgs/…` are.
const REPO: &str = "https://repo.anaconda.com/pkgs";
/// What `defaults` consists of on everything but Windows, in order.
const DEFAULTS: &[&str] = &["main", "r"];
/// The other channels that conda knows as `pkgs/NAME`.
const REPO_NAMES: &[&str] = &["main", "r", "msys2", "free", "pro", "mro", "archive", "mro-archive"];

/// A complaint that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) help: String,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Resolves channels and paths against a directory.
#[derive(Clone, Debug)]
pub(super) struct Resolver<'a> {
    options: &'a ReadOptions,
    directory: PathBuf,
    config: ChannelConfig,
}

impl<'a> Resolver<'a> {
    /// # Errors
    /// If the options' alias is no URL.
    pub(super) fn new(options: &'a ReadOptions, directory: PathBuf) -> Result<Self, EnvironmentError> {
        let mut resolver = Self { options, config: ChannelConfig::default_with_root_dir(directory.clone()), directory };
        if let Some(alias) = &options.channel_alias {
            let bad = |message: String| EnvironmentError::ExtraChannel {
                channel: alias.clone(),
                message,
                help: "the alias of channels is a URL, as in `https://conda.example.com/mirror`".to_owned(),
            };
            let text = resolver.expand(alias).map_err(|refusal| bad(refusal.message))?;
            // A name is put behind the last `/`.
            let text = format!("{}/", text.trim_end_matches('/'));
            resolver.config.channel_alias = Url::parse(&text).map_err(|error| bad(error.to_string()))?;
        }
        Ok(resolver)
    }

    /// The channels of the options, which are relative to another directory than those of the file.
    pub(super) fn extra_channels(&self) -> Result<Vec<Channel>, EnvironmentError> {
        let outer = Self { directory: self.options.directory.clone(), ..self.clone() };
        let mut channels = Vec::new();
        for text in &self.options.extra_channels {
            channels.extend(outer.channels(text).map_err(|Refusal { message, help }| {
                EnvironmentError::ExtraChannel { channel: text.clone(), message, help }
            })?);
        }
        Ok(channels)
    }

    /// The channels that an entry of `channels:` stands for: none, one, or those of a multichannel.
    pub(super) fn channels(&self, text: &str) -> Result<Vec<Channel>, Refusal> {
        match text.trim() {
            "" => Err(Refusal::new("a channel without a name", "remove the entry, or name a channel")),
            "nodefaults" => Ok(Vec::new()),
            "defaults" => self.defaults(),
            text => match self.custom(text) {
                Some(told) => told.iter().map(|channel| self.channel(channel)).collect(),
                None => self.channel(text).map(|channel| vec![channel]),
            },
        }
    }

    /// The channel in `channel::package`, and the subdir if one is named; `*` is any channel.
    pub(super) fn spec_channel(&self, text: &str, package: &str) -> Result<(Option<Channel>, Option<Subdir>), Refusal> {
        let (name, subdir) = split_subdir(text.trim());
        let channel = match name {
            "" | "*" => None,
            // A match spec has room for one channel. Those of `defaults` do not overlap: `r` has R, `main` the rest.
            "defaults" => self.default_for(package)?,
            name => {
                let told = self.custom(name).and_then(|told| told.first());
                Some(self.channel(told.map_or(name, String::as_str))?)
            }
        };
        Ok((channel, subdir))
    }

    /// What the caller says that a name stands for.
    fn custom(&self, name: &str) -> Option<&'a Vec<String>> {
        self.options.custom_channels.iter().find(|(known, _)| known == name).map(|(_, told)| told)
    }

    /// The channels that `defaults` consists of.
    fn defaults(&self) -> Result<Vec<Channel>, Refusal> {
        let outer = Self { directory: self.options.directory.clone(), ..self.clone() };
        match self.options.default_channels.as_slice() {
            [] => DEFAULTS.iter().map(|name| self.repo(name)).collect(),
            // One that stands for itself would have no end.
            told => {
                told.iter().filter(|name| name.trim() != "defaults").map(|name| outer.channel(name.trim())).collect()
            }
        }
    }

    /// The one of them that has a package: of the public ones `r` has R, and `main` the rest; of others, the first.
    fn default_for(&self, package: &str) -> Result<Option<Channel>, Refusal> {
        let channels = self.defaults()?;
        let place = usize::from(self.options.default_channels.is_empty() && is_r(package));
        Ok(channels.into_iter().nth(place))
    }

    /// What a path that is relative to the file stands for.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, Refusal> {
        let path = self.directory.join(self.expand(text)?);
        if !path.is_absolute() {
            return Err(Refusal::new(
                format!("the path `{text}` is relative to a directory that is not known"),
                "write an absolute path",
            ));
        }
        // Lexically, as in URLs: what `..` leads to must not depend on links.
        Ok(super::requirements::plain(&path))
    }

    fn channel(&self, written: &str) -> Result<Channel, Refusal> {
        let text = self.expand(written)?;
        let invalid = |reason: String| Refusal::new(format!("`{written}` is no channel: {reason}"), CHANNEL_HELP);
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
            // The parser's own message would show what the variables stand for: tokens, as a rule.
            _ => Channel::from_str(text, &self.config).map_err(|error| match error {
                ParseChannelError::ParseUrlError(url::ParseError::IdnaError) => Refusal::new(
                    format!("`{written}` is no channel: its host has letters in it beyond ASCII"),
                    "write the host as DNS has it: `xn--…`",
                ),
                ParseChannelError::ParseUrlError(error) => invalid(error.to_string()),
                ParseChannelError::ParseSubdirError(_) => invalid("what stands in brackets is no platform".into()),
                _ => invalid("a name has no `:`, `\\` or brackets in it".into()),
            }),
        }
    }

    fn repo(&self, name: &str) -> Result<Channel, Refusal> {
        let url = format!("{REPO}/{name}");
        Channel::from_str(&url, &self.config)
            .map_err(|error| Refusal::new(format!("`{url}` is no channel: {error}"), CHANNEL_HELP))
    }

    /// Puts in the home directory for `~` and environment variables for `$NAME` and `${NAME}`.
    fn expand(&self, text: &str) -> Result<String, Refusal> {
        let mut expanded = String::new();
        let mut rest = text;
        if text == "~" || text.starts_with("~/") {
            let home = self.options.home.as_deref().and_then(Path::to_str).ok_or_else(|| {
                Refusal::new(
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
                    return Err(Refusal::new(
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

/// The path that a local channel names: `./x`, `/x`, `file:x`; not `file:///x`, which is a URL.
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

/// Takes the subdir off a channel: `conda-forge/linux-64`, `https://…/conda-forge/noarch`.
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
