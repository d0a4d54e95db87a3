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
        assert_eq!(report.samples, sink.0.len() as u64 + sink.1);
        sink = Memory::default();
    }
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(series) = parse_line(line, Precision::Nanoseconds, &Limits::DEFAULT) else { continue };
        let mut written = Vec::new();
        let all = 0..series.samples.len();
        append_line(&mut written, &series.labels, &series.samples, all, Precision::Nanoseconds);
        let again = parse_line(&written, Precision::Nanoseconds, &Limits::DEFAULT).unwrap();
        let (a, b) = (&again.samples, &series.samples);
        assert_eq!((&again.labels, &a.timestamps), (&series.labels, &b.timestamps));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a.values), bits(&b.values));
        assert_eq!(format!("{:?}", a.histograms), format!("{:?}", b.histograms));
    }
});
