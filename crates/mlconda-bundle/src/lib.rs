//! Bundles: one file with locks and all archives that they name, for installations without a network.
//!
//! A bundle is a tar without compression. Its first member, `mlconda-bundle.json`, lists all others with their size and
//! sha256. So archives are read from the bundle, and nothing is unpacked. An unpacked bundle is a channel for conda and
//! other tools. The same locks give the same bytes. A bundle can be appended to the program that installs it
//! ([`Executable`]).
//!
//! Read in this order: `format`, the tar and its list; `bundle`, which reads a bundle; `make`, which writes one, with
//! `partial` (the unfinished file), `items` (which archives it contains), `fill` (writes the archives) and `documents`
//! (all other members); `executable`. `threads` runs work on several members at once.

mod bundle;
mod documents;
mod error;
mod executable;
mod fill;
mod format;
mod items;
mod make;
mod partial;
mod threads;

pub use self::{
    bundle::{Bundle, Environment},
    error::BundleError,
    executable::{Executable, Program},
    make::{Contents, Made, Recipe, contents, make},
};
