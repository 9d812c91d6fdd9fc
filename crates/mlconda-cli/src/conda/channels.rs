//! The channels of a command line of conda, by conda's rules: from the command line, the configuration and the
//! defaults. `mlconda lock` does not use them: its result does not depend on the machine.

use std::str::FromStr;

use mlconda::{
    Subdir,
    environment::ChannelRule,
    environment::ReadOptions,
    solve::{ChannelPriority, CutoffError},
};

use super::{line::Line, tool::Tool};
use crate::{condarc::Condarc, context::Context, error::CliError, locking::LockingArgs, settings, text::path_text};

/// The configured settings, without the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configured {
    /// The channels to search after those of `-c`.
    pub(crate) channels: Vec<String>,
    pub(crate) channel_alias: Option<String>,
    pub(crate) default_channels: Vec<String>,
    pub(crate) channel_priority: Option<String>,
    pub(crate) subdir: Option<String>,
    pub(crate) offline: bool,
    pub(crate) no_pip: bool,
    /// Specs that apply like those of `conda-meta/pinned`.
    pub(crate) pinned: Vec<String>,
    /// Specs that are added when an environment is created.
    pub(crate) created: Vec<String>,
}

impl Configured {
    /// Reads `.condarc` files and conda's variables.
    pub(crate) fn of(line: &Line, context: &Context) -> Result<Self, CliError> {
        let (settings, condarc) = (&context.settings, condarc(line, context)?);
        let variable = |name: &str| settings.variable(name).map(str::to_owned);
        let mut channels = condarc.list("channels");
        // As with conda, an empty list means no channel. Without a list, the default of conda's installers is used.
        if !condarc.names("channels") {
            channels.push(if line.tool == Tool::Micromamba { "conda-forge" } else { "defaults" }.to_owned());
        }
        let own = |told: Vec<String>| if told.is_empty() { settings.list("MLCONDA_DEFAULT_CHANNELS") } else { told };
        Ok(Self {
            channels,
            channel_alias: condarc.text("channel_alias").or_else(|| variable("MLCONDA_CHANNEL_ALIAS")),
            default_channels: own(condarc.list("default_channels")),
            channel_priority: condarc.text("channel_priority"),
            subdir: condarc.text("subdir"),
            offline: condarc.flag("offline") == Some(true),
            no_pip: condarc.flag("add_pip_as_python_dependency") == Some(false),
            pinned: condarc.list("pinned_packages"),
            created: condarc.list("create_default_packages"),
        })
    }
}

/// The files and variables of conda, unless the command line turns them off.
pub(crate) fn condarc(line: &Line, context: &Context) -> Result<Condarc, CliError> {
    if line.has("--no-config") { Ok(Condarc::default()) } else { Condarc::read(&context.settings) }
}

/// The channels to search, and the options of a solve.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    /// The channels of `-c`, which come first.
    pub(crate) typed: Vec<String>,
    /// The configured channels; none with `--override-channels`.
    pub(crate) configured: Vec<String>,
    /// `pinned_packages` and `create_default_packages`.
    pub(crate) pinned: Vec<String>,
    pub(crate) created: Vec<String>,
    /// The other options of a solve.
    pub(crate) args: LockingArgs,
}

impl Channels {
    pub(crate) fn of(line: &Line, context: &Context) -> Result<Self, CliError> {
        let configured = Configured::of(line, context)?;
        let typed: Vec<String> =
            line.values("--channel").flat_map(|value| value.split(',')).map(str::to_owned).collect();
        let overrides = line.has("--override-channels");
        if overrides && typed.is_empty() {
            return Err(CliError::Usage("`--override-channels` needs at least one `-c CHANNEL`".to_owned()));
        }
        let exclude_newer =
            line.value("--exclude-newer").map(|date| date.parse().map_err(|error: CutoffError| error.to_string()));
        let args = LockingArgs {
            channel_alias: line.value("--channel-alias").map(str::to_owned).or(configured.channel_alias),
            default_channels: configured.default_channels,
            channel_priority: Some(priority(line, configured.channel_priority.as_deref())?),
            no_pip: configured.no_pip,
            exclude_newer: exclude_newer.transpose().map_err(CliError::Usage)?,
            offline: configured.offline || line.has("--offline"),
            ..LockingArgs::default()
        };
        let (pinned, created) = (configured.pinned, configured.created);
        Ok(Self { typed, configured: if overrides { Vec::new() } else { configured.channels }, pinned, created, args })
    }

