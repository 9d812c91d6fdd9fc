//! Checks programs of an image: their dynamic loader, and their platform.

use std::path::Path;

use mlconda_install::staged::{PackageFiles, Staging};
use mlconda_oci::Platform;
use mlconda_system::elf;
use rattler_conda_types::Subdir;

use crate::ImageError;

/// Checks that the programs of an environment find their dynamic loader in it.
pub(crate) fn check_interpreters(
    staging: &Staging,
    packages: &[PackageFiles],
    prefix: &Path,
) -> Result<(), ImageError> {
    for path in packages.iter().flat_map(|package| &package.files) {
        let place = staging.root().join(path);
        let is_program = fs_err::symlink_metadata(&place)
            .is_ok_and(|metadata| metadata.is_file() && std::os::unix::fs::MetadataExt::mode(&metadata) & 0o111 != 0);
        if !is_program {
            continue;
        }
        if let Some(interpreter) = elf::program(&place)?.and_then(|program| program.interpreter)
            && !Path::new(&interpreter).strip_prefix(prefix).is_ok_and(|path| staging.root().join(path).exists())
        {
            return Err(ImageError::NoInterpreter { file: path.clone(), interpreter });
        }
    }
    Ok(())
}

/// Checks that a file is a program for the platform of an image.
///
/// # Errors
/// If the file is not such a program, or cannot be read.
pub fn check_program(program: &Path, platform: Subdir) -> Result<(), ImageError> {
    let wanted = Platform::of(platform).and_then(|platform| machine(&platform.architecture));
    match elf::program(program)? {
        Some(found) if wanted.is_none_or(|wanted| wanted == found.machine) => Ok(()),
        _ => Err(ImageError::WrongProgram { program: program.to_owned(), platform }),
    }
}

/// The ELF number of a processor (`e_machine`), by its name in images.
fn machine(architecture: &str) -> Option<u16> {
    Some(match architecture {
        "386" => 3,
        "ppc64le" | "ppc64" => 21,
        "s390x" => 22,
        "arm" => 40,
        "amd64" => 62,
        "arm64" => 183,
        "riscv64" => 243,
        "loong64" => 258,
        _ => return None,
    })
}
