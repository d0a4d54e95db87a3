//! Any bytes as JSON lines; what is understood survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timberline::ingest::jsonl::{append_line, parse_line, write_lines};
use timberline::ingest::{Limits, Precision};
use timberline_fuzz::Memory;

fuzz_target!(|text: &[u8]| {
    let mut sink = Memory::default();
    for precision in [Precision::Milliseconds, Precision::Nanoseconds] {
        let report = write_lines(text, precision, &Limits::DEFAULT, &mut sink).unwrap();
        assert!(report.errors.total <= report.lines);
        assert_eq!(report.samples, sink.0.len() as u64);
        sink.0.clear();
    }
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(series) = parse_line(line, Precision::Nanoseconds, &Limits::DEFAULT) else { continue };
        let mut written = Vec::new();
        append_line(&mut written, &series.labels, &series.timestamps, &series.values, Precision::Nanoseconds);
        let again = parse_line(&written, Precision::Nanoseconds, &Limits::DEFAULT).unwrap();
        assert_eq!((&again.labels, &again.timestamps), (&series.labels, &series.timestamps));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again.values), bits(&series.values));
    }
});
