//! Decoded samples: two columns of equal length, and the histograms that cells of the second one name.

use std::ops::Range;
use std::sync::Arc;

use crate::histogram::{Histogram, cell};
use crate::time::TimeRange;

/// Two columns of equal length.
///
/// Where a sample is a histogram, its value is a [cell](crate::histogram::cell) that names the histogram's place in `histograms`.
/// Samples are sorted, dropped and overwritten by their cells alone, so the list may hold histograms that no cell names any
/// more, and not in the order of their samples.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Nanoseconds since the epoch.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
    /// The histograms that values name by their place; empty when all samples are floats.
    pub histograms: Vec<Arc<Histogram>>,
}

impl Samples {
    /// Samples that are all floats.
    ///
    /// # Panics
    /// When the columns differ in length.
    #[must_use]
    pub fn floats(timestamps: Vec<i64>, values: Vec<f64>) -> Self {
        assert_eq!(timestamps.len(), values.len(), "there is a value for each timestamp");
        Self { timestamps, values, histograms: Vec::new() }
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Adds a float.
    #[inline]
    pub fn push(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Adds a histogram.
    pub fn push_histogram(&mut self, timestamp: i64, histogram: Arc<Histogram>) {
        self.timestamps.push(timestamp);
        self.values.push(cell::histogram(self.histograms.len() as u32));
        self.histograms.push(histogram);
    }

    /// The histogram that is the sample at position `at`; `None` when that is a float, or no sample.
    #[must_use]
    pub fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        histogram_of(*self.values.get(at)?, &self.histograms)
    }

    /// Appends other samples.
    pub fn append(&mut self, other: &Self) {
        self.timestamps.extend_from_slice(&other.timestamps);
        let start = self.values.len();
        self.values.extend_from_slice(&other.values);
        if !other.histograms.is_empty() {
            adopt(&mut self.values[start..], &other.histograms, &mut self.histograms);
        }
    }

    /// Keeps the samples inside `range`, of samples that ascend.
    pub(crate) fn cut(&mut self, range: TimeRange) {
        let kept = range.positions(&self.timestamps);
        keep(&kept, 0, &mut self.timestamps);
        keep(&kept, 0, &mut self.values);
    }

    /// Of the timestamps behind the first `from`, which have no values yet, removes those outside `range`. Returns the positions
    /// that the others had among them.
    pub(crate) fn cut_timestamps(&mut self, from: usize, range: TimeRange) -> Range<usize> {
        let kept = range.positions(&self.timestamps[from..]);
        keep(&kept, from, &mut self.timestamps);
        kept
    }
}

/// The same samples, wherever the histograms lie. Floats are equal as numbers, so a NaN makes samples unequal.
impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        self.timestamps == other.timestamps
            && self.values.len() == other.values.len()
            && (0..self.values.len()).all(|at| match (self.histogram(at), other.histogram(at)) {
                (Some(a), Some(b)) => a == b,
                (None, None) => self.values[at] == other.values[at],
                _ => false,
            })
    }
}

/// Of what is behind the first `from`, keeps what is at the positions `kept`.
#[inline]
pub(crate) fn keep<T>(kept: &Range<usize>, from: usize, column: &mut Vec<T>) {
    column.truncate(from + kept.end);
    if kept.start > 0 {
        column.drain(from..from + kept.start);
    }
}

/// The histogram of `histograms` that `value` names. A place that is none comes from damaged bytes, and names nothing.
#[inline]
pub(crate) fn histogram_of(value: f64, histograms: &[Arc<Histogram>]) -> Option<&Arc<Histogram>> {
    histograms.get(cell::histogram_place(value)? as usize)
}

/// Has cells that name places of `from` name places of `to`, where the histograms are added.
#[cold]
pub(crate) fn adopt(values: &mut [f64], from: &[Arc<Histogram>], to: &mut Vec<Arc<Histogram>>) {
    for value in values.iter_mut().filter(|value| cell::is_histogram(**value)) {
        *value = match histogram_of(*value, from) {
            Some(histogram) => {
                to.push(Arc::clone(histogram));
                cell::histogram(to.len() as u32 - 1)
            }
            None => f64::NAN,
        };
    }
}

/// Sorts by time; of samples with the same timestamp the one that stood last stays.
pub(crate) fn sort_last_wins(samples: &mut Samples) {
    if samples.timestamps.is_sorted_by(|a, b| a < b) {
        return;
    }
    let mut order: Vec<u32> = (0..samples.timestamps.len() as u32).collect();
    order.sort_by_key(|i| samples.timestamps[*i as usize]);
    let mut sorted = Samples { histograms: std::mem::take(&mut samples.histograms), ..Samples::default() };
    for i in order {
        let (timestamp, value) = (samples.timestamps[i as usize], samples.values[i as usize]);
        match sorted.values.last_mut() {
            Some(last) if sorted.timestamps.last() == Some(&timestamp) => *last = value,
            _ => sorted.push(timestamp, value),
        }
    }
    *samples = sorted;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64) -> Arc<Histogram> {
        Arc::new(Histogram { count, ..Histogram::default() })
    }

    #[test]
    fn the_last_of_equal_timestamps_stays() {
        let mut samples = Samples::floats(vec![3, 1, 3, 2, 1], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        sort_last_wins(&mut samples);
        assert_eq!(samples, Samples::floats(vec![1, 2, 3], vec![5.0, 4.0, 3.0]));
    }

    #[test]
    fn histograms_go_where_their_cells_go() {
        let mut samples = Samples::default();
        samples.push_histogram(5, histogram(1.0));
        samples.push(1, 7.0);
        samples.push_histogram(1, histogram(2.0));
        samples.push_histogram(4, histogram(3.0));
        samples.push(4, 8.0);
        sort_last_wins(&mut samples);
        assert_eq!(samples.timestamps, [1, 4, 5]);
        let counts = |samples: &Samples| -> Vec<Option<f64>> {
            (0..samples.len()).map(|at| samples.histogram(at).map(|h| h.count)).collect()
        };
        assert_eq!(counts(&samples), [Some(2.0), None, Some(1.0)]);

        let mut all = Samples::default();
        all.push_histogram(0, histogram(9.0));
        all.append(&samples);
        assert_eq!(counts(&all), [Some(9.0), Some(2.0), None, Some(1.0)]);
        assert_eq!(all.histogram(4), None);
        all.cut(TimeRange::new(1, 5));
        assert_eq!(all, samples);
        all.cut(TimeRange::new(0, 1));
        assert_eq!(counts(&all), [Some(2.0)]);
        assert_ne!(all, samples);
        all.clear();
        assert!(all.is_empty() && all.histograms.is_empty());
    }

    #[test]
    fn a_cell_without_its_histogram_becomes_an_ordinary_nan() {
        let mut all = Samples::default();
        all.push_histogram(0, histogram(9.0));
        let mut other = Samples { histograms: vec![histogram(1.0)], ..Samples::default() };
        other.push(1, cell::histogram(7));
        assert_eq!(other.histogram(0), None);
        all.append(&other);
        assert!(all.values[1].is_nan() && !cell::is_histogram(all.values[1]));
    }
}
