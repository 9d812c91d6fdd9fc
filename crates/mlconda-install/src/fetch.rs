//! Brings archives here, and checks them against the lock before anybody reads them.
//!
//! A small archive is kept in memory, a larger one in a file without a name: nothing is left over, whatever
//! happens.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlconda_channel::network::{BodyKind, Cause, Client, NetworkError};
use mlconda_lock::{Digest, LockedPackage};
use mlconda_system::files;
use mlconda_types::{
    progress::{Event, Progress},
    redact,
};
use rattler_digest::{Md5, Md5Hash, Sha256, Sha256Hash, digest::Digest as _};

use super::{InstallError, unpack::Archive};

/// Archives up to this size, in bytes, stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// How often a body that breaks off is asked for, and how long to wait before the second time; then twice as
/// long each time. Until the body begins, the client itself is patient.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// What an archive hashes to: what the lock knows of it, and what conda writes into records besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) sha256: Option<Sha256Hash>,
    pub(super) md5: Option<Md5Hash>,
}

/// Both digests under way. A lock knows one of them; a record has both, whatever the lock knows, so that it does not depend
/// on what the package was installed from. What is from no channel has no md5.
struct Hasher {
    sha256: Box<Sha256>,
    md5: Option<Box<Md5>>,
}

impl Hasher {
    fn new(package: &LockedPackage) -> Self {
        Self { sha256: Box::default(), md5: (!package.is_distribution()).then(Box::default) }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.md5.iter_mut().for_each(|md5| md5.update(bytes));
    }

    /// Compares with what the lock says.
    fn check(self, package: &LockedPackage) -> Result<Hashes, InstallError> {
        let hashes = Hashes { sha256: Some(self.sha256.finalize()), md5: self.md5.map(|md5| md5.finalize()) };
        let (kind, expected, found) = match package.digest {
            Digest::Sha256(expected) => ("sha256", hex::encode(expected), hashes.sha256.map(hex::encode)),
            Digest::Md5(expected) => ("md5", hex::encode(expected), hashes.md5.map(hex::encode)),
            Digest::Unknown => return Ok(hashes),
        };
        let found = found.unwrap_or_default();
        if expected == found {
            return Ok(hashes);
        }
        Err(InstallError::Digest {
            package: package.file_name.clone(),
            url: redact::url(&package.url),
            kind,
            expected,
            found,
        })
    }
}

/// Opens and checks an archive of this machine. `stop` is set when nobody wants it any more.
pub(super) fn local(
    package: &LockedPackage,
    path: &Path,
    stop: &AtomicBool,
) -> Result<(Archive, Hashes), InstallError> {
    let fail = |source: io::Error| InstallError::Download {
        package: package.file_name.clone(),
        url: redact::url(&package.url),
        source: source.into(),
    };
    let mut file = files::open(path).map_err(fail)?;
    let mut hasher = Hasher::new(package);
    let mut buffer = vec![0; 256 << 10];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the installation was stopped").into());
        }
        match file.read(&mut buffer).map_err(fail)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let hashes = hasher.check(package)?;
    Ok((Archive::File(Arc::new(file.into_parts().0)), hashes))
}

/// The error for an archive that would have to be downloaded, where that is not wanted.
pub(super) fn not_asked(package: &LockedPackage) -> InstallError {
    Failure::Final("network access is disabled, and it is neither cached nor a file".into()).into_error(package)
}

/// Downloads and checks an archive. `directory` is where files without a name are made.
pub(super) async fn download(
    client: &Client,
    package: &LockedPackage,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<(Archive, Hashes), InstallError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt(client, package, directory, progress).await {
            Err(Failure::Passing(source)) => {
                let reason = source.to_string();
                progress.event(Event::Retrying { package: package.file_name.clone(), reason });
            }
            Err(failure) => return Err(failure.into_error(package)),
            Ok(archive) => return Ok(archive),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt(client, package, directory, progress).await.map_err(|failure| failure.into_error(package))
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may fare better.
    Passing(Box<dyn std::error::Error + Send + Sync>),
    /// It would not.
    Final(Box<dyn std::error::Error + Send + Sync>),
    /// The disk or the content is at fault.
    Here(InstallError),
}

impl Failure {
    fn into_error(self, package: &LockedPackage) -> InstallError {
        match self {
            Self::Passing(source) | Self::Final(source) => {
                InstallError::Download { package: package.file_name.clone(), url: redact::url(&package.url), source }
            }
            Self::Here(error) => error,
        }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        match error.cause() {
            Cause::BrokeOff | Cause::TimedOut if matches!(error, NetworkError::Transfer { .. }) => {
                Self::Passing(error.into())
            }
            // The client has been patient already, or it would be the same again.
            _ => Self::Final(error.into()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Here(error.into())
    }
}

async fn attempt(
    client: &Client,
    package: &LockedPackage,
    directory: &Path,
    progress: &dyn Progress,
) -> Result<(Archive, Hashes), Failure> {
    let mut response = client.get(&package.url, BodyKind::Package(package.size)).await?;
    let mut hasher = Hasher::new(package);
    let mut sink = Spool::new(directory);
    let mut arrived = 0_u64;
    let outcome = loop {
        match response.chunk().await {
            Ok(None) => break Ok(()),
            Err(error) => break Err(Failure::from(error)),
            Ok(Some(bytes)) => {
                hasher.update(&bytes);
                sink.write(&bytes)?;
                arrived += bytes.len() as u64;
                progress.event(Event::Downloaded { bytes: bytes.len() as u64 });
            }
        }
    };
    let outcome = outcome.and_then(|()| match package.size {
        Some(size) if arrived < size => {
            let reason = format!("only {arrived} of {size} bytes arrived");
            Err(Failure::Passing(NetworkError::Transfer { reason, cause: Cause::BrokeOff }.into()))
        }
        _ => hasher.check(package).map_err(Failure::Here),
    });
    if outcome.is_err() {
        progress.event(Event::DownloadedAgain { bytes: arrived });
    }
    Ok((sink.archive()?, outcome?))
}

/// Bytes as they come: in memory first, then in a file without a name.
struct Spool<'a> {
    directory: &'a Path,
    memory: Vec<u8>,
    file: Option<File>,
}

impl<'a> Spool<'a> {
    fn new(directory: &'a Path) -> Self {
        Self { directory, memory: Vec::new(), file: None }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = tempfile::tempfile_in(self.directory)?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn archive(self) -> io::Result<Archive> {
        Ok(match self.file {
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Archive::File(Arc::new(file))
            }
            None => Archive::Memory(self.memory.into()),
        })
    }
}
