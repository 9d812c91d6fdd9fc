//! One resolution: the input of uv, its repetition for extras, and the interpretation of its result or its errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use mlconda_environment::EnvironmentError;
use mlconda_lock::{ArchiveOrigin, Lock, LockedPip, PipSource, normalize, provided as names};
use mlconda_python::tags::Tags;
use mlconda_solve::{Previous, Upgrade};
use mlconda_system::files;
use mlconda_types::{
    progress::{Event, Progress},
    redact,
    sorting::IntoTree,
};
use pep440_rs::Version;
use serde_json::Value;
use url::Url;

use super::{
    Options, PipError,
    conflicts::{self, CondaSide},
    pylock::{self, FileSelection, ResolvedPackages},
    stub_wheel,
    uv::{self, DependencyMode, Target, UvOutput, UvRequest},
    words::{self, Meaning, Severity},
};
pub(crate) use mlconda_environment::requirements::{Indexes, PipRequirement, RequirementRole, Requirements, indented};

/// The input of a resolution.
pub(super) struct Resolution<'a> {
    pub(super) requirements: &'a Requirements,
    pub(super) conda: CondaSide<'a>,
    pub(super) target: Target<'a>,
    pub(super) indexes: &'a Indexes,
    pub(super) tags: &'a Tags,
    pub(super) options: &'a Options<'a>,
    pub(super) progress: &'a dyn Progress,
}

