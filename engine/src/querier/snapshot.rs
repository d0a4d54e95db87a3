//! One view of the database: the blocks, the heads that are being sealed, and the active head.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use ulid::Ulid;

use super::series::{Part, Place, Series};
use crate::block::{Block, BlockSeries};
use crate::error::Result;
use crate::head::{Head, HeadSeries};
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::{Labels, WantedLabels};
use crate::matcher::Matcher;
use crate::time::TimeRange;
use crate::watch::Watch;

/// So many series are sorted in a few milliseconds.
const RUN_SERIES: usize = 8192;

/// A head that takes no more rows, and is about to become blocks.
#[derive(Clone, Debug)]
pub struct SealedHead {
    /// The head.
    pub head: Arc<Head>,
    /// The first WAL segment behind its own.
    pub next_segment: u64,
}

/// One view of the database: every sample is in it once, whatever is sealed and merged meanwhile. Cheap to take, and keeps what
/// it sees alive.
///
/// The blocks and sealed heads never change. The active head goes on taking rows: a selection sees each row wholly or
/// not at all, and once it has been made, it does not change; a second selection may see rows that the first did not.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Oldest writes first.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Blocks that are listed and cannot be read.
    pub(crate) unreadable: Arc<[Ulid]>,
    /// Oldest writes first.
    pub(crate) sealed: Vec<SealedHead>,
    pub(crate) active: Arc<Head>,
}

impl Snapshot {
    pub(super) fn heads(&self) -> impl Iterator<Item = &Arc<Head>> {
        self.sealed.iter().map(|sealed| &sealed.head).chain([&self.active])
    }

    /// What this view lacks because it is damaged on disk: a sentence for each block that cannot be read.
    pub fn damage(&self) -> impl Iterator<Item = String> {
        let lacks = |id: &Ulid| format!("block {id} is damaged: the samples that it holds are missing here");
        self.unreadable.iter().map(lacks)
    }

    /// The series that satisfy all matchers and have a chunk that touches `range`, sorted by labels.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) when an index does not check out.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Series>> {
        self.select_watched(matchers, range, WantedLabels::All, Watch::default())
    }

    /// The same, as long as `watch` wants it to go on. Where all series are in one block, they have the wanted labels alone; there
    /// may be several with the same ones then.
    ///
    /// # Errors
    /// As [`select`](Self::select); [`Error::BrokenOff`](crate::Error::BrokenOff).
    pub fn select_watched(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: WantedLabels<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<Series>> {
        let in_blocks = self.blocks.iter().filter(|block| block.meta().range.overlaps(range)).count();
        let heads = self.heads().filter(|head| !head.is_empty() && head.range().overlaps(range)).count();
        // The parts of a series are brought together by all its labels.
        let labels = if in_blocks + heads > 1 { WantedLabels::All } else { wanted };
        let mut found: Vec<Series> = Vec::new();
        // What one block gave is in order already.
        let mut in_order = 0;
        for block in &self.blocks {
            let before = found.len();
            let add = |series: BlockSeries<'_>| found.push(from_block(block, series, range));
            block.select(matchers, range, labels, watch, add)?;
            in_order = if before == 0 { found.len() } else { in_order };
        }
        for head in self.heads() {
            found.extend(head.select(matchers, range, watch)?.into_iter().map(|s| from_head(s, range)));
        }
        if in_order == found.len() {
            return Ok(found);
        }
        if in_order > 0 && !matches!(labels, WantedLabels::All) {
            // Rows for this range came in meanwhile.
            return self.select_watched(matchers, range, WantedLabels::All, watch);
        }
        // Series that several of them have are counted when they are one.
        merge_parts(found, watch)
    }

    /// The labels of these series, sorted.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn series_labels(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>> {
        let mut found = Vec::new();
        for block in &self.blocks {
            found.extend(block.labels(matchers, range)?);
        }
        for head in self.heads() {
            found.extend(head.labels(matchers, range)?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The names of the labels that these series carry, sorted.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        let mut names = BTreeSet::new();
        self.blocks.iter().try_for_each(|block| block.label_names(matchers, range, &mut names))?;
        self.heads().try_for_each(|head| head.label_names(matchers, range, &mut names))?;
        Ok(names.into_iter().collect())
    }

    /// The values that these series have for the label `name`, sorted.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> {
        let mut values = BTreeSet::new();
        self.blocks.iter().try_for_each(|block| block.label_values(name, matchers, range, &mut values))?;
        self.heads().try_for_each(|head| head.label_values(name, matchers, range, &mut values))?;
        Ok(values.into_iter().collect())
    }

    /// The time range of all stored samples; `None` when there are none. It may be wider while deleted samples still are in
    /// their blocks.
    #[must_use]
    pub fn time_range(&self) -> Option<TimeRange> {
        let empty = TimeRange::new(i64::MAX, i64::MIN);
        let blocks = self.blocks.iter().map(|block| block.meta().range);
        let range = blocks.chain(self.heads().map(|head| head.range())).fold(empty, TimeRange::union);
        (!range.is_empty()).then_some(range)
    }
}

