//! One shard of the head: its series, their inverted index, and the groups that hold their samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use croaring::Bitmap;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use super::group::{Group, GroupChunk};
use super::symbols::{Symbol, Symbols};
use super::{HeadSeries, hash_bytes};
use crate::error::Result;
use crate::index::{LabelIndex, matching};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::time::TimeRange;
use crate::wal::RowRef;

/// A definition in the log that is this far ahead of the last one is damage, not a sign that others are lost.
const MISSING_GROUPS_MAX: usize = 1 << 20;

#[derive(Debug)]
struct SeriesEntry {
    /// Sorted by the names' text.
    labels: Box<[(Symbol, Symbol)]>,
    hash: u64,
    /// The position of its group.
    group: u32,
}

/// Where a series' samples are: the position of its group, and its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: usize,
    pub(super) column: u16,
    pub(super) width: u16,
}

/// What applying rows did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Applied {
    pub(super) samples: u64,
    pub(super) out_of_order: u64,
    pub(super) orphaned: u64,
    pub(super) bytes: isize,
}

/// One shard of the head. Series ids count within the shard, in order of creation.
#[derive(Debug, Default)]
pub(super) struct Shard {
    symbols: Symbols,
    series: Vec<SeriesEntry>,
    by_labels: HashTable<u32>,
    postings: HashMap<(Symbol, Symbol), Bitmap, FixedState>,
    /// The values of each label name, in order of appearance.
    values: HashMap<Symbol, Vec<Symbol>, FixedState>,
    groups: Vec<Group>,
}

impl Shard {
    /// How many groups there are; the next one gets this position.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How many series there are.
    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    /// Where the series with these labels is.
    pub(super) fn find(&self, labels: &Labels) -> Option<Place> {
        let hash = hash_bytes(labels.as_packed());
        let id = *self.by_labels.find(hash, |id| {
            let entry = &self.series[*id as usize];
            entry.hash == hash && self.pairs(entry).eq(labels.iter())
        })?;
        let group = self.series[id as usize].group as usize;
        let Group { first_series, width, .. } = self.groups[group];
        Some(Place { group, column: (id - first_series) as u16, width })
    }

    /// Adds a group with a series for each of `columns`, none of which exists yet; returns the group's position.
    pub(super) fn define(&mut self, columns: &[Labels]) -> usize {
        let group = self.groups.len();
        let first = self.series.len() as u32;
        self.groups.push(Group::new(first, columns.len() as u16));
        for labels in columns {
            self.add_series(labels, group as u32);
        }
        group
    }

