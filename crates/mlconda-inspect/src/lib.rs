//! Compares a prefix with a lock ([`plan`]: what must change; [`verify`]: what is damaged), and exports it as an
//! environment.yml ([`export`]). It reads prefixes; it never writes a file, runs a program or uses a network.
//!
//! Read in this order: [`plan`], [`verify`], [`export`], [`size`].

pub mod export;
pub mod plan;
pub mod size;
pub mod verify;