impl Resolution<'_> {
    /// Resolves the packages for pip, by name.
    pub(super) async fn resolve(&self) -> Result<Vec<LockedPip>, PipError> {
        let known = uv::platform(self.target.host).ok_or_else(|| self.no_platform())?;
        let uv = self.options.uv;
        fs_err::create_dir_all(&uv.cache)?;
        // A directory beside the cache of uv, not in it.
        let place = uv.cache.parent().unwrap_or(&uv.cache);
        let temporary = tempfile::Builder::new().prefix(".pip-").tempdir_in(place)?;
        // uv writes canonical paths into its result.
        let directory = fs_err::canonicalize(temporary.path())?;
        let python = uv.find_python(self.target.python, &directory).await?.ok_or(PipError::NoInterpreter)?;
        let request = UvRequest {
            dependencies: DependencyMode::All,
            directory: &directory,
            target: &self.target,
            indexes: self.indexes,
            python: &python,
            exclude_newer: self.options.exclude_newer,
            access: self.options.access,
        };
        let previous = self.previous_answer();
        match self.answer(&request, &known, &previous).await {
            // Locked versions are preferred, never forced: another version may have a suitable file.
            Err(PipError::NoFittingFile { .. }) if !previous.is_empty() => self.answer(&request, &known, "").await,
            answer => answer,
        }
    }

    /// Runs uv, with the versions of `previous` if they fit.
    async fn answer(&self, request: &UvRequest<'_>, known: &str, previous: &str) -> Result<Vec<LockedPip>, PipError> {
        let (uv, directory) = (self.options.uv, request.directory);
        let places = self.write(directory, &BTreeSet::new())?;
        write_preferences(directory, previous)?;
        let mut outcome = uv.compile(request, known).await?;
        if !outcome.success {
            return Err(self.failure(&outcome, &places));
        }
        let mut text = files::read_to_string(&directory.join(uv::ANSWER), files::LARGEST_LOCK)?;
        let asked = self.asked_for_extras(&outcome);
        if !asked.is_empty() {
            write_preferences(directory, previous)?;
            let places = self.write(directory, &asked)?;
            let second = uv.compile(request, known).await?;
            if second.success {
                text = files::read_to_string(&directory.join(uv::ANSWER), files::LARGEST_LOCK)?;
                outcome = second;
            } else if !self.has_versions(request, &asked, known).await? {
                let names = asked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                self.progress.event(Event::Warning(format!(
                    "what the extras of {names} need is not known, and not locked: conda has a version that the index lacks"
                )));
            } else {
                return Err(self.failure(&second, &places));
            }
        }
        let mut answer = self.read(&text, directory)?;
        answer.packages.retain(|package| !asked.contains(package.name.as_str()));
        if let Some((package, files)) = answer.unfit.iter().find(|(name, _)| !asked.contains(name.as_str())) {
            return Err(self.unfit(package, files));
        }
        self.warn(&outcome, &asked);
        Ok(answer.packages)
    }

    /// The locked versions that are to be kept, in the form of an earlier result of uv. If several locks have a
    /// package, the version of the first one is used.
    fn previous_answer(&self) -> String {
        let Previous { locks, renew } = self.options.previous;
        let is_version = |text: &str| text.parse::<Version>().is_ok();
        let is_renewed = |name: &str| match renew {
            Upgrade::Packages(names) => names.iter().any(|each| normalize(each) == name),
            renew => renew.includes(name),
        };
        let mut previous = BTreeMap::new();
        for lock in locks {
            for package in lock.pip.iter().filter(|package| !is_renewed(&package.name)) {
                let what = match (&package.source, &package.version) {
                    (PipSource::Archive { origin: ArchiveOrigin::Index, .. }, Some(version)) if is_version(version) => {
                        format!("version = \"{version}\"")
                    }
                    (PipSource::Git { repository, commit, .. }, _) => match self.asked_again(repository, lock) {
                        Some(entry) => vcs(repository, revision_of(&entry.text), commit),
                        None => continue,
                    },
                    _ => continue,
                };
                previous.entry(&package.name).or_insert(what);
            }
        }
        if previous.is_empty() {
            return String::new();
        }
        let packages = previous.into_iter().map(|(name, what)| format!("\n[[packages]]\nname = \"{name}\"\n{what}\n"));
        "lock-version = \"1.0\"\ncreated-by = \"mlconda\"\n".to_owned() + &packages.collect::<String>()
    }

    /// The line that requests a repository, if the lock was made for the same line: a locked commit must not be used
    /// for another branch or tag.
    fn asked_again(&self, repository: &Url, lock: &Lock) -> Option<&PipRequirement> {
        let is_same = lock.input.as_ref().is_some_and(|input| *input == self.conda.environment.digest());
        let is_locked =
            |entry: &PipRequirement| is_same || lock.pip_requirements.contains(&redact::text(&entry.written));
        let is_it =
            |entry: &&PipRequirement| entry.direct && location_of(&entry.text) == location_of(repository.as_str());
        self.requirements.entries.iter().find(is_it).filter(|entry| is_locked(entry))
    }

    /// Writes the input files of uv. Returns the byte offset of each requirement in the file. Projects in `by_version`
    /// are not written as stub wheels, but as fixed versions to be found in an index: extras of them are requested, and
    /// only their real metadata lists the dependencies of these.
    fn write(&self, directory: &Path, by_version: &BTreeSet<&str>) -> io::Result<Vec<(usize, &PipRequirement)>> {
        let given = directory.join(PROVIDED);
        fs_err::create_dir_all(&given)?;
        let (mut text, mut limits, mut places) = (uv::index_lines(self.indexes), String::new(), Vec::new());
        for entry in &self.requirements.entries {
            match entry.role {
                RequirementRole::Requested => {
                    places.push((text.len(), entry));
                    text.push_str(&format!("{}\n", entry.text));
                }
                RequirementRole::Constraint => limits.push_str(&format!("{}\n", entry.text)),
            }
        }
        for (name, provided) in self.conda.provided {
            let line = match by_version.contains(name.as_str()) {
                true => format!("{name}=={}", provided.version),
                false => stub_wheel::write(name, provided, &given)?,
            };
            limits.push_str(&format!("{line}\n"));
        }
        fs_err::write(directory.join(uv::REQUIREMENTS), text)?;
        fs_err::write(directory.join(uv::CONSTRAINTS), limits)?;
        Ok(places)
    }

    /// Whether the indexes have these projects in the versions that conda has.
    async fn has_versions(&self, request: &UvRequest<'_>, names: &BTreeSet<&str>, known: &str) -> io::Result<bool> {
        let provided = self.conda.provided.iter().filter(|(name, _)| names.contains(name.as_str()));
        let lines: String = provided.map(|(name, provided)| format!("{name}=={}\n", provided.version)).collect();
        fs_err::write(request.directory.join(uv::REQUIREMENTS), uv::index_lines(self.indexes) + &lines)?;
        fs_err::write(request.directory.join(uv::CONSTRAINTS), "")?;
        let request = UvRequest { dependencies: DependencyMode::DirectOnly, ..*request };
        Ok(self.options.uv.compile(&request, known).await?.success)
    }

    /// The projects that conda provides and that are requested with an extra.
    fn asked_for_extras(&self, outcome: &UvOutput) -> BTreeSet<&str> {
        let warnings = words::messages(&outcome.stderr);
        let lacking = warnings.iter().filter(|(_, text)| words::says(text, Meaning::LacksExtra));
        let names = lacking.filter_map(|(_, text)| text.split('`').nth(1)?.split(' ').next());
        names.filter_map(|name| self.conda.provided.get_key_value(name)).map(|(name, _)| name.as_str()).into_tree()
    }

    fn read(&self, text: &str, directory: &Path) -> Result<ResolvedPackages, PipError> {
        let hashes = |name: &str| {
            let entries = self.requirements.entries.iter().filter(|entry| entry.name.as_deref() == Some(name));
            let hashes = entries.flat_map(|entry| &entry.hashes);
            hashes.filter(|hash| hash.starts_with("sha256:")).cloned().collect()
        };
        let builds = |name: &str| {
            let named = |list: &[String], name: &str| list.iter().any(|each| each == name || normalize(each) == name);
            let Indexes { no_binary, only_binary, .. } = self.indexes;
            named(no_binary, name) || named(no_binary, ":all:") && !named(only_binary, name)
        };
        let given = directory.join(PROVIDED);
        let choice = FileSelection { tags: self.tags, hashes: &hashes, builds: &builds, directory, given: &given };
        pylock::read(text, &choice).map_err(PipError::Answer)
    }

    /// Reports warnings of uv, except two expected ones: its python is not that of the target, and stub wheels have no
    /// extras.
    fn warn(&self, outcome: &UvOutput, asked: &BTreeSet<&str>) {
        for (_, text) in words::messages(&outcome.stderr).into_iter().filter(|(kind, _)| *kind == Severity::Warning) {
            let is_given = words::says(&text, Meaning::LacksExtra)
                && asked.iter().any(|name| text.contains(&format!("`{name} @ file:")));
            if !is_given && !words::says(&text, Meaning::OtherPython) {
                self.progress.event(Event::Warning(redact::text(&text)));
            }
        }
    }

    /// Converts a failed run of uv to an error, with the lines that it is about.
    fn failure(&self, outcome: &UvOutput, places: &[(usize, &PipRequirement)]) -> PipError {
        let messages = words::messages(&outcome.stderr);
        let text = words::error(&outcome.stderr);
        if words::says(&text, Meaning::UnknownOption) {
            return PipError::OldUv { program: self.options.uv.program.clone() };
        }
        if words::says(&text, Meaning::UnknownPlatform) {
            return self.no_platform();
        }
        if let Some(entry) = unparsed(&text, places) {
            let cause = text.lines().nth(1).map(str::trim).filter(|cause| !cause.is_empty());
            let mut cause = cause.unwrap_or("it is not a requirement").to_owned();
            // The text is uv's, so it may begin with any character.
            if let Some(first) = cause.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            let diagnostic = entry
                .diagnostic(redact::text(&cause), "a requirement is as in PEP 508: `name>=1; python_version < '3.12'`");
            return EnvironmentError::Pip(diagnostic).into();
        }
        let text = words::without_heading(&text);
        let can_be_taken = |(severity, text): &&(Severity, String)| {
            *severity == Severity::Hint && !words::says(text, Meaning::OptionHint)
        };
        let hints = messages.iter().filter(can_be_taken).map(|(_, text)| text);
        let message: Vec<&str> = text.lines().chain(hints.flat_map(|hint| hint.lines())).map(str::trim).collect();
        let message =
            redact::text(&message.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n  "));
        let is_named = |entry: &&PipRequirement| {
            entry.name.as_ref().is_some_and(|name| conflicts::mentions(&message, name))
                || entry.direct && message.contains(location_of(&entry.text))
        };
        let mut named: Vec<&PipRequirement> = self.requirements.entries.iter().filter(is_named).collect();
        if named.is_empty() {
            // If uv fails to build a package, it does not know its name yet.
            named = self.requirements.entries.iter().filter(|entry| entry.direct).collect();
        }
        let lines = named.iter().map(|entry| format!("asked for: {}", entry.display()));
        let lines = lines.chain(self.conda.named_in(&message));
        // The most frequent mistake is a conda name instead of a project name.
        let unknown =
            named.iter().filter_map(|entry| entry.name.as_deref()).filter(|name| words::is_unknown(&message, name));
        let lines = lines.chain(unknown.filter_map(|name| {
            let projects =
                names::renamed_projects(name)?.iter().map(|project| format!("`{project}`")).collect::<Vec<_>>();
            Some(format!("conda's `{name}` is called {} there", projects.join(" or ")))
        }));
        PipError::Unsolvable {
            platform: self.target.host.platform,
            lines: indented(lines),
            message: format!("\n  {message}"),
        }
    }

    fn no_platform(&self) -> PipError {
        PipError::Platform { platform: self.target.host.platform, lines: self.requirements.first_lines() }
    }

    fn unfit(&self, package: &str, files: &[String]) -> PipError {
        let entries = self.requirements.entries.iter().filter(|entry| entry.name.as_deref() == Some(package));
        let entries: Vec<&PipRequirement> = entries.collect();
        let why = match entries.iter().any(|entry| !entry.hashes.is_empty()) {
            true => ": none has the hash that is asked for".to_owned(),
            false => format!(", which takes wheels such as `{}`", self.tags.best()),
        };
        let lines = entries.iter().map(|entry| format!("asked for: {}", entry.display()));
        let lines = indented(lines.chain(files.iter().map(|file| format!("there is: {file}"))));
        PipError::NoFittingFile { package: package.to_owned(), platform: self.target.host.platform, why, lines }
    }
}

