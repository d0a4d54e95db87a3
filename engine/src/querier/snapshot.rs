//! One view of the database: the blocks, the heads that are being sealed, and the active head.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use ulid::Ulid;

use super::series::{Part, Place, Series};
use crate::block::{Block, BlockSeries};
use crate::budget::Found;
use crate::error::Result;
use crate::head::{Head, HeadSeries};
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::{Labels, WantedLabels};
use crate::matcher::Matcher;
use crate::time::TimeRange;
use crate::watch::Watch;

/// So many series are sorted in a few milliseconds.
const RUN_SERIES: usize = 8192;

/// The counts of the references to a label set.
const LABELS_OVERHEAD_BYTES: usize = 2 * size_of::<usize>();

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

    /// The series that satisfy all matchers of one of the selectors, each once, sorted by labels, as long as `watch` wants it to go on.
    ///
    /// # Errors
    /// As [`select_watched`](Self::select_watched).
    pub fn select_any(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
    ) -> Result<Vec<Series>> {
        self.select_wanted(selectors, range, WantedLabels::All, watch)
    }

    /// The same, as long as `watch` wants it to go on. Where all series are in one block, they have the wanted labels alone; there
    /// may be several with the same ones then.
    ///
    /// # Errors
    /// As [`select`](Self::select); [`Error::BrokenOff`](crate::Error::BrokenOff), and [`Error::Limit`](crate::Error::Limit) of the
    /// budget that `watch` has.
    pub fn select_watched(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        wanted: WantedLabels<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<Series>> {
        self.select_wanted(&[matchers], range, wanted, watch)
    }

    fn select_wanted(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        wanted: WantedLabels<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<Series>> {
        let in_blocks = self.blocks.iter().filter(|block| block.meta().range.overlaps(range)).count();
        let heads = self.heads().filter(|head| !head.is_empty() && head.range().overlaps(range)).count();
        // The parts of a series are brought together by all its labels.
        let labels = if in_blocks + heads > 1 { WantedLabels::All } else { wanted };
        let mut found: Vec<Series> = Vec::new();
        let mut pieces = watch.pieces();
        let mut add = |found: &mut Vec<Series>, series: Series| {
            pieces.add(series.memory_bytes())?;
            found.push(series);
            Ok(())
        };
        // What one block gave is in order already.
        let mut in_order = 0;
        for block in &self.blocks {
            let before = found.len();
            let each = |series: BlockSeries<'_>| add(&mut found, from_block(block, series, range));
            block.select(selectors, range, labels, watch, each)?;
            in_order = if before == 0 { found.len() } else { in_order };
        }
        for head in self.heads() {
            head.select(selectors, range, watch, |series| add(&mut found, from_head(series, range)))?;
        }
        if in_order == found.len() {
            return Ok(found);
        }
        if in_order > 0 && !matches!(labels, WantedLabels::All) {
            // Rows for this range came in meanwhile.
            return self.select_wanted(selectors, range, WantedLabels::All, watch);
        }
        // Series that several of them have are counted when they are one.
        merge_parts(found, watch)
    }

    /// The labels of the series that satisfy all matchers of one of the selectors and have a chunk that touches `range`. Without
    /// matchers, a selector means all series.
    ///
    /// # Errors
    /// As [`select_watched`](Self::select_watched).
    pub fn series_labels(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
    ) -> Result<Found<Labels>> {
        let mut found = Found::new(watch.pieces());
        let mut add = |labels: Labels| {
            let bytes = labels.as_packed().len() + LABELS_OVERHEAD_BYTES;
            found.add(&labels, bytes, || labels.clone())
        };
        self.blocks.iter().try_for_each(|block| block.labels(selectors, range, watch, &mut add))?;
        self.heads().try_for_each(|head| head.labels(selectors, range, watch, &mut add))?;
        Ok(found)
    }

    /// The names of the labels that these series carry.
    ///
    /// # Errors
    /// As [`select_watched`](Self::select_watched).
    pub fn label_names(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
    ) -> Result<Found<String>> {
        let mut names = Found::new(watch.pieces());
        self.blocks.iter().try_for_each(|block| block.label_names(selectors, range, watch, &mut names))?;
        self.heads().try_for_each(|head| head.label_names(selectors, range, watch, &mut names))?;
        Ok(names)
    }

    /// The values that these series have for the label `name`.
    ///
    /// # Errors
    /// As [`select_watched`](Self::select_watched).
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
    ) -> Result<Found<String>> {
        let mut values = Found::new(watch.pieces());
        for block in &self.blocks {
            block.label_values(name, selectors, range, watch, &mut values)?;
        }
        self.heads().try_for_each(|head| head.label_values(name, selectors, range, watch, &mut values))?;
        Ok(values)
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
