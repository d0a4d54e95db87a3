//! Turns Prometheus text into the JSON lines that a server imports.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use timberline_engine::{Labels, Row, Samples};

use super::Error;
use crate::ingest::exposition::{self, Dialect};
use crate::ingest::{ErrorList, Limits, Precision, RowSink, jsonl};
use crate::state::now_ns;

/// Converts one file, batch by batch.
#[derive(Debug, Default)]
pub(super) struct Converter {
    /// Known from the first batch on.
    dialect: Option<Dialect>,
}

impl Converter {
    /// JSON lines with timestamps in nanoseconds, and the lines that could not be read.
    pub(super) fn convert(
        &mut self,
        text: &[u8],
        is_openmetrics: bool,
    ) -> Result<(Vec<u8>, ErrorList), Error> {
        let detect = || if is_openmetrics { Dialect::OpenMetrics } else { Dialect::detect(text) };
        let dialect = *self.dialect.get_or_insert_with(detect);
        let mut sink = SeriesByKey::default();
        let report = exposition::write_text(text, dialect, now_ns(), &Limits::DEFAULT, &mut sink)?;
        let mut out = Vec::new();
        for (labels, samples) in sink.0.values() {
            jsonl::append_line(&mut out, labels, samples, 0..samples.len(), Precision::Nanoseconds);
        }
        Ok((out, report.errors))
    }
}

/// Samples collected by series.
#[derive(Debug, Default)]
struct SeriesByKey(HashMap<Vec<u8>, (Labels, Samples)>);

impl RowSink for SeriesByKey {
    fn row(
        &mut self,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> timberline_engine::Result<Labels>,
    ) -> timberline_engine::Result<()> {
        for field in row.fields {
            let key = [row.key, field.name].concat();
            let (_, samples) = match self.0.entry(key) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert((resolve(field.name)?, Samples::default())),
            };
            samples.timestamps.push(row.timestamp);
            samples.values.push(field.value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_json_lines() {
        let text = b"# TYPE a counter\na{x=\"1\"} 2 1000\na{x=\"1\"} 3 2000\nbad line here\n";
        let (json, errors) = Converter::default().convert(text, false).unwrap();
        let expected =
            r#"{"metric":{"__name__":"a","x":"1"},"values":[2.0,3.0],"timestamps":[1000000000,2000000000]}"#;
        assert_eq!(String::from_utf8(json).unwrap().trim(), expected);
        assert_eq!((errors.total, errors.first[0].line), (1, 4));
    }
}
