//! Checks locked packages against `--hash` options.
//!
//! A lock contains sha256, and most indexes have no other hash. If the list has a sha384 or a sha512, or the sha256 of
//! an archive is not known, the archive is downloaded once while locking, and all hashes are computed from the same
//! bytes.

use std::io::{self, Read};

use mlconda_channel::{network, repodata::Access};
use mlconda_environment::{EnvironmentError, requirements::PipRequirement};
use mlconda_lock::{LockedPip, PipSource};
use mlconda_system::files;
use mlconda_types::redact;
use rattler_digest::{Sha256, Sha256Hash, digest::Digest};
use sha2::{Sha384, Sha512};
use url::Url;

use super::{Options, PipError, resolution::location_of};

/// Compares packages with the `--hash` options of the lines, and computes missing sha256 hashes.
///
/// # Errors
/// If a package has none of its required hashes, has no archive, or cannot be read. The error names the line with the
/// hashes.
pub(super) async fn check(
    entries: &[PipRequirement],
    packages: &mut [LockedPip],
    options: &Options<'_>,
) -> Result<(), PipError> {
    for package in packages {
        let asking: Vec<&PipRequirement> =
            entries.iter().filter(|entry| !entry.hashes.is_empty() && is_about(entry, package)).collect();
        let Some(first) = asking.first() else { continue };
        let refuse =
            |message: String, help: &str| -> PipError { EnvironmentError::Pip(first.diagnostic(message, help)).into() };
        let name = &package.name;
        let PipSource::Archive { url, sha256, .. } = &mut package.source else {
            let message = format!("`{name}` is not an archive, which could have a hash");
            return Err(refuse(
                message,
                "remove the hash: a repository is locked by its commit, a directory by its path",
            ));
        };
        let is_asked = |hash: &String| asking.iter().any(|entry| entry.hashes.contains(hash));
        if sha256.is_some_and(|hash| is_asked(&format!("sha256:{}", hex::encode(hash)))) {
            continue;
        }
        let is_other = |hash: &String| !hash.starts_with("sha256:");
        if sha256.is_none() || asking.iter().any(|entry| entry.hashes.iter().any(is_other)) {
            let hashes = read(url, options).await.map_err(|reason| {
                refuse(
                    format!("the hash of `{name}` cannot be checked: `{}`: {reason}", redact::url(url)),
                    "a sha256 that an index tells needs no download",
                )
            })?;
            if sha256.is_some_and(|known| known != hashes.sha256) {
                let message = format!(
                    "`{}` is not what the index says: its sha256 is {}",
                    redact::url(url),
                    hex::encode(hashes.sha256)
                );
                return Err(refuse(message, "the index or the archive is damaged; report it to their maintainers"));
            }
            if hashes.all.iter().any(is_asked) {
                *sha256 = Some(hashes.sha256);
                continue;
            }
        }
        let known = sha256.map(|hash| format!(", whose sha256 is {}", hex::encode(hash))).unwrap_or_default();
        let message = format!("`{}`{known}, has not the hash that is asked for", redact::url(url));
        return Err(refuse(
            message,
            "an archive of that project was replaced, or the hash is that of another one of it",
        ));
    }
    Ok(())
}

/// Whether a line requests a package, by its name or by its location.
pub(super) fn is_about(entry: &PipRequirement, package: &LockedPip) -> bool {
    match &entry.name {
        Some(name) => *name == package.name,
        None => {
            let place = package.identity().map(String::from).unwrap_or_default();
            location_of(&entry.text) == location_of(&place)
        }
    }
}

/// The hashes of an archive.
struct Hashes {
    sha256: Sha256Hash,
    /// All hashes in the form of a requirements file: `sha512:…`.
    all: [String; 3],
}

#[derive(Default)]
struct Hasher(Sha256, Sha384, Sha512);

impl Hasher {
    fn take(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
        self.1.update(bytes);
        self.2.update(bytes);
    }

    fn end(self) -> Hashes {
        let sha256 = self.0.finalize();
        let shown = |kind: &str, hash: &[u8]| format!("{kind}:{}", hex::encode(hash));
        let all = [shown("sha256", &sha256), shown("sha384", &self.1.finalize()), shown("sha512", &self.2.finalize())];
        Hashes { sha256, all }
    }
}

/// Downloads an archive to compute its hashes. The error is the message.
async fn read(url: &Url, options: &Options<'_>) -> Result<Hashes, String> {
    let mut hasher = Hasher::default();
    if url.scheme() == "file" {
        let path = files::of_url(url).ok_or("it is not a path")?;
        let words = |error: io::Error| error.kind().to_string();
        let (mut file, mut buffer) = (files::open(&path).map_err(words)?, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(words)? {
                0 => return Ok(hasher.end()),
                count => hasher.take(&buffer[..count]),
            }
        }
    }
    if options.access == Access::Offline {
        return Err("network access is disabled".to_owned());
    }
    let mut response =
        options.client.get(url, network::BodyKind::Package(None)).await.map_err(|error| error.to_string())?;
    while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
        hasher.take(&chunk);
    }
    Ok(hasher.end())
}
