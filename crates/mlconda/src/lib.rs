//! Turns a conda `environment.yml` into a fully pinned lock, and a lock into a prefix.
//!
//! Each stage has a type for its result, and functions lead from one stage to the next:
//!
//! | type | made by | from |
//! |---|---|---|
//! | [`environment::Environment`] | [`Environment::parse`](environment::Environment::parse) | the text of an `environment.yml` (CEP-24) |
//! | [`host::Host`] | [`Host::baseline`](host::Host::baseline) | a platform; it is not detected |
//! | [`repodata::Repodata`] | [`repodata::load`] | the channels, over a network or from a directory |
//! | [`solve::Solution`] | [`solve::solve()`] | the three above, and no other input; with the host of the solution |
//! | [`lock::Lock`] | [`Lock::new`](lock::Lock::new), [`Lock::read`](lock::Lock::read) | a solution, or an @EXPLICIT file (CEP-23) |
//! | [`plan::Plan`] | [`Plan::new`](plan::Plan::new) | a lock and a [`prefix::Prefix`] |
//! | [`install::Report`] | [`install::install`] | a plan, which it carries out |
//! | [`verify::Verification`] | [`verify::verify`] | a prefix, its records and, if there is one, its lock |
//!
//! [`activate`] then computes the variables of a process in the environment. [`records::complete`] adds records to the
//! packages of a lock; a [`graph::Graph`] and an SBOM ([`sbom::sbom`]) are made from these.
//!
//! # Features
//!
//! All features except `rattler` are on by default. Without any of them, the library reads environments, @EXPLICIT
//! locks and prefixes; it plans, verifies, exports and activates; and no network code is compiled.
//!
//! | feature | adds | requires |
//! |---|---|---|
//! | `network` | [`network`], [`repodata`] | |
//! | `solve` | [`solve`] | `network` |
//! | `install` | [`install`], [`records`] | `network` |
//! | `pip` | [`pip`], and with `install` [`tools`] | `solve` |
//! | `formats` | conda-lock.yml and pixi.lock in [`lock`] | |
//! | `sbom` | [`sbom`] | |
//! | `image` | [`image`], [`oci`]; channels at `oci://`, if `NetworkOptions::registry` is set | `install` |
//! | `bundle` | [`bundle`] | `install` |
//! | `rattler` | [`rattler`]: the interface of `rattler_solve`; not on by default | `solve` |
//!
//! # From an environment to a prefix
//!
//! In the test of this example, `text` names a channel in a directory beside it. A channel's name or URL works, too.
//!
//! ```
//! use std::{path::Path, time::SystemTime};
//!
//! use mlconda::{
//!     Subdir,
//!     environment::{Environment, ReadOptions},
//!     host::Host,
//!     install::{Bytecode, Options, install},
//!     lock::{Expansion, Lock},
//!     network::{Client, NetworkOptions},
//!     plan::Plan,
//!     prefix::Prefix,
//!     repodata::{self, Access, RepodataOptions},
//!     solve::{SolveOptions, solve},
//! };
//!
//! /// `text` is an environment.yml in the directory `here`.
//! async fn whole_way(text: &str, here: &Path) -> mlconda::Result<Prefix> {
//!     // The environment. Reading it depends on the text and these options only; paths are relative to `directory`.
//!     let options = ReadOptions { directory: here.to_owned(), ..ReadOptions::default() };
//!     let environment = Environment::parse(text, Path::new("environment.yml"), &options)?;
//!
//!     // The target machine, and the records that the channels have for it.
//!     let host = Host::baseline(Subdir::Linux64);
//!     let environment = environment.for_platform(host.platform);
//!     let client = Client::new(&NetworkOptions::default())?;
//!     let cache = RepodataOptions { cache_directory: here.join("cache"), access: Access::Online, now: SystemTime::now() };
//!     let repodata = repodata::load(&client, &environment, &host, &cache, &()).await?;
//!
//!     // The solution, and the oldest host that it needs: packages may need a newer `__glibc` than the baseline has.
//!     // The lock pins the solution: dependencies first, each package by its URL and sha256.
//!     let (solution, host) = solve(&environment, &repodata, &host, &[], &SolveOptions::default())?;
//!     Lock::new(&environment, &host, &solution)?.write(&here.join("env.lock"))?;
//!
//!     // On another day, on another machine: the lock is all that is needed.
//!     let lock = Lock::read(&here.join("env.lock"), &Expansion::default())?;
//!     let names: Vec<&str> = lock.packages.iter().map(|package| package.name.as_str()).collect();
//!     assert_eq!(names, ["words", "greeting"]);
//!
//!     // The plan is a value that can be inspected before it is carried out.
//!     let prefix = Prefix::open(here.join("envs/hello"))?;
//!     let plan = Plan::new(&lock, &prefix)?;
//!     assert_eq!(plan.link.len(), 2);
//!     let how = Options { bytecode: Bytecode::Skip, ..Options::default() };
//!     let report = install(&plan, &client, &prefix, &how, &()).await?;
//!     assert_eq!((report.linked, report.files), (2, 1));
//!
//!     // Now the prefix has exactly the packages of the lock, and nothing is left to do.
//!     assert!(Plan::new(&lock, &prefix)?.is_empty());
//!     Ok(prefix)
//! }
//! #
//! # use mlconda_test::{channel::Channel, package::{Noarch, PackageBuilder}};
//! # let directory = tempfile::tempdir()?;
//! # let words = PackageBuilder::new("words", "1.0").noarch(Noarch::Generic).file("share/words.txt", "hello\n");
//! # let greeting = PackageBuilder::new("greeting", "2.1").noarch(Noarch::Generic).depends("words >=1").depends("__glibc >=2.39");
//! # Channel::write(directory.path().join("channel"), &[words, greeting], &["linux-64"])?;
//! # let text = "name: hello\nchannels: [./channel]\ndependencies: [greeting >=2]\n";
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # let prefix = runtime.block_on(whole_way(text, directory.path()))?;
//! # assert_eq!(std::fs::read_to_string(prefix.path().join("share/words.txt"))?, "hello\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the library leaves to its caller
//!
//! The library does not print or prompt, and does not read environment variables, the home directory or the clock. All
//! of these are passed as values ([`environment::ReadOptions`], [`network::NetworkOptions`], [`install::Options`] …).
//! If all given paths are absolute, it does not use the current directory either. (Only time limits and the age of
//! cached repodata use the clock; no written file depends on it.) Progress is reported through [`progress::Progress`];
//! `&()` ignores it.
//!
//! Functions that wait for servers are async, and need a tokio runtime with I/O and time. Any runtime works: with one
//! thread, because disk work has its own threads; with several; or `block_on` of the runtime's handle inside
//! `spawn_blocking`. All other functions are synchronous; [`solve::solve()`] computes for seconds, so call it on a
//! thread that may block. Each async function says whether its future may be dropped. A solve has limits
//! ([`solve::SolveLimits`]), and [`install::Stop`] stops an installation that is not waiting.
//!
//! There is no global state: mirrors, logins and other options belong to one client.
//!
//! Each stage has its own error, and [`Error`] is an error of any stage. Messages name the file, the line or the URL;
//! URLs are shown without their secrets ([`network::redact`]). `Debug` of an error is the same text with its causes, as
//! `main` prints it.

