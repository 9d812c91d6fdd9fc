//! Registries of images: the login files of docker and podman, and access to registries.

use std::path::{Path, PathBuf};

use mlconda::{
    network::{Client, NetworkOptions},
    oci::{ChannelRegistries, LoginOptions, Registries, RegistryOptions, login_files},
};

use super::Settings;
use crate::error::CliError;

impl Settings {
    /// The client for registries. `plain_http` lists the registries that are asked over `http://`.
    pub(crate) fn registries(&self, plain_http: &[String]) -> Result<Registries, CliError> {
        let options =
            RegistryOptions { logins: self.logins(), plain_http: plain_http.to_vec(), ..RegistryOptions::default() };
        Ok(Registries::new(Client::for_registries(&self.network_options()?)?, options))
    }

    /// The client for channels in registries.
    pub(super) fn channel_registries(&self, network: &NetworkOptions) -> ChannelRegistries {
        let options = RegistryOptions { logins: self.logins(), ..RegistryOptions::default() };
        ChannelRegistries::new(network.clone(), options)
    }

    fn logins(&self) -> LoginOptions {
        let told = |name: &str| self.variable(name).map(|path| self.absolute(Path::new(path)));
        let home = |place: &str| self.home.as_ref().map(|home| home.join(place));
        let [auth_file, runtime]: [Option<PathBuf>; 2] = ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"].map(told);
        let config = told("XDG_CONFIG_HOME").or_else(|| home(".config"));
        let docker = told("DOCKER_CONFIG").or_else(|| home(".docker"));
        LoginOptions {
            files: login_files(auth_file.as_deref(), runtime.as_deref(), config.as_deref(), docker.as_deref()),
            variables: self.raw_variables.clone(),
        }
    }
}
