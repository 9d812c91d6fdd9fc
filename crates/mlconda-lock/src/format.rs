//! Writes locks in a format, and reports every fact that the format cannot contain.

use std::{fmt, path::Path, str::FromStr};

use rattler_conda_types::Subdir;

use super::{
    LockError, LockFile, LockedPackage, Selection, Written, explicit,
    file::{MAIN_CATEGORY, Part},
    formats,
};

/// A format that locks are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockFormat {
    /// @EXPLICIT (CEP-23): one platform; conda, mamba and mlconda install it directly.
    #[default]
    Explicit,
    /// conda-lock.yml, version 1 (CEP-37): all platforms and categories of an environment.
    CondaLock,
    /// pixi.lock version 6, or version 7 for facts that 6 cannot contain: all platforms and environments.
    Pixi,
}

/// A name that is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a format of locks: use `explicit`, `conda-lock` or `pixi`")]
pub struct LockFormatError(String);

impl fmt::Display for LockFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Explicit => "explicit",
            Self::CondaLock => "conda-lock",
            Self::Pixi => "pixi",
        })
    }
}

impl FromStr for LockFormat {
    type Err = LockFormatError;

    fn from_str(text: &str) -> Result<Self, LockFormatError> {
        let all = [Self::Explicit, Self::CondaLock, Self::Pixi];
        all.into_iter().find(|format| format.to_string() == text).ok_or_else(|| LockFormatError(text.to_owned()))
    }
}

/// A file of locks as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The file's text.
    pub text: String,
    /// The facts that the format cannot contain, one sentence each.
    pub losses: Vec<String>,
}

impl LockFile {
    /// The selected locks as text in a format. The same locks give the same text.
    ///
    /// @EXPLICIT contains one lock, so the selection must be unambiguous. conda-lock.yml contains all platforms and
    /// categories of one environment, and pixi.lock all platforms of all environments, unless the selection restricts
    /// them. Formats without categories join the selected categories with the main one.
    ///
    /// # Errors
    /// If the format needs a choice that the selection leaves open, or if nothing is selected.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use mlconda_lock::{Expansion, LockFile, LockFormat, Selection};
    ///
    /// let text = "@EXPLICIT\nhttps://conda.example.org/lab/linux-64/zlib-1.3-h1_0.conda#d7c89558ba9fa0495403155b64376d81\n";
    /// let file = LockFile::parse(text, Path::new("/project/env.lock"), &Expansion::default())?;
    /// let pixi = file.render(LockFormat::Pixi, &Selection::default(), None)?;
    /// assert!(pixi.text.contains("- conda: https://conda.example.org/lab/linux-64/zlib-1.3-h1_0.conda"));
    /// assert!(pixi.losses[0].contains("depend on"), "{:?}", pixi.losses);
    /// # Ok::<(), mlconda_lock::LockError>(())
    /// ```
    pub fn render(
        &self,
        format: LockFormat,
        selection: &Selection,
        directory: Option<&Path>,
    ) -> Result<Rendered, LockError> {
        let mut losses = Vec::new();
        let parts = match format {
            LockFormat::Explicit => vec![self.one(selection, &mut losses)?],
            LockFormat::CondaLock => self.of_environment(selection, &mut losses)?,
            LockFormat::Pixi => self.of_environments(selection, &mut losses)?,
        };
        for name in parts.iter().flat_map(|part| &part.sources) {
            losses.push(format!(
                "`{name}` is built from source, and has no archive that a lock could pin: it is left out"
            ));
        }
        let text = match format {
            LockFormat::Explicit => {
                explicit_losses(&parts, &mut losses);
                parts.iter().map(|part| explicit::render(&part.lock, directory)).collect()
            }
            other => formats::render(other, self, &parts, directory, &mut losses)?,
        };
        let mut told = std::collections::HashSet::new();
        losses.retain(|loss| told.insert(loss.clone()));
        Ok(Rendered { text, losses })
    }

    /// Writes the text of [`LockFile::render`] to a file, atomically. A file that is up to date is not written. Returns
    /// the losses, too.
    ///
    /// # Errors
    /// As [`LockFile::render`], or if the file cannot be written.
    pub fn write(
        &self,
        path: &Path,
        format: LockFormat,
        selection: &Selection,
    ) -> Result<(Written, Vec<String>), LockError> {
        let Rendered { text, losses } = self.render(format, selection, path.parent())?;
        Ok((super::replace(path, &text)?, losses))
    }

