//! Wheel tags: which wheels fit a python on a machine, and which fits best (PEP 425, PEP 600).
//!
//! The lock chooses wheels with this module, and the installation checks them with it, so both agree. The order is that
//! of pip: first the python and ABI that a wheel was built for, then the newest system that it asks for.

use rattler_conda_types::{GenericVirtualPackage, Subdir};

/// A parsed file name of a wheel (PEP 427).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WheelName<'a> {
    /// The name as in the file name.
    pub name: &'a str,
    /// The version as in the file name.
    pub version: &'a str,
    /// The build number and its suffix, which decide between wheels that fit equally well.
    pub build: Option<(u64, &'a str)>,
    pythons: Vec<&'a str>,
    abis: Vec<&'a str>,
    platforms: Vec<&'a str>,
}

impl<'a> WheelName<'a> {
    /// Parses a file name; `None` if it is not that of a wheel.
    pub fn parse(file_name: &'a str) -> Option<Self> {
        let parts: Vec<&str> = file_name.strip_suffix(".whl")?.split('-').collect();
        let (name, version, build, tags) = match parts.as_slice() {
            [name, version, tags @ ..] if tags.len() == 3 => (name, version, None, tags),
            [name, version, build, tags @ ..] if tags.len() == 3 => (name, version, Some(*build), tags),
            _ => return None,
        };
        let build = match build {
            None => None,
            Some(build) => {
                let end = build.find(|each: char| !each.is_ascii_digit()).unwrap_or(build.len());
                Some((build[..end].parse().ok()?, &build[end..]))
            }
        };
        let split = |tag: &'a str| tag.split('.').collect();
        let (pythons, abis, platforms) = (split(tags[0]), split(tags[1]), split(tags[2]));
        Some(Self { name, version, build, pythons, abis, platforms })
    }

    /// The tags as in the file name.
    #[allow(dead_code, reason = "for the messages of an installation")]
    pub fn tags(&self) -> String {
        format!("{}-{}-{}", self.pythons.join("."), self.abis.join("."), self.platforms.join("."))
    }
}

/// How well a wheel fits: less is better.
pub type Rank = (usize, usize);

/// The tags that a python on a machine accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Python and ABI tags of wheels for a platform, best first.
    interpreters: Vec<(String, String)>,
    /// Python and ABI tags of pure Python wheels, best first.
    generic: Vec<(String, String)>,
    /// Platform tags, best first.
    platforms: Vec<String>,
}

impl Tags {
    /// The tags of a CPython from conda, by the version and build string of its record, on a machine with these
    /// virtual packages. `None` if the version is invalid, or the python is not CPython 3.
    pub fn new(
        platform: Subdir,
        virtual_packages: &[GenericVirtualPackage],
        version: &str,
        build: &str,
    ) -> Option<Self> {
        let mut parts = version.split('.');
        let (major, minor) = (parts.next()?, parts.next()?);
        let minor: u64 =
            minor[..minor.find(|each: char| !each.is_ascii_digit()).unwrap_or(minor.len())].parse().ok()?;
        if major != "3" || build.contains("pypy") || build.contains("graalpy") {
            return None;
        }
        let python = format!("cp3{minor}");
        // `…_cp313t` of conda-forge is free-threaded and has another ABI.
        let free = build.ends_with('t') && build.rsplit_once('_').is_some_and(|(_, abi)| abi.starts_with("cp3"));
        let abi = match free {
            true => format!("{python}t"),
            // Until 3.7 the ABI tag had the letter of the memory allocator.
            false if minor < 8 => format!("{python}m"),
            false => python.clone(),
        };
        let mut interpreters = vec![(python.clone(), abi)];
        if !free {
            interpreters.push((python.clone(), "abi3".to_owned()));
        }
        interpreters.push((python.clone(), "none".to_owned()));
        if !free {
            interpreters.extend((2..minor).rev().map(|older| (format!("cp3{older}"), "abi3".to_owned())));
        }
        let pythons = [format!("py3{minor}"), "py3".to_owned()].into_iter();
        let pythons: Vec<String> = pythons.chain((0..minor).rev().map(|older| format!("py3{older}"))).collect();
        let without_abi = |python: &String| (python.clone(), "none".to_owned());
        interpreters.extend(pythons.iter().map(without_abi));
        let generic = std::iter::once(&python).chain(&pythons).map(without_abi).collect();
        Some(Self { interpreters, generic, platforms: platforms(platform, virtual_packages) })
    }

