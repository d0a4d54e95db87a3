//! A selected series: its parts wherever they are, known by their time, number of samples and statistics, and decoded on
//! demand.

use std::sync::Arc;

use crate::block::Block;
use crate::chunk::Statistics;
use crate::error::{Error, Result};
use crate::head::GroupChunk;
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::Labels;
use crate::samples::{Samples, sort_last_wins};
use crate::time::TimeRange;
use crate::tombstones::Deleted;

/// A timestamp and a value.
const BUFFERED_SAMPLE_BYTES: usize = size_of::<i64>() + size_of::<f64>();

/// Samples of one series in one place, sorted by time.
#[derive(Clone, Debug)]
pub struct Part(pub(super) Place);

/// Where the samples of a part are.
#[derive(Clone, Debug)]
pub(super) enum Place {
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

    /// The selected range. Parts may reach beyond it.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// Its parts, oldest write first: of two samples with the same timestamp, the one in the later part counts. None of them is
    /// decoded yet.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What it takes in memory, bytes. Labels count in full, though a head has them too; what several series share does not.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let buffered = |part: &Part| match &part.0 {
            Place::Buffer(samples) => samples.timestamps.len() * BUFFERED_SAMPLE_BYTES,
            Place::Block(..) | Place::Trimmed(..) | Place::Head(..) => 0,
        };
        let buffers: usize = self.parts.iter().map(buffered).sum();
        size_of::<Self>() + self.labels.as_packed().len() + self.parts.len() * size_of::<Part>() + buffers
    }

    /// Whether the parts follow each other in time. Only then do the samples and the statistics of each count as they are;
    /// otherwise some samples may have been overwritten by a later part.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.parts.windows(2).all(|pair| pair[0].range().end < pair[1].range().start)
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
            part.decode(self.range, out)?;
            if let (Some(last), Some(next)) = (before.checked_sub(1), out.timestamps.get(before)) {
                ascending &= out.timestamps[last] < *next;
            }
        }
        if !ascending {
            sort_last_wins(out);
        }
        out.cut(self.range);
        Ok(())
    }

    /// As [`read`](Self::read), without the parts that cannot be read: `lost` is told the time of each, and why. What earlier parts
    /// have in that time is left out as well, since the lost part may have replaced it.
    pub fn read_sound(&self, out: &mut Samples, mut lost: impl FnMut(TimeRange, Error)) {
        if self.read(out).is_ok() {
            return;
        }
        out.clear();
        let mut part_samples = Samples::default();
        for part in &self.parts {
            part_samples.clear();
            match part.decode(self.range, &mut part_samples) {
                Ok(()) => out.append(&part_samples),
                Err(error) => {
                    let hidden = part.range();
                    sort_last_wins(out);
                    Deleted::new([hidden]).remove_from(out, 0);
                    lost(hidden.intersection(self.range), error);
                }
            }
        }
        sort_last_wins(out);
        out.cut(self.range);
    }

    /// As [`read`](Self::read), for parts that are [ordered](Self::is_ordered), with others in place of the samples of those parts
    /// for which `stand_in` appends some and returns true. They lie in the part's time.
    ///
    /// # Errors
    /// As [`read`](Self::read), and those of `stand_in`.
    pub fn read_with(
        &self,
        out: &mut Samples,
        mut stand_in: impl FnMut(&Part, &mut Samples) -> Result<bool>,
    ) -> Result<()> {
        out.clear();
        for part in &self.parts {
            if !stand_in(part, out)? {
                part.decode(self.range, out)?;
            }
        }
        out.cut(self.range);
        Ok(())
    }
}

impl Part {
    /// The time that its samples lie in. For a chunk of a block, and for samples that are not encoded yet, these are the
    /// timestamps of its first and last sample; for a chunk of the head, or where some are deleted, it may be more.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        match &self.0 {
            Place::Block(_, _, times) | Place::Trimmed(_, _, times, _) => times.range,
            Place::Head(chunk, _) => chunk.range(),
            Place::Buffer(samples) => match samples.timestamps[..] {
                [] => TimeRange::new(i64::MAX, i64::MIN),
                [only] => TimeRange::new(only, only),
                [first, .., last] => TimeRange::new(first, last),
            },
        }
    }

    /// How many samples it has; where some are deleted, how many it had.
    #[must_use]
    pub fn samples(&self) -> usize {
        match &self.0 {
            Place::Block(_, _, times) | Place::Trimmed(_, _, times, _) => times.count as usize,
            Place::Head(chunk, column) => chunk.samples(*column),
            Place::Buffer(samples) => samples.timestamps.len(),
        }
    }

    /// The bytes that [`decode`](Self::decode) reads.
    ///
    /// # Errors
    /// [`Error::Corruption`] when the chunk does not check out.
    pub fn encoded_bytes(&self) -> Result<usize> {
        match &self.0 {
            Place::Block(block, chunk, times) | Place::Trimmed(block, chunk, times, _) => {
                block.encoded_bytes(*chunk, times)
            }
            Place::Head(chunk, column) => Ok(chunk.encoded_bytes(*column)),
            Place::Buffer(samples) => Ok(samples.timestamps.len() * BUFFERED_SAMPLE_BYTES),
        }
    }

    /// Whether some of its samples are native histograms, which take far longer to decode than numbers.
    ///
    /// # Errors
    /// [`Error::Corruption`] when the chunk does not check out.
    pub fn has_histograms(&self) -> Result<bool> {
        match &self.0 {
            Place::Block(block, chunk, _) | Place::Trimmed(block, chunk, ..) => block.has_histograms(*chunk),
            Place::Head(chunk, column) => Ok(chunk.has_histograms(*column)),
            Place::Buffer(samples) => Ok(!samples.histograms.is_empty()),
        }
    }

    /// Whether [`statistics`](Self::statistics) are worth asking for.
    #[must_use]
    pub fn may_have_statistics(&self) -> bool {
        matches!(self.0, Place::Block(..))
    }

    /// What its values amount to, if that is stored: its samples are not touched. They are all of the part's samples, also
    /// those outside the selected range.
    ///
    /// # Errors
    /// [`Error::Corruption`] when they do not check out.
    pub fn statistics(&self) -> Result<Option<Statistics>> {
        match &self.0 {
            Place::Block(block, chunk, times) => block.statistics(*chunk, times),
            Place::Trimmed(..) | Place::Head(..) | Place::Buffer(_) => Ok(None),
        }
    }

    /// Appends its samples to `out`, those inside `range` and maybe others. Timestamps ascend.
    ///
    /// # Errors
    /// [`Error::Corruption`] when the chunk does not check out.
    pub fn decode(&self, range: TimeRange, out: &mut Samples) -> Result<()> {
        match &self.0 {
            Place::Block(block, chunk, times) => block.decode_within(*chunk, times, range, out).map(drop),
            Place::Trimmed(block, chunk, times, deleted) => {
                let before = out.timestamps.len();
                block.decode_within(*chunk, times, range, out)?;
                deleted.remove_from(out, before);
                Ok(())
            }
            Place::Head(chunk, column) => chunk
                .decode(*column, range, out)
                .map_err(|e| Error::corruption("(memory)", e.offset as u64, e.reason)),
            Place::Buffer(samples) => {
                out.append(samples);
                Ok(())
            }
        }
    }
}
