//! The frame of a small file that is written at once: magic and version in front, and behind it all the CRC32C of it.

use std::path::Path;

use super::{DecodeError, Reader};
use crate::error::{Error, Result};

const CRC_BYTES: usize = 4;

/// What begins the files of one format.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// The first bytes.
    pub magic: [u8; 8],
    /// The oldest version that is read.
    pub oldest: u32,
    /// The version that is written, and the newest that is read.
    pub version: u32,
    /// What such a file is, with its article: `a manifest`.
    pub what: &'static str,
}

impl Envelope {
    /// Bytes in front of the content.
    pub const HEADER_BYTES: usize = 12;

    /// The start of a file. [`close`](Self::close) ends it once the content is there.
    #[must_use]
    pub fn open(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// Adds the checksum.
    #[must_use]
    pub fn close(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Checks the frame of `bytes`, and reads the content, which is of the version that `read` is told.
    ///
    /// # Errors
    /// [`Error::Corruption`] or [`Error::NewerVersion`], naming `file`; what `read` returns, with its place in the file.
    pub fn read<T>(
        &self,
        file: &Path,
        bytes: &[u8],
        read: impl FnOnce(u32, &mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T> {
        let corrupt = |offset: usize, reason: &str| Error::corruption(file, offset as u64, reason);
        if bytes.len() < Self::HEADER_BYTES + CRC_BYTES || bytes[..8] != self.magic {
            return Err(corrupt(0, &format!("not {}: the magic bytes differ", self.what)));
        }
        let (framed, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc32c::crc32c(framed).to_le_bytes() != crc {
            return Err(corrupt(framed.len(), "the checksum differs"));
        }
        let (header, content) = framed.split_at(Self::HEADER_BYTES);
        let located = |e: DecodeError| corrupt(Self::HEADER_BYTES + e.offset, e.reason);
        let found = Reader::new(&header[8..]).u32_le().map_err(located)?;
        if found > self.version {
            return Err(Error::NewerVersion { file: file.to_owned(), found, supported: self.version });
        }
        if found < self.oldest {
            return Err(corrupt(8, "the version is unknown"));
        }
        let mut reader = Reader::new(content);
        let value = read(found, &mut reader).map_err(located)?;
        if reader.is_empty() {
            Ok(value)
        } else {
            Err(corrupt(Self::HEADER_BYTES + reader.offset(), "bytes follow the last entry"))
        }
    }
}