    /// How well a wheel fits; `None` if it does not.
    pub fn rank(&self, wheel: &WheelName<'_>) -> Option<Rank> {
        let place = |list: &[(String, String)]| {
            list.iter().position(|(python, abi)| {
                wheel.pythons.contains(&python.as_str()) && wheel.abis.contains(&abi.as_str())
            })
        };
        let platform = self.platforms.iter().position(|platform| wheel.platforms.contains(&platform.as_str()));
        match (place(&self.interpreters), platform) {
            (Some(interpreter), Some(platform)) => Some((interpreter, platform)),
            _ if wheel.platforms.contains(&"any") => Some((self.interpreters.len() + place(&self.generic)?, 0)),
            _ => None,
        }
    }

    /// The best tag, such as `cp311-cp311-manylinux_2_28_x86_64`, for messages.
    pub fn best(&self) -> String {
        let (python, abi) = self.interpreters.first().map_or(("", ""), |(python, abi)| (python, abi));
        format!("{python}-{abi}-{}", self.platforms.first().map_or("any", String::as_str))
    }
}

/// The first two numbers of the version of a virtual package.
pub fn virtual_version(packages: &[GenericVirtualPackage], name: &str) -> Option<(u64, u64)> {
    let package = packages.iter().find(|package| package.name.as_normalized() == name)?;
    let version = package.version.to_string();
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next().flatten().unwrap_or(0)))
}

/// The platform tags of a machine, best first.
fn platforms(platform: Subdir, packages: &[GenericVirtualPackage]) -> Vec<String> {
    match platform {
        Subdir::OsxArm64 => macos("arm64", virtual_version(packages, "__osx").unwrap_or((13, 0))),
        Subdir::Osx64 => macos("x86_64", virtual_version(packages, "__osx").unwrap_or((13, 0))),
        Subdir::Win64 => vec!["win_amd64".to_owned()],
        Subdir::Win32 => vec!["win32".to_owned()],
        Subdir::WinArm64 => vec!["win_arm64".to_owned()],
        _ => {
            let processor = match platform {
                Subdir::Linux64 => "x86_64",
                Subdir::Linux32 => "i686",
                Subdir::LinuxAarch64 => "aarch64",
                Subdir::LinuxPpc64le => "ppc64le",
                Subdir::LinuxS390X => "s390x",
                Subdir::LinuxRiscv64 => "riscv64",
                _ => return Vec::new(),
            };
            linux(processor, virtual_version(packages, "__glibc").unwrap_or((2, 28)))
        }
    }
}

/// manylinux tags for this glibc and all older ones (PEP 600), with the legacy names.
fn linux(processor: &str, (major, minor): (u64, u64)) -> Vec<String> {
    let oldest = if matches!(processor, "x86_64" | "i686") { 5 } else { 17 };
    let newest = if major == 2 { minor } else { 0 };
    let mut tags = Vec::new();
    for minor in (oldest..=newest).rev() {
        tags.push(format!("manylinux_2_{minor}_{processor}"));
        let older = match minor {
            17 => "manylinux2014",
            12 => "manylinux2010",
            5 => "manylinux1",
            _ => continue,
        };
        tags.push(format!("{older}_{processor}"));
    }
    tags.push(format!("linux_{processor}"));
    tags
}

