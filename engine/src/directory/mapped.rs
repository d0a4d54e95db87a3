//! The bytes of a whole file.

use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a whole immutable file: mapped from the real file system, or held by a simulated one.
#[derive(Clone, Debug)]
pub struct Mapped(Inner);

#[derive(Clone, Debug)]
enum Inner {
    File(Arc<memmap2::Mmap>),
    Memory(Arc<[u8]>),
}

impl Mapped {
    /// A mapping of a real file.
    #[must_use]
    pub(super) fn from_file(map: memmap2::Mmap) -> Self {
        Self(Inner::File(Arc::new(map)))
    }

    /// Bytes in memory.
    #[must_use]
    pub fn from_memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Inner::Memory(bytes.into()))
    }
}

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::File(map) => map,
            Inner::Memory(bytes) => bytes,
        }
    }
}
