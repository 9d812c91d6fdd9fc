//! Locks the `pip:` list of an environment: finds uv, and passes it the indexes.

use std::path::Path;

use mlconda::{
    environment::Environment,
    host::Host,
    install,
    lock::Lock,
    network::Client,
    pip::{self, Options, PipError, Uv},
    progress::Progress,
    repodata::RepodataOptions,
    solve::Previous,
    tools::{self, Tools},
};

use super::{LockingArgs, PreviousLocks};
use crate::{context::Context, error::CliError};

/// The input of locking a list.
pub(super) struct Locking<'a> {
    pub(super) args: &'a LockingArgs,
    pub(super) before: &'a PreviousLocks,
    pub(super) client: &'a Client,
    pub(super) repodata: &'a RepodataOptions,
    /// The cache directory.
    pub(super) cache: &'a Path,
    pub(super) context: &'a Context,
    pub(super) progress: &'a dyn Progress,
}

impl Locking<'_> {
    /// Adds the `pip:` lists of environments to their locks, one after the other, so that uv's cache is used.
    pub(super) fn lock<'e>(
        &self,
        locks: impl Iterator<Item = (&'e Environment, &'e mut Lock)>,
    ) -> Result<(), CliError> {
        let mut uv = None;
        let with_lists = locks.enumerate().filter(|(_, (environment, _))| !environment.pip.is_empty());
        for (index, (environment, lock)) in with_lists {
            let previous = Previous { locks: self.before.of(index), renew: &self.before.renew };
            let host = Host { platform: lock.platform, virtual_packages: lock.virtual_packages.clone() };
            let resolver = match uv.take() {
                Some(uv) => uv,
                None => self.uv(environment)?,
            };
            let resolver = match self.with(environment, &host, lock, previous, &resolver) {
                Err(CliError::Library(mlconda::Error::Pip(PipError::NoInterpreter))) => {
                    let installed = self.install_tools(environment).map_err(|_| PipError::NoInterpreter)?;
                    let resolver = Uv { python: Some(installed.python), ..resolver };
                    self.with(environment, &host, lock, previous, &resolver)?;
                    resolver
                }
                locked => {
                    locked?;
                    resolver
                }
            };
            uv = Some(resolver);
        }
        Ok(())
    }

    fn with(
        &self,
        environment: &Environment,
        host: &Host,
        lock: &mut Lock,
        previous: Previous<'_>,
        uv: &Uv,
    ) -> Result<(), CliError> {
        let indexes = self.context.settings.pip_indexes();
        let options = Options {
            uv,
            indexes: &indexes,
            exclude_newer: self.args.exclude_newer,
            access: self.args.access(),
            previous,
            client: self.client,
        };
        Ok(self.context.block_on_or_end(pip::lock(environment, host, lock, &options, self.progress))??)
    }

    /// The uv of the machine, else the one of the channels.
    fn uv(&self, environment: &Environment) -> Result<Uv, CliError> {
        let settings = &self.context.settings;
        let (program, python) = match settings.uv() {
            Some(program) => (program, None),
            None => {
                let installed = self.install_tools(environment)?;
                (installed.uv, Some(installed.python))
            }
        };
        Ok(Uv {
            program,
            python,
            variables: settings.uv_variables(),
            cache: self.cache.join("uv"),
            certificates: settings.pip_certificates(settings.network_options()?.certificate_files),
        })
    }

    fn install_tools(&self, environment: &Environment) -> Result<tools::InstalledTools, CliError> {
        let machine = Host::detect(Path::new("/"));
        let install = install::Options {
            access: self.args.access(),
            cache: self.context.settings.package_cache(),
            script_variables: self.context.settings.script_variables(),
            ..install::Options::default()
        };
        let directory = self.cache.join("tools");
        let tools = Tools {
            client: self.client,
            repodata: self.repodata,
            machine: &machine,
            directory: &directory,
            install: &install,
        };
        Ok(self.context.block_on_or_signal(tools::install_tools(environment, &tools, self.progress))??)
    }
}
