//! A selected series: its chunks wherever they are, decoded on demand.

use std::sync::Arc;

use crate::block::Block;
use crate::error::{Error, Result};
use crate::head::GroupChunk;
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::Labels;
use crate::samples::{Samples, sort_last_wins};
use crate::time::TimeRange;
use crate::tombstones::Deleted;

/// Samples of one series in one place, sorted by time.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A chunk of a block.
    Block(Arc<Block>, ChunkRef, TimesEntry),
    /// A chunk of a block of which some is deleted. What its header says of all its samples is not true of those left.
    Trimmed(Arc<Block>, ChunkRef, TimesEntry, Deleted),
    /// A column of a chunk in the head.
    Head(Arc<GroupChunk>, usize),
    /// Samples that are not encoded yet.
    Buffer(Arc<Samples>),
}

/// One selected series.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) labels: Labels,
    /// Oldest write first: of two samples with the same timestamp, the one in the later part counts.
    pub(super) parts: Vec<Part>,
    pub(super) range: TimeRange,
}

impl Series {
    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Replaces what is in `out` by the samples inside the selected range: timestamps ascend, and of several writes to
    /// the same timestamp there is the last.
    ///
    /// # Errors
    /// [`Error::Corruption`] when a chunk does not check out.
    pub fn read(&self, out: &mut Samples) -> Result<()> {
        out.clear();
        let mut ascending = true;
        for part in &self.parts {
            let before = out.timestamps.len();
            part.decode(out)?;
            if let (Some(last), Some(next)) = (before.checked_sub(1), out.timestamps.get(before)) {
                ascending &= out.timestamps[last] < *next;
            }
        }
        if !ascending {
            sort_last_wins(out);
        }
        let end = out.timestamps.partition_point(|t| *t <= self.range.end);
        let start = out.timestamps.partition_point(|t| *t < self.range.start);
        cut(out, start, end);
        Ok(())
    }
}

/// Cuts both columns to `start..end`.
fn cut(out: &mut Samples, start: usize, end: usize) {
    out.timestamps.truncate(end);
    out.values.truncate(end);
    if start > 0 {
        out.timestamps.drain(..start.min(end));
        out.values.drain(..start.min(end));
    }
}

impl Part {
    fn decode(&self, out: &mut Samples) -> Result<()> {
        match self {
            Self::Block(block, chunk, times) => block.decode(*chunk, times, out),
            Self::Trimmed(block, chunk, times, deleted) => {
                let before = out.timestamps.len();
                block.decode(*chunk, times, out)?;
                deleted.remove_from(out, before);
                Ok(())
            }
            Self::Head(chunk, column) => chunk
                .decode(*column, out)
                .map_err(|e| Error::corruption("(memory)", e.offset as u64, e.reason)),
            Self::Buffer(samples) => {
                out.timestamps.extend_from_slice(&samples.timestamps);
                out.values.extend_from_slice(&samples.values);
                Ok(())
            }
        }
    }
}
