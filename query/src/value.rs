//! What a query answers.

use std::sync::Arc;
use std::time::Duration;

use timberline_engine::{Histogram, Labels};

/// The value of an evaluated query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number: an instant query of a scalar expression.
    Scalar {
        /// The evaluation time, milliseconds since the epoch.
        timestamp_ms: i64,
        /// The number.
        value: f64,
    },
    /// One string: an instant query of a string constant.
    String {
        /// The evaluation time, milliseconds since the epoch.
        timestamp_ms: i64,
        /// The string.
        value: String,
    },
    /// One sample per series: an instant query. `sort`, `topk` and `bottomk` decide the order.
    Vector(Vec<VectorSample>),
    /// A run of points per series: a range query (sorted by labels), or an instant query of a range selector.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// What it takes in memory, bytes, room for more included. Native histograms that several samples share count for each.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Scalar { .. } => 0,
            Self::String { value, .. } => value.len(),
            Self::Vector(samples) => {
                let histogram = |sample: &VectorSample| sample.histogram.as_ref().map_or(0, |h| h.bytes());
                let sample =
                    |s: &VectorSample| size_of::<VectorSample>() + s.labels.as_packed().len() + histogram(s);
                samples.iter().map(sample).sum()
            }
            Self::Matrix(all) => all.iter().map(MatrixSeries::memory_bytes).sum(),
        }
    }
}

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// The evaluation time, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value; without meaning when there is a histogram.
    pub value: f64,
    /// The native histogram that the sample is.
    pub histogram: Option<Arc<Histogram>>,
}

/// One series of a matrix: two columns of equal length, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, ascending.
    pub timestamps_ms: Vec<i64>,
    /// The values. Where a sample is a native histogram, a [cell](timberline_engine::histogram::cell) that names its place in
    /// `histograms`.
    pub values: Vec<f64>,
    /// The native histograms; empty when all samples are floats.
    pub histograms: Vec<Arc<Histogram>>,
}

impl MatrixSeries {
    fn memory_bytes(&self) -> usize {
        let histograms: usize = self.histograms.iter().map(|histogram| histogram.bytes()).sum();
        // Both have room for more steps than have points.
        let columns =
            size_of::<i64>() * self.timestamps_ms.capacity() + size_of::<f64>() * self.values.capacity();
        size_of::<Self>() + self.labels.as_packed().len() + columns + histograms
    }
}

/// What an evaluation touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples decoded.
    pub samples: u64,
    /// Series selected, counted once per selector.
    pub series: u64,
    /// The most cells (a series at a step) that were held at once.
    pub points_peak: u64,
    /// The most memory that rows, selected series and native histograms took at once, bytes. Buffers of threads are not counted.
    pub memory_bytes_peak: u64,
}

/// Where the time of an evaluation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Planning, and finding series in the indexes.
    pub preparation: Duration,
    /// Reading and computing.
    pub evaluation: Duration,
    /// Making the answer of the last rows: names, order.
    pub result: Duration,
}

impl Timings {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.preparation + self.evaluation + self.result
    }
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The value.
    pub value: Value,
    /// Annotations that say that the result is likely wrong, at most eleven lines.
    pub warnings: Vec<String>,
    /// Annotations that say that the query may not mean what was meant, at most eleven lines.
    pub infos: Vec<String>,
    /// What the evaluation touched.
    pub stats: QueryStats,
    /// The samples that each step looked at, when [`Query::count_samples`](crate::Query::count_samples) asks for them. A sample
    /// counts at each step whose window it is in, as Prometheus counts.
    pub step_samples: Option<Vec<u64>>,
    /// Where the time went.
    pub timings: Timings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_points_and_the_room_for_more() {
        let column = |room| {
            let mut column = Vec::with_capacity(room);
            column.push(1);
            column
        };
        let labels = Labels::from_pairs([("job", "api")]).unwrap();
        let (timestamps_ms, mut values) = (column(1000), Vec::with_capacity(500));
        values.push(1.0);
        let least = 8 * (timestamps_ms.capacity() + values.capacity()) + labels.as_packed().len();
        let series = MatrixSeries { labels: labels.clone(), timestamps_ms, values, histograms: Vec::new() };
        let one = Value::Matrix(vec![series]).memory_bytes();
        assert!((least..least + 200).contains(&one), "{one}, not {least}");

        let histogram = Arc::new(Histogram { custom_values: vec![0.5; 1000].into(), ..Histogram::default() });
        let sample = VectorSample { labels, timestamp_ms: 1, value: 0.0, histogram: Some(histogram) };
        assert!(Value::Vector(vec![sample]).memory_bytes() >= 8000);
        assert_eq!(Value::String { timestamp_ms: 1, value: "abc".to_owned() }.memory_bytes(), 3);
    }
}
