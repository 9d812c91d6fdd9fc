//! Checks whether a lock still satisfies an environment, without solving and without network access, for commit hooks.
//!
//! If the hash of the environment file is equal, only the locked packages and the omitted parts (`slim:`) are compared.
//! If it differs, or another tool wrote the lock, the settings are compared, too: a file with reordered lines or wider
//! specs needs no new lock.

use std::{
    collections::HashMap,
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
};

use mlconda_environment::{Environment, Location, Requirement};
use mlconda_types::{
    host::{Host, Override},
    redact,
    slim::Slim,
};
use rattler_conda_types::{
    GenericVirtualPackage, MatchSpec, Matches, PackageName, PackageRecord, Subdir, Version, VersionWithSource,
    package::BuildString,
};

use super::{Digest, Lock, LockedPackage, normalize};

/// A mismatch between a lock and an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The position in the environment file, if there is one.
    pub place: Option<(PathBuf, Location)>,
    /// The kind of the mismatch.
    pub reason: MismatchKind,
}

/// The kind of a mismatch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MismatchKind {
    /// No package of the name is locked.
    NotLocked {
        /// The match spec, or the requirement of pip, as written.
        spec: String,
    },
    /// The locked package does not match the spec.
    OtherLocked {
        /// The match spec, as written.
        spec: String,
        /// The locked package: name, version and build.
        locked: String,
    },
    /// The package is locked from another channel than the match spec names.
    OtherChannel {
        /// The match spec, as written.
        spec: String,
        /// The locked URL, without secrets.
        locked: String,
    },
    /// The lock has a match spec, or a requirement of pip, that the environment no longer has.
    NotAskedFor {
        /// The spec, as the lock has it.
        spec: String,
    },
    /// The channels or their order differ.
    Channels {
        /// Those of the lock.
        locked: Vec<String>,
        /// Those of the environment, without secrets.
        wanted: Vec<String>,
    },
    /// The environment's name has changed.
    Name {
        /// That of the lock.
        locked: Option<String>,
        /// That of the environment.
        wanted: Option<String>,
    },
    /// A variable has another value, was added or was removed.
    Variable {
        /// Its name.
        name: String,
        /// The lock's value.
        locked: Option<String>,
        /// The environment's value.
        wanted: Option<String>,
    },
    /// The environment leaves out other parts of packages than the lock.
    Slim {
        /// The parts that the lock leaves out.
        locked: Slim,
        /// The parts that the environment leaves out.
        wanted: Slim,
    },
    /// The platform of the lock is not in the environment.
    Platform {
        /// That of the lock.
        locked: Subdir,
        /// Those of the environment.
        wanted: Vec<Subdir>,
    },
    /// The lock assumes another virtual package than declared.
    Assumed {
        /// The virtual package's name.
        name: String,
        /// The assumed version, with `=` and the build if that is not empty.
        locked: Option<String>,
        /// The declared version, in the same form.
        wanted: Option<String>,
    },
}

