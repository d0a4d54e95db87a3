//! One shard of the head: its series, their inverted index, and the groups that hold their samples.

use std::sync::Arc;

use croaring::Bitmap;
use hashbrown::HashTable;

use super::HeadSeries;
use super::group::{Group, GroupChunk};
use super::pages::Pages;
use super::pairs::{PairId, Pairs};
use super::postings::Postings;
use super::scan::Scan;
use super::size::allocated;
use crate::budget::{Budget, Found, Held};
use crate::error::Result;
use crate::index::{LabelIndex, PairSource};
use crate::labels::Labels;
use crate::time::TimeRange;
use crate::wal::RowRef;
use crate::watch::Watch;

/// A definition in the log that is this far ahead of the last one is damage, not a sign that others are lost.
const MISSING_GROUPS_MAX: usize = 1 << 20;

/// The labels of a group's series. What they have in common, nearly always all but the metric name, is kept once.
#[derive(Debug, Default)]
struct GroupLabels {
    /// First the pairs that all series carry, then a row of `own` for each series; both in order of their names.
    pairs: Box<[PairId]>,
    shared: u32,
    /// Places of a row; a series with fewer pairs of its own has [`PairId::NONE`] in the rest.
    own: u32,
}

impl GroupLabels {
    /// From the pairs of each series, in order of their names.
    fn new(series: &[Vec<PairId>]) -> Self {
        let Some(first) = series.first() else { return Self::default() };
        let is_shared = |pair: &PairId| series.iter().all(|pairs| pairs.contains(pair));
        let shared: Vec<PairId> = first.iter().copied().filter(is_shared).collect();
        let own = series.iter().map(|pairs| pairs.len() - shared.len()).max().unwrap_or_default();
        let mut pairs = Vec::with_capacity(shared.len() + series.len() * own);
        pairs.extend_from_slice(&shared);
        for (i, series) in series.iter().enumerate() {
            pairs.extend(series.iter().filter(|pair| !shared.contains(pair)));
            pairs.resize(shared.len() + (i + 1) * own, PairId::NONE);
        }
        Self { pairs: pairs.into(), shared: shared.len() as u32, own: own as u32 }
    }

    fn shared(&self) -> &[PairId] {
        &self.pairs[..self.shared as usize]
    }

    /// The pairs of a column that not all series carry.
    fn own(&self, column: usize) -> &[PairId] {
        let start = self.shared as usize + column * self.own as usize;
        let row = &self.pairs[start..start + self.own as usize];
        &row[..row.iter().position(|pair| *pair == PairId::NONE).unwrap_or(row.len())]
    }

    /// All pairs of a column, in no order.
    fn all(&self, column: usize) -> impl Iterator<Item = PairId> {
        self.shared().iter().chain(self.own(column)).copied()
    }
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
}

/// One shard of the head. Series ids count within the shard, in order of creation.
#[derive(Debug)]
pub(super) struct Shard {
    pairs: Pairs,
    /// The position of each series' group.
    series: Pages<u32>,
    by_labels: HashTable<u32>,
    groups: Pages<Group>,
    /// The labels of each group.
    labels: Pages<GroupLabels>,
    /// What the pairs of `labels` take.
    label_bytes: usize,
    /// What samples take.
    sample_bytes: usize,
    /// Of all rows; each query asks, once for each selector.
    range: TimeRange,
    /// What all of it takes.
    held: Held,
}

/// What a series may take is asked for before it is taken: its labels, and this many bytes.
const NEW_SERIES_BYTES: usize = 200;

impl Shard {
    /// An empty shard; what it takes counts in `memory`.
    pub(super) fn new(memory: &Arc<Budget>) -> Self {
        Self {
            pairs: Pairs::default(),
            series: Pages::default(),
            by_labels: HashTable::new(),
            groups: Pages::default(),
            labels: Pages::default(),
            label_bytes: 0,
            sample_bytes: 0,
            range: TimeRange::new(i64::MAX, i64::MIN),
            held: memory.hold(),
        }
    }

