//! What channels have: [`network`] is the one HTTP client, [`repodata`] what the solver may choose from.
//!
//! This crate talks to servers and keeps a cache of what they said. It knows nothing of locks and prefixes.

pub mod network;
pub mod repodata;