impl Lock {
    /// Compares the lock with an environment. The result is empty if the lock satisfies it. The environment may be that
    /// of the whole file, or already reduced to the lock's platform.
    ///
    /// ```
    /// # use std::path::Path;
    /// # use mlconda_environment::{Environment, ReadOptions};
    /// # use mlconda_lock::{Expansion, explicit};
    /// let text = "@EXPLICIT\nhttps://conda.anaconda.org/lab/noarch/tool-1.4-0.conda\n";
    /// let lock = explicit::parse(text, Path::new("/srv/env.lock"), &Expansion::default())?;
    /// let unmet = |dependencies: &str| {
    ///     let text = format!("channels: [lab]\ndependencies: [{dependencies}]\n");
    ///     let environment = Environment::parse(&text, Path::new("environment.yml"), &ReadOptions::default())?;
    ///     Ok::<_, Box<dyn std::error::Error>>(lock.check(&environment))
    /// };
    /// assert!(unmet("tool >=1.2")?.is_empty());
    /// let reason = "environment.yml:2:16: `tool >=2` is asked for, and tool 1.4 0 is locked";
    /// assert_eq!(unmet("tool >=2")?[0].to_string(), reason);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, environment: &Environment) -> Vec<Mismatch> {
        let environment = &environment.for_platform(self.platform);
        let mut unmet = Vec::new();
        // The packages are checked even if the hash is equal: a merge may have taken the hash from one side and the
        // packages from the other.
        self.check_specs(environment, &mut unmet);
        self.check_pip(environment, &mut unmet);
        if let Some(wanted) = environment.slim.as_ref().filter(|wanted| **wanted != self.slim) {
            let place = environment.place("x-mlconda").and_then(|(file, location)| placed(file, location));
            let reason = MismatchKind::Slim { locked: self.slim.clone(), wanted: wanted.clone() };
            unmet.push(Mismatch { place, reason });
        }
        if self.input.as_ref().is_none_or(|input| *input != environment.digest()) {
            self.check_left_over(environment, &mut unmet);
            self.check_settings(environment, &mut unmet);
        }
        mlconda_types::sorting::sort_by(&mut unmet, |left, right| left.place.cmp(&right.place));
        unmet
    }

    /// Compares the virtual packages of the lock with the declared ones. Virtual packages that are not declared are not
    /// compared, because a solve may have raised them. Locks of other tools do not contain virtual packages.
    pub fn check_assumed(&self, declared: &[Override]) -> Vec<Mismatch> {
        if self.input.is_none() {
            return Vec::new();
        }
        let host = Host::baseline(self.platform).with(declared);
        let of = |packages: &[GenericVirtualPackage], name: &str| {
            let package = packages.iter().find(|package| package.name.as_normalized() == name)?;
            Some(match package.build_string.as_str() {
                "0" => package.version.to_string(),
                build => format!("{}={build}", package.version),
            })
        };
        let compare = |Override { name, .. }: &Override| {
            let (locked, wanted) = (of(&self.virtual_packages, name), of(&host.virtual_packages, name));
            let differs = locked != wanted;
            let reason = MismatchKind::Assumed { name: name.clone(), locked, wanted };
            differs.then_some(Mismatch { place: None, reason })
        };
        declared.iter().filter_map(compare).collect()
    }

    fn check_specs(&self, environment: &Environment, unmet: &mut Vec<Mismatch>) {
        let packages: HashMap<&str, &LockedPackage> =
            self.packages.iter().map(|package| (package.name.as_str(), package)).collect();
        for requirement in &environment.requirements {
            let Some(name) = requirement.spec.name.as_exact().map(PackageName::as_normalized) else { continue };
            let reason = match packages.get(name) {
                None if name.starts_with("__") => self.virtual_reason(requirement),
                None => Some(MismatchKind::NotLocked { spec: requirement.text.clone() }),
                Some(package) => package.refusal(requirement),
            };
            unmet.extend(
                reason.map(|reason| Mismatch { place: placed(&requirement.file, requirement.location), reason }),
            );
        }
    }

    /// The mismatch of a spec for a virtual package. Only locks of mlconda contain virtual packages.
    fn virtual_reason(&self, requirement: &Requirement) -> Option<MismatchKind> {
        let assumed = self.virtual_packages.iter().any(|package| requirement.spec.matches(package));
        (self.input.is_some() && !assumed).then(|| MismatchKind::NotLocked { spec: requirement.text.clone() })
    }

    fn check_pip(&self, environment: &Environment, unmet: &mut Vec<Mismatch>) {
        let told: Vec<String> = self.pip_requirements.iter().map(|text| plain(text)).collect();
        let is_locked = |text: &str| match told.as_slice() {
            // A lock of another tool contains only the packages, not the requirements.
            [] => pip_name(text).is_some_and(|name| self.pip.iter().any(|package| package.name == name)),
            told => told.contains(&plain(text)),
        };
        for line in environment.pip.iter().filter(|line| !is_locked(&line.text)) {
            let reason = MismatchKind::NotLocked { spec: line.text.clone() };
            unmet.push(Mismatch { place: placed(&line.file, line.location), reason });
        }
    }

    /// Adds the specs and requirements of the lock that the environment no longer has.
    fn check_left_over(&self, environment: &Environment, unmet: &mut Vec<Mismatch>) {
        let asked = |name: &str| {
            let names = environment.requirements.iter().filter_map(|each| each.spec.name.as_exact());
            names.map(PackageName::as_normalized).any(|other| other == name)
        };
        let name = |spec: &str| mlconda_types::dependency::normalized_name(spec);
        let wanted: Vec<String> = environment.pip.iter().map(|line| plain(&line.text)).collect();
        let conda = self.specs.iter().filter(|spec| !asked(&name(spec)));
        let pip = self.pip_requirements.iter().filter(|text| !wanted.contains(&plain(text)));
        let reason = |spec: &String| Mismatch { place: None, reason: MismatchKind::NotAskedFor { spec: spec.clone() } };
        unmet.extend(conda.chain(pip).map(reason));
    }

    /// Compares the platforms, and the settings that only locks of mlconda contain.
    fn check_settings(&self, environment: &Environment, unmet: &mut Vec<Mismatch>) {
        let at = |key: &str| environment.place(key).and_then(|(file, location)| placed(file, location));
        if !environment.platforms.is_empty() && !environment.platforms.contains(&self.platform) {
            let reason = MismatchKind::Platform { locked: self.platform, wanted: environment.platforms.clone() };
            unmet.extend((self.platform != Subdir::NoArch).then(|| Mismatch { place: at("platforms"), reason }));
        }
        if self.input.is_none() {
            return;
        }
        if self.name != environment.name {
            let reason = MismatchKind::Name { locked: self.name.clone(), wanted: environment.name.clone() };
            unmet.push(Mismatch { place: at("name"), reason });
        }
        let wanted: Vec<String> =
            environment.channels.iter().map(|channel| redact::url(channel.base_url.as_ref())).collect();
        if self.channels != wanted {
            let reason = MismatchKind::Channels { locked: self.channels.clone(), wanted };
            unmet.push(Mismatch { place: at("channels"), reason });
        }
        let gone = self.variables.keys().filter(|name| !environment.variables.contains_key(*name));
        for name in environment.variables.keys().chain(gone) {
            let (locked, wanted) = (self.variables.get(name).cloned(), environment.variables.get(name).cloned());
            if locked != wanted {
                let reason = MismatchKind::Variable { name: name.clone(), locked, wanted };
                unmet.push(Mismatch { place: at(&format!("variables.{name}")), reason });
            }
        }
    }
}

