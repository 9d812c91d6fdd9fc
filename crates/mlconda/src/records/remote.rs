//! Reads the metadata of a wheel on a server from at most two pieces. The first is the end of the file: a zip has its
//! central directory there, and most wheels also their `.dist-info` (PEP 427). If the metadata is elsewhere, the second
//! piece is the metadata.

use std::io::{self, Read, Seek, SeekFrom};

use mlconda_channel::network::{BodyKind, Client};
use mlconda_system::files;
use reqwest::{StatusCode, header};
use url::Url;
use zip::ZipArchive;

use super::wheel::{LARGEST, metadata_of, place_of_metadata};

/// The number of bytes that are requested from the end.
const END: u64 = 64 << 10;

/// The most bytes of a central directory.
const LONGEST: u64 = 4 << 20;

/// The most bytes before a member's content, besides its name.
const HEAD: u64 = 4 << 10;

/// Reads the metadata of the wheel at this URL, of `size` bytes; `None` if the server does not support ranges, or the
/// metadata cannot be read.
pub(super) async fn metadata(url: &Url, size: u64, client: &Client) -> Option<String> {
    let mut file = Pieces { length: size, place: 0, pieces: Vec::new() };
    file.fetch(size.saturating_sub(END), size, url, client).await?;
    if file.open().is_none() {
        file.fetch(size.saturating_sub(LONGEST), size, url, client).await?;
    }
    let (start, end) = {
        let mut zip = file.open()?;
        if let Some(text) = metadata_of(&mut zip) {
            return Some(text);
        }
        let index = place_of_metadata(&zip)?;
        let member = zip.by_index_data(index).ok()?;
        let start = member.header_start();
        let length = member.compressed_size().checked_add(HEAD)?.checked_add(member.name_raw().len() as u64)?;
        (start, start.checked_add(length)?.min(size))
    };
    if end.checked_sub(start)? > LARGEST {
        return None;
    }
    file.fetch(start, end, url, client).await?;
    metadata_of(&mut file.open()?)
}

/// A file of which only some pieces were downloaded. Reading other parts is an error.
struct Pieces {
    length: u64,
    place: u64,
    /// Each piece: its offset, and its bytes.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Pieces {
    /// Opens the archive. Zip64 archives (more than 65,535 members, or more than 4 GiB) are rejected: the zip reader
    /// allocates memory for as many members as the server claims, before it reads the first one.
    fn open(&mut self) -> Option<ZipArchive<&mut Self>> {
        let is_large = self.pieces.iter().any(|(_, bytes)| bytes.windows(4).any(|each| each == b"PK\x06\x06"));
        if is_large { None } else { ZipArchive::new(self).ok() }
    }

    /// Downloads the bytes from `start` up to, not including, `end`.
    async fn fetch(&mut self, start: u64, end: u64, url: &Url, client: &Client) -> Option<()> {
        let range = format!("bytes={start}-{}", end.checked_sub(1)?);
        let answer =
            client.request(url, BodyKind::Metadata(end - start), &[(header::RANGE, range.as_str())]).await.ok()?;
        // A server that would send the whole file is not worth it.
        let bytes = match answer.status() {
            StatusCode::PARTIAL_CONTENT => answer.bytes().await.ok()?,
            _ => return None,
        };
        self.pieces.push((start, bytes));
        Some(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let found = self.pieces.iter().find_map(|(start, bytes)| {
            let offset = usize::try_from(self.place.checked_sub(*start)?).ok()?;
            bytes.get(offset..).filter(|rest| !rest.is_empty())
        });
        match found {
            Some(rest) => {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.place += count as u64;
                Ok(count)
            }
            None if self.place >= self.length => Ok(0),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Seek for Pieces {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        files::seek(&mut self.place, self.length, to)
    }
}

#[cfg(test)]
mod tests {
    use mlconda_test::{server::Server, wheel::Wheel};

    use super::*;
    use mlconda_channel::network::NetworkOptions;

    /// Bytes that do not compress, to fill an archive.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..bytes).map(next).collect()
    }

    /// The end of a wheel, as the server sends it, states how many members there are and how long the wheel is. Memory
    /// for that many members would be more than any machine has.
    #[test]
    fn no_room_is_made_for_members_that_cannot_be_there() {
        let (length, many) = (1_u64 << 50, 1_u64 << 40);
        let place = length - 98;
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|each| each.to_le_bytes()).collect::<Vec<_>>();
        let directory = numbers(&[many, many, 1 << 48, 1 << 48]);
        let record = [b"PK\x06\x06", &numbers(&[44])[..], b"\x2d\0\x2d\0\0\0\0\0\0\0\0\0", &directory].concat();
        let locator = [b"PK\x06\x07\0\0\0\0", &numbers(&[place])[..], b"\x01\0\0\0"].concat();
        let end = [b"PK\x05\x06\0\0\0\0", &[0xff; 12][..], b"\0\0"].concat();
        let bytes = [vec![0; 60_000], record, locator, end].concat();
        let mut file = Pieces { length, place: 0, pieces: vec![(length - bytes.len() as u64, bytes)] };
        assert!(file.open().is_none());
    }

    #[test]
    fn metadata_are_read_out_of_the_middle_of_a_wheel() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::serve(directory.path().to_owned()).unwrap();
        let client = Client::new(&NetworkOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = |wheel: Wheel| {
            let file = wheel.write(directory.path()).unwrap();
            let size = fs_err::metadata(file).unwrap().len();
            let url = Url::parse(&server.url(&wheel.file_name())).unwrap();
            let before = server.requests().len();
            let text = runtime.block_on(metadata(&url, size, &client));
            (text.is_some_and(|text| text.contains("Name: big")), server.requests().len() - before)
        };
        let wheel = |version: &str| Wheel::new("big", version).requires("small");
        assert_eq!(read(wheel("1.0").file("big/noise", noise(200_000))), (true, 1));
        // The metadata begins before the first piece.
        let large = wheel("2.0").metadata(&format!("Summary: {}", hex::encode(noise(150_000))));
        assert_eq!(read(large), (true, 2));
    }
}
