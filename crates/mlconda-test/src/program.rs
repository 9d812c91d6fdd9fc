//! Compiles the programs inside the test packages, with the `rustc` that builds the tests.
//!
//! Only real machine code with a real placeholder shows whether prefix replacement works. A checked-in binary would fit
//! one platform only, and could not be reviewed. Compiling takes about a second, so the result is cached in cargo's
//! target directory, under a hash of its input.

#![allow(clippy::disallowed_methods, reason = "which compiler to use is told by cargo in the environment")]

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{machine, package::PLACEHOLDER, sha256_hex};

/// The placeholder for the version in the stand-in for python. The package builder replaces it.
const VERSION_MARKER: &str = "_version_placehold_placehold_placehold";

/// The program that prints its prefix, its message, `$CONDA_PREFIX` and its arguments.
///
/// # Errors
///
/// If there is no `rustc`, or it fails.
pub fn prefix_report() -> io::Result<Vec<u8>> {
    compiled("prefix_report", include_str!("programs/prefix_report.rs"))
}

/// A stand-in for a version of python, which prints what it was asked to run.
///
/// # Errors
///
/// If there is no `rustc`, or it fails.
pub fn python(version: &str) -> io::Result<Vec<u8>> {
    let mut program = compiled("python", include_str!("programs/python.rs"))?;
    let marker = VERSION_MARKER.as_bytes();
    let mut found = 0;
    while let Some(start) = program.windows(marker.len()).position(|window| window == marker) {
        program[start..start + marker.len()].fill(0);
        program[start..start + version.len()].copy_from_slice(version.as_bytes());
        found += 1;
    }
    if found == 1 { Ok(program) } else { Err(io::Error::other(format!("{found} version markers in the stand-in"))) }
}

/// cargo's target directory: the nearest directory above the running program that cargo has tagged.
///
/// # Errors
///
/// If the running program is not in such a directory.
pub fn target_directory() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let tagged = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    let directory = tagged.or_else(|| program.parent());
    directory.map(Path::to_path_buf).ok_or_else(|| io::Error::other("the running program lies in no directory"))
}

/// The compiled program of a source text, from the target directory if it was compiled before.
fn compiled(name: &str, source: &str) -> io::Result<Vec<u8>> {
    let key = sha256_hex(format!("{source}{PLACEHOLDER}{VERSION_MARKER}{}", crate::host_subdir()).as_bytes());
    let directory = target_directory()?.join("mlconda-test");
    let program = directory.join(format!("{name}-{}", &key[..16]));
    if !program.is_file() {
        fs_err::create_dir_all(&directory)?;
        let work = tempfile::tempdir_in(&directory)?;
        let source_path = work.path().join(format!("{name}.rs"));
        fs_err::write(&source_path, source)?;
        // Static, so that the program runs in an empty image. If the static C library is not installed, link
        // dynamically, so that the other tests can run.
        compile(&source_path, &work.path().join(name), &["-C", "target-feature=+crt-static"])
            .or_else(|_| compile(&source_path, &work.path().join(name), &[]))?;
        fs_err::rename(work.path().join(name), &program)?;
    }
    fs_err::read(program)
}

fn compile(source: &Path, program: &Path, options: &[&str]) -> io::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--edition=2024", "-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
        .args(machine::compiler_options())
        .args(options)
        .arg(source)
        .arg("-o")
        .arg(program)
        .env("MLCONDA_TEST_PLACEHOLDER", PLACEHOLDER)
        .env("MLCONDA_TEST_VERSION_MARKER", VERSION_MARKER)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start {}: {error}", rustc.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{} failed on {}:\n{words}", rustc.display(), source.display())))
}