    /// Asks for the memory that new series take: it is counted until [`count`](Self::count) knows better.
    pub(super) fn ask(&mut self, columns: &[Labels]) -> Result<()> {
        self.held.add(columns.iter().map(|labels| labels.as_packed().len() + NEW_SERIES_BYTES).sum())
    }

    /// Counts what the shard takes now.
    pub(super) fn count(&mut self) {
        let series = self.series.heap_bytes() + self.by_labels.allocation_size();
        let groups = self.groups.heap_bytes() + self.labels.heap_bytes() + self.label_bytes;
        self.held.count(series + groups + self.pairs.heap_bytes() + self.sample_bytes);
    }

    /// How many groups there are; the next one gets this position.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The shard's label pairs.
    pub(super) fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// Whether these series can be added.
    pub(super) fn has_room(&self, columns: &[Labels]) -> bool {
        let bytes = columns.iter().map(|labels| labels.as_packed().len()).sum();
        let pairs = columns.iter().map(Labels::len).sum();
        self.pairs.has_room(pairs, bytes) && self.series.len() + columns.len() < u32::MAX as usize
    }

    /// Where the series with these labels is.
    pub(super) fn find(&self, labels: &Labels) -> Option<Place> {
        let mut wanted = Vec::with_capacity(16);
        for (name, value) in labels {
            wanted.push(self.pairs.get(name, value)?);
        }
        let id = *self.by_labels.find(hash_of(wanted.iter().copied()), |id| {
            let (labels, column) = self.labels_and_column(*id);
            let len = labels.shared().len() + labels.own(column).len();
            len == wanted.len() && labels.all(column).all(|pair| wanted.contains(&pair))
        })?;
        let group = self.series[id as usize] as usize;
        let Group { first_series, width, .. } = self.groups[group];
        Some(Place { group, column: (id - first_series) as u16, width })
    }

    fn labels_and_column(&self, id: u32) -> (&GroupLabels, usize) {
        let group = self.series[id as usize] as usize;
        (&self.labels[group], (id - self.groups[group].first_series) as usize)
    }

    /// Adds a group with a series for each of `columns`, none of which exists yet; returns the group's position.
    pub(super) fn define(&mut self, columns: &[Labels]) -> usize {
        let group = self.groups.len();
        let first = self.series.len() as u32;
        let series = self.intern(columns);
        let labels = GroupLabels::new(&series);
        let width = columns.len() as u32;
        for pair in labels.shared() {
            self.pairs.carried_by(*pair, first, width);
        }
        for (id, column) in (first..).zip(0..columns.len()) {
            for pair in labels.own(column) {
                self.pairs.carried_by(*pair, id, 1);
            }
        }
        let made = Group::new(first, width as u16);
        self.sample_bytes += made.first_row_bytes();
        self.groups.push(made);
        self.label_bytes += allocated(size_of_val(&*labels.pairs));
        self.labels.push(labels);
        for (id, series) in (first..).zip(&series) {
            self.series.push(group as u32);
            self.insert_by_labels(hash_of(series.iter().copied()), id);
        }
        self.count();
        group
    }

    fn insert_by_labels(&mut self, hash: u64, id: u32) {
        let Self { series, groups, labels, .. } = self;
        self.by_labels.insert_unique(hash, id, |id| {
            let group = series[*id as usize] as usize;
            let column = (id - groups[group].first_series) as usize;
            hash_of(labels[group].all(column))
        });
    }

