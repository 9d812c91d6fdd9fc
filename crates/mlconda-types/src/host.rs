//! The host: the platform and virtual packages that an environment is for.
//!
//! A lock must not depend on the machine that makes it, so locking detects nothing: it uses the [`Host::baseline`] of
//! the platform and the user's overrides. Detection ([`Host::detect`]) is for `info`, and for checking whether a lock
//! fits the machine that it is installed on.
//!
//! The baselines are the oldest systems of current images and runners, as other tools assume when they lock for
//! another machine. If the channels have nothing for such an old system, a solve raises the version
//! (`mlconda_solve::solve`), and `install` compares the needs of the chosen packages with the machine.
//!
//! | platforms | virtual packages | because |
//! |---|---|---|
//! | all Linux | `__unix=0=0`, `__linux=4.18=0`, `__glibc=2.28=0` | RHEL 8 and Debian 10, below every supported base image |
//! | linux-riscv64 | `__glibc=2.39=0` instead | no channel builds for an older one |
//! | osx-64, osx-arm64 | `__unix=0=0`, `__osx=13.0=0` | the oldest macOS that conda-forge's compilers target by default |
//! | win-64, win-arm64 | `__win=10.0=0` | the oldest Windows that is still supported |
//! | each | `__archspec=1=NAME` | the generic processor of the platform; `m1` for osx-arm64 |
//!
//! No baseline has `__cuda`: a GPU is declared, never assumed.

mod detect;

use std::{path::Path, str::FromStr};

use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version, package::BuildString};

/// A host: declared, or detected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The platform.
    pub platform: Subdir,
    /// The virtual packages (CEP-30), sorted by name.
    pub virtual_packages: Vec<GenericVirtualPackage>,
}

impl Host {
    /// The baseline of a platform, which a lock assumes by default.
    pub fn baseline(platform: Subdir) -> Self {
        let mut packages = Vec::new();
        if platform.is_unix() {
            packages.extend(package("__unix", "0", "0"));
        }
        if platform.is_linux() {
            let glibc = if platform == Subdir::LinuxRiscv64 { "2.39" } else { "2.28" };
            packages.extend(package("__linux", "4.18", "0"));
            packages.extend(package("__glibc", glibc, "0"));
        }
        if platform.is_osx() {
            packages.extend(package("__osx", "13.0", "0"));
        }
        if platform.is_windows() {
            packages.extend(package("__win", "10.0", "0"));
        }
        packages.extend(processor(platform).and_then(|name| package("__archspec", "1", name)));
        Self::new(platform, packages)
    }

    /// Detects the platform and the virtual packages of this machine. `root` is the directory that contains `/lib`,
    /// `/proc` and so on: `/` for the machine itself.
    ///
    /// Runs no program and loads no library, so a static binary in a distroless or Alpine image finds the facts of that
    /// image. Facts that cannot be found are left out.
    pub fn detect(root: &Path) -> Self {
        let platform = Subdir::current().unwrap_or(Subdir::NoArch);
        Self::new(platform, detect::virtual_packages(root, platform))
    }

    /// Replaces, adds or removes virtual packages.
    ///
    /// Virtual packages that the platform cannot have (`__osx` on Linux, `__glibc` on macOS) are ignored, so that the
    /// same overrides serve several platforms.
    #[must_use]
    pub fn with(self, overrides: &[Override]) -> Self {
        let Self { platform, mut virtual_packages } = self;
        for Override { name, package } in overrides {
            if can_have(platform, name) {
                virtual_packages.retain(|package| package.name.as_normalized() != name);
                virtual_packages.extend(package.clone());
            }
        }
        Self::new(platform, virtual_packages)
    }

    fn new(platform: Subdir, mut virtual_packages: Vec<GenericVirtualPackage>) -> Self {
        crate::sorting::sort(&mut virtual_packages);
        Self { platform, virtual_packages }
    }
}

/// A virtual package that the user declares: `__cuda=12.4`, or `__cuda=` for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The name, with its underscores.
    pub name: String,
    /// The package; `None` if it is declared to be missing.
    pub package: Option<GenericVirtualPackage>,
}

/// An invalid declaration of a virtual package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// There is no `=`.
    #[error("`{0}` is not a virtual package: expected `NAME=VERSION` or `NAME=VERSION=BUILD`, as in `__cuda=12.4`")]
    Form(String),
    /// The name is not valid for a virtual package.
    #[error("`{0}` is not the name of a virtual package: these begin with two underscores, as in `__cuda`")]
    Name(String),
    /// The version or build string is invalid.
    #[error("`{value}` is not a version that `{name}` can have")]
    Value {
        /// The virtual package's name.
        name: String,
        /// The given value.
        value: String,
    },
}

impl FromStr for Override {
    type Err = OverrideError;

    /// Parses `NAME=VERSION[=BUILD]`. An empty version declares that the package is missing.
    fn from_str(text: &str) -> Result<Self, OverrideError> {
        let (name, value) = text.split_once('=').ok_or_else(|| OverrideError::Form(text.to_owned()))?;
        let name = name.trim().to_lowercase();
        if !name.starts_with("__") || name.len() < 3 || PackageName::from_str(&name).is_err() {
            return Err(OverrideError::Name(name));
        }
        Self::declare(name, value.trim())
    }
}