impl LockedPackage {
    /// Whether this package matches a spec. Facts that the lock does not have (licence, features) are assumed to match.
    pub fn matches(&self, spec: &MatchSpec) -> bool {
        let Some(record) = self.known() else { return false };
        let mut spec = spec.clone();
        if self.record.is_none() {
            (spec.license, spec.license_family, spec.track_features, spec.flags) = (None, None, None, None);
            spec.md5 = spec.md5.filter(|_| record.md5.is_some());
            spec.sha256 = spec.sha256.filter(|_| record.sha256.is_some());
            spec.build_number = spec.build_number.filter(|_| build_number(&self.build).is_some());
        }
        spec.matches(&record)
    }

    /// The record; without one, a record with the facts from the file name.
    pub(crate) fn known(&self) -> Option<PackageRecord> {
        if let Some(record) = &self.record {
            return Some(PackageRecord::clone(record));
        }
        let version: VersionWithSource = self.version.parse().ok()?;
        let build: BuildString = self.build.parse().ok()?;
        let mut record = PackageRecord::new(self.name.parse::<PackageName>().ok()?, version, build);
        record.build_number = build_number(&self.build).unwrap_or_default();
        record.subdir = self.subdir.as_str().to_owned();
        match self.digest {
            Digest::Sha256(hash) => record.sha256 = Some(hash),
            Digest::Md5(hash) => record.md5 = Some(hash),
            Digest::Unknown => {}
        }
        Some(record)
    }

    /// The version, if it is valid.
    pub(crate) fn parsed_version(&self) -> Option<Version> {
        self.version.parse().ok()
    }

