//! The specs of a command: from the command line, from files, and from earlier commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use mlconda::{
    Channel, PrefixRecord, Version,
    environment::{ChannelRule, Environment, Location, ReadOptions, Requirement},
    export,
    lock::{LockFile, kind_of},
    prefix::{Prefix, Stamp},
    sorting::IntoTree,
};

use super::{channels::Channels, is_own, line::Line, options::Verb, tool::Tool};
use crate::{
    context::Context,
    error::CliError,
    lock_selection,
    text::{self, list},
};

/// The input of the command line.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) specs: Vec<String>,
    pub(super) environments: Vec<PathBuf>,
    pub(super) locks: Vec<PathBuf>,
    /// The content of the lock, if it comes from a pipe, which can be read only once.
    pub(super) piped: Option<LockFile>,
}

impl Inputs {
    pub(super) fn of(line: &Line, verb: Verb, context: &Context) -> Result<Self, CliError> {
        let mut inputs = Self::default();
        let is_env = matches!(verb, Verb::EnvCreate | Verb::EnvUpdate);
        let mut files: Vec<String> = line.values("--file").map(str::to_owned).collect();
        for word in line.words()? {
            let is_file = context.settings.absolute(Path::new(&word)).is_file();
            // With mamba and micromamba, `env create` is `create`.
            let takes_specs = !is_env || matches!(line.tool, Tool::Mamba | Tool::Micromamba);
            if takes_specs && !is_env && is_file && super::is_file(&word) {
                let message = format!("`{word}` is a file, not a match spec");
                return Err(CliError::world(message, format!("name it with `--file {}`", text::word(&word))));
            } else if takes_specs && !(is_env && is_file) {
                inputs.specs.push(word);
            } else if is_file {
                files.push(word);
            } else {
                return Err(CliError::world(
                    format!("there is no file `{word}`"),
                    "mlconda does not search anaconda.org for environments: download the file, and give it with `-f`",
                ));
            }
        }
        if is_env && files.is_empty() && inputs.specs.is_empty() {
            let usual = ["environment.yml", "environment.yaml"];
            let here = usual.into_iter().find(|file| context.settings.absolute(Path::new(file)).is_file());
            let missing = || {
                let here = context.settings.directory.display();
                CliError::world(format!("there is no `environment.yml` in `{here}`"), "give the file with `-f FILE`")
            };
            files.push(here.ok_or_else(missing)?.to_owned());
        }
        for file in files {
            inputs.add(&file, is_env, context)?;
        }
        if !inputs.locks.is_empty()
            && (inputs.locks.len() > 1 || !(inputs.specs.is_empty() && inputs.environments.is_empty()))
        {
            let message = "a lock is installed as it is: give one lock, without specs and other files";
            return Err(CliError::Usage(message.to_owned()));
        }
        Ok(inputs)
    }

    /// Adds a file, by its content.
    fn add(&mut self, file: &str, is_env: bool, context: &Context) -> Result<(), CliError> {
        if file.contains("://") && !file.starts_with("file://") {
            let message = format!("`{file}` is not downloaded");
            return Err(CliError::world(
                message,
                "download it first (in a Dockerfile with `ADD URL .`), and give the file",
            ));
        }
        let file = file.strip_prefix("file://").unwrap_or(file);
        let path = context.settings.input(Path::new(file));
        let is_pipe = || fs_err::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if is_env && file == "-" {
            self.environments.push(path);
        } else if !is_env && is_pipe() {
            self.add_pipe(file, &path, context)?;
        } else if lock_selection::kind_of_file(&path).is_some() {
            self.locks.push(file.into());
        } else if is_env || [".yml", ".yaml"].iter().any(|end| file.ends_with(end)) {
            self.environments.push(if file.starts_with("~/") { path } else { file.into() });
        } else {
            let text = mlconda::files::read_to_string(&path, mlconda::files::LARGEST_TEXT).map_err(|error| {
                CliError::world(
                    match error.to_string() {
                        told if told.contains(" `") => told,
                        told => format!("cannot read `{file}`: {told}"),
                    },
                    "`--file` names a file of match specs, or an environment.yml",
                )
            })?;
            self.add_specs(&text);
        }
        Ok(())
    }