pub mod error;
#[cfg(feature = "rattler")]
pub mod rattler;
#[cfg(feature = "install")]
pub mod records;
#[cfg(all(feature = "install", feature = "pip"))]
pub mod tools;

#[cfg(feature = "bundle")]
pub use mlconda_bundle as bundle;
#[cfg(feature = "network")]
pub use mlconda_channel::{network, repodata};
pub use mlconda_environment as environment;
pub use mlconda_environment::edit;
#[cfg(feature = "image")]
pub use mlconda_image as image;
pub use mlconda_inspect::{export, plan, size, verify};
#[cfg(feature = "install")]
pub use mlconda_install as install;
pub use mlconda_lock as lock;
pub use mlconda_lock::graph;
#[cfg(feature = "sbom")]
pub use mlconda_lock::sbom;
#[cfg(feature = "image")]
pub use mlconda_oci as oci;
#[cfg(feature = "pip")]
pub use mlconda_pip as pip;
pub use mlconda_prefix as prefix;
pub use mlconda_prefix::activate;
#[cfg(feature = "solve")]
pub use mlconda_solve as solve;
pub use mlconda_system::files;
pub use mlconda_types::{host, progress, redact, slim, sorting};

pub use error::{Error, Result};

/// Types of conda, re-exported from `rattler_conda_types`.
pub use rattler_conda_types::{
    Channel, GenericVirtualPackage, MatchSpec, Matches, PackageName, PackageRecord, PrefixRecord, RepoDataRecord,
    StringMatcher, Subdir, Version, VersionSpec,
};
pub use url::Url;

/// Compiles the examples of `docs/embedding.md`.
#[cfg(all(doctest, feature = "install", feature = "solve"))]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;

/// Compiles the code of the README.
#[cfg(all(doctest, feature = "install", feature = "solve"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(test)]
#[cfg(all(feature = "install", feature = "solve"))]
mod tests;
