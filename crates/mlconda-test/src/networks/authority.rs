//! A certificate authority that is trusted only by clients that are configured for it: X.509 (RFC 5280) with P-256
//! keys, encoded by a minimal DER writer.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::Engine as _;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The signature algorithm: ECDSA with SHA-256.
const SIGNATURE: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// The key algorithm: a point on P-256.
const KEY: &[u8] = &[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[6, 3, 0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[6, 3, 0x55, 0x1d, 19];
const TRUE: &[u8] = &[1, 1, 0xff];
/// Valid from 2020 to 2120.
const VALIDITY: (&[u8], &[u8]) = (b"200101000000Z", b"21200101000000Z");

/// An authority, with a certificate for servers on loopback.
#[derive(Clone, Debug)]
pub struct Authority {
    certificate: Vec<u8>,
    pub(super) server: Arc<rustls::ServerConfig>,
}

impl Authority {
    /// A new authority, whose server certificate is for `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    ///
    /// If a key cannot be made.
    pub fn new() -> io::Result<Self> {
        Self::for_hosts(&["localhost", "127.0.0.1", "::1"])
    }

    /// A new authority, whose server certificate is for these names and addresses.
    ///
    /// # Errors
    ///
    /// If a key cannot be made.
    pub fn for_hosts(hosts: &[&str]) -> io::Result<Self> {
        let (authority, own) = (Key::new()?, Key::new()?);
        let name = |text: &[u8]| sequence(&[&der(0x31, &sequence(&[COMMON_NAME, &der(0x0c, text)]))]);
        let (issuer, subject) = (name(b"authority of a test"), name(b"server of a test"));
        let is_authority = sequence(&[BASIC_CONSTRAINTS, TRUE, &der(4, &sequence(&[TRUE]))]);
        let certificate = authority.sign(&issuer, &issuer, &authority, &is_authority)?;
        let hosts: Vec<Vec<u8>> = hosts
            .iter()
            .map(|host| match host.parse() {
                Ok(IpAddr::V4(address)) => der(0x87, &address.octets()),
                Ok(IpAddr::V6(address)) => der(0x87, &address.octets()),
                Err(_) => der(0x82, host.as_bytes()),
            })
            .collect();
        let names = sequence(&[ALTERNATIVE_NAMES, &der(4, &der(0x30, &hosts.concat()))]);
        let leaf = authority.sign(&issuer, &subject, &own, &names)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.document));
        let mut server =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_no_client_auth()
                .with_single_cert(vec![CertificateDer::from(leaf)], key)
                .map_err(io::Error::other)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificate, server: Arc::new(server) })
    }

    /// Writes the authority's certificate into a directory, as PEM. Returns the path.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let path = directory.join("authority.pem");
        let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        fs_err::write(&path, text)?;
        Ok(path)
    }
}

/// A private key.
struct Key {
    document: Vec<u8>,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new() -> io::Result<Self> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random);
        Ok(Self { document: document.as_ref().to_vec(), pair: pair.map_err(failed)? })
    }

    /// A signed certificate for the key of `subject`, with an extension.
    fn sign(&self, issuer: &[u8], subject: &[u8], key: &Self, extension: &[u8]) -> io::Result<Vec<u8>> {
        let point = [&[0], key.pair.public_key().as_ref()].concat();
        let body = sequence(&[
            &der(0xa0, &der(2, &[2])),
            &der(2, &[1 + u8::from(issuer != subject)]),
            SIGNATURE,
            issuer,
            &sequence(&[&der(0x17, VALIDITY.0), &der(0x18, VALIDITY.1)]),
            subject,
            &sequence(&[KEY, &der(3, &point)]),
            &der(0xa3, &sequence(&[extension])),
        ]);
        let signature = self.pair.sign(&SystemRandom::new(), &body).map_err(failed)?;
        Ok(sequence(&[&body, SIGNATURE, &der(3, &[&[0], signature.as_ref()].concat())]))
    }
}

/// A value with its tag and its length (X.690).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|&byte| byte != 0).unwrap_or(length.len() - 1)..];
    let head = match content.len() {
        0..128 => vec![tag, length[0]],
        _ => [&[tag, 0x80 | u8::try_from(length.len()).unwrap_or(0)], length].concat(),
    };
    [&head, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

/// Converts an error of ring, which has no details.
fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