    /// The pairs of each series. Neighbours have most of them in common, and these are looked up once.
    fn intern(&mut self, columns: &[Labels]) -> Vec<Vec<PairId>> {
        let mut all: Vec<Vec<PairId>> = Vec::with_capacity(columns.len());
        let mut before: Vec<(&str, &str)> = Vec::new();
        for labels in columns {
            let mut pairs = Vec::with_capacity(before.len().max(4));
            let mut these = Vec::with_capacity(before.len().max(4));
            for (i, (name, value)) in labels.iter().enumerate() {
                let same = before.get(i).is_some_and(|pair| *pair == (name, value));
                let known = all.last().and_then(|pairs| pairs.get(i)).filter(|_| same).copied();
                pairs.push(known.unwrap_or_else(|| self.pairs.intern(name, value)));
                these.push((name, value));
            }
            all.push(pairs);
            before = these;
        }
        all
    }

    /// Adds the group at `position` as the log tells it.
    pub(super) fn define_at(&mut self, position: usize, columns: &[Labels]) -> Result<(), &'static str> {
        if position < self.groups.len() {
            return Err("the group is defined twice");
        }
        if position - self.groups.len() > MISSING_GROUPS_MAX {
            return Err("the group is far out of sequence");
        }
        if !self.has_room(columns) {
            return Err("there are more labels than a shard of the head has room for");
        }
        // Definitions that damage took away leave groups without columns, whose rows are counted as lost.
        while self.groups.len() < position {
            self.groups.push(Group::new(self.series.len() as u32, 0));
            self.labels.push(GroupLabels::default());
        }
        self.define(columns);
        Ok(())
    }

    /// Adds rows. Rows of groups that do not exist, or not with that width, count as orphaned.
    pub(super) fn apply<'a>(&mut self, rows: impl Iterator<Item = RowRef<'a>>) -> Applied {
        let mut applied = Applied::default();
        for row in rows {
            let samples = row.values.len() as u64;
            match self.groups.get_mut(row.group.index()) {
                Some(group) if usize::from(group.width) == row.width => {
                    self.range = self.range.union(TimeRange::new(row.timestamp, row.timestamp));
                    let appended = group.append(row);
                    applied.samples += samples;
                    self.sample_bytes = self.sample_bytes.saturating_add_signed(appended.bytes);
                    applied.out_of_order += if appended.out_of_order { samples } else { 0 };
                }
                _ => applied.orphaned += samples,
            }
        }
        self.count();
        applied
    }

    fn series_ids(&self, scan: &Scan<'_>, range: TimeRange) -> Result<impl Iterator<Item = u32>> {
        let ids: Vec<u32> = scan.series(self)?.to_vec();
        Ok(ids.into_iter().filter(move |id| {
            let group = self.series[*id as usize] as usize;
            self.groups[group].touches(range)
        }))
    }

    /// How many series satisfy the matchers and are in a group with a sample near `range`.
    pub(super) fn count_series(&self, scan: &Scan<'_>, range: TimeRange) -> Result<u64> {
        Ok(self.series_ids(scan, range)?.count() as u64)
    }

    /// Calls `each` with the labels of the series that satisfy one of the selectors and have a sample near `range`.
    pub(super) fn labels(
        &self,
        scan: &Scan<'_>,
        range: TimeRange,
        watch: Watch<'_>,
        each: &mut dyn FnMut(Labels) -> Result<()>,
    ) -> Result<()> {
        for (at, id) in self.series_ids(scan, range)?.enumerate() {
            watch.look(at)?;
            each(self.labels_of(id))?;
        }
        Ok(())
    }

    /// The labels of a series.
    pub(super) fn labels_of(&self, id: u32) -> Labels {
        let (labels, column) = self.labels_and_column(id);
        Labels::from_sorted(self.pairs_of(labels, column).map(|pair| self.pairs.text(pair)))
    }

    /// The pairs of a column, in the order of their names.
    fn pairs_of<'a>(&'a self, labels: &'a GroupLabels, column: usize) -> impl Iterator<Item = PairId> + 'a {
        let (mut shared, mut own) = (labels.shared(), labels.own(column));
        let name = |pair: PairId| self.pairs.text(pair).0;
        std::iter::from_fn(move || {
            let from = match (shared.first(), own.first()) {
                (Some(a), Some(b)) if name(*b) < name(*a) => &mut own,
                (None, _) => &mut own,
                _ => &mut shared,
            };
            let (pair, rest) = from.split_first()?;
            *from = rest;
            Some(*pair)
        })
    }

    /// How many series there are.
    pub(super) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// The group of a series, and its column there.
    pub(super) fn group_of(&self, id: u32) -> (&Group, usize) {
        let group = &self.groups[self.series[id as usize] as usize];
        (group, (id - group.first_series) as usize)
    }

    /// Calls `each` with the series that satisfy one of the selectors, and with what they have inside `range`.
    pub(super) fn select(
        &self,
        scan: &Scan<'_>,
        range: TimeRange,
        watch: Watch<'_>,
        each: &mut dyn FnMut(HeadSeries) -> Result<()>,
    ) -> Result<()> {
        let ids = self.series_ids(scan, range)?;
        // All that satisfy the matchers, near the range or not.
        watch.expect_series(ids.size_hint().1.unwrap_or(usize::MAX) as u64)?;
        for id in ids {
            let group = &self.groups[self.series[id as usize] as usize];
            let column = (id - group.first_series) as usize;
            let chunks: Vec<Arc<GroupChunk>> = group.chunks(range).cloned().collect();
            let buffered = group.buffered(column, range).map(Arc::new);
            if !chunks.is_empty() || buffered.is_some() {
                each(HeadSeries { labels: self.labels_of(id), column, chunks, buffered })?;
            }
        }
        Ok(())
    }

    /// The names of the labels that some series near `range` carries.
    pub(super) fn label_names(
        &self,
        scan: &Scan<'_>,
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        let mut carried: Vec<bool> = Vec::new();
        for (at, id) in self.series_ids(scan, range)?.enumerate() {
            watch.look(at)?;
            let (labels, column) = self.labels_and_column(id);
            for pair in labels.all(column) {
                let name = self.pairs.name_of(pair);
                carried.resize(carried.len().max(name + 1), false);
                carried[name] = true;
            }
        }
        let mut names = self.pairs.names().zip(carried).filter(|(_, carried)| *carried);
        names.try_for_each(|(name, _)| out.add(name, name.len(), || name.to_owned()))
    }

    /// The values of a label among the series near `range`.
    pub(super) fn label_values(
        &self,
        name: &str,
        scan: &Scan<'_>,
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        let ids: Bitmap = self.series_ids(scan, range)?.collect();
        for (at, (value, postings)) in self.pairs.values(name).enumerate() {
            watch.look(at)?;
            if postings.intersects(&ids) {
                out.add(value, value.len(), || value.to_owned())?;
            }
        }
        Ok(())
    }

    /// The time range of all rows; empty when there are none.
    pub(super) fn range(&self) -> TimeRange {
        self.range
    }

    /// How many chunks of series there are, those that are being filled among them.
    pub(super) fn chunks(&self) -> u64 {
        self.groups.iter().map(|group| group.chunk_count() as u64 * u64::from(group.width)).sum()
    }
}