    /// Adds what comes out of a pipe or a terminal: a lock, or match specs.
    fn add_pipe(&mut self, file: &str, path: &Path, context: &Context) -> Result<(), CliError> {
        let bytes = mlconda::files::read_any(path, mlconda::files::LARGEST_LOCK)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            CliError::world(format!("`{file}` is not UTF-8"), "`--file` names a file of match specs, or a lock")
        })?;
        if kind_of(&text).is_some() {
            let settings = &context.settings;
            let expansion = settings.expansion();
            self.piped = Some(LockFile::parse(&text, path, &expansion)?);
            self.locks.push(file.into());
        } else if text.lines().any(|line| line.trim_end() == "dependencies:") {
            let hint = format!("`env create -f {}` reads one from a pipe", text::word(file));
            return Err(CliError::world(format!("`{file}` has an environment.yml, not match specs"), hint));
        } else {
            self.add_specs(&text);
        }
        Ok(())
    }

    /// Adds the match specs of a file, one per line.
    fn add_specs(&mut self, text: &str) {
        let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(spec, _)| spec).trim());
        // In the URL of an archive, `#` starts the hash.
        let lines = lines.zip(text.lines()).map(|(spec, line)| if spec.contains("://") { line.trim() } else { spec });
        self.specs.extend(lines.filter(|spec| !spec.is_empty()).map(str::to_owned));
    }
}

/// The state of a prefix before the command.
#[derive(Debug)]
pub(super) struct InstalledState {
    pub(super) prefix: Prefix,
    /// The stamp of the prefix before anything was read.
    pub(super) stamp: Stamp,
    pub(super) records: Vec<PrefixRecord>,
    /// The specs of earlier commands, by package.
    pub(super) asked: BTreeMap<String, Requirement>,
}

impl InstalledState {
    /// Reads a prefix. Records without a history come from an interrupted installation, and are ignored.
    pub(super) fn read(prefix: Prefix, channels: &Channels, context: &Context) -> Result<Self, CliError> {
        let stamp = prefix.stamp()?;
        let records = if prefix.is_environment() { prefix.records()? } else { Vec::new() };
        let options = channels.options(&channels.known(), ChannelRule::ExtraOnly, context);
        let mut asked = BTreeMap::new();
        for spec in export::requested_specs(&prefix, &records)? {
            let Ok(parsed) = Environment::from_specs(&[&spec], &options) else { continue };
            for mut requirement in parsed.requirements {
                let Some(name) = name_of(&requirement) else { continue };
                let state = records.iter().find(|record| record_name(record) == name);
                let package = state.map(|record| &record.repodata_record.package_record);
                let is_kept = package
                    .is_none_or(|package| is_answered(&requirement, &package.version.as_str(), package.build.as_ref()));
                if !is_kept {
                    // `update --all` has replaced it.
                    requirement = bare(&name, &options)?;
                } else if requirement.spec.url.is_some() {
                    // The archive may not exist any more; the installed package does.
                    requirement = Requirement { text: requirement.text, ..bare(&name, &options)? };
                }
                asked.insert(name, requirement);
            }
        }
        Ok(Self { prefix, stamp, records, asked })
    }

    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.records.iter().map(record_name).into_tree()
    }

    pub(super) fn record(&self, name: &str) -> Option<&PrefixRecord> {
        self.records.iter().find(|record| record_name(record) == name)
    }

    /// The dependencies of an installed package.
    pub(super) fn needs(&self, name: &str) -> BTreeSet<&str> {
        let records = self.record(name).into_iter();
        records
            .flat_map(|record| &record.repodata_record.package_record.depends)
            .map(|need| dependency(need))
            .into_tree()
    }

    /// These packages and all their installed dependencies.
    pub(super) fn closure<'a>(&'a self, names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut open: Vec<&str> = names.into_iter().collect();
        let mut closure = BTreeSet::new();
        while let Some(name) = open.pop() {
            if let Some(record) = self.record(name).filter(|record| closure.insert(record_name(record))) {
                open.extend(self.needs(record_name(record)));
            }
        }
        closure
    }

    /// Installed packages without a spec that no package with a spec needs. They stay.
    pub(super) fn unasked(&self) -> Vec<&str> {
        let needed = self.closure(self.asked.keys().map(String::as_str));
        self.names().into_iter().filter(|name| !needed.contains(name)).collect()
    }
}

/// The goal: the specs and channels of a solve.
#[derive(Debug)]
pub(super) struct Goal {
    /// The specs of the command line and of files, with the channels to search first.
    pub(super) environment: Environment,
    /// The channels to search if those do not suffice.
    pub(super) more: Vec<Channel>,
}

impl Goal {
    pub(super) fn of(inputs: &Inputs, channels: &Channels, context: &Context) -> Result<Self, CliError> {
        let read = |specs: &[String], names: &[String]| {
            Environment::from_specs(specs, &channels.options(names, ChannelRule::ExtraOnly, context))
        };
        let configured = read(&[], &channels.configured)?.channels;
        let first = if channels.typed.is_empty() { &channels.configured } else { &channels.typed };
        let is_archive =
            |spec: &String| spec.ends_with(".conda") || spec.ends_with(".tar.bz2") || spec.contains(".conda#");
        if first.is_empty() && inputs.environments.is_empty() && !inputs.specs.iter().all(is_archive) {
            return Err(no_channel());
        }
        // An archive needs no channel, but the reader of specs wants one.
        let known = channels.known();
        let typed = read(&inputs.specs, if first.is_empty() { &known } else { first })?;
        if inputs.environments.is_empty() {
            return Ok(Self { environment: typed, more: configured });
        }
        let options = channels.options(&channels.typed, ChannelRule::FileAndExtra, context);
        let mut environment = Environment::read_all(&inputs.environments, &options)?;
        environment.warnings.iter().for_each(|warning| context.ui.warn(&warning.to_string()));
        if !environment.names_channels() {
            environment.channels = typed.channels;
        }
        environment.requirements.extend(typed.requirements);
        let says_none = inputs.environments.iter().any(|file| names_no_defaults(file, context));
        Ok(Self { environment, more: if says_none { Vec::new() } else { configured } })
    }

