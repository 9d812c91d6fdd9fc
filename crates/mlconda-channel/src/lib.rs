//! Talks to conda channels. [`network`] is the only HTTP client, and [`repodata`] loads the records that the solver
//! chooses from. The crate uses the network and keeps a cache of repodata. It never runs a program, and has no notion
//! of locks and prefixes.
//!
//! Read in this order:
//! - [`network`]: requests a URL within limits;
//! - [`repodata`]: loads all records that an environment can reach; its page lists its modules;
//! - [`conda_archive`]: opens package archives.

pub mod conda_archive;
pub mod network;
pub mod repodata;