    /// The mismatch if this package does not satisfy a requirement.
    fn refusal(&self, Requirement { text, spec, .. }: &Requirement) -> Option<MismatchKind> {
        if !self.matches(spec) {
            let locked = format!("{} {} {}", self.name, self.version, self.build);
            return Some(MismatchKind::OtherLocked { spec: text.clone(), locked });
        }
        let channel = spec.channel.as_ref().map(|channel| redact::url(channel.base_url.as_ref()));
        let url = redact::url(&self.url);
        let other = spec.url.as_ref().is_some_and(|wanted| *wanted != self.url)
            || channel.is_some_and(|channel| !url.starts_with(&channel));
        other.then(|| MismatchKind::OtherChannel { spec: text.clone(), locked: url })
    }
}

/// The build number at the end of most build strings.
fn build_number(build: &str) -> Option<u64> {
    build.rsplit('_').next()?.parse().ok()
}

/// The project name at the beginning of a requirement of pip (PEP 508), normalized.
pub(crate) fn pip_name(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(text.len());
    let name = &text[..end];
    // A path or a URL has no name.
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text[end..].starts_with([':', '/', '+']);
    is_name.then(|| normalize(name))
}

/// A requirement without differences that have no meaning.
fn plain(text: &str) -> String {
    let text = text.split(" #").next().unwrap_or(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn placed(file: &Path, location: Location) -> Option<(PathBuf, Location)> {
    Some((file.to_owned(), location))
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some((file, Location { line, column })) = &self.place {
            write!(f, "{}:{line}:{column}: ", file.display())?;
        }
        Display::fmt(&self.reason, f)
    }
}

impl Display for MismatchKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        match self {
            Self::NotLocked { spec } => write!(f, "`{spec}` is asked for, and nothing of it is locked"),
            Self::OtherLocked { spec, locked } => write!(f, "`{spec}` is asked for, and {locked} is locked"),
            Self::OtherChannel { spec, locked } => write!(f, "`{spec}` is asked for, and `{locked}` is locked"),
            Self::NotAskedFor { spec } => write!(f, "`{spec}` was asked for when it was locked, but no longer is"),
            Self::Channels { locked, wanted } => {
                write!(f, "the channels are {}, and it was locked from {}", joined(wanted), joined(locked))
            }
            Self::Name { locked, wanted } => {
                let shown = |name: &Option<String>| name.as_ref().map_or("no name".into(), |name| format!("`{name}`"));
                write!(f, "the environment has {}, and the lock {}", shown(wanted), shown(locked))
            }
            Self::Variable { name, locked: None, .. } => write!(f, "the variable `{name}` is not in the lock"),
            Self::Variable { name, wanted: None, .. } => {
                write!(f, "the variable `{name}` of the lock is not in the environment")
            }
            Self::Variable { name, .. } => write!(f, "the variable `{name}` has another value in the lock"),
            Self::Slim { locked, wanted } => {
                write!(f, "the environment leaves out `{wanted}`, and the lock `{locked}`")
            }
            Self::Platform { locked, wanted } => {
                let wanted: Vec<String> = wanted.iter().map(|each| each.as_str().to_owned()).collect();
                write!(f, "the platforms are {}, and the lock is for `{locked}`", joined(&wanted))
            }
            Self::Assumed { name, locked, wanted } => {
                let shown = |version: &Option<String>| match version {
                    Some(version) => format!("`{name}={version}`"),
                    None => format!("no `{name}`"),
                };
                write!(f, "{} is declared, and the lock assumes {}", shown(wanted), shown(locked))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expansion;
    use mlconda_environment::ReadOptions;

    fn environment(text: &str) -> Environment {
        Environment::parse(text, Path::new("environment.yml"), &ReadOptions::default()).unwrap()
    }

    const LOCKED: &str = "name: ml\nchannels: [lab, more]\ndependencies:\n- numpy >=1.20\n- more::tool\nvariables:\n  \
                          A: x\n  B: y\n";

    /// The lock of [`LOCKED`], as `lock` writes it, with changes.
    fn lock(text: &str) -> Lock {
        let text = format!(
            "# mlconda lock: 1\n# name: ml\n# platform: linux-64\n# input: sha256:{}\n\
             # channel: https://conda.anaconda.org/lab/\n# channel: https://conda.anaconda.org/more/\n\
             # spec: more::tool\n# spec: numpy >=1.20\n# variable: A=\"x\"\n# variable: B=\"y\"\n@EXPLICIT\n{text}",
            environment(LOCKED).for_platform(Subdir::Linux64).digest()
        );
        crate::explicit::parse(&text, Path::new("/env.lock"), &Expansion::default()).unwrap()
    }

    const PACKAGES: &str = "https://conda.anaconda.org/lab/linux-64/numpy-1.26.4-py311_3.conda\n\
                            https://conda.anaconda.org/more/noarch/tool-2.0-0.conda\n";

    fn unmet(text: &str) -> String {
        lock(PACKAGES).check(&environment(text)).iter().map(|unmet| format!("{unmet}\n")).collect()
    }

    #[test]
    fn the_meaning_counts_and_not_the_layout() {
        assert_eq!(unmet(LOCKED), "");
        let same = "# A comment\nname: ml\nchannels: [lab, more]\nvariables: {B: y, A: x}\ndependencies:\n- more::tool \
                    =2\n- numpy >=1.20,<2\n- numpy=*=py311*\n- numpy[build_number='>2']\n- sel(win): gone\n";
        assert_eq!(unmet(same), "");
    }

    #[test]
    fn what_is_not_answered_is_told_with_its_place() {
        insta::assert_snapshot!(unmet("name: mi\nchannels: [more, lab]\nplatforms: [osx-64]\ndependencies:\n- numpy >=2\n- lab::tool\n- scipy\n- pip:\n  - rich\nvariables:\n  A: z\n  C: ''\n"), @"
        the variable `B` of the lock is not in the environment
        environment.yml:1:1: the environment has `mi`, and the lock `ml`
        environment.yml:2:1: the channels are `https://conda.anaconda.org/more/`, `https://conda.anaconda.org/lab/`, and it was locked from `https://conda.anaconda.org/lab/`, `https://conda.anaconda.org/more/`
        environment.yml:3:1: the platforms are `osx-64`, and the lock is for `linux-64`
        environment.yml:5:3: `numpy >=2` is asked for, and numpy 1.26.4 py311_3 is locked
        environment.yml:6:3: `lab::tool` is asked for, and `https://conda.anaconda.org/more/noarch/tool-2.0-0.conda` is locked
        environment.yml:7:3: `scipy` is asked for, and nothing of it is locked
        environment.yml:9:5: `pip` is asked for, and nothing of it is locked
        environment.yml:9:5: `rich` is asked for, and nothing of it is locked
        environment.yml:11:3: the variable `A` has another value in the lock
        environment.yml:12:3: the variable `C` is not in the lock
        ");
        insta::assert_snapshot!(unmet("name: ml\nchannels: [lab, more]\ndependencies: [more::tool]\n"), @"
        `numpy >=1.20` was asked for when it was locked, but no longer is
        the variable `A` of the lock is not in the environment
        the variable `B` of the lock is not in the environment
        ");
    }

    #[test]
    fn the_hash_does_not_make_up_for_packages() {
        let mut lock = lock(PACKAGES);
        lock.packages.remove(0);
        assert_eq!(lock.check(&environment(LOCKED)).len(), 1);
    }

    #[test]
    fn what_is_declared_of_the_machine_must_be_what_was_assumed() {
        let mut lock = lock(PACKAGES);
        let declared = ["__cuda=12.4".parse().unwrap(), "__osx=14".parse().unwrap()];
        lock.virtual_packages = Host::baseline(Subdir::Linux64).virtual_packages;
        let unmet: Vec<String> = lock.check_assumed(&declared).iter().map(ToString::to_string).collect();
        assert_eq!(unmet, ["`__cuda=12.4` is declared, and the lock assumes no `__cuda`"]);
        lock.virtual_packages = Host::baseline(Subdir::Linux64).with(&declared).virtual_packages;
        assert_eq!(lock.check_assumed(&declared), []);
    }
}