/// macOS tags of this version and all older ones. From macOS 11 on, only the major version counts.
fn macos(processor: &str, (major, minor): (u64, u64)) -> Vec<String> {
    let new: &[&str] = if processor == "arm64" { &["arm64", "universal2"] } else { &["x86_64", "universal2"] };
    // arm64 begins with macOS 11. Universal wheels have had their tag since then, too.
    let old: &[&str] = match processor {
        "arm64" => &["universal2"],
        _ => &["x86_64", "intel", "fat64", "fat32", "universal2", "universal"],
    };
    let newer = (11..=major).rev().flat_map(|major| new.iter().map(move |kind| format!("macosx_{major}_0_{kind}")));
    let newest_old = if major > 10 { 16 } else { minor };
    let older =
        (4..=newest_old).rev().flat_map(|minor| old.iter().map(move |kind| format!("macosx_10_{minor}_{kind}")));
    newer.chain(older).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlconda_types::host::Host;

    fn tags(platform: Subdir, version: &str, build: &str) -> Tags {
        Tags::new(platform, &Host::baseline(platform).virtual_packages, version, build).unwrap()
    }

    /// The wheels that fit, best first.
    fn sorted<'a>(tags: &Tags, wheels: &[&'a str]) -> Vec<&'a str> {
        let parse = |tag: &'a str| (tag, format!("a-1-{tag}.whl"));
        let mut fitting: Vec<(Rank, &str)> = wheels
            .iter()
            .map(|tag| parse(tag))
            .filter_map(|(tag, file)| Some((tags.rank(&WheelName::parse(&file)?)?, tag)))
            .collect();
        mlconda_types::sorting::sort(&mut fitting);
        fitting.into_iter().map(|(_, tag)| tag).collect()
    }

    #[test]
    fn names_are_taken_apart() {
        let wheel = WheelName::parse("torch-2.1.0+cu118-1a-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl");
        let wheel = wheel.unwrap();
        assert_eq!((wheel.name, wheel.version, wheel.build), ("torch", "2.1.0+cu118", Some((1, "a"))));
        assert_eq!(wheel.tags(), "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64");
        assert_eq!(WheelName::parse("torch-2.1.0-cp311-cp311.whl"), None);
        assert_eq!(WheelName::parse("torch-2.1.0-x-cp311-cp311-any.whl"), None);
        assert_eq!(WheelName::parse("torch-2.1.0.tar.gz"), None);
    }

    #[test]
    fn the_best_wheel_is_the_one_that_pip_takes() {
        let wheels = [
            "py2.py3-none-any",
            "py3-none-any",
            "py311-none-any",
            "py312-none-any",
            "py3-none-manylinux_2_17_x86_64",
            "cp36-abi3-manylinux1_x86_64",
            "cp312-abi3-manylinux_2_17_x86_64",
            "cp311-abi3-manylinux_2_28_x86_64",
            "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "cp311-cp311-manylinux_2_28_x86_64",
            "cp311-cp311-manylinux_2_31_x86_64",
            "cp311-cp311-musllinux_1_2_x86_64",
            "cp311-cp311-manylinux_2_17_aarch64",
            "cp311-cp311-linux_x86_64",
            "cp311-none-any",
            "cp310-cp310-manylinux_2_17_x86_64",
        ];
        let linux = tags(Subdir::Linux64, "3.11.9", "hb806964_0_cpython");
        assert_eq!(linux.best(), "cp311-cp311-manylinux_2_28_x86_64");
        assert_eq!(
            sorted(&linux, &wheels),
            [
                "cp311-cp311-manylinux_2_28_x86_64",
                "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
                "cp311-cp311-linux_x86_64",
                "cp311-abi3-manylinux_2_28_x86_64",
                "cp36-abi3-manylinux1_x86_64",
                "py3-none-manylinux_2_17_x86_64",
                "cp311-none-any",
                "py311-none-any",
                "py2.py3-none-any",
                "py3-none-any",
            ]
        );
    }

    #[test]
    fn platforms_are_told_apart() {
        let wheels = [
            "cp311-cp311-macosx_10_9_x86_64",
            "cp311-cp311-macosx_10_9_universal2",
            "cp311-cp311-macosx_11_0_arm64",
            "cp311-cp311-macosx_14_0_arm64",
            "cp311-cp311-win_amd64",
            "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64",
        ];
        let of = |platform| sorted(&tags(platform, "3.11.9", ""), &wheels);
        assert_eq!(of(Subdir::OsxArm64), ["cp311-cp311-macosx_11_0_arm64", "cp311-cp311-macosx_10_9_universal2"]);
        assert_eq!(of(Subdir::Osx64), ["cp311-cp311-macosx_10_9_x86_64", "cp311-cp311-macosx_10_9_universal2"]);
        assert_eq!(of(Subdir::Win64), ["cp311-cp311-win_amd64"]);
        assert_eq!(of(Subdir::LinuxAarch64), ["cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64"]);
    }

    #[test]
    fn the_abi_is_that_of_the_build() {
        let free = tags(Subdir::Linux64, "3.13.1", "h9a34b6e_5_cp313t");
        let wheels = ["cp313-cp313-linux_x86_64", "cp313-cp313t-linux_x86_64", "cp39-abi3-linux_x86_64"];
        assert_eq!(sorted(&free, &wheels), ["cp313-cp313t-linux_x86_64"]);
        assert_eq!(sorted(&tags(Subdir::Linux64, "3.7.1", "x"), &["cp37-cp37m-linux_x86_64"]).len(), 1);
        assert_eq!(Tags::new(Subdir::Linux64, &[], "3.9.18", "0_73_pypy"), None);
        assert_eq!(Tags::new(Subdir::Linux64, &[], "2.7.15", "h9bab390_6"), None);
    }
}
