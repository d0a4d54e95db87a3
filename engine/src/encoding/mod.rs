//! The primitives below every format on disk: a bounds-checked reader, variable-length integers, bit packing, an entropy
//! coder, and the bytes of a [`histogram`]. Nothing else here knows what the numbers mean.

pub mod bitpack;
mod envelope;
pub mod histogram;
pub mod tans;
pub mod varint;

pub use envelope::Envelope;
pub use varint::{Reader, unzigzag, write_varint, write_zigzag, zigzag};

/// Bytes that are not what an encoder writes.
///
/// Offsets count from the first byte that was given to the decoder; who knows the file adds its own offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub struct DecodeError {
    /// Where in the given bytes.
    pub offset: usize,
    /// What does not fit.
    pub reason: &'static str,
}
