#![doc = include_str!("../../docs/format/wal.md")]
//!
//! # The module
//! [`record`] says what a record holds, [`segment`] how records lie in a file, [`names`] which files are segments, [`writer`] how concurrent writers share
//! one sync, [`replay`] how a log is read back after a crash, by several [`workers`].

mod names;
mod progress;
mod record;
mod replay;
mod segment;
mod workers;
mod writer;

pub use names::{SegmentNames, segment_names, segment_numbers, segment_path};
pub use progress::{ReplayProgress, ReplayState};
pub use record::{
    GROUP_WIDTH_MAX, GroupDefinition, GroupId, RowRef, Rows, SparseRow, batch_rows, encode_batch,
};
pub(crate) use replay::OTHER_NUMBER;
pub use replay::{Generations, LogTail, Replay, ReplayReport, read_log};
pub use segment::{
    Frame, Gap, Item, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentError, SegmentHeader, SegmentReader,
};
pub use writer::{Logged, SyncTimes, Wal, WalStats};

#[cfg(test)]
mod tests;

/// The folder of the segments below the data directory.
pub const WAL_DIR: &str = "wal";
