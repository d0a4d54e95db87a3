//! Which metrics, labels and pairs have the most series: counted from postings, without a look at the series.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::snapshot::Snapshot;
use crate::block::Block;
use crate::budget::{Found, Pieces};
use crate::error::Result;
use crate::head::Head;
use crate::labels::METRIC_NAME;
use crate::time::TimeRange;
use crate::watch::Watch;

/// What a value and its count take in a table that is half full, besides the value's text.
const COUNTED_VALUE_BYTES: usize = 2 * (size_of::<Box<str>>() + size_of::<u64>());

/// A name and how much of something it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// A metric, a label, or a pair as `name=value`.
    pub name: String,
    /// How much.
    pub count: u64,
}

/// How many series there are, and what the most of them have in common. The lists have the largest counts first and,
/// where these are equal, names in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series.
    pub series: u64,
    /// Different label pairs.
    pub label_pairs: u64,
    /// Chunks in memory, those that are being filled among them.
    pub head_chunks: u64,
    /// The time range of the samples in memory; `None` when there are none.
    pub head_range: Option<TimeRange>,
    /// Series of a metric.
    pub series_by_metric: Vec<Count>,
    /// Different values of a label.
    pub values_by_label: Vec<Count>,
    /// Bytes of a label's values, each as often as there are series with it.
    pub bytes_by_label: Vec<Count>,
    /// Series with a label pair.
    pub series_by_pair: Vec<Count>,
}

/// Where series are.
enum Source<'a> {
    Head(&'a Head),
    Block(&'a Block),
}

impl Snapshot {
    /// Counts series by metric, label and pair, and keeps the `top` largest of each.
    ///
    /// What is in several places (a head that is being sealed and the one after it; the head and blocks) is not added up,
    /// since it is mostly the same series: the place with the most counts. So a number is never above the true one.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) of a block's index; [`Error::BrokenOff`](crate::Error::BrokenOff) when `watch`
    /// says so, and [`Error::Limit`](crate::Error::Limit) of its budget.
    pub fn cardinality(&self, top: usize, with_blocks: bool, watch: Watch<'_>) -> Result<Cardinality> {
        let heads = self.heads().map(|head| Source::Head(head));
        let blocks = self.blocks.iter().filter(|_| with_blocks).map(|block| Source::Block(block));
        let sources: Vec<Source<'_>> = heads.chain(blocks).collect();
        let empty = TimeRange::new(i64::MAX, i64::MIN);
        let range = self.heads().map(|head| head.range()).fold(empty, TimeRange::union);
        let mut found = Cardinality {
            series: sources.iter().map(Source::series).max().unwrap_or_default(),
            head_chunks: self.heads().map(|head| head.chunks()).sum(),
            head_range: (!range.is_empty()).then_some(range),
            ..Cardinality::default()
        };
        let mut names = Found::new(watch.pieces());
        sources.iter().try_for_each(|source| source.names(&mut names))?;
        let mut tops = [const { Top::new() }; 4];
        for name in names.iter() {
            let mut pieces = watch.pieces();
            let counts = count_values(&sources, name, watch, &mut pieces)?;
            found.label_pairs += counts.len() as u64;
            let [metrics, values, bytes, pairs] = &mut tops;
            values.offer(top, counts.len() as u64, || name.clone());
            bytes.offer(top, counts.iter().map(|(value, count)| value.len() as u64 * count).sum(), || {
                name.clone()
            });
            for (value, count) in &counts {
                pairs.offer(top, *count, || format!("{name}={value}"));
                if *name == METRIC_NAME {
                    metrics.offer(top, *count, || value.to_string());
                }
            }
        }
        [found.series_by_metric, found.values_by_label, found.bytes_by_label, found.series_by_pair] =
            tops.map(Top::into_counts);
        Ok(found)
    }
}

/// How many series carry each value of a label.
fn count_values(
    sources: &[Source<'_>],
    name: &str,
    watch: Watch<'_>,
    pieces: &mut Pieces,
) -> Result<HashMap<Box<str>, u64>> {
    let mut most: HashMap<Box<str>, u64> = HashMap::new();
    for source in sources {
        let mut counts: HashMap<Box<str>, u64> = HashMap::new();
        let mut looked_at = 0;
        source.values(name, &mut |value, series| {
            looked_at += 1;
            watch.look(looked_at)?;
            match counts.get_mut(value) {
                Some(count) => *count += series,
                None => {
                    pieces.add(value.len() + COUNTED_VALUE_BYTES)?;
                    counts.insert(value.into(), series);
                }
            }
            Ok(())
        })?;
        if most.is_empty() {
            most = counts;
            continue;
        }
        for (value, count) in counts {
            let known = most.entry(value).or_default();
            *known = count.max(*known);
        }
    }
    Ok(most)
}

impl Source<'_> {
    fn series(&self) -> u64 {
        match self {
            Self::Head(head) => head.stats().series,
            Self::Block(block) => block.meta().series,
        }
    }

    fn names(&self, out: &mut Found<String>) -> Result<()> {
        match self {
            Self::Head(head) => head.all_label_names(out),
            Self::Block(block) => {
                let mut names = block.index().names();
                names.try_for_each(|(name, _)| out.add(name, name.len(), || name.to_owned()))
            }
        }
    }

    /// Calls `visit` with the values of a label and the number of series that carry it; a value may come several times, with
    /// other series.
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        match self {
            Self::Head(head) => head.count_values(name, visit),
            Self::Block(block) => block.index().series_by_value(name).try_for_each(|counted| {
                let (value, series) = counted?;
                visit(value, series)
            }),
        }
    }
}

/// The largest counts so far.
struct Top {
    /// The least of them on top; of equal ones the one whose name comes last.
    kept: BinaryHeap<Reverse<(u64, Reverse<String>)>>,
}

impl Top {
    const fn new() -> Self {
        Self { kept: BinaryHeap::new() }
    }

    fn offer(&mut self, top: usize, count: u64, name: impl FnOnce() -> String) {
        let is_full = self.kept.len() >= top;
        if is_full && self.kept.peek().is_none_or(|Reverse((least, _))| count < *least) {
            return;
        }
        self.kept.push(Reverse((count, Reverse(name()))));
        if is_full {
            self.kept.pop();
        }
    }

    fn into_counts(self) -> Vec<Count> {
        let count = |Reverse((count, Reverse(name)))| Count { name, count };
        self.kept.into_sorted_vec().into_iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_equal_ones_in_order_of_their_names() {
        let mut top = Top::new();
        for (name, count) in [("c", 2), ("a", 1), ("b", 2), ("z", 9), ("d", 2), ("y", 0)] {
            top.offer(3, count, || name.to_owned());
        }
        let kept: Vec<(String, u64)> = top.into_counts().into_iter().map(|c| (c.name, c.count)).collect();
        assert_eq!(kept, [("z".to_owned(), 9), ("b".to_owned(), 2), ("c".to_owned(), 2)]);
        let mut none = Top::new();
        none.offer(0, 1, String::new);
        assert_eq!(none.into_counts(), []);
    }
}
