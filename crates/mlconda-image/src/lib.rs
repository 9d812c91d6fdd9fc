//! Makes an OCI image of a lock, and tells what is in one, without a daemon, without root, for any platform on any host.
//!
//! [`make`] puts the packages together in a directory that is thrown away ([`mlconda_install::staged`]), and writes them as
//! layers: large packages alone, small ones in groups ([`Grouping`]), so that one changed package changes one layer. The
//! layers depend on the lock, the prefix and the options, and on nothing of this machine: same lock, same digest. Finished
//! layers stay in mlconda's cache ([`Workspace`]); what they are made of is their name there.
//!
//! The result is a value of [`mlconda_oci`], which knows where images go. [`Contents`] reads an image, of whoever made it.

mod application;
mod config;
mod contents;
mod error;
mod grouping;
mod gzip;
mod ignore;
mod image;
mod layer;
mod programs;
mod tar;
mod workspace;

pub use self::{
    application::{Application, Copied},
    config::Runtime,
    contents::{ContentLayer, Contents, ImageEnvironment, Limits, Origin},
    error::{ImageError, Script},
    grouping::{Grouping, Key, Sized},
    image::{Base, LATEST, LayerReport, Made, PlannedLayer, Recipe, grouping_of, make, plan_layers},
    layer::Compression,
    programs::check_program,
    workspace::Workspace,
};
