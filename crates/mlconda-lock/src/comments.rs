//! The comments of mlconda in a lock: `# key: value` lines, which other tools ignore. They are the same in all formats,
//! so that a lock can be converted and read back without loss. `docs/lockfile.md` has the grammar.

use std::{collections::HashMap, fmt::Write};

use mlconda_types::{
    slim::SlimError,
    solution::{ChannelPriority, ChannelPriorityError, CutoffError, Pip, SolveOptions},
};
use rattler_conda_types::{GenericVirtualPackage, Subdir};

use super::{Lock, LockedPackage};

/// The version of the grammar of the comments.
pub(super) const FORMAT: u32 = 1;

/// The first comment of each lock.
const MARK: &str = "# mlconda lock: ";

/// The comments for one lock, except those about single packages.
pub(super) fn render(lock: &Lock) -> String {
    let mut text = format!("{MARK}{FORMAT}\n");
    let mut line = |key: &str, value: &str| {
        // A comment is one line, even if the value has line breaks. Writing to a string cannot fail.
        let _ = writeln!(text, "# {key}: {}", value.replace(is_unseen, " "));
    };
    if let Some(name) = &lock.name {
        line("name", name);
    }
    line("platform", lock.platform.as_str());
    if let Some(input) = &lock.input {
        line("input", &format!("sha256:{input}"));
    }
    lock.channels.iter().for_each(|channel| line("channel", channel));
    for package in &lock.virtual_packages {
        line("virtual package", &package.to_string());
    }
    let SolveOptions { channel_priority, pip, exclude_newer } = lock.options;
    if channel_priority != ChannelPriority::default() {
        line("channel priority", &channel_priority.to_string());
    }
    if pip == Pip::NotAdded {
        line("pip", "not added");
    }
    if let Some(cutoff) = exclude_newer {
        line("exclude newer", &cutoff.to_string());
    }
    if !lock.slim.is_empty() {
        line("slim", &lock.slim.to_string());
    }
    lock.specs.iter().for_each(|spec| line("spec", spec));
    lock.pip_requirements.iter().for_each(|requirement| line("pip requirement", requirement));
    lock.pip_requested.iter().for_each(|name| line("pip requested", name));
    for (name, value) in &lock.variables {
        line("variable", &format!("{name}={}", serde_json::Value::from(value.as_str())));
    }
    text
}

/// Whether a character is not allowed in a comment, in any format.
pub(super) fn is_unseen(character: char) -> bool {
    (character.is_control() && character != '\t') || matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// The facts from the comments that were read so far.
pub(super) struct LockComments {
    pub(super) format: Option<u32>,
    pub(super) lock: Lock,
    pub(super) sizes: HashMap<String, u64>,
}

impl Default for LockComments {
    fn default() -> Self {
        Self { format: None, lock: Lock::empty(Subdir::NoArch), sizes: HashMap::new() }
    }
}

impl LockComments {
    /// The facts in the comments at the beginning of a text, one item for each lock.
    ///
    /// # Errors
    /// If a comment is invalid: the number of its line, and the message.
    pub(super) fn of_comments(text: &str) -> Result<Vec<Self>, (usize, String)> {
        let mut all = Vec::new();
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        for (number, line) in lines.take_while(|(_, line)| line.starts_with('#') || line.is_empty() || *line == "---") {
            if line.starts_with(MARK) {
                all.push(Self::default());
            }
            if let Some(facts) = all.last_mut() {
                facts.line(line).map_err(|message| (number, message))?;
            }
        }
        Ok(all)
    }

    /// Reads a line. Comments of other tools and unknown comments of mlconda are ignored.
    pub(super) fn line(&mut self, line: &str) -> Result<(), String> {
        let Some((key, value)) = line.strip_prefix('#').and_then(|comment| comment.trim().split_once(": ")) else {
            return if line.is_empty() || line.starts_with('#') || line == "---" {
                Ok(())
            } else {
                Err("only comments may stand before the line `@EXPLICIT`".to_owned())
            };
        };
        let value = value.trim();
        match key {
            "mlconda lock" => self.format = Some(value.parse().map_err(|_| "the format is a number")?),
            "platform" => match value.parse() {
                Ok(platform) => self.lock.platform = platform,
                // Other tools may write another platform name; then the platform is taken from the packages.
                Err(_) if self.format.is_none() => {}
                Err(_) => return Err(format!("unknown platform `{value}`")),
            },
            // The other keys are only read if the first comment says that mlconda wrote the file.
            _ if self.format.is_none() => {}
            // YAML does not allow these characters, and every comment must be valid in all formats.
            _ if value.contains(is_unseen) => return Err("the line has a character that cannot be seen".to_owned()),
            "name" if mlconda_environment::is_name(value) => self.lock.name = Some(value.to_owned()),
            "name" => return Err(format!("`{value}` cannot name an environment: its name becomes a directory")),
            "input" => self.lock.input = value.strip_prefix("sha256:").map(str::to_owned),
            "channel" => self.lock.channels.push(value.to_owned()),
            "spec" => self.lock.specs.push(value.to_owned()),
            "pip requirement" => self.lock.pip_requirements.push(value.to_owned()),
            "pip requested" => _ = self.lock.pip_requested.insert(super::normalize(value)),
            "channel priority" => {
                self.lock.options.channel_priority =
                    value.parse().map_err(|error: ChannelPriorityError| error.to_string())?;
            }
            "pip" if value == "not added" => self.lock.options.pip = Pip::NotAdded,
            "exclude newer" => {
                let cutoff = value.parse().map_err(|error: CutoffError| error.to_string())?;
                self.lock.options.exclude_newer = Some(cutoff);
            }
            "slim" => self.lock.slim = value.parse().map_err(|error: SlimError| error.to_string())?,
            "virtual package" => self.lock.virtual_packages.push(virtual_package(value)?),
            "variable" => {
                let (name, value) = value.split_once('=').ok_or("a variable is NAME=\"value\"")?;
                let value = serde_json::from_str(value).map_err(|_| "a variable's value is a JSON string")?;
                self.lock.variables.insert(name.to_owned(), value);
            }
            "size" => {
                let (size, name) = value.split_once(' ').ok_or("a size is BYTES FILE")?;
                self.sizes.insert(name.to_owned(), size.parse().map_err(|_| "a size is a number of bytes")?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the platform from the first package that has one. All other packages must be for the same platform.
    pub(super) fn check_platform(&mut self, package: &LockedPackage) -> Result<(), String> {
        let platform = &mut self.lock.platform;
        if package.subdir == Subdir::NoArch || package.subdir == *platform {
            Ok(())
        } else if *platform == Subdir::NoArch {
            *platform = package.subdir;
            Ok(())
        } else {
            Err(format!("the package is for {}, the lock for {platform}", package.subdir))
        }
    }
}

/// A virtual package from NAME=VERSION=BUILD; pixi omits a build of `0`.
pub(super) fn virtual_package(text: &str) -> Result<GenericVirtualPackage, String> {
    let whole = if text.matches('=').count() == 1 { format!("{text}=0") } else { text.to_owned() };
    // Serde is the only parser of this type. It accepts any build.
    let package = serde_json::from_value(whole.into()).ok().filter(|_| !text.contains(char::is_whitespace));
    package.ok_or_else(|| format!("`{text}` is not a virtual package: expected NAME=VERSION=BUILD"))
}
