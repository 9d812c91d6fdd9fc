//! Decompresses a bzip2 archive on several threads, if cores are idle.
//!
//! bzip2 is ten times as slow as zstd, but its blocks do not depend on each other. For a large archive, one helper
//! thread decompresses while the reader writes, and there is one more helper for each [idle core](super::IdleCores). A
//! helper decodes block after block until its core is needed again, or enough blocks are ready. The reader takes the
//! blocks in order. In small archives, or if no thread can be started, the reader decodes them itself.
//!
//! Memory is bounded, however long the archive and its blocks are. A helper uses at most 12 MB (2.3 MB compressed, and
//! the decoder's 9 MB, or 1 MB of decoder and 4 MB of content), and usually 10 MB. For each helper and for the reader,
//! at most two blocks are in work or waiting. Each of these has at most 4 MB, and usually 1 MB.
//!
//! The result, including errors, is that of one decoder that begins at the beginning of the archive. Several streams
//! may follow each other (pbzip2 makes such archives). Data after the last stream is ignored, as by bzip2.

mod block;
#[cfg(mlconda_fuzzing)]
mod fuzzing;
mod split;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use bzip2::bufread::BzDecoder;
use mlconda_bzip2::Decoder;

#[cfg(mlconda_fuzzing)]
pub(crate) use self::fuzzing::bunzip2;
use self::{
    block::{Content, decode, repair},
    split::{Piece, Splitter},
};
use super::{Archive, BorrowedCore, IdleCores};

/// The smallest archive for which a helper thread is worthwhile, in bytes. It has about three blocks.
const LARGE: u64 = 1 << 20;

/// The number of blocks that may be in work or waiting for each helper and for the reader.
const AHEAD: u64 = 2;

/// The content of a bzip2 archive.
pub(super) struct Bzip2Reader<'a> {
    archive: &'a Archive,
    idle_cores: &'a IdleCores,
    /// Whether the archive is large enough for helpers.
    is_large: bool,
    work: Arc<Work>,
    /// The number of helpers that have not sent [`HelperMessage::Left`].
    helpers: u64,
    threads: Vec<thread::JoinHandle<()>>,
    news: mpsc::Receiver<HelperMessage>,
    /// The sender for further helpers.
    sender: mpsc::Sender<HelperMessage>,
    /// The pieces that are finished before their turn, by number.
    ready: BTreeMap<u64, PieceOutcome>,
    /// The number of pieces that the reader has taken.
    taken: u64,
    /// The decoder for blocks that the reader decodes itself.
    decoder: Decoder,
    /// The combined checksum of the stream's blocks so far.
    checksum: u32,
    current: CurrentBlock,
}

/// The content that is being read.
enum CurrentBlock {
    Whole(Cursor<Vec<u8>>),
    Large(BzDecoder<Cursor<Vec<u8>>>),
    /// The end of the archive, or an error.
    Nothing,
}

/// The state that the helpers and the reader share.
struct Work(Mutex<Pieces>);

struct Pieces {
    splitter: Splitter,
    /// The number of the next piece.
    next: u64,
    /// The first number that may not be taken yet.
    limit: u64,
    is_over: bool,
}

/// The outcome of a piece.
enum PieceOutcome {
    Block(Content, u32),
    /// Not a valid block. [`Bzip2Reader::repair`] finds out why.
    Unrecognized {
        start: u64,
        level: u8,
    },
    End(u32),
    Failed(io::Error),
}

/// A message of a helper.
enum HelperMessage {
    Ready(u64, PieceOutcome),
    Left,
}

impl Work {
    fn new(splitter: Splitter) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Pieces { splitter, next: 0, limit: AHEAD, is_over: false })))
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next piece and processes it.
    fn step(&self, decoder: &mut Decoder) -> Option<(u64, PieceOutcome)> {
        let (number, piece) = {
            let mut pieces = self.pieces();
            if !pieces.has_room() {
                return None;
            }
            let piece = pieces.splitter.piece().transpose();
            pieces.is_over = !matches!(piece, Some(Ok(_)));
            let piece = piece?;
            pieces.next += 1;
            (pieces.next - 1, piece)
        };
        let outcome = match piece {
            Err(error) => PieceOutcome::Failed(error),
            Ok(Piece::End(checksum)) => PieceOutcome::End(checksum),
            Ok(Piece::Block(block)) => {
                let (start, level) = (block.start, block.level);
                decode(block, decoder).map_or(PieceOutcome::Unrecognized { start, level }, |(content, checksum)| {
                    PieceOutcome::Block(content, checksum)
                })
            }
        };
        Some((number, outcome))
    }

    /// The main loop of a helper.
    fn help(&self, core: Option<BorrowedCore>, news: &mpsc::Sender<HelperMessage>) {
        // If a helper panics, the reader must not wait for its pieces.
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let mut decoder = Decoder::default();
            while let Some((number, outcome)) = self.step(&mut decoder) {
                let is_heard = news.send(HelperMessage::Ready(number, outcome)).is_ok();
                if !is_heard || core.as_ref().is_some_and(BorrowedCore::is_wanted_back) {
                    break;
                }
            }
        }));
        if result.is_err() {
            self.pieces().is_over = true;
        }
        drop(core);
        let _ = news.send(HelperMessage::Left);
    }
}

