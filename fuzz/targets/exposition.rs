//! Any bytes as Prometheus text and as OpenMetrics; what is understood survives as JSON lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timberline::ingest::exposition::{Dialect, DialectScan, parse_line, write_text};
use timberline::ingest::{Limits, Precision, jsonl};
use timberline_engine::Samples;
use timberline_fuzz::Memory;

const NOW: i64 = 1_700_000_000_000_000_000;

fuzz_target!(|text: &[u8]| {
    let mut scan = DialectScan::default();
    scan.feed(text);
    let _ = scan.finish(None);
    for dialect in [Dialect::Prometheus, Dialect::OpenMetrics] {
        for line in text.split(|byte| *byte == b'\n') {
            let _ = parse_line(line, dialect);
        }
        let mut sink = Memory::default();
        let report = write_text(text, dialect, NOW, &Limits::DEFAULT, &mut sink).unwrap();
        assert_eq!(report.samples, sink.0.len() as u64);
        assert_eq!(report.lines, report.samples + report.errors.total);
        for sample in &sink.0 {
            let mut line = Vec::new();
            let samples = Samples::floats(vec![sample.timestamp], vec![f64::from_bits(sample.bits)]);
            jsonl::append_line(&mut line, &sample.labels, &samples, 0..1, Precision::Nanoseconds);
            let again = jsonl::parse_line(&line, Precision::Nanoseconds, &Limits::DEFAULT).unwrap();
            assert_eq!(again.labels, sample.labels);
            let again = again.samples;
            assert_eq!((again.timestamps[0], again.values[0].to_bits()), (sample.timestamp, sample.bits));
        }
    }
});
