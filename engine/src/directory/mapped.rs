//! The bytes of a whole file.

use std::ops::{Deref, Range};
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

    /// Says that these bytes are not needed soon. Those of a file take no memory of the process until they are read again.
    pub fn forget(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Inner::File(map) = &self.0 {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            #[expect(
                unsafe_code,
                reason = "a replay must not take more memory than the server that wrote the log"
            )]
            // SAFETY: the advice is unsafe because pages that were written to would be lost. This mapping is of a file and
            // cannot be written to: a page that is dropped comes back with the same bytes when it is read.
            let outcome = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
            // Where it is refused, the memory stays.
            outcome.unwrap_or_default();
        }
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