impl Pieces {
    fn has_room(&self) -> bool {
        !self.is_over && self.next < self.limit
    }
}

impl<'a> Bzip2Reader<'a> {
    pub(crate) fn new(archive: &'a Archive, idle_cores: &'a IdleCores) -> io::Result<Self> {
        let (sender, news) = mpsc::channel();
        Ok(Self {
            archive,
            idle_cores,
            is_large: archive.len()? > LARGE,
            work: Work::new(Splitter::new(archive.clone())),
            helpers: 0,
            threads: Vec::new(),
            news,
            sender,
            ready: BTreeMap::new(),
            taken: 0,
            decoder: Decoder::default(),
            checksum: 0,
            current: CurrentBlock::Whole(Cursor::default()),
        })
    }

    /// Waits for the next block, and returns its content.
    fn advance(&mut self) -> io::Result<CurrentBlock> {
        loop {
            let outcome = match self.ready.remove(&self.taken) {
                Some(outcome) => outcome,
                None if self.wait()? => continue,
                None if self.taken == self.work.pieces().next => return Ok(CurrentBlock::Nothing),
                None => return Err(io::Error::other("a thread panicked")),
            };
            self.taken += 1;
            let (content, checksum) = match outcome {
                PieceOutcome::Block(content, checksum) => (content, checksum),
                PieceOutcome::Unrecognized { start, level } => self.repair(start, level)?,
                PieceOutcome::End(checksum) if checksum == std::mem::take(&mut self.checksum) => continue,
                PieceOutcome::End(_) => return Err(damaged()),
                PieceOutcome::Failed(error) => return Err(error),
            };
            self.checksum = self.checksum.rotate_left(1) ^ checksum;
            self.call_helpers();
            return Ok(match content {
                Content::Whole(content) => CurrentBlock::Whole(Cursor::new(content)),
                Content::Large(archive) => CurrentBlock::Large(BzDecoder::new(Cursor::new(archive))),
            });
        }
    }

    /// Makes progress until another piece is finished or a helper leaves. `false` if there is no further piece.
    fn wait(&mut self) -> io::Result<bool> {
        self.call_helpers();
        if self.helpers == 0 {
            return Ok(self
                .work
                .step(&mut self.decoder)
                .map(|(number, outcome)| self.ready.insert(number, outcome))
                .is_some());
        }
        match self.news.recv().map_err(io::Error::other)? {
            HelperMessage::Ready(number, outcome) => drop(self.ready.insert(number, outcome)),
            HelperMessage::Left => self.helpers -= 1,
        }
        Ok(true)
    }

    /// Starts helpers while there are blocks for them: one for the core on which this thread itself waits, and one for
    /// each idle core.
    fn call_helpers(&mut self) {
        loop {
            let has_room = {
                let mut pieces = self.work.pieces();
                pieces.limit = self.taken + AHEAD * (self.helpers + 1);
                pieces.has_room()
            };
            let core = if has_room && self.is_large && self.helpers > 0 { self.idle_cores.borrow() } else { None };
            if !has_room || !self.is_large || (self.helpers > 0 && core.is_none()) {
                return;
            }
            let (work, sender) = (Arc::clone(&self.work), self.sender.clone());
            self.threads.retain(|thread| !thread.is_finished());
            match thread::Builder::new().name("bunzip".to_owned()).spawn(move || work.help(core, &sender)) {
                Ok(thread) => self.threads.push(thread),
                Err(_) => return,
            }
            self.helpers += 1;
        }
    }

    /// Decodes a block that does not end at the next mark, and continues after it.
    fn repair(&mut self, start: u64, level: u8) -> io::Result<(Content, u32)> {
        self.dismiss();
        let block = repair(self.archive, start, level)?;
        self.work = Work::new(Splitter::at_mark(self.archive.clone(), block.end, level));
        (self.sender, self.news) = mpsc::channel();
        self.helpers = 0;
        self.taken = 0;
        self.ready.clear();
        decode(block, &mut self.decoder).ok_or_else(damaged)
    }

    /// Stops the helpers. This takes at most the time of one block.
    fn dismiss(&mut self) {
        self.work.pieces().is_over = true;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Read for Bzip2Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            let count = match &mut self.current {
                CurrentBlock::Whole(content) => content.read(buffer)?,
                CurrentBlock::Large(decoder) => decoder.read(buffer)?,
                CurrentBlock::Nothing => return Ok(0),
            };
            if count > 0 {
                return Ok(count);
            }
            self.current = CurrentBlock::Nothing;
            self.current = self.advance()?;
        }
        Ok(0)
    }
}

impl Drop for Bzip2Reader<'_> {
    fn drop(&mut self) {
        self.dismiss();
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, bzip2::Error::Data)
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends before its content does")
}
