//! Reading one series after the other into the same buffer: series that are sampled together share a timestamp column in a block,
//! and its timestamps need not be decoded again for each.

use std::ops::Range;

use ulid::Ulid;

use super::series::{Part, Place, Series};
use crate::error::Result;
use crate::samples::Samples;
use crate::time::TimeRange;

/// What the timestamps in a buffer are, since the last [`Series::read_after`] into it.
#[derive(Clone, Debug, Default)]
pub struct KnownTimes {
    known: Option<Known>,
    /// Goes up whenever the buffer gets other timestamps.
    version: u64,
}

/// Some of a block's timestamp column.
#[derive(Clone, Debug)]
struct Known {
    block: Ulid,
    /// Where the block has the column, and how many timestamps the index says it has.
    offset: u64,
    count: u32,
    /// What was selected of it, and the positions where that is.
    range: TimeRange,
    positions: Range<usize>,
    /// The first and the last of them.
    ends: Option<(i64, i64)>,
}

impl Known {
    /// Whether these timestamps are still in the buffer. Who has the buffer may have removed some.
    fn is_in(&self, timestamps: &[i64]) -> bool {
        timestamps.len() == self.positions.len() && ends(timestamps) == self.ends
    }
}

impl KnownTimes {
    /// Says that something else is in the buffer now.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// A number that stands for these timestamps, if they are what was read last: as long as it stays the same, so do they.
    #[must_use]
    pub fn version(&self, timestamps: &[i64]) -> Option<u64> {
        self.known.as_ref().filter(|known| known.is_in(timestamps)).map(|_| self.version)
    }
}

fn ends(timestamps: &[i64]) -> Option<(i64, i64)> {
    Some((*timestamps.first()?, *timestamps.last()?))
}

impl Series {
    /// As [`read`](Self::read), into a buffer that `known` belongs to and that has what was last read into it, or less.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_after(&self, known: &mut KnownTimes, out: &mut Samples) -> Result<()> {
        let before = known.known.take();
        let [Part(Place::Block(block, chunk, times))] = &self.parts[..] else {
            return self.read(out);
        };
        let (id, offset, count, range) = (block.meta().id, times.offset, times.count, self.range);
        let is_same = |known: &Known| {
            (known.block, known.offset, known.count, known.range) == (id, offset, count, range)
        };
        if let Some(same) = before.filter(|known| is_same(known) && known.is_in(&out.timestamps)) {
            out.values.clear();
            out.histograms.clear();
            let decoded = block.decode_values(*chunk, count as usize, &same.positions, out);
            if decoded.is_err() {
                out.clear();
                return decoded;
            }
            known.known = Some(same);
            return Ok(());
        }
        out.clear();
        let positions = block.decode_within(*chunk, times, range, out)?;
        known.version += 1;
        known.known = Some(Known { block: id, offset, count, range, positions, ends: ends(&out.timestamps) });
        Ok(())
    }
}
