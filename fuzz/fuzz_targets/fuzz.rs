//! All fuzz targets, in one program: each is a function of bytes, and `MLCONDA_FUZZ_TARGET` names the one that runs.
//!
//! There is one program for all, because each program would have to be linked with the library and its dependencies,
//! and linking costs more than compiling a target. `MLCONDA_FUZZ_SEEDS=DIR` writes the seeds of all targets to
//! `DIR/TARGET/` and ends: they are made here ([`seeds`]), so that the repository has no archives in it. `.ci/fuzz`
//! does both.
//!
//! A target panics at a fault of mlconda: it reads an input in another way than the library that it is compared with,
//! or it cannot read its own output. A refused input is no fault, unless the target says so.

#![no_main]

mod archive;
mod bits;
mod channel;
mod environment;
mod image;
mod lock;
mod prefix;
mod program;
mod python;
mod seeds;
mod spec;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// The function that is called with each input.
type Target = fn(&[u8]);

/// The targets by their names. Those with the least trusted input are first.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("archive", archive::archive),
    ("fill", archive::fill),
    ("bzip2", archive::bzip2),
    ("wheel", archive::wheel),
    ("info", archive::info),
    ("record", prefix::record),
    ("record_list", prefix::record_list),
    ("lock", lock::lock),
    ("environment", environment::environment),
    ("edit", environment::edit),
    ("requirements", environment::requirements),
    ("selector", spec::selector),
    ("spec", spec::spec),
    ("version", spec::version),
    ("scan", channel::scan),
    ("msgpack", channel::msgpack),
    ("dns", channel::dns),
    ("pylock", python::pylock),
    ("marker", python::marker),
    ("metadata", python::metadata),
    ("layer", image::layer),
    ("oci", image::oci),
    ("macho", program::macho),
    ("elf", program::elf),
    ("bundle", program::bundle),
    ("journal", prefix::journal),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Returns the chosen target, or writes the seeds and ends.
fn begin() {
    if let Some(directory) = std::env::var_os("MLCONDA_FUZZ_SEEDS") {
        seeds::write(directory.as_ref());
        std::process::exit(0);
    }
    let wanted = std::env::var("MLCONDA_FUZZ_TARGET").unwrap_or_default();
    let Some((_, target)) = TARGETS.iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("MLCONDA_FUZZ_TARGET has to name a target: {}", names.join(", "));
        std::process::exit(2);
    };
    CHOSEN.get_or_init(|| *target);
}

fuzz_target!(init: begin(), |data: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        target(data);
    }
});
