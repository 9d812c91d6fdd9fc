//! A connection with a fault at a position in the written bytes.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// How many bytes are sent one by one, so that a test does not take long.
const SINGLE_BYTES: u64 = 2000;

/// The fault at a position in the written bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// The connection is closed.
    Cut,
    /// The connection is reset.
    Reset,
    /// One byte is changed.
    Corrupt,
    /// No more bytes are sent, until the client gives up.
    Stall,
    /// A pause of this many milliseconds.
    Pause(u64),
    /// From here on, bytes are sent one by one, for a while.
    SingleBytes,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Disturbed {
    pub(super) stream: TcpStream,
    written: u64,
    turn: Option<(u64, Turn)>,
    /// The position up to which bytes are sent one by one.
    single: u64,
}

impl Disturbed {
    pub(super) const fn new(stream: TcpStream, turn: Option<(u64, Turn)>) -> Self {
        Self { stream, written: 0, turn, single: 0 }
    }

    /// From now on, the fault happens after this many more bytes.
    pub(super) fn set(&mut self, turn: Option<(u64, Turn)>) {
        self.turn = turn.map(|(place, turn)| (self.written + place, turn));
    }

    /// Closes the connection at once, and discards the bytes that were not sent yet.
    pub(super) fn reset(&self) -> io::Error {
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        io::ErrorKind::ConnectionReset.into()
    }

    fn happen(&mut self, turn: Turn) -> io::Result<()> {
        match turn {
            Turn::Cut => {
                let _ = self.stream.shutdown(Shutdown::Both);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Turn::Reset => return Err(self.reset()),
            Turn::Stall => {
                // Returns when the client closes the connection.
                while self.stream.read(&mut [0; 512])? > 0 {}
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Turn::Pause(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
            Turn::SingleBytes => self.single = self.written + SINGLE_BYTES,
            Turn::Corrupt => {}
        }
        Ok(())
    }
}

impl Read for Disturbed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Disturbed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut piece = buffer;
        match self.turn {
            Some((place, turn)) if place <= self.written && !buffer.is_empty() => {
                self.turn = None;
                self.happen(turn)?;
                if turn == Turn::Corrupt {
                    let written = self.stream.write(&[buffer[0] ^ 0x55])?;
                    self.written += written as u64;
                    return Ok(written);
                }
            }
            Some((place, _)) => {
                let left = usize::try_from(place - self.written).unwrap_or(usize::MAX);
                piece = &piece[..piece.len().min(left)];
            }
            None => {}
        }
        if self.written < self.single {
            piece = &piece[..piece.len().min(1)];
        }
        let written = self.stream.write(piece)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
