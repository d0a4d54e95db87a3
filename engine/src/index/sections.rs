//! Writes the sections of an index file one after the other, with little of them in memory.

use std::path::Path;

use super::layout::{HEADER_BYTES, MAGIC, SECTION_ENTRY_BYTES, Section, VERSION};
use crate::directory::{Directory, WriteFile};
use crate::error::{Error, Result};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// An index file that is being written.
#[derive(Debug)]
pub(super) struct SectionWriter {
    file: Box<dyn WriteFile>,
    /// For messages.
    path: std::path::PathBuf,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    flushed: u64,
    /// Where the section begins.
    start: u64,
    /// Checksum of the section's bytes that are flushed, and where those that are not begin in the buffer.
    crc: u32,
    unchecked: usize,
    table: Vec<u8>,
}

impl SectionWriter {
    pub(super) fn create(directory: &dyn Directory, path: &Path) -> Result<Self> {
        let shown = directory.display_path(path);
        let file = directory.create(path).map_err(|e| Error::io("create", &shown, e))?;
        let mut buffer = Vec::with_capacity(HEADER_BYTES);
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        let table = Vec::new();
        Ok(Self { file, path: shown, buffer, flushed: 0, start: 0, crc: 0, unchecked: 0, table })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(BUFFER_BYTES) {
            self.buffer.extend_from_slice(part);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer[self.unchecked..]);
        self.unchecked = 0;
        self.file.write_all(&self.buffer).map_err(|e| Error::io("write to", &self.path, e))?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn at(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn begin(&mut self, section: Section) {
        debug_assert_eq!(self.table.len(), section as usize * SECTION_ENTRY_BYTES, "sections come in order");
        (self.start, self.crc, self.unchecked) = (self.at(), 0, self.buffer.len());
    }

    fn end(&mut self) {
        let crc = crc32c::crc32c_append(self.crc, &self.buffer[self.unchecked..]);
        self.table.extend_from_slice(&self.start.to_le_bytes());
        self.table.extend_from_slice(&(self.at() - self.start).to_le_bytes());
        self.table.extend_from_slice(&crc.to_le_bytes());
    }

    pub(super) fn section(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        self.begin(section);
        self.put(bytes)?;
        self.end();
        Ok(())
    }

    /// Two sections: where each item ends as u32, and the items. `all` gives them twice: first for their lengths.
    pub(super) fn array(
        &mut self,
        ends: Section,
        items: Section,
        all: impl Fn(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.begin(ends);
        let mut got = 0;
        all(&mut |item| {
            got += item.len() as u64;
            let (name, limit) = ("bytes of an index section", u32::MAX.into());
            let end = u32::try_from(got).map_err(|_| Error::Limit { name, limit, got })?;
            self.put(&end.to_le_bytes())
        })?;
        self.end();
        self.begin(items);
        all(&mut |item| self.put(item))?;
        debug_assert_eq!(self.at() - self.start, got, "the items are the same the second time");
        self.end();
        Ok(())
    }

    /// Writes the table and makes the file durable.
    pub(super) fn finish(mut self) -> Result<()> {
        let table = std::mem::take(&mut self.table);
        let crc = crc32c::crc32c(&table);
        self.put(&table)?;
        self.put(&crc.to_le_bytes())?;
        self.put(&MAGIC)?;
        self.flush()?;
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}
