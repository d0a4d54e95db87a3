//! Bytes that are collected and read again later, without room for them in memory: beyond some they go to a file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::directory::{Directory, Mapped, WriteFile};
use crate::error::{Error, Result};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// Collects bytes.
#[derive(Debug)]
pub(super) struct Spill {
    directory: Arc<dyn Directory>,
    path: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    buffer: Vec<u8>,
}

impl Spill {
    /// Nothing yet; `path` is for a file that only this uses. Whoever gives it removes the folder after a failure.
    pub(super) fn new(directory: &Arc<dyn Directory>, path: PathBuf) -> Self {
        Self { directory: Arc::clone(directory), path, file: None, buffer: Vec::new() }
    }

    /// Adds what `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        write(&mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let Self { directory, path, file, buffer } = self;
        let write = || -> std::io::Result<()> {
            if file.is_none() {
                *file = Some(directory.create(path)?);
            }
            file.as_mut().map_or(Ok(()), |file| file.write_all(buffer))
        };
        let mut write = write;
        write().map_err(|e| Error::io("write to", directory.display_path(path), e))?;
        buffer.clear();
        Ok(())
    }

    /// All that was added.
    pub(super) fn finish(mut self) -> Result<Spilled> {
        if self.file.is_none() {
            return Ok(Spilled { bytes: Mapped::from_memory(self.buffer), file: None });
        }
        self.flush()?;
        drop(self.file.take());
        let mapped = self.directory.map(&self.path);
        let bytes = mapped.map_err(|e| Error::io("read", self.directory.display_path(&self.path), e))?;
        Ok(Spilled { bytes, file: Some((self.directory, self.path)) })
    }
}

/// Bytes that were collected.
#[derive(Debug)]
pub(super) struct Spilled {
    pub(super) bytes: Mapped,
    file: Option<(Arc<dyn Directory>, PathBuf)>,
}

impl Spilled {
    /// Removes the file, if there is one.
    pub(super) fn remove(self) -> Result<()> {
        let Some((directory, path)) = self.file else { return Ok(()) };
        directory.remove_file(&path).map_err(|e| Error::io("remove", directory.display_path(&path), e))
    }
}
