//! gzip (RFC 1952) on several threads. The result depends only on the input and the level.
//!
//! The input is cut into blocks of equal size. Each block is compressed separately, with the end of the previous block
//! as its dictionary, and its output ends at a byte boundary. The concatenated outputs are one gzip stream for any
//! reader. Memory use does not depend on the size of the input, because each thread has only a few blocks at a time.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// The facts that determine the bytes, besides the level: the encoder, its version and the block size. Change this text
/// together with them: it is a part of the keys of cached layers.
pub(crate) const FORMAT: &str = "zlib-rs 0.6.8, blocks of 1 MiB";

/// The size of a block in bytes. It is a part of the format of layers: with another size, digests change.
const BLOCK: usize = 1 << 20;

/// How many bytes at the end of the previous block may be referred to: the window of deflate.
const WINDOW: usize = 32 << 10;

/// The largest useful number of threads. Each uses about three megabytes.
const MOST_THREADS: usize = 16;

/// A block for a thread.
struct Block {
    data: Arc<Vec<u8>>,
    before: Option<Arc<Vec<u8>>>,
    is_last: bool,
    answer: SyncSender<io::Result<Vec<u8>>>,
}

/// Compresses the bytes that `produce` writes, on `threads` threads, into `output`.
///
/// # Errors
/// If `produce` or `output` fails.
pub(crate) fn compress(
    level: u32,
    threads: usize,
    output: &mut (dyn Write + Send),
    produce: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let threads = threads.clamp(1, MOST_THREADS);
    let (jobs, jobs_end) = sync_channel::<Block>(threads);
    let (answers, answers_end) = sync_channel(threads * 2);
    let jobs_end = Mutex::new(jobs_end);
    thread::scope(|scope| {
        for _ in 0..threads {
            thread::Builder::new().name("gzip".to_owned()).spawn_scoped(scope, || work(level, &jobs_end))?;
        }
        let writing = thread::Builder::new().spawn_scoped(scope, move || write(output, &answers_end))?;
        let mut input = Input { filling: Vec::with_capacity(BLOCK), before: None, crc: Crc::new(), jobs, answers };
        let produced = produce(&mut input).and_then(|()| input.submit(true));
        let (crc, amount) = (input.crc.sum(), input.crc.amount());
        // Without further input, the threads end.
        drop(input);
        let written = writing.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        // If writing has failed, producing has failed as a consequence. So the error of writing comes first.
        let output = written?;
        produced?;
        output.write_all(&crc.to_le_bytes())?;
        output.write_all(&amount.to_le_bytes())
    })
}

/// Cuts the written bytes into blocks.
struct Input {
    filling: Vec<u8>,
    before: Option<Arc<Vec<u8>>>,
    crc: Crc,
    jobs: SyncSender<Block>,
    answers: SyncSender<Receiver<io::Result<Vec<u8>>>>,
}

impl Input {
    fn submit(&mut self, is_last: bool) -> io::Result<()> {
        self.crc.update(&self.filling);
        let data = Arc::new(std::mem::replace(&mut self.filling, Vec::with_capacity(BLOCK)));
        let (answer, answer_end) = sync_channel(1);
        let before = self.before.replace(Arc::clone(&data));
        let gone = || io::Error::other("a thread has ended");
        // The order matters, because the writer waits for the blocks one after the other.
        self.answers.send(answer_end).map_err(|_| gone())?;
        self.jobs.send(Block { data, before, is_last, answer }).map_err(|_| gone())
    }
}

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.len().min(BLOCK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..piece]);
        if self.filling.len() == BLOCK {
            self.submit(false)?;
        }
        Ok(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses blocks until there are no more.
fn work(level: u32, jobs: &Mutex<Receiver<Block>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(block) = next else { return };
        // If writing has failed, nobody waits for the result.
        let _ = block.answer.send(deflate(level, &block));
    }
}

fn deflate(level: u32, block: &Block) -> io::Result<Vec<u8>> {
    // A new compressor for each block. A compressor that is reset keeps a table of the previous block (zlib-rs 0.6),
    // and which block that was depends on the threads.
    let mut compress = Compress::new(Compression::new(level), false);
    if let Some(before) = &block.before {
        let window = &before[before.len().saturating_sub(WINDOW)..];
        compress.set_dictionary(window).map_err(io::Error::other)?;
    }
    // There must be room for blocks that cannot be compressed.
    let mut deflated = Vec::with_capacity(block.data.len() + block.data.len() / 512 + 256);
    let flush = if block.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let start = compress.total_in();
    loop {
        let done = usize::try_from(compress.total_in() - start).unwrap_or(usize::MAX);
        compress.compress_vec(&block.data[done..], &mut deflated, flush).map_err(io::Error::other)?;
        let is_taken = compress.total_in() - start == block.data.len() as u64;
        // If room is left, the compressor holds no output back.
        if is_taken && deflated.len() < deflated.capacity() {
            return Ok(deflated);
        }
        deflated.reserve(4096);
    }
}

/// Writes the blocks in order.
fn write<'a>(
    output: &'a mut (dyn Write + Send),
    answers: &Receiver<Receiver<io::Result<Vec<u8>>>>,
) -> io::Result<&'a mut (dyn Write + Send)> {
    // The header has no file name and no time. 255 means an unknown system.
    output.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
    while let Ok(answer) = answers.recv() {
        let deflated = answer.recv().unwrap_or_else(|_| Err(io::Error::other("a thread has ended")));
        output.write_all(&deflated?)?;
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Bytes that are partly equal and partly different.
    fn bytes(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..size).map(|at| if at % 64 < 40 { (at / 64) as u8 } else { next() }).collect()
    }

    fn compressed(input: &[u8], level: u32, threads: usize, piece: usize) -> Vec<u8> {
        let mut output = Vec::new();
        let mut produce = |to: &mut dyn Write| input.chunks(piece).try_for_each(|piece| to.write_all(piece));
        compress(level, threads, &mut output, &mut produce).unwrap();
        output
    }

    #[test]
    fn any_reader_takes_it_and_threads_do_not_count() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 12_345] {
            let input = bytes(size);
            let one = compressed(&input, 6, 1, 1 << 16);
            assert_eq!(one, compressed(&input, 6, 4, 4_097), "{size}");
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(one.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == input, "{size}");
        }
    }

    #[test]
    fn a_block_does_not_depend_on_the_one_before_on_its_thread() {
        // Words in a pseudorandom order give many matches at all distances, as in programs.
        let mut state = 7_u64;
        let mut input = Vec::new();
        while input.len() < 12 * BLOCK {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = (state >> 40) % 3000;
            input.extend_from_slice(&word.wrapping_mul(0x9e37_79b9).to_le_bytes()[..3 + (word % 4) as usize]);
            if word.is_multiple_of(50) {
                input.extend_from_slice(&vec![0; (state >> 50) as usize % 700]);
            }
        }
        let one = compressed(&input, 6, 1, 1 << 16);
        for threads in [2, 3, 5] {
            assert!(one == compressed(&input, 6, threads, 1 << 16), "{threads}");
        }
    }

    #[test]
    fn a_full_disk_is_the_error_and_nothing_hangs() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let input = bytes(20 * BLOCK);
        let error = compress(1, 2, &mut Full(100_000), &mut |to| to.write_all(&input)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let error = compress(1, 2, &mut io::sink(), &mut |_| Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
