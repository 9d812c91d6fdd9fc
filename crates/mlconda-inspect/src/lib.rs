//! Compares a prefix with a lock ([`plan`]: what must change; [`verify`]: what is damaged), and exports it as an
//! environment.yml ([`export`]). It reads prefixes; it never writes a file, runs a program or uses a network.
//!
//! Read in this order: [`plan`], [`verify`], [`export`], [`size`]. [`links`] says where files lie that are named below links of
//! packages.

pub mod export;
pub mod links;
pub mod plan;
pub mod size;
pub mod verify;
