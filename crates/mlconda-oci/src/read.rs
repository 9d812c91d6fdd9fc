//! Reads the bytes of a blob from any place, and checks its size and digest meanwhile.
//!
//! The last piece is returned only after both checks. So a caller that writes the pieces elsewhere never writes a
//! complete blob with the wrong content. An interrupted download is resumed.

use std::{
    borrow::Cow,
    io::{Read, Seek, SeekFrom, Write},
};

use mlconda_channel::network::{NetworkError, Transfer};
use mlconda_system::files;
use mlconda_types::progress::{Event, Progress};
use rattler_digest::{Sha256, digest::Digest as _};

use crate::{Blob, Content, Digest, OciError};

/// The size of the pieces that are read from a file, in bytes.
const PIECE: usize = 256 << 10;

/// How often an interrupted download is resumed.
const MOST_FAILURES: u32 = 4;

/// Reads a blob in pieces.
pub(crate) struct BlobReader<'a> {
    blob: Cow<'a, Blob>,
    source: Source,
    hasher: Sha256,
    position: u64,
}

enum Source {
    Memory,
    File(fs_err::File),
    Remote { transfer: Option<Box<Transfer>>, failures: u32 },
}

impl Blob {
    /// Opens the blob for reading.
    pub(crate) fn open(&self) -> Result<BlobReader<'_>, OciError> {
        BlobReader::new(Cow::Borrowed(self))
    }

    /// Opens the blob for reading, and moves it into the reader.
    pub(crate) fn into_reader(self) -> Result<BlobReader<'static>, OciError> {
        BlobReader::new(Cow::Owned(self))
    }

    /// The bytes of the blob, if there are at most `limit`.
    ///
    /// The future may be dropped: nothing is written.
    ///
    /// # Errors
    /// If the blob cannot be read, is larger than `limit`, or differs from its descriptor.
    pub async fn bytes(&self, limit: u64) -> Result<Vec<u8>, OciError> {
        let size = self.descriptor.size;
        if size > limit {
            let reason = format!("it has {size} bytes, and {limit} is the limit");
            return Err(OciError::invalid(self.what(), reason));
        }
        let mut bytes = Vec::new();
        self.copy(&mut bytes).await?;
        Ok(bytes)
    }

    /// Writes the bytes of the blob to `output`.
    ///
    /// If the future is dropped, `output` contains only a part of the blob.
    ///
    /// # Errors
    /// If the blob cannot be read or written, or differs from its descriptor. Then `output` contains at most a part of
    /// it.
    pub async fn copy(&self, output: &mut dyn Write) -> Result<(), OciError> {
        self.copy_with(output, &()).await
    }

    /// Like [`Blob::copy`], with [`Event::ImageWritten`] events.
    pub(crate) async fn copy_with(&self, output: &mut dyn Write, progress: &dyn Progress) -> Result<(), OciError> {
        let mut reader = self.open()?;
        while let Some(piece) = reader.next().await? {
            output.write_all(&piece)?;
            progress.event(Event::ImageWritten { bytes: piece.len() as u64 });
            // This allows the caller to stop between two pieces.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The name of the blob in messages.
    pub(crate) fn what(&self) -> String {
        let digest = self.descriptor.digest;
        match &self.content {
            Content::Bytes(_) => format!("the blob `{digest}`"),
            Content::File(path) | Content::Part { path, .. } => format!("the blob `{digest}` in `{}`", path.display()),
            Content::Remote(repository) => format!("the blob `{digest}` of `{repository}`"),
        }
    }
}

impl<'a> BlobReader<'a> {
    fn new(blob: Cow<'a, Blob>) -> Result<Self, OciError> {
        let source = match &blob.content {
            Content::Bytes(_) => Source::Memory,
            Content::File(path) => Source::File(files::open(path)?),
            Content::Part { path, offset } => {
                let mut file = files::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Source::File(file)
            }
            Content::Remote(_) => Source::Remote { transfer: None, failures: 0 },
        };
        Ok(Self { blob, source, hasher: Sha256::default(), position: 0 })
    }

    /// The next piece; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, OciError> {
        let size = self.blob.descriptor.size;
        if self.position == size && size > 0 {
            return Ok(None);
        }
        let piece = self.piece().await?;
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else {
            if size > 0 {
                let reason = format!("it has {} bytes, not {size}", self.position);
                return Err(OciError::invalid(self.blob.what(), reason));
            }
            self.check_digest()?;
            return Ok(None);
        };
        self.hasher.update(&piece);
        self.position = self.position.saturating_add(piece.len() as u64);
        if self.position > size {
            return Err(self.too_long());
        }
        if self.position == size {
            if self.piece().await?.is_some_and(|piece| !piece.is_empty()) {
                return Err(self.too_long());
            }
            self.check_digest()?;
        }
        Ok(Some(piece))
    }

    fn too_long(&self) -> OciError {
        OciError::invalid(self.blob.what(), format!("it has more than {} bytes", self.blob.descriptor.size))
    }

    fn check_digest(&mut self) -> Result<(), OciError> {
        let digest = Digest::from(std::mem::take(&mut self.hasher).finalize());
        if digest == self.blob.descriptor.digest {
            return Ok(());
        }
        Err(OciError::invalid(self.blob.what(), format!("its bytes have the digest `{digest}`")))
    }

    /// The next piece, unchecked. A part of a file ends at the end of the part.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, OciError> {
        match &mut self.source {
            Source::Memory => Ok(match &self.blob.content {
                Content::Bytes(bytes) if self.position == 0 => Some(bytes.to_vec()),
                _ => None,
            }),
            Source::File(file) => {
                let left = self.blob.descriptor.size - self.position.min(self.blob.descriptor.size);
                let is_part = matches!(self.blob.content, Content::Part { .. });
                // One byte more is read, to detect a file that is too long.
                let most = if is_part { left } else { left + 1 };
                let mut piece = Vec::new();
                file.take(most.min(PIECE as u64)).read_to_end(&mut piece)?;
                Ok(Some(piece))
            }
            Source::Remote { .. } => self.remote_piece().await,
        }
    }

    async fn remote_piece(&mut self) -> Result<Option<Vec<u8>>, OciError> {
        let (Source::Remote { transfer, failures }, Content::Remote(repository)) =
            (&mut self.source, &self.blob.content)
        else {
            return Ok(None);
        };
        loop {
            if transfer.is_none() {
                *transfer = Some(Box::new(repository.open_blob(&self.blob.descriptor, self.position).await?));
            }
            let Some(open) = transfer.as_mut() else { continue };
            match open.chunk().await {
                Ok(chunk) => return Ok(chunk.map(Into::into)),
                Err(error) => {
                    *transfer = None;
                    *failures += 1;
                    if *failures > MOST_FAILURES || !is_passing(&error) {
                        return Err(OciError::network(&self.blob.what())(error));
                    }
                }
            }
        }
    }
}

/// Whether another attempt may succeed.
pub(crate) fn is_passing(error: &NetworkError) -> bool {
    use mlconda_channel::network::Cause;
    matches!(error.cause(), Cause::BrokeOff | Cause::TimedOut | Cause::Slow | Cause::NoRoute | Cause::Other)
}
