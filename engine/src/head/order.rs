//! All series of a head in the order of their labels, one at a time: what sealing needs, without a copy of the head's labels
//! and samples in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Head, HeadSeries};
use crate::labels::Labels;

/// The series of a head in the order of their labels.
#[derive(Debug)]
pub struct SeriesInOrder<'a> {
    head: &'a Head,
    /// The ids of each shard that are still to come, in order.
    shards: Vec<std::vec::IntoIter<u32>>,
    /// The next series of each shard that has one.
    next: BinaryHeap<Reverse<(Labels, usize, u32)>>,
}

impl Head {
    /// All series that have samples, in the order of their labels. What is written meanwhile may or may not be there.
    #[must_use]
    pub fn series_in_order(&self) -> SeriesInOrder<'_> {
        let shards = self.shards.iter().map(|shard| shard.read().order().into_iter()).collect();
        let mut series = SeriesInOrder { head: self, shards, next: BinaryHeap::new() };
        (0..series.shards.len()).for_each(|shard| series.advance(shard));
        series
    }
}

impl SeriesInOrder<'_> {
    fn advance(&mut self, shard: usize) {
        if let Some(id) = self.shards[shard].next() {
            let labels = self.head.shards[shard].read().labels_of(id);
            self.next.push(Reverse((labels, shard, id)));
        }
    }
}

impl Iterator for SeriesInOrder<'_> {
    type Item = HeadSeries;

    fn next(&mut self) -> Option<HeadSeries> {
        loop {
            let Reverse((labels, shard, id)) = self.next.pop()?;
            self.advance(shard);
            let found = self.head.shards[shard].read().samples_of(labels, id);
            if found.is_some() {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeRange;
    use crate::wal::{GroupDefinition, GroupId, Replay, Rows};

    #[test]
    fn series_come_in_the_order_of_their_labels() {
        let head = Head::new(1);
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
        let mut expected = Vec::new();
        let each = |series| {
            expected.push(series);
            Ok(())
        };
        head.select(&[&[]], TimeRange::ALL, crate::watch::Watch::default(), each).unwrap();
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        let found: Vec<HeadSeries> = head.series_in_order().collect();
        assert_eq!(found.len(), 600);
        assert!(
            found.iter().map(|s| (&s.labels, s.column)).eq(expected.iter().map(|s| (&s.labels, s.column)))
        );
        assert!(found.iter().all(|series| series.buffered.is_some()));
    }
}
