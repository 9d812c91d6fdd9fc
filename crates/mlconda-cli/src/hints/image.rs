//! Hints for images that cannot be made.

use std::{io, io::ErrorKind};

use mlconda::{image::ImageError, install::InstallError};

/// The hint for an error.
pub(super) fn hint(error: &ImageError) -> Option<String> {
    let hint = match error {
        ImageError::Io(error) | ImageError::Install(InstallError::File(error)) => return file_hint(error),
        ImageError::Install(error) => return super::install::install_hint(error).map(super::without_prefix),
        ImageError::Platform(_) => "containers run Linux: lock for it with `mlconda lock --platform linux-64`",
        ImageError::Scripts(_) => {
            "`--skip-scripts` leaves the scripts out, if the packages work without. Else continue in a Dockerfile, \
             where scripts can run: `FROM` this image and `RUN mlconda install env.lock`, or docs/docker.md"
        }
        ImageError::Unbuilt(_) => {
            "take versions that have wheels, or build wheels and name them in the `pip:` list. `--skip-scripts` leaves the \
             packages out: a Dockerfile `FROM` that image can build them, with `RUN mlconda install env.lock`"
        }
        ImageError::NoProgram { .. } => {
            "name a mlconda for that platform with `--mlconda FILE`; or leave the scripts out, with `--skip-scripts`"
        }
        ImageError::WrongProgram { .. } => {
            "`--mlconda` takes the static program of mlconda for the platform of the lock"
        }
        ImageError::NoInterpreter { .. } => {
            "leave out `--base scratch`: packages need a C library, and the default base has one"
        }
        ImageError::Time(_) => "give another time with `--created SECONDS`; the default is that of the newest package",
        ImageError::TooManyLayers { .. } => "give fewer `--layers`, or a base with fewer",
        ImageError::Copy { .. } => "`--copy SRC:DST`: SRC is a file or a directory, relative to this directory",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The hint for an I/O error: `-p` is a path in the image, where nothing is written.
pub(super) fn file_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "change the permissions, or write to a directory of your own",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or set `TMPDIR` to a directory with more room if the file is in a temporary directory"
        }
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only: write to another one",
        _ => return super::io_hint(error),
    };
    Some(hint.to_owned())
}
