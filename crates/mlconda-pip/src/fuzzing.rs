//! Functions for the fuzz targets (`fuzz/`), for parts that have no public function of their own. They are compiled
//! with `--cfg mlconda_fuzzing` only, and are not part of the library.

use std::path::Path;

use mlconda_python::tags::Tags;
use rattler_conda_types::Subdir;

use crate::{
    pylock::{self, FileSelection},
    toml as reader,
};

/// Parses the subset of TOML that `pylock.toml` uses.
///
/// # Errors
/// If a line is not understood. The error is its number.
pub fn toml(text: &str) -> Result<serde_json::Value, usize> {
    reader::parse(text)
}

/// Reads a `pylock.toml`: the names of its packages.
///
/// # Errors
/// If it is not valid. The error is the message.
pub fn pylock(text: &str) -> Result<Vec<String>, String> {
    let packages = mlconda_types::host::Host::baseline(Subdir::Linux64).virtual_packages;
    let tags = Tags::new(Subdir::Linux64, &packages, "3.11.5", "0_cpython").ok_or("no tags")?;
    let (hashes, builds) = (|_: &str| Vec::new(), |name: &str| name.len().is_multiple_of(2));
    let (directory, given) = (Path::new("/work/here"), Path::new("/work/stubs"));
    let choice = FileSelection { tags: &tags, hashes: &hashes, builds: &builds, directory, given };
    pylock::read(text, &choice).map(|found| found.packages.into_iter().map(|package| package.dist_name()).collect())
}
