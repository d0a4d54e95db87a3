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

/// The limits for which a row is refused, by their configuration names: those above, and the engine's.
pub const LIMIT_NAMES: [&str; 9] = [
    "line_bytes_max",
    "fields_max",
    "series_key_bytes_max",
    "labels_max",
    "label_name_bytes_max",
    "label_value_bytes_max",
    "head_series_max",
    "head_bytes_max",
    "new_series_per_second_max",
];

/// What a row is refused for where it is no limit.
pub const OTHER_REASONS: [&str; 2] = [MALFORMED, BEYOND_RETENTION];

/// It is not what its protocol says, or contradicts itself.
pub(crate) const MALFORMED: &str = "malformed";

/// It is older than the retention.
pub(crate) const BEYOND_RETENTION: &str = "beyond_retention";

/// How that is said: InfluxDB's words, which its clients look for. The engine says it so, too.
pub(crate) const BEYOND_RETENTION_WORDS: &str = "points beyond retention policy";

/// The kind of a refusal's reason: the limit's name, or one of [`OTHER_REASONS`]. The engine words its limits as [`past_limit`] does.
pub(super) fn reason_of(reason: &str) -> &'static str {
    if reason.starts_with(BEYOND_RETENTION_WORDS) {
        return BEYOND_RETENTION;
    }
    let name = reason.strip_prefix("limit ").and_then(|rest| rest.split(' ').next());
    LIMIT_NAMES.into_iter().find(|limit| Some(*limit) == name).unwrap_or(MALFORMED)
}

/// What is to be said of something that is past the limit `name`.
pub(super) fn past_limit(name: &str, limit: usize, got: usize) -> String {
    format!("limit {name} reached: {got} is more than {limit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_limit_it_is_for() {
        for name in LIMIT_NAMES {
            assert_eq!(reason_of(&past_limit(name, 1, 2)), name);
            let error = timberline_engine::Error::Limit { name, limit: 1, got: 2 };
            assert_eq!(error.to_string(), past_limit(name, 1, 2));
        }
        let old =
            timberline_engine::Error::BeyondRetention { timestamp: 1, oldest: 2_000_000_000 }.to_string();
        assert_eq!(reason_of(&old), BEYOND_RETENTION);
        let words = "points beyond retention policy: 1970-01-01T00:00:00.000000001Z is older than 1970-01-01T00:00:02Z";
        assert_eq!(old, words);
        assert_eq!(reason_of("limit of another kind"), MALFORMED);
        assert_eq!(reason_of("a label has an empty name"), MALFORMED);
    }
}
