//! How many series there are, and which labels make them many: from the dictionary and the heads of the postings alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::reader::Index;
use crate::error::Result;
use crate::labels::METRIC_NAME;

/// Counts of series and labels. The lists hold the largest, from the largest on; of equals, the first by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series.
    pub series: u64,
    /// Label pairs that some series has.
    pub pairs: u64,
    /// Label names that some series has.
    pub label_names: u64,
    /// Metric names, and how many series each has.
    pub by_metric: Vec<(String, u64)>,
    /// Label names, and how many values each has.
    pub by_label_name: Vec<(String, u64)>,
    /// Label names, and the bytes of their values.
    pub by_label_bytes: Vec<(String, u64)>,
    /// Label pairs as `name=value`, and how many series each has.
    pub by_pair: Vec<(String, u64)>,
}

/// The largest of what is added.
#[derive(Debug)]
struct Top<T> {
    limit: usize,
    heap: BinaryHeap<Reverse<(u64, Reverse<T>)>>,
}

impl<T: Ord> Top<T> {
    fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    fn add(&mut self, count: u64, what: T) {
        self.heap.push(Reverse((count, Reverse(what))));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    fn finish<E>(self, name: impl Fn(T) -> Result<String, E>) -> Result<Vec<(String, u64)>, E> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse((count, Reverse(what)))| Ok((name(what)?, count))).collect()
    }
}

impl Cardinality {
    /// Counts an index; each list has at most `limit` entries.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption).
    pub fn of_index(index: &Index, limit: usize) -> Result<Self> {
        let (mut metrics, mut pairs) = (Top::new(limit), Top::new(limit));
        let (mut values, mut bytes) = (Top::new(limit), Top::new(limit));
        let mut counts = Self { series: index.meta().series, ..Self::default() };
        for name in index.label_names() {
            counts.label_names += 1;
            counts.pairs += name.pairs.len() as u64;
            values.add(name.pairs.len() as u64, &*name.text);
            bytes.add(index.value_bytes(name.pairs.clone())?, &*name.text);
            for pair in name.pairs.clone() {
                let series = index.series_of_pair(pair)?;
                pairs.add(series, pair);
                if &*name.text == METRIC_NAME {
                    metrics.add(series, pair);
                }
            }
        }
        let owned = |name: &str| Ok(name.to_owned());
        counts.by_metric = metrics.finish(|pair| owned(index.pair(pair.into())?.1))?;
        counts.by_label_name = values.finish(owned)?;
        counts.by_label_bytes = bytes.finish(owned)?;
        counts.by_pair = pairs.finish(|pair| {
            let (name, value) = index.pair(pair.into())?;
            Ok(format!("{name}={value}"))
        })?;
        Ok(counts)
    }
}
