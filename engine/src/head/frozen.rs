//! A head that nothing is written to any more, as sealing reads it: series by series in the order of their labels, and without a
//! copy of its labels or samples in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::RwLockReadGuard;

use super::Head;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::index::{Dictionary, PairSource};
use crate::samples::Samples;
use crate::time::TimeRange;

/// A head that is not written to: writes wait as long as this is there.
#[derive(Debug)]
pub struct FrozenHead<'h> {
    shards: Vec<RwLockReadGuard<'h, Shard>>,
}

impl Head {
    /// The head as it is now. Writes wait for the end of it.
    #[must_use]
    pub fn frozen(&self) -> FrozenHead<'_> {
        FrozenHead { shards: self.shards.iter().map(|shard| shard.read()).collect() }
    }
}

impl FrozenHead<'_> {
    /// Its shards as sources of an index.
    pub fn sources(&self) -> impl Iterator<Item = &dyn PairSource> {
        self.shards.iter().map(|shard| &**shard as &dyn PairSource)
    }

    /// The series of each shard in the order of their labels.
    ///
    /// # Errors
    /// None; the result is that of all sources of an index.
    pub fn order(&self, dictionary: &Dictionary<'_>) -> Result<Vec<Vec<u32>>> {
        (0..self.shards.len()).map(|shard| self.order_of(shard, dictionary)).collect()
    }

    fn order_of(&self, shard: usize, dictionary: &Dictionary<'_>) -> Result<Vec<u32>> {
        // Texts were compared once, when the dictionary was made: the numbers of the pairs have their order.
        let count = self.shards[shard].series_count();
        let (mut rows, mut pairs): (Vec<u32>, _) = (Vec::new(), Vec::new());
        let mut ends: Vec<usize> = Vec::with_capacity(count);
        for id in 0..count as u32 {
            dictionary.pairs_of(shard, id, &mut pairs)?;
            rows.extend_from_slice(&pairs);
            ends.push(rows.len());
        }
        let row = |id: u32| {
            let id = id as usize;
            &rows[if id == 0 { 0 } else { ends[id - 1] }..ends[id]]
        };
        let mut ids: Vec<u32> = (0..count as u32).collect();
        ids.sort_unstable_by(|a, b| row(*a).cmp(row(*b)));
        Ok(ids)
    }

    /// All series in the order of their labels, from what [`order`](Self::order) gave.
    ///
    /// # Errors
    /// As [`order`](Self::order).
    pub fn series_in_order<'f>(
        &self,
        dictionary: &'f Dictionary<'f>,
        order: &'f [Vec<u32>],
    ) -> Result<SeriesInOrder<'f>> {
        let shards = order.iter().map(|ids| ids.iter()).collect();
        let mut series = SeriesInOrder { dictionary, shards, next: BinaryHeap::new() };
        for shard in 0..order.len() {
            series.advance(shard, Vec::new())?;
        }
        Ok(series)
    }

    /// Appends the samples of a series of a shard, oldest write first, from those chunks whose range is `wanted`.
    ///
    /// # Errors
    /// Never, unless memory is damaged.
    pub fn read(
        &self,
        (shard, series): (usize, u32),
        wanted: &mut dyn FnMut(TimeRange) -> bool,
        out: &mut Samples,
    ) -> Result<()> {
        let (group, column) = self.shards[shard].group_of(series);
        let read = group.read(column, wanted, out);
        read.map_err(|e| Error::corruption("(memory)", e.offset as u64, e.reason))
    }
}

/// The series of a head in the order of their labels.
#[derive(Debug)]
pub struct SeriesInOrder<'f> {
    dictionary: &'f Dictionary<'f>,
    /// The series of each shard that are still to come.
    shards: Vec<std::slice::Iter<'f, u32>>,
    /// The next series of each shard that has one, by its pairs.
    next: BinaryHeap<Reverse<(Vec<u32>, usize, u32)>>,
}

impl SeriesInOrder<'_> {
    fn advance(&mut self, shard: usize, mut pairs: Vec<u32>) -> Result<()> {
        if let Some(&series) = self.shards[shard].next() {
            self.dictionary.pairs_of(shard, series, &mut pairs)?;
            self.next.push(Reverse((pairs, shard, series)));
        }
        Ok(())
    }
}

impl Iterator for SeriesInOrder<'_> {
    /// The shard, and the series' number there.
    type Item = Result<(usize, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((pairs, shard, series)) = self.next.pop()?;
        Some(self.advance(shard, pairs).map(|()| (shard, series)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::head::HeadSeries;
    use crate::labels::Labels;
    use crate::wal::{GroupDefinition, GroupId, Replay, Rows};
    use crate::watch::Watch;

    #[test]
    fn series_come_in_the_order_of_their_labels() {
        let head = Head::new(1, &Budget::unlimited());
        for i in 0..300_u32 {
            let group = GroupId::new(i as usize % GroupId::SHARDS, i as usize / GroupId::SHARDS).unwrap();
            let host = format!("h{}", i * 7919 % 1000);
            let of =
                |name: &str| Labels::from_pairs([("__name__", name), ("host", &host), ("A", "1")]).unwrap();
            let short = Labels::from_pairs([("host", &host)]).unwrap();
            head.define(&GroupDefinition { group, series: vec![of("b"), short, of("a")] }).unwrap();
            if i % 3 > 0 {
                let mut rows = Rows::default();
                rows.push(group, 1, [1.0, 2.0, 3.0].into_iter());
                assert_eq!(head.rows(&rows), 0);
            }
        }
        let mut expected: Vec<Labels> = Vec::new();
        let each = |series: HeadSeries| {
            expected.push(series.labels);
            Ok(())
        };
        head.select(&[&[]], TimeRange::ALL, Watch::default(), each).unwrap();
        expected.sort_unstable();
        let frozen = head.frozen();
        let dictionary = Dictionary::new(frozen.sources()).unwrap();
        let order = frozen.order(&dictionary).unwrap();
        let mut found: Vec<Labels> = Vec::new();
        let mut samples = Samples::default();
        for series in frozen.series_in_order(&dictionary, &order).unwrap() {
            let (shard, id) = series.unwrap();
            let before = samples.len();
            frozen.read((shard, id), &mut |_| true, &mut samples).unwrap();
            if samples.len() > before {
                found.push(frozen.shards[shard].labels_of(id));
            }
        }
        assert_eq!(found, expected);
        assert_eq!(found.len(), 600);
    }
}
