//! Fills a bundle with archives. Archives from an earlier run are hashed and kept. Files on this machine are copied by
//! several threads. The others are downloaded, several at once. Each archive is hashed while it is written.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZero,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt, stream};
use mlconda_channel::{
    network::Client,
    repodata::{self, Access},
};
use mlconda_install::{ArchiveSink, Hasher, Hashes, InstallError, PackedArchives, Stop, download_into};
use mlconda_lock::{Digest, LockedPackage};
use mlconda_system::{Slice, files};
use mlconda_types::progress::{Event, Progress};
use rattler_conda_types::{PackageRecord, package::IndexJson};
use rattler_digest::Sha256Hash;

use crate::{
    BundleError,
    items::{self, Item},
    threads,
};

/// The number of bytes that are copied at once.
const BUFFER: usize = 256 << 10;

/// An archive that is in its place in the bundle.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) sha256: Sha256Hash,
    /// The record of a conda package, from the metadata in its archive.
    pub(crate) record: Option<PackageRecord>,
    /// Whether an earlier run has written the archive.
    pub(crate) is_kept: bool,
}

/// Writes archives to their places in the bundle.
pub(crate) struct Filler<'a> {
    pub(crate) file: &'a Arc<File>,
    pub(crate) items: &'a [Item],
    /// For each item, the offset of its archive in the file, in bytes.
    pub(crate) places: Vec<u64>,
    /// Other bundles to copy archives from.
    pub(crate) packed: &'a [Arc<PackedArchives>],
    /// Whether an earlier run may have written archives.
    pub(crate) may_keep: bool,
    /// The number of archives that are in their places.
    pub(crate) arrived: &'a AtomicUsize,
    pub(crate) stop: &'a Stop,
    pub(crate) progress: &'a dyn Progress,
}

impl Filler<'_> {
    /// Fills all places.
    pub(crate) async fn fill(
        &self,
        client: &Client,
        access: Access,
        threads: NonZero<usize>,
        downloads: NonZero<usize>,
    ) -> Result<Vec<Filled>, BundleError> {
        let from_disk = |number| self.copy_or_keep(number);
        let mut found = threads::each(self.items.len(), threads, self.stop, &from_disk)?;
        let missing: Vec<usize> = (0..found.len()).filter(|number| found[*number].is_none()).collect();
        if let (Access::Offline, Some(number)) = (access, missing.first()) {
            return Err(items::not_asked(&self.items[*number].package));
        }
        let downloads = stream::iter(missing)
            .map(async |number| Ok::<_, BundleError>((number, self.download(number, client).await?)))
            .buffer_unordered(downloads.get());
        let arrived: Vec<(usize, Filled)> = client.report_waits(self.progress, downloads.try_collect()).await?;
        arrived.into_iter().for_each(|(number, filled)| found[number] = Some(filled));
        Ok(found.into_iter().flatten().collect())
    }

    /// Keeps an archive of an earlier run, or copies it from a file on this machine. `None` if it must be downloaded.
    fn copy_or_keep(&self, number: usize) -> Result<Option<Filled>, BundleError> {
        let item = &self.items[number];
        if self.may_keep && item.package.digest != Digest::Unknown {
            let slice = self.slice(number);
            if let Ok(hashes) = self.read(&item.package, &mut slice.reader(), None)? {
                self.progress.event(Event::Local { bytes: item.size() });
                return self.filled(number, hashes, true).map(Some);
            }
        }
        if let Some(slice) = self.packed.iter().find_map(|packed| packed.find(&item.package)) {
            let hashes = self.read(&item.package, &mut slice.reader(), Some(number))??;
            self.progress.event(Event::Local { bytes: item.size() });
            return self.filled(number, hashes, false).map(Some);
        }
        let Some(path) = files::of_url(&item.package.url) else { return Ok(None) };
        let mut file = files::open(&path)?;
        let hashes = self.read(&item.package, &mut file, Some(number))??;
        self.progress.event(Event::Local { bytes: item.size() });
        self.filled(number, hashes, false).map(Some)
    }

    /// Hashes an archive, and writes it to the place of the item `to`, if given. The inner error means that the archive
    /// is not the locked one.
    fn read(
        &self,
        package: &LockedPackage,
        from: &mut dyn Read,
        to: Option<usize>,
    ) -> Result<Result<Hashes, InstallError>, BundleError> {
        let (mut hasher, mut buffer) = (Hasher::of_lock(package), vec![0; BUFFER]);
        let mut sink = to.map(|number| self.place(number));
        loop {
            if self.stop.is_requested() {
                return Err(InstallError::Stopped.into());
            }
            match from.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    sink.as_mut().map_or(Ok(()), |sink| sink.write(&buffer[..count]))?;
                }
            }
        }
        sink.map_or(Ok(()), |sink| sink.check_full())?;
        Ok(hasher.check(package))
    }

    async fn download(&self, number: usize, client: &Client) -> Result<Filled, BundleError> {
        let mut place = self.place(number);
        let package = &self.items[number].package;
        let hashes = download_into(client, package, &Hasher::of_lock, &mut place, self.progress).await?;
        place.check_full()?;
        self.filled(number, hashes, false)
    }

    /// Reads the metadata of a package that is in its place.
    fn filled(&self, number: usize, hashes: Hashes, is_kept: bool) -> Result<Filled, BundleError> {
        let Item { package, subdir, .. } = &self.items[number];
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let sha256 = hashes.sha256.unwrap_or_default();
        if subdir.is_none() {
            return Ok(Filled { sha256, record: None, is_kept });
        }
        let broken = |source| InstallError::Package { package: package.file_name.clone(), source };
        let index: IndexJson =
            repodata::read_index_json(&self.slice(number), package.file_name.ends_with(".conda")).map_err(broken)?;
        let record = PackageRecord::from_index_json(index, package.size, Some(sha256), hashes.md5)
            .map_err(|error| broken(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))?;
        Ok(Filled { sha256, record: Some(record), is_kept })
    }

    fn slice(&self, number: usize) -> Slice {
        Slice::new(Arc::clone(self.file), self.places[number], self.items[number].size())
    }

    fn place(&self, number: usize) -> Place<'_> {
        Place { file: self.file, begin: self.places[number], written: 0, item: &self.items[number] }
    }
}

/// The place of an archive in the file, to be written from its beginning to its end.
struct Place<'a> {
    file: &'a File,
    begin: u64,
    written: u64,
    item: &'a Item,
}

impl Place<'_> {
    fn check_full(&self) -> io::Result<()> {
        if self.written == self.item.size() { Ok(()) } else { Err(self.other_size()) }
    }

    fn other_size(&self) -> io::Error {
        let (name, size) = (&self.item.package.file_name, self.item.size());
        io::Error::other(format!("`{name}` does not have the expected {size} bytes"))
    }
}

impl ArchiveSink for Place<'_> {
    fn begin(&mut self) -> io::Result<()> {
        self.written = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written + bytes.len() as u64 > self.item.size() {
            return Err(self.other_size());
        }
        self.file.write_all_at(bytes, self.begin + self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
