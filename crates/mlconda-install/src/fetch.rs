//! Downloads archives, and verifies them against the lock before they are read.
//!
//! A small archive is kept in memory, a larger one in an unnamed file, so that a crash leaves no file behind.

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
use mlconda_system::{Slice, beneath::Root, files};
use mlconda_types::{
    progress::{Event, Progress},
    redact,
};
use rattler_digest::{Md5, Md5Hash, Sha256, Sha256Hash, digest::Digest as _};

use super::{InstallError, unpack::Archive};

/// The largest archive that is kept in memory, in bytes.
const IN_MEMORY: usize = 1 << 20;

/// The number of attempts to receive a body that breaks off, and the pause before the second attempt. Each further
/// pause is twice as long. Before the body begins, the client itself retries.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// The hashes of an archive: the one in the lock, and the other one for the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashes {
    /// sha256.
    pub sha256: Option<Sha256Hash>,
    /// md5.
    pub md5: Option<Md5Hash>,
}

/// Hashes an archive while it arrives, and compares the hash with the lock.
#[derive(Debug)]
pub struct Hasher {
    sha256: Box<Sha256>,
    md5: Option<Box<Md5>>,
}

impl Hasher {
    /// Computes both hashes. A lock has one of them, but a record always has both, so that it does not depend on the
    /// lock. For wheels, there is no md5.
    fn new(package: &LockedPackage) -> Self {
        Self { sha256: Box::default(), md5: (!package.is_distribution()).then(Box::default) }
    }

    /// Computes the sha256, and the md5 only if it is the one in the lock.
    pub fn of_lock(package: &LockedPackage) -> Self {
        Self { sha256: Box::default(), md5: matches!(package.digest, Digest::Md5(_)).then(Box::default) }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.md5.iter_mut().for_each(|md5| md5.update(bytes));
    }

    /// Compares the hash with the lock.
    ///
    /// # Errors
    /// [`InstallError::Digest`] if they differ.
    pub fn check(self, package: &LockedPackage) -> Result<Hashes, InstallError> {
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

/// Opens and verifies a local archive. Setting `stop` ends the work early.
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

/// Verifies an archive in a bundle. Setting `stop` ends the work early.
pub(super) fn packed(
    package: &LockedPackage,
    file: &Path,
    slice: Slice,
    stop: &AtomicBool,
) -> Result<(Archive, Hashes), InstallError> {
    let (mut hasher, mut buffer, mut place) = (Hasher::new(package), vec![0; 256 << 10], 0);
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("the installation was stopped").into());
        }
        match slice.read_at(&mut buffer, place)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                place += count as u64;
            }
        }
    }
    let hashes = hasher.check(package).map_err(|error| match error {
        InstallError::Digest { package, expected, found, .. } => {
            InstallError::Packed { package, file: file.to_owned(), expected, found }
        }
        error => error,
    })?;
    Ok((Archive::Part(slice), hashes))
}

/// The error for an archive that would have to be downloaded in an offline installation.
pub(super) fn not_asked(package: &LockedPackage) -> InstallError {
    let reason = "network access is disabled, and it is neither in the cache nor a local file".to_owned();
    Failure::Final(NetworkError::Transfer { reason, cause: Cause::Offline }.into()).into_error(package)
}

/// Downloads and verifies an archive. Unnamed files are created in `directory`.
pub(super) async fn download(
    client: &Client,
    package: &LockedPackage,
    directory: &Root,
    progress: &dyn Progress,
) -> Result<(Archive, Hashes), InstallError> {
    let mut spool = Spool { directory, memory: Vec::new(), file: None };
    let hashes = download_into(client, package, &Hasher::new, &mut spool, progress).await?;
    Ok((spool.archive()?, hashes))
}

/// Receives the bytes of an archive.
pub trait ArchiveSink: Send {
    /// Begins a download, for the first time or again. Bytes from before are discarded.
    ///
    /// # Errors
    /// If the archive cannot be written.
    fn begin(&mut self) -> io::Result<()>;
    /// Receives the next bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Downloads an archive into a sink, and verifies it. A download that breaks off is begun again. The bytes in the sink
/// are valid only if this succeeds.
///
/// The future may be dropped. Then the bytes in the sink are not valid.
///
/// # Errors
/// If the server does not have the archive, if the archive differs from the lock, or if the sink fails.
pub async fn download_into(
    client: &Client,
    package: &LockedPackage,
    hasher: &(dyn Fn(&LockedPackage) -> Hasher + Sync),
    sink: &mut dyn ArchiveSink,
    progress: &dyn Progress,
) -> Result<Hashes, InstallError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match attempt(client, package, hasher(package), sink, progress).await {
            Err(Failure::Passing(source)) => {
                let reason = source.to_string();
                progress.event(Event::Retrying { package: package.file_name.clone(), reason });
            }
            Err(failure) => return Err(failure.into_error(package)),
            Ok(hashes) => return Ok(hashes),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt(client, package, hasher(package), sink, progress).await.map_err(|failure| failure.into_error(package))
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(Box<dyn std::error::Error + Send + Sync>),
    /// Another attempt would fail, too.
    Final(Box<dyn std::error::Error + Send + Sync>),
    /// The cause is the local disk, or the content of the archive.
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
            // The client has retried already, or a retry would not help.
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
    mut hasher: Hasher,
    sink: &mut dyn ArchiveSink,
    progress: &dyn Progress,
) -> Result<Hashes, Failure> {
    let mut response = client.get(&package.url, BodyKind::Package(package.size)).await?;
    sink.begin()?;
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
    outcome
}

/// Stores received bytes, first in memory, then in an unnamed file.
struct Spool<'a> {
    directory: &'a Root,
    memory: Vec<u8>,
    file: Option<File>,
}

impl ArchiveSink for Spool<'_> {
    fn begin(&mut self) -> io::Result<()> {
        (self.memory, self.file) = (Vec::new(), None);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = self.directory.unnamed_file()?;
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
}

impl Spool<'_> {
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
