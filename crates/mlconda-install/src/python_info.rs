//! The paths of a prefix's python, which are the targets of noarch python packages (CEP 34). Uses the directory layout
//! of Unix.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use rattler_conda_types::{PackageRecord, Version};

/// The python of a prefix. Paths are relative to the prefix.
#[derive(Clone, Debug)]
pub(crate) struct PythonInfo {
    /// Major and minor version.
    pub(crate) short_version: (u64, u64),
    /// The path of the interpreter.
    path: PathBuf,
    /// The path of `site-packages`.
    pub(crate) site_packages_path: PathBuf,
}

impl PythonInfo {
    /// The directory of commands.
    pub(crate) const COMMANDS: &str = "bin";

    /// Takes the record of python. `None` if its version has no minor number.
    pub(crate) fn from_record(record: &PackageRecord) -> Option<Self> {
        Self::from_version(record.version.version(), record.python_site_packages_path.as_deref())
    }

    /// Takes the version of python, and the path of `site-packages` in its record (CEP 17).
    pub(crate) fn from_version(version: &Version, site_packages: Option<&str>) -> Option<Self> {
        let (major, minor) = version.as_major_minor()?;
        let library = || format!("lib/python{major}.{minor}/site-packages");
        Some(Self {
            short_version: (major, minor),
            path: format!("bin/python{major}.{minor}").into(),
            site_packages_path: site_packages.map_or_else(library, str::to_owned).into(),
        })
    }

    /// The path of the interpreter.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path in the prefix of a file of a noarch python package.
    pub(crate) fn target<'a>(&self, path: &'a Path) -> Cow<'a, Path> {
        if let Ok(rest) = path.strip_prefix("site-packages") {
            self.site_packages_path.join(rest).into()
        } else if let Ok(rest) = path.strip_prefix("python-scripts") {
            Path::new(Self::COMMANDS).join(rest).into()
        } else {
            path.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::Subdir;

    use super::*;

    /// The layout is that of rattler, which other installers use, too.
    #[test]
    fn the_layout_is_that_of_rattler() {
        for (version, site_packages) in
            [("3.11.9", None), ("2.7", None), ("3.13.0rc1", Some("lib/python3.13t/site-packages")), ("3.14.0a1", None)]
        {
            let version: Version = version.parse().unwrap();
            let ours = PythonInfo::from_version(&version, site_packages).unwrap();
            let theirs = rattler::install::PythonInfo::from_version(&version, site_packages, Subdir::Linux64).unwrap();
            assert_eq!(ours.short_version, theirs.short_version);
            assert_eq!(ours.path(), theirs.path());
            assert_eq!(ours.site_packages_path, theirs.site_packages_path);
            assert_eq!(Path::new(PythonInfo::COMMANDS), theirs.bin_dir);
            for path in ["site-packages/x/y.py", "python-scripts/tool", "share/x", "site-packages-x/y", "bin/z", "x"] {
                let path = Path::new(path);
                assert_eq!(ours.target(path), theirs.get_python_noarch_target_path(path), "{}", path.display());
            }
        }
        let major: Version = "3".parse().unwrap();
        let theirs = rattler::install::PythonInfo::from_version(&major, None, Subdir::Linux64);
        assert_eq!(PythonInfo::from_version(&major, None).is_none(), theirs.is_err());
    }
}
