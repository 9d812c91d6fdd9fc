//! Values that all crates share: hosts, versions compared as numbers, URLs without secrets, diagnostics with a
//! location, options and results of a solve, and progress events.
//!
//! The crate never writes a file, runs a program or uses a network. Only [`host::Host::detect`] reads files.
//!
//! Read in this order: [`host`] (a platform with its virtual packages), [`dependency`] (match specs in records),
//! [`solution`], [`slim`], [`diagnostic`], [`progress`], [`redact`]. The other modules are small rules that all crates
//! follow: [`versions`], [`lenient`], [`file_name_parts`], [`sorting`], [`time`].

pub mod dependency;
pub mod diagnostic;
pub mod file_name_parts;
pub mod host;
pub mod lenient;
pub mod progress;
pub mod redact;
pub mod slim;
pub mod solution;
pub mod sorting;
pub mod time;
pub mod versions;
pub mod words;
