//! Talks to conda channels: [`network`] is the one HTTP client, [`repodata`] loads the records that the solver chooses
//! from. It uses the network and keeps a cache of repodata; it never runs a program, and knows nothing of locks and prefixes.
//!
//! Read in this order: [`network`], from a URL to an answer within its limits; [`repodata`], from an environment to all records
//! that it can reach, whose page names its own chapters; [`conda_archive`], how an archive of a package is opened.

pub mod conda_archive;
pub mod network;
pub mod repodata;
