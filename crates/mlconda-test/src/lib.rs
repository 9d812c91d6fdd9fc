//! Real conda packages, wheels, local channels and indexes, a server and a context, for the tests, the demo and the
//! benchmarks.
//!
//! Everything is generated when it is needed, from the sources of this crate. Nothing is downloaded, no binary is
//! checked in, and only a Rust toolchain is required. The generated files are deterministic, so every difference in a
//! test comes from mlconda.

mod acceptor;
pub mod channel;
pub mod context;
pub mod docs;
pub mod index;
#[cfg(target_os = "linux")]
pub mod inject;
pub mod machine;
pub mod networks;
pub mod package;
pub mod program;
pub mod registry;
pub mod server;
pub mod small;
pub mod tree;
pub mod wheel;

pub use machine::{host_subdir, oci_architecture};

/// A subdir of another platform than the machine's.
pub const fn foreign_subdir() -> &'static str {
    if cfg!(all(target_os = "macos", target_arch = "aarch64")) { "linux-64" } else { "osx-arm64" }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(rattler_digest::compute_bytes_digest::<rattler_digest::Sha256>(bytes))
}

/// The SHA-512 of bytes, in hexadecimal, for `--hash` options of pip.
pub fn sha512_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(rattler_digest::compute_bytes_digest::<sha2::Sha512>(bytes))
}

/// The MD5 of bytes, in hexadecimal, for old locks.
pub fn md5_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(rattler_digest::compute_bytes_digest::<rattler_digest::Md5>(bytes))
}

#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod source;
#[cfg(test)]
mod tests;
