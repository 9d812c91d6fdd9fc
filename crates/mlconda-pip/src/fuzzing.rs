//! The way in for the fuzz targets (`fuzz/`), which look at parts that have no public function of their own. It is compiled
//! with `--cfg mlconda_fuzzing` only, and is no part of the library.

use std::path::Path;

use mlconda_python::tags::Tags;
use rattler_conda_types::Subdir;

use crate::{
    pylock::{self, FileSelection},
    toml as reader,
};

/// Reads TOML as `pylock.toml` has it.
///
/// # Errors
/// The line that is not understood.
pub fn toml(text: &str) -> Result<serde_json::Value, usize> {
    reader::parse(text)
}

/// Reads a `pylock.toml`: the names of its packages.
///
/// # Errors
/// If it is none.
pub fn pylock(text: &str) -> Result<Vec<String>, String> {
    let packages = mlconda_types::host::Host::baseline(Subdir::Linux64).virtual_packages;
    let tags = Tags::new(Subdir::Linux64, &packages, "3.11.5", "0_cpython").ok_or("no tags")?;
    let (hashes, builds) = (|_: &str| Vec::new(), |name: &str| name.len().is_multiple_of(2));
    let (directory, given) = (Path::new("/work/here"), Path::new("/work/stubs"));
    let choice = FileSelection { tags: &tags, hashes: &hashes, builds: &builds, directory, given };
    pylock::read(text, &choice).map(|found| found.packages.into_iter().map(|package| package.dist_name()).collect())
}