/// The directory of stub wheels.
const PROVIDED: &str = "given";

/// Writes a previous result for uv, which prefers the versions in an existing output file.
fn write_preferences(directory: &Path, previous: &str) -> io::Result<()> {
    let place = directory.join(uv::ANSWER);
    if previous.is_empty() { mlconda_system::remove_if_exists(&place) } else { fs_err::write(place, previous) }
}

/// The requirement that uv could not parse, by the offset in uv's message.
fn unparsed<'a>(text: &str, places: &[(usize, &'a PipRequirement)]) -> Option<&'a PipRequirement> {
    let position = words::unparsed_position(text)?;
    places.iter().rev().find(|(start, _)| *start <= position).map(|(_, entry)| *entry)
}

/// A commit, in the form of a `pylock.toml`.
fn vcs(repository: &Url, revision: Option<&str>, commit: &str) -> String {
    let url = Value::from(repository.as_str().trim_start_matches("git+"));
    let revision = revision.map(|revision| format!("requested-revision = {}, ", Value::from(revision)));
    format!("vcs = {{ type = \"git\", url = {url}, {}commit-id = \"{commit}\" }}", revision.unwrap_or_default())
}

/// The branch, tag or commit after the location of a repository in a requirement.
fn revision_of(text: &str) -> Option<&str> {
    let behind = text.split_once(location_of(text))?.1.strip_prefix('@')?;
    behind.split(['#', ' ', ';']).next()
}

/// The part of a URL in a requirement that identifies it: without scheme and login, and without the text after its
/// path.
pub(super) fn location_of(text: &str) -> &str {
    let place = text.split_once("://").map_or(text, |(_, place)| place);
    let place =
        place.split_once('@').map_or(place, |(before, after)| if before.contains('/') { before } else { after });
    let end = place.find(|each: char| "@#?[; ".contains(each)).unwrap_or(place.len());
    &place[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_known_by_their_places() {
        assert_eq!(location_of("-e git+https://me:pw@h/a.git@v1#egg=a"), "h/a.git");
        assert_eq!(revision_of("-e git+https://me:pw@h/a.git@team/v1#egg=a"), Some("team/v1"));
        assert_eq!(revision_of("a @ git+https://h/a.git ; os_name == 'nt'"), None);
        assert_eq!(location_of("a @ https://h/a-1.0.tar.gz ; os_name == 'nt'"), "h/a-1.0.tar.gz");
        assert_eq!(location_of("file:///project/a[x]"), "/project/a");
    }
}
