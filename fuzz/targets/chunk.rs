//! Columns of a chunk: any numbers come back, and bytes that are damaged or made up give an error at worst.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use timberline_engine::Samples;
use timberline_engine::chunk::{
    CHUNK_SAMPLES_MAX, decode_column, decode_statistics, decode_timestamps, decode_values, describe_column,
    describe_timestamps, encode_column, encode_timestamps, encode_values_with_statistics, timestamp_count,
};
use timberline_engine::histogram::{BucketSpan, Buckets, Histogram, ResetHint, cell};
use timberline_fuzz::damage;

#[derive(Arbitrary, Debug)]
struct Input {
    shape: u8,
    numbers: Vec<i64>,
    bytes: Vec<u8>,
    count: u16,
    changes: Vec<(u16, u8)>,
    /// Of histograms: the lengths of spans, the hint, and how many there are with these buckets.
    layouts: Vec<(Vec<u8>, u8, u8)>,
}

fuzz_target!(|input: Input| {
    read(&input.bytes, usize::from(input.count));

    let timestamps = timestamps(&input);
    let mut column = Vec::new();
    encode_timestamps(&timestamps, &mut column);
    let mut decoded = Vec::new();
    decode_timestamps(&column, &mut decoded).unwrap();
    assert_eq!(decoded, timestamps);
    damage(&mut column, &input.changes);
    read(&column, timestamps.len());

    let values = values(&input);
    let mut column = Vec::new();
    let mut statistics = Vec::new();
    encode_values_with_statistics(&values, &mut column, &mut statistics);
    let mut decoded = Vec::new();
    decode_values(&column, values.len(), &(0..values.len()), &mut decoded).unwrap();
    assert!(bits(&decoded).eq(bits(&values)));
    let wanted = values.len() / 3..values.len() / 2;
    decoded.clear();
    decode_values(&column, values.len(), &wanted, &mut decoded).unwrap();
    assert!(bits(&decoded).eq(bits(&values[wanted])));
    check(&values, &statistics);
    damage(&mut column, &input.changes);
    read(&column, values.len());
    damage(&mut statistics, &input.changes);
    let _ = decode_statistics(&statistics, values.len());

    let samples = histograms(&input);
    let mut column = Vec::new();
    encode_column(&samples.values, &samples.histograms, &mut column);
    let mut decoded = Samples::default();
    decode_column(&column, samples.len(), &(0..samples.len()), &mut decoded).unwrap();
    decoded.timestamps.clone_from(&samples.timestamps);
    assert_eq!(format!("{:?}", list(&decoded)), format!("{:?}", list(&samples)));
    damage(&mut column, &input.changes);
    read(&column, samples.len());
});

/// Runs of histograms, with floats between them; their numbers are those of the input, in turn.
fn histograms(input: &Input) -> Samples {
    let mut numbers = input.numbers.iter().map(|number| cell::float(f64::from_bits(*number as u64))).cycle();
    let mut number = || numbers.next().unwrap_or(1.0);
    let mut samples = Samples::default();
    for (lengths, hint, count) in &input.layouts {
        let spans: Vec<BucketSpan> =
            lengths.iter().map(|length| BucketSpan { offset: 1, length: u32::from(length % 8) }).collect();
        let buckets: u32 = spans.iter().map(|span| span.length).sum();
        for _ in 0..*count {
            let counts = (0..buckets).map(|_| number()).collect();
            let reset_hint = if hint % 2 == 0 { ResetHint::Gauge } else { ResetHint::Unknown };
            let positive = Buckets { spans: spans.clone(), counts };
            let (sum, count) = (number(), number());
            let histogram = Histogram { reset_hint, sum, count, positive, ..Histogram::default() };
            samples.push_histogram(0, histogram.into());
        }
        samples.push(0, number());
    }
    let len = samples.len().min(1000);
    samples.timestamps.truncate(len);
    samples.values.truncate(len);
    samples
}

/// What the samples are, wherever their histograms lie; the sign of a NaN does not show.
fn list(samples: &Samples) -> Vec<(Option<&Histogram>, Option<u64>)> {
    let of = |at: usize| match samples.histogram(at) {
        Some(histogram) => (Some(&**histogram), None),
        None => (None, Some(samples.values[at].to_bits())),
    };
    (0..samples.len()).map(of).collect()
}

/// Statistics fit their values.
fn check(values: &[f64], statistics: &[u8]) {
    let Some(statistics) = decode_statistics(statistics, values.len()).unwrap() else { return };
    let least = values.iter().copied().reduce(|a, b| if b < a { b } else { a });
    let greatest = values.iter().copied().reduce(|a, b| if b > a { b } else { a });
    assert_eq!(Some(statistics.min.to_bits()), least.map(f64::to_bits));
    assert_eq!(Some(statistics.max.to_bits()), greatest.map(f64::to_bits));
    assert_eq!(Some(statistics.first.to_bits()), values.first().map(|value| value.to_bits()));
    assert_eq!(Some(statistics.last.to_bits()), values.last().map(|value| value.to_bits()));
}

fn bits(values: &[f64]) -> impl Iterator<Item = u64> {
    values.iter().map(|value| value.to_bits())
}

/// Reads bytes as either column; what comes out has the promised length.
fn read(bytes: &[u8], count: usize) {
    let mut timestamps = Vec::new();
    if decode_timestamps(bytes, &mut timestamps).is_ok() {
        assert_eq!(timestamp_count(bytes).ok(), Some(timestamps.len()));
        assert!(timestamps.len() <= CHUNK_SAMPLES_MAX);
    }
    let mut values = Vec::new();
    if decode_values(bytes, count, &(0..count), &mut values).is_ok() {
        assert_eq!(values.len(), count);
    }
    let mut samples = Samples::default();
    if decode_column(bytes, count, &(0..count), &mut samples).is_ok() {
        assert_eq!(samples.values.len(), count);
    }
    let _ = (describe_timestamps(bytes), describe_column(bytes, count));
}

/// The numbers as they are, as steps, or as small steps around a regular one.
fn timestamps(input: &Input) -> Vec<i64> {
    let mut at = 1_700_000_000_000_000_000_i64;
    let mut step = |by: i64| {
        at = at.wrapping_add(by);
        at
    };
    match input.shape % 3 {
        0 => input.numbers.clone(),
        1 => input.numbers.iter().map(|number| step(number % 1_000 * 1_000_000)).collect(),
        _ => input.numbers.iter().map(|number| step(10_000_000_000 + number % 3)).collect(),
    }
}

/// The numbers as bits of doubles, as integers, as decimals, or as a slow counter with some odd values in it.
fn values(input: &Input) -> Vec<f64> {
    let mut total = 0_i64;
    let numbers = input.numbers.iter();
    match input.shape / 3 % 4 {
        0 => numbers.map(|number| f64::from_bits(*number as u64)).collect(),
        1 => numbers.map(|number| (number % 10_000) as f64).collect(),
        2 => numbers.map(|number| (number % 1_000_000) as f64 / 100.0).collect(),
        _ => numbers
            .map(|number| {
                total = total.wrapping_add(number % 100);
                if number % 50 == 7 { f64::from_bits(*number as u64) } else { total as f64 }
            })
            .collect(),
    }
}
