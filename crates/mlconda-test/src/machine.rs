//! The machine under test: the machine that the tests run on, or an emulated one.
//!
//! Three variables select an emulated machine: `MLCONDA_TEST_SUBDIR` (for example `linux-aarch64`),
//! `MLCONDA_TEST_PROGRAM` (the `mlconda` for it) and `RUSTC` (a compiler that has its standard library). The kernel
//! must be set up to start its programs with an emulator (`binfmt_misc`). `.ci/emulated` sets all this up.

#![allow(clippy::disallowed_methods, reason = "which machine to test is told in the environment")]

use std::sync::OnceLock;

/// The subdir of the machine under test. Compiled test packages are for this one.
pub fn host_subdir() -> &'static str {
    told("MLCONDA_TEST_SUBDIR", &SUBDIR).unwrap_or(own_subdir())
}

/// The processor of that machine, in the spelling of OCI images.
pub fn oci_architecture() -> &'static str {
    if matches!(host_subdir(), "linux-64" | "osx-64") { "amd64" } else { "arm64" }
}

/// The program under test: `built`, unless `MLCONDA_TEST_PROGRAM` is set.
pub fn program(built: &'static str) -> &'static str {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    told("MLCONDA_TEST_PROGRAM", &PROGRAM).unwrap_or(built)
}

/// The options that let the compiler compile for the machine under test.
pub(crate) fn compiler_options() -> &'static [&'static str] {
    match host_subdir() {
        own if own == own_subdir() => &[],
        "linux-aarch64" => &["--target=aarch64-unknown-linux-gnu", "-Clinker=aarch64-linux-gnu-gcc"],
        other => panic!("test programs for {other} are not compiled on {}", own_subdir()),
    }
}

static SUBDIR: OnceLock<Option<String>> = OnceLock::new();

fn told(variable: &str, value: &'static OnceLock<Option<String>>) -> Option<&'static str> {
    value.get_or_init(|| std::env::var(variable).ok().filter(|value| !value.is_empty())).as_deref()
}

/// The subdir of the machine that this was compiled for.
const fn own_subdir() -> &'static str {
    if cfg!(target_os = "macos") {
        if cfg!(target_arch = "aarch64") { "osx-arm64" } else { "osx-64" }
    } else if cfg!(target_arch = "aarch64") {
        "linux-aarch64"
    } else {
        "linux-64"
    }
}