    /// Adds `create_default_packages`, except for packages that have a spec. As with conda, archives stay alone.
    pub(super) fn add_defaults(&mut self, channels: &Channels, context: &Context) -> Result<(), CliError> {
        let requirements = &mut self.environment.requirements;
        if requirements.iter().any(|each| each.spec.url.is_some()) {
            return Ok(());
        }
        let options = channels.options(&channels.known(), ChannelRule::ExtraOnly, context);
        let more = placed("`create_default_packages`", &channels.created, &options)?;
        let typed: BTreeSet<String> = requirements.iter().filter_map(name_of).into_tree();
        requirements.extend(more.into_iter().filter(|each| name_of(each).is_none_or(|name| !typed.contains(&name))));
        Ok(())
    }

    /// The package names of the specs.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.environment.requirements.iter().filter_map(name_of).into_tree()
    }

    /// Leaves out conda, mamba and micromamba, which mlconda replaces, and reports that.
    pub(super) fn leave_out_own(&mut self, line: &Line, context: &Context) {
        let is_own = |requirement: &Requirement| name_of(requirement).is_some_and(|name| is_own(&name));
        let own: Vec<String> =
            self.environment.requirements.iter().filter(|each| is_own(each)).filter_map(name_of).collect();
        if !own.is_empty() && line.tool != Tool::Mlconda {
            context.ui.say(&format!(
                "{} {} provided by mlconda here; nothing is installed for it.",
                list(&own),
                if own.len() == 1 { "is" } else { "are" }
            ));
        }
        self.environment.requirements.retain(|requirement| !is_own(requirement));
    }
}

/// The error that there is no channel.
pub(super) fn no_channel() -> CliError {
    CliError::world(
        "no channel is given, and none is configured",
        "give one with `-c CHANNEL`, or for all commands with `config --append channels CHANNEL`",
    )
}

/// Whether an environment.yml contains `nodefaults`, so that conda adds no channels.
fn names_no_defaults(file: &Path, context: &Context) -> bool {
    let path = context.settings.absolute(file);
    let text = mlconda::files::read_to_string(&path, mlconda::files::LARGEST_TEXT).unwrap_or_default();
    text.lines().any(|line| {
        line.trim().trim_start_matches('-').trim() == "nodefaults"
            || line.contains("nodefaults]")
            || line.contains("nodefaults,")
    })
}

/// Whether a spec matches a version and a build.
pub(super) fn is_answered(asked: &Requirement, version: &str, build: &str) -> bool {
    let is_version =
        |spec: &mlconda::VersionSpec| version.parse::<Version>().is_ok_and(|version| spec.matches(&version));
    asked.spec.version.as_ref().is_none_or(is_version)
        && asked.spec.build.as_ref().is_none_or(|spec| spec.matches(build))
}

/// The package name of a spec.
pub(super) fn name_of(requirement: &Requirement) -> Option<String> {
    requirement.spec.name.as_exact().map(|name| name.as_normalized().to_owned())
}

pub(super) fn record_name(record: &PrefixRecord) -> &str {
    record.repodata_record.package_record.name.as_normalized()
}

/// The name in a dependency.
fn dependency(text: &str) -> &str {
    let text = text.rsplit("::").next().unwrap_or(text).trim();
    text.split(|c: char| c.is_whitespace() || "=<>!~[".contains(c)).next().unwrap_or(text)
}

/// Specs that are in no file, under this name in messages.
pub(super) fn placed(name: &str, specs: &[String], options: &ReadOptions) -> Result<Vec<Requirement>, CliError> {
    let place = Location { line: 0, column: 1 };
    let specs: Vec<(&str, Location)> = specs.iter().map(|spec| (spec.as_str(), place)).collect();
    Ok(Environment::from_placed_specs(&specs, Path::new(name), options)?.requirements)
}

/// Any version of a package.
pub(super) fn bare(name: &str, options: &ReadOptions) -> Result<Requirement, CliError> {
    let parsed = Environment::from_specs(&[name], options)?;
    parsed.requirements.into_iter().next().ok_or_else(|| CliError::Usage(format!("`{name}` is not a package")))
}
