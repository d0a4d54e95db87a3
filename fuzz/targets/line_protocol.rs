//! Any bytes as line protocol: the fast path that writes and the strict decoder agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timberline::ingest::line_protocol::{Decoder, Namespace, Value, write_lines};
use timberline::ingest::{Limits, Precision};
use timberline_fuzz::Memory;

const NOW: i64 = 1_700_000_000_000_000_000;

fuzz_target!(|body: &[u8]| {
    let mut sink = Memory::default();
    let precision = Precision::Nanoseconds;
    let report =
        write_lines(body, &Namespace::default(), precision, NOW, &Limits::DEFAULT, &mut sink).unwrap();

    let (mut lines, mut errors) = (0, 0);
    let mut written = sink.0.iter().peekable();
    for line in Decoder::new(body, precision) {
        lines += 1;
        let Ok(line) = line else {
            errors += 1;
            continue;
        };
        // A line may still be refused for its labels, but then as a whole.
        let mut taken = 0;
        let samples = line.fields.iter().filter_map(|(name, value)| Some((*name, bits(*value)?)));
        let samples: Vec<_> = samples.collect();
        for (name, bits) in &samples {
            let is_this = |sample: &&timberline_fuzz::Sample| {
                sample.field == *name
                    && sample.bits == *bits
                    && sample.timestamp == line.timestamp.unwrap_or(NOW)
            };
            taken += usize::from(written.next_if(is_this).is_some());
        }
        assert!(taken == 0 || taken == samples.len(), "a line was stored in part: {line:?}");
        errors += u64::from(taken < samples.len());
    }
    assert_eq!(written.next(), None, "a sample that the grammar does not know");
    assert_eq!((report.lines, report.samples), (lines, sink.0.len() as u64));
    assert!(report.errors.total >= errors, "{} errors, but {}", errors, report.errors.total);
});

fn bits(value: Value<'_>) -> Option<u64> {
    Some(match value {
        Value::Float(value) => value,
        Value::Integer(value) => value as f64,
        Value::Unsigned(value) => value as f64,
        Value::Boolean(value) => f64::from(u8::from(value)),
        Value::String(_) => return None,
    })
    .map(f64::to_bits)
}
