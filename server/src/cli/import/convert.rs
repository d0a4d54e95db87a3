//! Turns Prometheus text into the JSON lines that a server imports.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use timberline_engine::{Labels, Row, Samples};

use super::super::Error;
use super::units::Units;
use crate::ingest::exposition::{self, Dialect, WriteReport};
use crate::ingest::{Limits, Precision, RowSink, jsonl};
use crate::state::now_ns;

/// JSON lines with timestamps in nanoseconds, and what became of the text.
pub(super) fn convert(
    text: &[u8],
    dialect: Dialect,
    units: &mut Units,
) -> Result<(Vec<u8>, WriteReport), Error> {
    let mut sink = SeriesByKey::default();
    let report = exposition::write_text(text, dialect, now_ns(), &Limits::DEFAULT, &mut sink)?;
    let mut out = Vec::new();
    for (labels, samples) in sink.0.values() {
        for timestamp in &samples.timestamps {
            units.observe(units.unit().from_nanoseconds(*timestamp), || None);
        }
        jsonl::append_line(&mut out, labels, samples, 0..samples.len(), Precision::Nanoseconds);
    }
    Ok((out, report))
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
        let mut units = Units::of_text(false);
        let (json, report) = convert(text, Dialect::Prometheus, &mut units).unwrap();
        let expected =
            r#"{"metric":{"__name__":"a","x":"1"},"values":[2.0,3.0],"timestamps":[1000000000,2000000000]}"#;
        assert_eq!(String::from_utf8(json).unwrap().trim(), expected);
        assert_eq!((report.errors.total, report.errors.first[0].line, report.comments), (1, 4, 1));
        assert_eq!(units.take_warning("f"), None);
        convert(b"a 1 1700000000\n", Dialect::Prometheus, &mut units).unwrap();
        assert!(units.take_warning("f").unwrap().contains("look like s, and are read as ms"));
    }
}
