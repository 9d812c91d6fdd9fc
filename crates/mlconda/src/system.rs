//! What differs between operating systems, and the system calls that the standard library has no word for.

use std::{fs::File, io, os::unix::fs::PermissionsExt};

/// Sets a file's permissions, whatever the umask.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}
