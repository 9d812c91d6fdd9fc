//! A prefix compared with what it should be: with a lock ([`plan`]: what is to be done; [`verify`]: what is damaged), and told
//! in the words of an environment.yml ([`export`]).
//!
//! Prefixes are read here, and never changed.

pub mod export;
pub mod plan;
pub mod verify;