    /// The channels for reading specs without a channel: the configured ones, else those of `-c`, else `defaults`, so
    /// that the history can always be read.
    pub(crate) fn known(&self) -> Vec<String> {
        match (self.configured.is_empty(), self.typed.is_empty()) {
            (false, _) => self.configured.clone(),
            (true, false) => self.typed.clone(),
            (true, true) => vec!["defaults".to_owned()],
        }
    }

    /// The options for reading an environment with these channels only.
    pub(crate) fn options(&self, channels: &[String], rule: ChannelRule, context: &Context) -> ReadOptions {
        let options = crate::locking::read_options(&self.args, context);
        ReadOptions { extra_channels: channels.to_vec(), channel_rule: rule, ..options }
    }
}

/// The configured alias of channels, as records have it: without secrets. As with conda, a channel below it is shown by
/// its name, so that an export of a mirror's packages works elsewhere.
pub(super) fn alias(line: &Line, context: &Context) -> Option<String> {
    let alias = Channels::of(line, context).ok()?.args.channel_alias?;
    let alias = format!("{}/", expanded(alias.trim_end_matches('/'), context));
    Some(mlconda::redact::text(&mlconda::redact::without_tokens(&alias)))
}

/// The URLs of all channels that the command line and the configuration name, for their logins.
pub(super) fn urls(line: &Line, context: &Context) -> Result<Vec<String>, CliError> {
    let Channels { typed, configured, args, .. } = Channels::of(line, context)?;
    let custom = context.settings.custom_channels.iter().flat_map(|(_, urls)| urls).cloned();
    let all = typed.into_iter().chain(configured).chain(args.channel_alias).chain(args.default_channels).chain(custom);
    Ok(all.filter(|channel| channel.contains("://")).map(|url| expanded(&url, context)).collect())
}

/// A URL with the values of the variables in it.
fn expanded(url: &str, context: &Context) -> String {
    path_text(&settings::expanded(url, &context.settings.variables, None))
}

/// The channel priority; the default is conda's, flexible.
fn priority(line: &Line, configured: Option<&str>) -> Result<ChannelPriority, CliError> {
    let typed = line.options.iter().rev().find_map(|(key, value)| match *key {
        "--strict-channel-priority" => Some("strict"),
        "--flexible-channel-priority" => Some("flexible"),
        "--disable-channel-priority" => Some("disabled"),
        "--channel-priority" => Some(value.as_str()),
        _ => None,
    });
    match typed.or(configured).unwrap_or("flexible").to_lowercase().as_str() {
        "true" | "1" => Ok(ChannelPriority::Flexible),
        "false" | "0" => Ok(ChannelPriority::Disabled),
        text => text.parse().map_err(|error: mlconda::solve::ChannelPriorityError| CliError::Usage(error.to_string())),
    }
}

/// The platform of the command line or the configuration, if there is one.
pub(crate) fn platform(line: &Line, context: &Context) -> Result<Option<Subdir>, CliError> {
    let told = line.value("--platform").map(str::to_owned).or(Configured::of(line, context)?.subdir);
    let wrong = |text: &str| {
        CliError::Usage(format!("`{text}` is not a platform: `linux-64` and `linux-aarch64` are examples"))
    };
    told.map(|text| Subdir::from_str(&text).map_err(|_| wrong(&text))).transpose()
}
