//! Compares a prefix with a lock ([`plan`]: the necessary changes; [`verify`]: the damage), and exports it as an
//! `environment.yml` ([`export`]). The crate reads prefixes. It never writes a file, runs a program or uses a network.
//!
//! Read in this order: [`plan`], [`verify`], [`export`], [`size`]. [`links`] finds the real paths of files that
//! packages name below links.

pub mod export;
pub mod links;
pub mod plan;
pub mod size;
pub mod verify;
