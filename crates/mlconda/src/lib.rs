//! Turns a conda `environment.yml` into a fully pinned lock, and a lock into a prefix.
//!
//! Every stage's value has a name, and functions lead from one to the next:
//!
//! | what | made by | from |
//! |---|---|---|
//! | [`environment::Environment`] | [`Environment::parse`](environment::Environment::parse) | the text of an `environment.yml` (CEP-24) |
//! | [`host::Host`] | [`Host::baseline`](host::Host::baseline) | a platform; what is assumed of the machine, not detected |
//! | [`repodata::Repodata`] | [`repodata::load`] | the channels, over a network or from a directory |
//! | [`solve::Solution`] | [`solve::solve()`] | the three above, and nothing else; with the host that it is for |
//! | [`lock::Lock`] | [`Lock::new`](lock::Lock::new), [`Lock::read`](lock::Lock::read) | a solution, or an @EXPLICIT file (CEP-23) |
//! | [`plan::Plan`] | [`Plan::new`](plan::Plan::new) | a lock and a [`prefix::Prefix`] |
//! | [`install::Report`] | [`install::install`] | a plan, carried out |
//! | [`verify::Verification`] | [`verify::verify`] | a prefix, its records and, if there is one, its lock |
//!
//! [`activate`] then says what a process in the environment sees. [`records::complete`] gives the packages of a lock their
//! records; a [`graph::Graph`] is made of that, and [`sbom::sbom`].
//!
//! # Features
//!
//! All but `rattler` are on by default. Without any, the library reads environments, @EXPLICIT locks and prefixes,
//! plans, verifies, exports and activates; no network is compiled.
//!
//! | feature | what it adds | with it |
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
//! # The whole way
//!
//! When this example is tested, `text` names a channel in a directory beside it; a channel's name or URL would do as well.
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
//!     // What is wanted. Reading depends on the text and on these options only; `directory` is what paths are relative to.
//!     let options = ReadOptions { directory: here.to_owned(), ..ReadOptions::default() };
//!     let environment = Environment::parse(text, Path::new("environment.yml"), &options)?;
//!
//!     // Of which machine, and what the channels have for it.
//!     let host = Host::baseline(Subdir::Linux64);
//!     let environment = environment.for_platform(host.platform);
//!     let client = Client::new(&NetworkOptions::default())?;
//!     let cache = RepodataOptions { cache_directory: here.join("cache"), access: Access::Online, now: SystemTime::now() };
//!     let repodata = repodata::load(&client, &environment, &host, &cache, &()).await?;
//!
//!     // The answer, and the oldest host that it needs: packages may want a newer `__glibc` than the baseline has. It is
//!     // pinned: dependencies first, each package by its URL and sha256.
//!     let (solution, host) = solve(&environment, &repodata, &host, &[], &SolveOptions::default())?;
//!     Lock::new(&environment, &host, &solution)?.write(&here.join("env.lock"))?;
//!
//!     // On another day, on another machine: the lock is all that is needed.
//!     let lock = Lock::read(&here.join("env.lock"), &Expansion::default())?;
//!     let names: Vec<&str> = lock.packages.iter().map(|package| package.name.as_str()).collect();
//!     assert_eq!(names, ["words", "greeting"]);
//!
//!     // What is to be done is a value, to be looked at or to be carried out.
//!     let prefix = Prefix::open(here.join("envs/hello"))?;
//!     let plan = Plan::new(&lock, &prefix)?;
//!     assert_eq!(plan.link.len(), 2);
//!     let how = Options { bytecode: Bytecode::Skip, ..Options::default() };
//!     let report = install(&plan, &client, &prefix, &how, &()).await?;
//!     assert_eq!((report.linked, report.files), (2, 1));
//!
//!     // Now the prefix is what the lock says, and there is nothing more to do.
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
//! The library does not print, prompt, or read environment variables, the home directory or the clock: all of these come
//! in as values ([`environment::ReadOptions`], [`network::NetworkOptions`], [`install::Options`] …). Give it absolute
//! paths, and the current directory means nothing to it either. (Time limits and the age of cached repodata are the
//! clock's, of course; nothing that is written depends on them.) What it has to say while it works goes through
//! [`progress::Progress`]; `&()` hears nothing.
//!
//! What waits for servers is async, and wants a tokio runtime with I/O and time. Any will do: one with a single thread,
//! since disk work has threads of its own, one with several, or `block_on` of the runtime's handle inside
//! `spawn_blocking`. Everything else is plain code; [`solve::solve()`] computes for seconds, and belongs on a thread that
//! may be busy. Each async function says whether its future may be dropped. A solve has limits
//! ([`solve::SolveLimits`]), and an installation that does not wait is stopped by [`install::Stop`].
//!
//! There is no global state: what two clients were given, such as mirrors and logins, is theirs.
//!
//! Each stage has its own error, and [`Error`] is one of any stage. Messages name the file, the line or the URL, and
//! what was asked for over the network is named without the secrets of its URL ([`network::redact`]). `Debug` of an error
//! is the same text with its causes, as `main` prints it.

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
