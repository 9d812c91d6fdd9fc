//! Compares a prefix with a lock ([`plan`]: what must change; [`verify`]: what is damaged), and exports it as an
//! environment.yml ([`export`]). [`size`] tells where its bytes are.
//!
//! Prefixes are only read here.

pub mod export;
pub mod plan;
pub mod size;
pub mod verify;