impl Override {
    /// The overrides in environment variables such as `CONDA_OVERRIDE_CUDA=12.4` (CEP-30), sorted by name. An empty
    /// value declares that the package is missing.
    ///
    /// # Errors
    /// If a value is not a version.
    pub fn from_variables<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<Self>, OverrideError> {
        let mut overrides = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("CONDA_OVERRIDE_")?, value)))
            // Some of conda's settings have the same prefix.
            .filter(|(name, _)| ["ARCHSPEC", "CUDA", "GLIBC", "LINUX", "OSX", "WIN"].contains(name))
            .map(|(name, value)| Self::declare(format!("__{}", name.to_lowercase()), value.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        crate::sorting::sort_by(&mut overrides, |left, right| left.name.cmp(&right.name));
        Ok(overrides)
    }

    fn declare(name: String, value: &str) -> Result<Self, OverrideError> {
        if value.is_empty() {
            return Ok(Self { name, package: None });
        }
        // The build string names the processor; the version is always 1.
        let (version, build) = match value.split_once('=') {
            Some((version, build)) => (version, build),
            None if name == "__archspec" => ("1", value),
            None => (value, "0"),
        };
        match package(&name, version, build) {
            Some(package) => Ok(Self { name, package: Some(package) }),
            None => Err(OverrideError::Value { name, value: value.to_owned() }),
        }
    }
}

/// Makes a virtual package, if its name, version and build string are valid.
fn package(name: &str, version: &str, build: &str) -> Option<GenericVirtualPackage> {
    Some(GenericVirtualPackage {
        name: PackageName::from_str(name).ok()?,
        version: Version::from_str(version).ok()?,
        build_string: BuildString::from_str(build).ok()?,
    })
}

/// Whether a platform can have a virtual package.
fn can_have(platform: Subdir, name: &str) -> bool {
    match name {
        "__linux" | "__glibc" => platform.is_linux(),
        "__osx" => platform.is_osx(),
        "__win" => platform.is_windows(),
        "__unix" => platform.is_unix(),
        _ => true,
    }
}

/// The generic processor of a platform, by its archspec name.
fn processor(platform: Subdir) -> Option<&'static str> {
    Some(match platform {
        Subdir::Linux32 | Subdir::Win32 => "x86",
        Subdir::Linux64 | Subdir::Osx64 | Subdir::Win64 => "x86_64",
        Subdir::LinuxAarch64 | Subdir::WinArm64 => "aarch64",
        Subdir::OsxArm64 => "m1",
        Subdir::LinuxPpc64le => "ppc64le",
        Subdir::LinuxS390X => "s390x",
        Subdir::LinuxRiscv64 => "riscv64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: &Host) -> String {
        host.virtual_packages.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn baselines_are_what_the_table_says() {
        let of = |platform| text(&Host::baseline(platform));
        assert_eq!(of(Subdir::Linux64), "__archspec=1=x86_64 __glibc=2.28=0 __linux=4.18=0 __unix=0=0");
        assert_eq!(of(Subdir::LinuxAarch64), "__archspec=1=aarch64 __glibc=2.28=0 __linux=4.18=0 __unix=0=0");
        assert_eq!(of(Subdir::OsxArm64), "__archspec=1=m1 __osx=13.0=0 __unix=0=0");
        assert_eq!(of(Subdir::Win64), "__archspec=1=x86_64 __win=10.0=0");
        assert_eq!(of(Subdir::NoArch), "");
    }

    #[test]
    fn overrides_replace_add_and_remove_but_never_what_a_platform_cannot_have() {
        let overrides: Vec<Override> = ["__cuda=12.4", "__glibc=2.35", "__archspec=x86_64_v3", "__osx=14", "__linux="]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(
            text(&Host::baseline(Subdir::Linux64).with(&overrides)),
            "__archspec=1=x86_64_v3 __cuda=12.4=0 __glibc=2.35=0 __unix=0=0"
        );
    }

    #[test]
    fn variables_are_read_as_conda_reads_them() {
        let variables = [("PATH", "/bin"), ("CONDA_OVERRIDE_GLIBC", "2.31"), ("CONDA_OVERRIDE_CUDA", "")];
        let overrides = Override::from_variables(variables).unwrap();
        assert_eq!(overrides[0], Override { name: "__cuda".into(), package: None });
        assert_eq!(overrides[1].package.as_ref().unwrap().to_string(), "__glibc=2.31=0");
    }

    #[test]
    fn what_is_no_virtual_package_is_refused_with_an_example() {
        let error = |text: &str| text.parse::<Override>().unwrap_err().to_string();
        insta::assert_snapshot!(error("__cuda"), @"`__cuda` is not a virtual package: expected `NAME=VERSION` or `NAME=VERSION=BUILD`, as in `__cuda=12.4`");
        insta::assert_snapshot!(error("cuda=12"), @"`cuda` is not the name of a virtual package: these begin with two underscores, as in `__cuda`");
        insta::assert_snapshot!(error("__cuda=>=12"), @"`>=12` is not a version that `__cuda` can have");
    }
}
