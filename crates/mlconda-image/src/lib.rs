//! Makes an OCI image of a lock, and reads the contents of images: without a daemon, without root, for any platform on
//! any host.
//!
//! [`make`] stages the packages in a temporary directory ([`mlconda_install::staged`]), and writes them as layers:
//! large packages alone, small ones in groups ([`Grouping`]), so that one changed package changes one layer. The layers
//! depend on the lock, the prefix and the options, and not on this machine: the same lock gives the same digest.
//! Finished layers stay in mlconda's cache ([`Workspace`]) under a hash of their inputs.
//!
//! The result is a value of [`mlconda_oci`], which writes images to their places. [`Contents`] reads an image that was
//! made by any tool.

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
