//! TLS: rustls with ring, the built-in roots, and the roots from the options.

use std::{collections::HashSet, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use mlconda_system::files;
use rustls::{
    ClientConfig, Error, RootCertStore,
    crypto::{CryptoProvider, KeyProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};

use super::{NetworkError, NetworkOptions};

/// The TLS configuration: ring, the roots, and HTTP/2 if the server supports it.
pub(super) fn configuration(options: &NetworkOptions) -> Result<ClientConfig, NetworkError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for path in certificate_paths(options)? {
        let pem = files::read(&path, files::LARGEST_TEXT)?;
        // Skip certificates that rustls cannot use (version 1, odd encodings).
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    let provider = CryptoProvider { key_provider: &NoKeys, ..ring::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if cfg!(feature = "http2") {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

/// Loads no private keys, because the client never sends a certificate. So the signing code is not part of the program.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("private keys are not supported".to_owned()))
    }
}

/// The certificate files, each once: system directories also contain links to them that are named by hashes.
fn certificate_paths(options: &NetworkOptions) -> io::Result<Vec<PathBuf>> {
    let mut paths = options.certificate_files.clone();
    let number = |file: &std::fs::Metadata| (file.dev(), file.ino());
    let mut known: HashSet<_> = paths.iter().flat_map(fs_err::metadata).map(|file| number(&file)).collect();
    for directory in &options.certificate_directories {
        let mut inside =
            fs_err::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        mlconda_types::sorting::sort(&mut inside);
        inside.retain(|path| fs_err::metadata(path).is_ok_and(|file| file.is_file() && known.insert(number(&file))));
        paths.append(&mut inside);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_certificates_is_read_once_by_whatever_names() {
        let directory = tempfile::tempdir().unwrap();
        let [all, one, link] = ["all.crt", "one.pem", "0a1b2c3d.0"].map(|name| directory.path().join(name));
        fs_err::write(&all, "all").unwrap();
        fs_err::write(&one, "one").unwrap();
        std::os::unix::fs::symlink("one.pem", &link).unwrap();
        fs_err::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
        let options = NetworkOptions {
            certificate_files: vec![all.clone()],
            certificate_directories: vec![directory.path().to_owned()],
            ..NetworkOptions::default()
        };
        assert_eq!(certificate_paths(&options).unwrap(), [all, link]);
    }
}