    /// Adds the group at `position` as the log tells it.
    pub(super) fn define_at(&mut self, position: usize, columns: &[Labels]) -> Result<(), &'static str> {
        if position < self.groups.len() {
            return Err("the group is defined twice");
        }
        if position - self.groups.len() > MISSING_GROUPS_MAX {
            return Err("the group is far out of sequence");
        }
        // Definitions that damage took away leave groups without columns, whose rows are counted as lost.
        while self.groups.len() < position {
            self.groups.push(Group::new(self.series.len() as u32, 0));
        }
        self.define(columns);
        Ok(())
    }

    fn add_series(&mut self, labels: &Labels, group: u32) {
        let id = self.series.len() as u32;
        let hash = hash_bytes(labels.as_packed());
        let mut pairs = Vec::with_capacity(12);
        for (name, value) in labels {
            let pair = (self.symbols.intern(name), self.symbols.intern(value));
            let Self { postings, values, .. } = self;
            postings
                .entry(pair)
                .or_insert_with(|| {
                    values.entry(pair.0).or_default().push(pair.1);
                    Bitmap::new()
                })
                .add(id);
            pairs.push(pair);
        }
        self.series.push(SeriesEntry { labels: pairs.into(), hash, group });
        let series = &self.series;
        self.by_labels.insert_unique(hash, id, |id| series[*id as usize].hash);
    }

    fn pairs<'a>(&'a self, entry: &'a SeriesEntry) -> impl Iterator<Item = (&'a str, &'a str)> {
        entry.labels.iter().map(|(name, value)| (self.symbols.text(*name), self.symbols.text(*value)))
    }

    /// Adds rows. Rows of groups that do not exist, or not with that width, count as orphaned.
    pub(super) fn apply<'a>(&mut self, rows: impl Iterator<Item = RowRef<'a>>) -> Applied {
        let mut applied = Applied::default();
        for row in rows {
            let samples = row.values.len() as u64;
            match self.groups.get_mut(row.group.index()) {
                Some(group) if usize::from(group.width) == row.width => {
                    let appended = group.append(row.timestamp, row.values, row.sparse);
                    applied.samples += samples;
                    applied.bytes += appended.bytes;
                    applied.out_of_order += if appended.out_of_order { samples } else { 0 };
                }
                _ => applied.orphaned += samples,
            }
        }
        applied
    }

    fn series_ids(&self, matchers: &[Matcher], range: TimeRange) -> Result<impl Iterator<Item = u32>> {
        let ids = matching(self, matchers)?;
        let ids: Vec<u32> = ids.to_vec();
        Ok(ids.into_iter().filter(move |id| {
            let group = self.series[*id as usize].group as usize;
            self.groups[group].touches(range)
        }))
    }

    /// The labels of the series that satisfy the matchers and have a sample near `range`.
    pub(super) fn labels(&self, matchers: &[Matcher], range: TimeRange, out: &mut Vec<Labels>) -> Result<()> {
        out.extend(self.series_ids(matchers, range)?.map(|id| self.labels_of(id)));
        Ok(())
    }

    fn labels_of(&self, id: u32) -> Labels {
        Labels::from_sorted(self.pairs(&self.series[id as usize]))
    }

    /// The series that satisfy the matchers, with what they have inside `range`.
    pub(super) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        out: &mut Vec<HeadSeries>,
    ) -> Result<()> {
        for id in self.series_ids(matchers, range)? {
            let group = &self.groups[self.series[id as usize].group as usize];
            let column = (id - group.first_series) as usize;
            let chunks: Vec<Arc<GroupChunk>> = group.chunks(range).cloned().collect();
            let buffered = group.buffered(column, range).map(Arc::new);
            if !chunks.is_empty() || buffered.is_some() {
                out.push(HeadSeries { labels: self.labels_of(id), column, chunks, buffered });
            }
        }
        Ok(())
    }

    /// The names of the labels that some series near `range` carries.
    pub(super) fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        out: &mut BTreeSet<String>,
    ) -> Result<()> {
        let mut seen: BTreeSet<Symbol> = BTreeSet::new();
        for id in self.series_ids(matchers, range)? {
            for (name, _) in &self.series[id as usize].labels {
                if seen.insert(*name) {
                    out.insert(self.symbols.text(*name).to_owned());
                }
            }
        }
        Ok(())
    }

    /// The values of a label among the series near `range`.
    pub(super) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        out: &mut BTreeSet<String>,
    ) -> Result<()> {
        let Some(name) = self.symbols.get(name) else { return Ok(()) };
        let ids: Bitmap = self.series_ids(matchers, range)?.collect();
        for value in self.values.get(&name).into_iter().flatten() {
            if self.postings.get(&(name, *value)).is_some_and(|postings| postings.intersect(&ids)) {
                out.insert(self.symbols.text(*value).to_owned());
            }
        }
        Ok(())
    }

    /// The time range of all rows.
    pub(super) fn range(&self) -> TimeRange {
        let empty = TimeRange::new(i64::MAX, i64::MIN);
        self.groups.iter().fold(empty, |range, group| range.union(group.range()))
    }

    /// Bytes that the series and their index take, roughly.
    pub(super) fn index_bytes(&self) -> usize {
        let labels: usize = self.series.len() * (size_of::<SeriesEntry>() + 8 * 11 + 5);
        let groups = self.groups.len() * size_of::<Group>();
        labels + groups + self.symbols.heap_bytes() + self.postings.capacity() * 120
    }
}

impl LabelIndex for Shard {
    fn all(&self) -> Result<Bitmap> {
        Ok(Bitmap::from_range(0..self.series.len() as u32))
    }

    fn with_value(&self, name: &str, value: &str) -> Result<Bitmap> {
        let pair = self.symbols.get(name).zip(self.symbols.get(value));
        Ok(pair.and_then(|pair| self.postings.get(&pair)).cloned().unwrap_or_default())
    }

    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool) -> Result<Bitmap> {
        let Some(name) = self.symbols.get(name) else { return Ok(Bitmap::new()) };
        let values = self.values.get(&name).into_iter().flatten();
        let kept = values.filter(|value| keep(self.symbols.text(**value)));
        let postings: Vec<&Bitmap> = kept.filter_map(|value| self.postings.get(&(name, *value))).collect();
        Ok(Bitmap::fast_or(&postings))
    }
}
