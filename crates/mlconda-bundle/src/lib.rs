//! Bundles: one file with locks and all archives that they name, to be installed where there is no network.
//!
//! A bundle is a tar without compression. Its first member, `mlconda-bundle.json`, lists all others with their size and
//! sha256, so archives are read where they lie and nothing is unpacked. Unpacked, it is a channel that conda and others
//! install from. The same locks give the same bytes. A bundle can stand behind the program that installs it
//! ([`Executable`]).
//!
//! Read in this order: `format`, the tar and its list; `bundle`, which reads one; `make`, which writes one, with `partial` (the unfinished
//! file), `items` (what belongs in it), `fill` (archives come to their places) and `documents` (what is written besides);
//! `executable`. `threads` does work on several members at once.

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
