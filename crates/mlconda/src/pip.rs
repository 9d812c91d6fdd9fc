//! The `pip:` list: what pip would install on top of the conda packages of a lock, pinned.
//!
//! Installing needs only [`tags`].

#[allow(dead_code, reason = "locking and installing come one after the other")]
pub(crate) mod tags;
