//! Readers of repodata as it arrives: the body of a response on a blocking thread, limited and decompressed.

use std::{
    io::{self, Read},
    sync::Weak,
};

use tokio::sync::mpsc;

use super::super::shards::too_large_error;
use crate::network::{NetworkError, Transfer};

/// Decompresses a file by its extension.
pub(super) fn decompressed<'a>(variant: &str, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match variant.rsplit('.').next() {
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(packed)?),
        Some("bz2") => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        _ => Box::new(packed),
    })
}

/// Limits a reader to a number of bytes; a longer text is an error.
pub(super) fn limited<'a>(reader: impl Read + 'a, limit: u64) -> Box<dyn Read + 'a> {
    Box::new(LimitedReader { reader, limit, left: limit })
}

struct LimitedReader<R> {
    reader: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| too_large_error(self.limit))?;
        Ok(count)
    }
}

/// A reader that fails after the other end of `alive` was dropped.
pub(super) struct CancellableReader<R> {
    pub(super) reader: R,
    pub(super) alive: Weak<()>,
}

impl<R: Read> Read for CancellableReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.alive.strong_count() {
            0 => Err(io::Error::other("the reader was dropped")),
            _ => self.reader.read(buffer),
        }
    }
}

/// Sends the chunks of a body to the reading thread, until it stops.
pub(super) async fn forward_chunks(mut response: Transfer, sender: mpsc::Sender<Vec<u8>>) -> Result<(), NetworkError> {
    while let Some(piece) = response.chunk().await? {
        if sender.send(piece.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a body from the channel between the threads.
pub(super) struct BodyReader {
    pub(super) pieces: mpsc::Receiver<Vec<u8>>,
    pub(super) piece: Vec<u8>,
    pub(super) at: usize,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_recv() {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
