//! Paths in the journal, which are written as the hexadecimal digits of their bytes. A path need not be UTF-8, but JSON
//! contains only text.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| digits(path)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|digits| path(digits)).collect()
}

fn digits(path: &Path) -> String {
    hex::encode(path.as_os_str().as_bytes())
}

fn path<E: Error>(digits: &str) -> Result<PathBuf, E> {
    Ok(OsString::from_vec(hex::decode(digits).map_err(E::custom)?).into())
}

/// The same for paths of directories, each with its attributes.
pub(super) mod with_attributes {
    use super::*;
    use mlconda_system::Attributes;

    pub(in super::super) fn serialize<S: Serializer>(
        directories: &[(PathBuf, Attributes)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(directories.iter().map(|(path, attributes)| (digits(path), attributes)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(PathBuf, Attributes)>, D::Error> {
        let directories = Vec::<(String, Attributes)>::deserialize(deserializer)?;
        directories.into_iter().map(|(digits, attributes)| Ok((path(&digits)?, attributes))).collect()
    }
}
