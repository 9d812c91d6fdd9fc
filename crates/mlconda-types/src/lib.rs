//! Values that all crates share: hosts, versions compared as numbers, URLs without secrets, diagnostics with a
//! location, options and results of a solve, and events of progress.
//!
//! Uses no network. Only [`host::Host::detect`] reads files.

pub mod dependency;
pub mod diagnostic;
pub mod file_name_parts;
pub mod host;
pub mod lenient;
pub mod progress;
pub mod redact;
pub mod solution;
pub mod sorting;
pub mod versions;
