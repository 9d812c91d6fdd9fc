//! The values that all of mlconda shares: platforms and virtual packages, versions compared by number, URLs without secrets,
//! complaints about a place in a file, what a solve is asked and answers, and the progress of work.
//!
//! Nothing here touches a network, and nothing but [`host::Host::detect`] reads a file.

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