/// The hash of a series by its pairs, in whatever order they come.
fn hash_of(pairs: impl Iterator<Item = PairId>) -> u64 {
    pairs.fold(0, |hash: u64, pair| hash.wrapping_add(pair.mixed()))
}

impl PairSource for Shard {
    fn series_count(&self) -> usize {
        self.series.len()
    }

    fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    fn pairs_in_order(&self) -> Option<Vec<u32>> {
        Some(self.pairs.in_order().into_iter().map(PairId::number).collect())
    }

    fn pair_text(&self, pair: u32) -> Result<(&str, &str)> {
        Ok(self.pairs.text(PairId::of(pair)))
    }

    fn pairs_of_series(&self, series: u32, out: &mut Vec<u32>) -> Result<()> {
        let (labels, column) = self.labels_and_column(series);
        out.extend(labels.all(column).map(PairId::number));
        Ok(())
    }

    fn series_of_pair(&self, pair: u32, out: &mut Vec<u32>) -> Result<()> {
        self.pairs.postings(PairId::of(pair)).append_to(out);
        Ok(())
    }
}

impl LabelIndex for Shard {
    fn all(&self) -> Result<Bitmap> {
        Ok(Bitmap::from_range(0..self.series.len() as u32))
    }

    fn with_value(&self, name: &str, value: &str) -> Result<Bitmap> {
        let pair = self.pairs.get(name, value);
        Ok(pair.map(|pair| self.pairs.postings(pair).to_bitmap()).unwrap_or_default())
    }