    /// The selected lock, as a part of its own.
    fn one(&self, selection: &Selection, losses: &mut Vec<String>) -> Result<Part, LockError> {
        let lock = self.select_with_sources(selection)?;
        let chosen = self.chosen_environment(selection)?;
        let others = self.environments().into_iter().filter(|name| *name != chosen);
        left_out(losses, "environment", others);
        let is_selected =
            |name: &&str| *name == MAIN_CATEGORY || selection.categories.iter().any(|other| other == name);
        left_out(losses, "category", self.categories().into_iter().filter(|name| !is_selected(name)));
        let mut others = self.platforms();
        others.retain(|platform| *platform != lock.0.platform);
        left_out(losses, "platform", others.iter().map(|platform| platform.as_str()));
        Ok(Part { sources: lock.1, ..Part::new(lock.0) })
    }

    /// The parts of one environment, for the selected platform or all platforms.
    fn of_environment(&self, selection: &Selection, losses: &mut Vec<String>) -> Result<Vec<Part>, LockError> {
        let chosen = self.chosen_environment(selection)?;
        left_out(losses, "environment", self.environments().into_iter().filter(|name| *name != chosen));
        let counts = |part: &&Part| part.environment == chosen && is_wanted(part, selection.platform);
        let mut parts: Vec<Part> = Vec::new();
        for part in self.parts.iter().filter(counts) {
            let same = |other: &Part| other.lock.platform == part.lock.platform && other.category == part.category;
            match (&part.platform_name, parts.iter().any(same)) {
                (Some(name), true) => left_out(losses, "machine", std::iter::once(name.as_str())),
                _ => parts.push(part.clone()),
            }
        }
        if parts.is_empty() {
            return Err(self.no_platform(selection.platform, &self.platforms()));
        }
        adopt(&mut parts, selection.platform);
        Ok(parts)
    }

    /// The parts of all environments or the selected one, for the selected platform or all platforms. Categories are
    /// joined.
    fn of_environments(&self, selection: &Selection, losses: &mut Vec<String>) -> Result<Vec<Part>, LockError> {
        if let Some(wanted) = &selection.environment {
            self.chosen_environment(selection)?;
            left_out(losses, "environment", self.environments().into_iter().filter(|name| name != wanted));
        }
        let is_selected =
            |name: &&str| *name == MAIN_CATEGORY || selection.categories.iter().any(|other| other == name);
        left_out(losses, "category", self.categories().into_iter().filter(|name| !is_selected(name)));
        let counts = |part: &&Part| {
            part.category == MAIN_CATEGORY
                && selection.environment.as_ref().is_none_or(|wanted| part.environment == *wanted)
                && is_wanted(part, selection.platform)
        };
        let mut parts: Vec<Part> = self.parts.iter().filter(counts).cloned().collect();
        if parts.is_empty() {
            return Err(self.no_platform(selection.platform, &self.platforms()));
        }
        if !selection.categories.is_empty() {
            for part in &mut parts {
                let platform = Some(part.lock.platform);
                part.lock = self.select_with_sources(&Selection { platform, ..selection.clone() })?.0;
            }
        }
        adopt(&mut parts, selection.platform);
        Ok(parts)
    }

    fn chosen_environment(&self, selection: &Selection) -> Result<&str, LockError> {
        self.environment(selection.environment.as_deref())
    }
}

fn is_wanted(part: &Part, platform: Option<Subdir>) -> bool {
    platform.is_none_or(|wanted| [wanted, Subdir::NoArch].contains(&part.lock.platform))
}

/// A lock without platform-specific packages becomes a lock for the selected platform.
fn adopt(parts: &mut [Part], platform: Option<Subdir>) {
    let everywhere = parts.iter_mut().filter(|part| part.lock.platform == Subdir::NoArch);
    everywhere.for_each(|part| part.lock.platform = platform.unwrap_or(Subdir::NoArch));
}

fn left_out<'a>(losses: &mut Vec<String>, what: &str, names: impl Iterator<Item = &'a str>) {
    losses.extend(names.map(|name| format!("the {what} `{name}` is left out")));
}

/// Adds the facts that @EXPLICIT cannot contain, not even in comments.
fn explicit_losses(parts: &[Part], losses: &mut Vec<String>) {
    let knows = |package: &&LockedPackage| package.record.as_ref().is_some_and(|record| !record.depends.is_empty());
    if parts.iter().flat_map(|part| &part.lock.packages).filter(knows).count() > 0 {
        losses.push("an explicit lock cannot contain dependencies, licences and times of packages".to_owned());
    }
}
