//! Network settings from the environment of the process: certificates, proxies, logins of other tools and mirrors.

use std::path::{Path, PathBuf};

use mlconda::network::{CredentialFile, Mirror, MirrorError, NetworkOptions, Proxies};

use super::Settings;
use crate::error::CliError;

impl Settings {
    /// The network options: the certificates of the system, of `SSL_CERT_FILE` and `SSL_CERT_DIR` in addition to the
    /// built-in ones, and the proxies of curl's variables.
    pub(crate) fn network_options(&self) -> Result<NetworkOptions, CliError> {
        let system = SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.is_file());
        let named = self.variable("SSL_CERT_FILE").map(|path| self.absolute(Path::new(path)));
        // The variable can name a file of an environment that is not installed yet.
        let named = named.filter(|path| path.is_file());
        // Unreadable files are left out; TLS reports an error if one was needed.
        let readable = |path: &PathBuf| fs_err::File::open(path).is_ok();
        let directories = self.variable("SSL_CERT_DIR").unwrap_or_default().split(':').filter(|path| !path.is_empty());
        let either = |name: &str| self.variable(name).or_else(|| self.variable(&name.to_uppercase()));
        let proxy = |name: &str| either(name).or_else(|| either("all_proxy")).map(str::to_owned);
        let options = NetworkOptions {
            certificate_files: system.into_iter().chain(named).filter(readable).collect(),
            // Images set this variable to directories that do not exist.
            certificate_directories: directories
                .map(|path| self.absolute(Path::new(path)))
                .filter(|path| path.is_dir())
                .collect(),
            proxies: Proxies {
                http: proxy("http_proxy"),
                https: proxy("https_proxy"),
                except: either("no_proxy").map(str::to_owned),
            },
            credential_files: self.credential_files(),
            channel_logins: self.channel_urls.clone(),
            mirrors: self.mirrors()?,
            ..NetworkOptions::default()
        };
        Ok(self.with_registries(options))
    }

    /// Adds the access to registries, for channels at `oci://`.
    #[cfg(feature = "image")]
    fn with_registries(&self, options: NetworkOptions) -> NetworkOptions {
        let registry = Some(std::sync::Arc::new(self.channel_registries(&options)) as _);
        NetworkOptions { registry, ..options }
    }

    /// Returns the options unchanged: this program has no access to registries.
    #[cfg(not(feature = "image"))]
    fn with_registries(&self, options: NetworkOptions) -> NetworkOptions {
        options
    }

    /// The files with logins of other tools: pixi and rattler, mamba, curl.
    fn credential_files(&self) -> Vec<CredentialFile> {
        let told = |variable: &str| self.variable(variable).map(|path| self.absolute(Path::new(path)));
        let home = |place: &str| self.home.as_ref().map(|home| home.join(place));
        let there = |path: Option<PathBuf>| path.filter(|path| path.is_file());
        [
            there(told("RATTLER_AUTH_FILE").or_else(|| home(".rattler/credentials.json"))).map(CredentialFile::Rattler),
            there(home(".mamba/auth/authentication.json")).map(CredentialFile::Mamba),
            there(told("NETRC").or_else(|| home(".netrc"))).map(CredentialFile::Netrc),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// `MLCONDA_MIRRORS`: `URL=URL`, separated by white space.
    fn mirrors(&self) -> Result<Vec<Mirror>, CliError> {
        let parse = |text: &str| {
            let wrong =
                |error: MirrorError| CliError::world(format!("`MLCONDA_MIRRORS` has `{text}`"), error.to_string());
            text.parse().map_err(wrong)
        };
        self.variable("MLCONDA_MIRRORS").unwrap_or_default().split_whitespace().map(parse).collect()
    }
}

/// The files with trusted certificates of different systems.
const SYSTEM_CERTIFICATES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL and similar
    "/etc/pki/tls/certs/ca-bundle.crt",                  // older versions of these
    "/etc/ssl/ca-bundle.pem",                            // openSUSE
    "/etc/ssl/cert.pem",                                 // macOS, Alpine
    "/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD
];
