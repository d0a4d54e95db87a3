//! Bounds on what one line or series may be, so that a broken client cannot hurt the others.

/// Bounds on the input. A line or series that is past one is refused with an error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a line, string fields included.
    pub line_bytes_max: usize,
    /// Fields of a line, strings included.
    pub fields_max: usize,
    /// Bytes in what names a series: measurement and tags, or all label names and values.
    pub series_key_bytes_max: usize,
    /// Labels of a series, the metric name included.
    pub labels_max: usize,
    /// Bytes in a label name.
    pub label_name_bytes_max: usize,
    /// Bytes in a label value or metric name.
    pub label_value_bytes_max: usize,
}

impl Limits {
    /// The defaults: the series key is InfluxDB's bound, the rest is what monitoring data stays far below.
    /// The widest rows of agents have some hundred fields.
    pub const DEFAULT: Self = Self {
        line_bytes_max: 1 << 20,
        fields_max: 4_096,
        series_key_bytes_max: 65_535,
        labels_max: 256,
        label_name_bytes_max: 1_024,
        label_value_bytes_max: 4_096,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is to be said of something that is past the limit `name`.
pub(super) fn past_limit(name: &str, limit: usize, got: usize) -> String {
    format!("limit {name} reached: {got} is more than {limit}")
}
