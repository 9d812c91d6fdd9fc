//! Reads `channels:`.

use std::rc::Rc;

use rattler_conda_types::Channel;

use mlconda_types::redact;

use super::{Reader, Result};
use crate::{ChannelRule, EnvironmentError, Location, Requirement, channel::SpecError, lint, yaml::YamlNode};

impl Reader<'_> {
    pub(super) fn channels(&mut self, entry: Option<(&Rc<YamlNode>, &Rc<YamlNode>)>) -> Result<()> {
        let mut channels = self.resolver.extra_channels()?;
        let items = entry.map(|(_, value)| self.list("channels", value)).transpose()?.unwrap_or_default();
        let errors = self.errors.len();
        if self.options.channel_rule == ChannelRule::FileAndExtra {
            for item in &items {
                self.selector_out_of_place(item);
                match self.channel(item) {
                    Ok(read) => {
                        for channel in &read {
                            let (url, line) = (redact::url(channel.base_url.as_ref()), self.excerpt(item));
                            self.environment.channel_lines.entry(url).or_insert(line);
                        }
                        channels.extend(read);
                    }
                    Err(error) => self.note(Err(error)),
                }
            }
            // As conda without any configuration.
            if items.is_empty() && self.options.extra_channels.is_empty() {
                channels =
                    self.resolver.channels("defaults").map_err(|error_found| self.bad_channel(None, error_found))?;
            }
            let names: Vec<(&str, Location)> =
                items.iter().filter_map(|item| Some((item.text()?.trim(), item.location))).collect();
            lint::channels(&names).into_iter().for_each(|(location, message)| self.warn(location, message));
        }
        for channel in channels {
            if !self.environment.channels.iter().any(|known| known.base_url == channel.base_url) {
                self.environment.channels.push(channel);
            }
        }
        if let Some((key, _)) = entry.filter(|_| !items.is_empty()) {
            self.environment.channels_key = Some(self.source.diagnostic(key.location, key.length, "", ""));
        }
        let unreachable = |r: &Requirement| r.spec.channel.is_none() && r.spec.url.is_none();
        let none = self.environment.channels.is_empty() && self.errors.len() == errors;
        if none && self.environment.requirements.iter().any(unreachable) {
            let error_found =
                SpecError::new("no channel is left to take packages from", "name a channel under `channels:`");
            return Err(self.bad_channel(entry.map(|(_, value)| value.as_ref()), error_found));
        }
        Ok(())
    }

    fn channel(&mut self, item: &YamlNode) -> Result<Vec<Channel>> {
        match item.text() {
            None => {
                let error_found = SpecError::new(
                    format!("a channel is a string, and this is {}", item.kind()),
                    "write `- NAME`; a text with `: ` in it needs quotes",
                );
                Err(self.bad_channel(Some(item), error_found))
            }
            Some(_) if item.is_null() => {
                Err(self
                    .bad_channel(Some(item), SpecError::new("an empty channel", "remove the `-`, or name a channel")))
            }
            Some("local") => {
                let message = "the channel `local` is where conda-build puts packages; it is left out: name its \
                               directory if it is needed";
                self.warn(item.location, message.to_owned());
                Ok(Vec::new())
            }
            Some(text) => self.resolver.channels(text).map_err(|error_found| self.bad_channel(Some(item), error_found)),
        }
    }

    fn bad_channel(&self, at: Option<&YamlNode>, error_found: SpecError) -> EnvironmentError {
        let (location, length) = at.map_or((Location { line: 1, column: 1 }, 1), |node| (node.location, node.length));
        EnvironmentError::Channel(self.source.diagnostic(location, length, error_found.message, error_found.help))
    }
}