    fn with_any(
        &self,
        name: &str,
        values: &mut dyn Iterator<Item = &str>,
        watch: Watch<'_>,
    ) -> Result<Bitmap> {
        let mut found = Vec::new();
        for (at, value) in values.enumerate() {
            watch.look_value(at)?;
            found.extend(self.pairs.get(name, value));
        }
        Ok(Postings::union(found.into_iter().map(|pair| self.pairs.postings(pair))))
    }

    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool, watch: Watch<'_>) -> Result<Bitmap> {
        let mut kept = Vec::new();
        for (at, (value, postings)) in self.pairs.values(name).enumerate() {
            watch.look_value(at)?;
            if keep(value) {
                kept.push(postings);
            }
        }
        Ok(Postings::union(kept.into_iter()))
    }

    fn count_values(&self, name: &str) -> u64 {
        self.pairs.values(name).len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn labels_that_a_group_shares_are_kept_once_and_come_back_in_order() {
        let columns = [
            labels(&[("__name__", "a"), ("host", "h"), ("zone", "z")]),
            labels(&[("__name__", "b"), ("host", "h"), ("zone", "z")]),
            labels(&[("Upper", "u"), ("host", "h"), ("mount", "/"), ("zone", "z")]),
            labels(&[("host", "h"), ("zone", "z")]),
        ];
        let mut shard = Shard::new(&Budget::unlimited());
        shard.define(&[labels(&[("zone", "z"), ("host", "other")])]);
        assert!(columns.iter().all(|labels| shard.find(labels).is_none()));
        assert_eq!(shard.define(&columns), 1);
        for (column, labels) in columns.iter().enumerate() {
            assert_eq!(shard.find(labels), Some(Place { group: 1, column: column as u16, width: 4 }));
            assert_eq!(shard.labels_of(1 + column as u32), *labels);
        }
        assert_eq!(shard.labels[1].shared().len(), 2);
        assert!(shard.find(&labels(&[("host", "h")])).is_none(), "a subset of a series is another series");
        let ids = |name, value| shard.with_value(name, value).unwrap().to_vec();
        assert_eq!((ids("host", "h"), ids("mount", "/")), (vec![1, 2, 3, 4], vec![3]));
        assert_eq!(shard.with_label("zone").unwrap().cardinality(), 5);
        assert_eq!(shard.with_label("none").unwrap().cardinality(), 0);
    }

    #[test]
    fn series_are_found_again_while_the_tables_grow() {
        let mut shard = Shard::new(&Budget::unlimited());
        let of = |host: usize, name: usize| {
            labels(&[("__name__", &format!("m{name}")), ("host", &format!("h{host}"))])
        };
        for host in 0..2000 {
            let columns: Vec<Labels> = (0..3).map(|name| of(host, name)).collect();
            shard.define(&columns);
        }
        assert_eq!(shard.series.len(), 6000);
        for host in 0..2000 {
            assert_eq!(shard.find(&of(host, 2)), Some(Place { group: host, column: 2, width: 3 }));
        }
        assert_eq!(shard.with_value("__name__", "m1").unwrap().cardinality(), 2000);
        assert_eq!(shard.find(&of(2000, 0)), None);
    }
}
