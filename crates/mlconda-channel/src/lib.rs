//! Talks to conda channels: [`network`] is the one HTTP client, [`repodata`] loads the records that the solver chooses
//! from.
//!
//! This crate uses the network and keeps a cache of repodata. It knows nothing of locks and prefixes.

pub mod network;
pub mod repodata;