/// Joins the parts of equal series, of which each source has one, and sorts the series by labels. The sources come in the order of
/// their writes, and so do the parts of a series.
fn merge_parts(found: Vec<Series>, watch: Watch<'_>) -> Result<Vec<Series>> {
    let mut merged: Vec<Series> = Vec::with_capacity(found.len());
    // A sort cannot be broken off, so there are several, whose results are merged.
    let mut runs = Vec::with_capacity(found.len().div_ceil(RUN_SERIES));
    let mut rest = found.into_iter();
    while rest.len() > 0 {
        watch.ask(0)?;
        let mut run: Vec<Series> = rest.by_ref().take(RUN_SERIES).collect();
        // Stable: equal series stay in the order of their sources.
        run.sort_by(|a, b| a.labels.cmp(&b.labels));
        runs.push(run.into_iter().peekable());
    }
    if let [run] = &mut runs[..] {
        run.for_each(|series| push_or_join(&mut merged, series));
        return Ok(merged);
    }
    // The next series of each run; of equal ones that of the earlier run.
    let next_of = |at: usize, series: &Series| Reverse((series.labels.clone(), at));
    let first =
        runs.iter_mut().enumerate().filter_map(|(at, run)| run.peek().map(|series| next_of(at, series)));
    let mut next: BinaryHeap<_> = first.collect();
    while let Some(Reverse((_, at))) = next.pop() {
        if let Some(series) = runs[at].next() {
            push_or_join(&mut merged, series);
        }
        next.extend(runs[at].peek().map(|series| next_of(at, series)));
        watch.look(merged.len())?;
    }
    Ok(merged)
}

/// Adds a series, or its parts to the last one if that has the same labels.
fn push_or_join(merged: &mut Vec<Series>, mut series: Series) {
    match merged.last_mut() {
        Some(last) if last.labels == series.labels => last.parts.append(&mut series.parts),
        _ => merged.push(series),
    }
}

fn from_block(block: &Arc<Block>, series: BlockSeries<'_>, range: TimeRange) -> Series {
    let BlockSeries { labels, chunks, deleted } = series;
    let part = |&(chunk, times): &(ChunkRef, TimesEntry)| match &deleted {
        Some(deleted) if deleted.touches(times.range) => {
            Part(Place::Trimmed(Arc::clone(block), chunk, times, deleted.clone()))
        }
        _ => Part(Place::Block(Arc::clone(block), chunk, times)),
    };
    Series { labels, parts: chunks.iter().map(part).collect(), range }
}

fn from_head(series: HeadSeries, range: TimeRange) -> Series {
    let chunks = series.chunks.into_iter().map(|chunk| Part(Place::Head(chunk, series.column)));
    let parts = chunks.chain(series.buffered.map(|samples| Part(Place::Buffer(samples)))).collect();
    Series { labels: series.labels, parts, range }
}
