//! What a query answers.

use timberline_engine::Labels;

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

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// The evaluation time, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value.
    pub value: f64,
}

/// One series of a matrix: two columns of equal length, never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch, ascending.
    pub timestamps_ms: Vec<i64>,
    /// The values.
    pub values: Vec<f64>,
}

/// What an evaluation touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples decoded.
    pub samples: u64,
    /// Series selected, counted once per selector.
    pub series: u64,
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
}
