//! Golden bytes, round trips bit for bit, sizes, and bytes that no encoder wrote.

use proptest::prelude::*;

use super::*;
use crate::STALE_NAN;
use crate::chunk::decode_statistics;
use crate::histogram::{BucketSpan, Buckets, CUSTOM_BUCKETS_SCHEMA, PARTS_MAX};

fn encoded(samples: &Samples) -> Vec<u8> {
    let (mut bytes, mut statistics) = (Vec::new(), Vec::new());
    encode_column_with_statistics(&samples.values, &samples.histograms, &mut bytes, &mut statistics);
    if bytes[0] == TAG_HISTOGRAMS {
        assert!(decode_statistics(&statistics, samples.len()).unwrap().is_none());
    }
    let mut alone = Vec::new();
    encode_column(&samples.values, &samples.histograms, &mut alone);
    assert_eq!(bytes, alone);
    bytes
}

/// All of a sample, so that equal texts are equal bits, NaN included.
fn text(samples: &Samples, at: usize) -> String {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    match samples.histogram(at) {
        None => format!("float {:x}", samples.values[at].to_bits()),
        Some(h) => {
            let sides = [&h.positive, &h.negative].map(|side| (side.spans.clone(), bits(&side.counts)));
            let numbers = bits(&[h.count, h.sum, h.zero_count, h.zero_threshold]);
            format!("{} {:?} {numbers:x?} {sides:x?} {:x?}", h.schema, h.reset_hint, bits(&h.custom_values))
        }
    }
}

fn comes_back(samples: &Samples) -> Vec<u8> {
    let bytes = encoded(samples);
    // Behind what is there already.
    let mut out = Samples::default();
    out.push_histogram(0, Arc::default());
    decode_column(&bytes, samples.values.len(), &(0..samples.values.len()), &mut out).unwrap();
    out.values.remove(0);
    out.timestamps.clear();
    assert_eq!(out.values.len(), samples.values.len());
    for at in 0..samples.values.len() {
        assert_eq!(text(&out, at), text(samples, at), "sample {at}");
    }
    let (third, half) = (samples.values.len() / 3, samples.values.len() / 2);
    let mut part = Samples::default();
    decode_column(&bytes, samples.values.len(), &(third..half), &mut part).unwrap();
    assert_eq!(part.values.len(), half - third);
    for at in third..half {
        assert_eq!(text(&part, at - third), text(samples, at), "sample {at}");
    }
    describe_column(&bytes, samples.values.len()).unwrap();
    bytes
}

fn spans(spans: &[(i32, u32)]) -> Vec<BucketSpan> {
    spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect()
}

/// A counter that has counted `scale` times as much.
fn example(scale: f64) -> Histogram {
    Histogram {
        schema: 3,
        reset_hint: ResetHint::Unknown,
        count: 7.0 * scale,
        sum: 1.25 * scale,
        zero_threshold: 0.001,
        zero_count: scale,
        positive: Buckets { spans: spans(&[(-2, 2), (1, 1)]), counts: vec![scale, 2.0 * scale, 0.0] },
        negative: Buckets { spans: spans(&[(0, 1)]), counts: vec![3.0 * scale] },
        custom_values: Arc::default(),
    }
}

fn custom(bounds: &[f64]) -> Histogram {
    let buckets = bounds.len() as u32 + 1;
    Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: f64::from(buckets),
        sum: 0.5,
        positive: Buckets { spans: spans(&[(0, buckets)]), counts: vec![1.0; buckets as usize] },
        custom_values: bounds.into(),
        ..Histogram::default()
    }
}

fn of(histograms: impl IntoIterator<Item = Histogram>) -> Samples {
    let mut samples = Samples::default();
    for histogram in histograms {
        samples.push_histogram(samples.len() as i64, Arc::new(histogram));
    }
    samples
}

fn assert_golden(samples: &Samples, golden: &str, description: &str) {
    let bytes = comes_back(samples);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden);
    assert_eq!(describe_column(&bytes, samples.values.len()).unwrap(), description);
}

#[test]
fn columns_keep_their_golden_bytes() {
    let run = of((1..=4).map(|i| example(f64::from(i))));
    assert_golden(
        &run,
        "0500000406fca9f1d24d62503f020302020101000100080602000102000208020201fa0100fa0106020001020002060200010400040602000100000006020001060006",
        "histograms, 1 runs, at most 4 buckets, 0 floats",
    );
    let mut gauges = of((1..=3).map(|i| Histogram {
        reset_hint: if i == 2 { ResetHint::Reset } else { ResetHint::Gauge },
        count: 100.5,
        ..example(f64::from(i))
    }));
    gauges.push(3, 1.5);
    assert_golden(
        &gauges,
        "05010203060201011e00000306fca9f1d24d62503f020302020101000100040902008106020101020807020101da0f00000602000102000208020201fa0100fa0106020001020002060200010400040602000100000006020001060006",
        "histograms, 1 runs, at most 4 buckets, 1 floats",
    );
    let mut short = of([Histogram { reset_hint: ResetHint::NotReset, ..custom(&[0.5, 1.0]) }]);
    short.push(1, STALE_NAN);
    short.push_histogram(2, Arc::new(custom(&[0.5, 1.0])));
    short.push_histogram(3, Arc::new(Histogram { count: 0.5, ..example(1.0) }));
    assert_golden(
        &short,
        "050101010901020000000000f07f020a6900000000000000000100030002000000000000e03f000000000000f03f000000000000e03f03000101010c000000000000e03f0300010101010006fca9f1d24d62503f020302020101000100000000000000f43f000000000000e03f000000000000f03f000000000000f03f000000000000004000000000000000000000000000000840",
        "histograms, 2 runs, at most 4 buckets, 1 floats",
    );
}

#[test]
fn floats_alone_are_a_column_of_floats() {
    let mut samples = of([example(1.0)]);
    samples.values = vec![1.0, 2.5, cell::histogram(9)];
    let bytes = encoded(&samples);
    assert_ne!(bytes[0], TAG_HISTOGRAMS, "no value names a histogram that is there");
    samples.values.truncate(2);
    let mut floats = Vec::new();
    encode_values(&samples.values, &mut floats);
    assert_eq!(encoded(&samples), floats);
}

#[test]
fn a_cell_without_its_histogram_is_stored_as_an_ordinary_nan() {
    let mut samples = of([example(1.0)]);
    samples.values.push(cell::histogram(1));
    let mut out = Samples::default();
    decode_column(&encoded(&samples), 2, &(0..2), &mut out).unwrap();
    assert_eq!(out.values[1].to_bits(), f64::NAN.to_bits());
}

#[test]
fn a_steady_series_takes_few_bytes() {
    // 60 buckets of which 20 are hit; 120 scrapes.
    let mut buckets = vec![0.0; 60];
    let (mut sum, mut random) = (0.0, 7_u64);
    let histograms = (0..120).map(|_| {
        for hits in 0..50_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(hits);
            buckets[20 + (random >> 60) as usize] += 1.0;
            sum += (random >> 40) as f64 / 1024.0;
        }
        let count = buckets.iter().sum();
        let positive = Buckets { spans: spans(&[(-10, 60)]), counts: buckets.clone() };
        Histogram { schema: 3, count, sum, positive, ..Histogram::default() }
    });
    let bytes = comes_back(&of(histograms.collect::<Vec<_>>())).len();
    assert!(bytes < 120 * 16, "{bytes} bytes");
}

#[test]
fn the_largest_column_comes_back_and_a_larger_one_is_refused() {
    let buckets = (PARTS_MAX - 1) as u32;
    let large = |i: u32| Histogram {
        count: f64::from(i),
        positive: Buckets { spans: spans(&[(0, buckets)]), counts: vec![f64::from(i); buckets as usize] },
        ..Histogram::default()
    };
    let most = of((0..(COLUMN_PARTS_MAX / PARTS_MAX) as u32).map(large));
    let bytes = comes_back(&most);
    // The same run, said to be one longer: a value column more than there is room for is not even looked at.
    let mut longer = bytes;
    assert_eq!(longer[3], 64);
    longer[3] = 65;
    let error = decode_column(&longer, 65, &(0..65), &mut Samples::default()).unwrap_err();
    assert_eq!(error.reason, "more spans and buckets than a column may have");
    let larger = of((0..(COLUMN_PARTS_MAX / PARTS_MAX) as u32 + 1).map(large));
    assert!(std::panic::catch_unwind(|| encoded(&larger)).is_err());
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0_u32..1000).prop_map(f64::from),
        1 => any::<u64>().prop_map(|bits| cell::float(f64::from_bits(bits))),
        1 => Just(-0.0),
    ]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    prop::collection::vec((-20_i32..20, 0_u32..5), 0..4).prop_flat_map(|pairs| {
        let count: u32 = pairs.iter().map(|(_, length)| *length).sum();
        let spans = spans(&pairs);
        prop::collection::vec(number(), count as usize)
            .prop_map(move |counts| Buckets { spans: spans.clone(), counts })
    })
}

fn hint() -> impl Strategy<Value = ResetHint> {
    (0_u8..4).prop_map(|number| reset_hint(number).unwrap())
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let layout = (any::<i32>(), number(), prop::collection::vec(number(), 0..3));
    (layout, hint(), (number(), number(), number()), buckets(), buckets()).prop_map(
        |((schema, zero_threshold, bounds), reset_hint, (count, sum, zero_count), positive, negative)| {
            let custom_values = bounds.into();
            Histogram {
                schema,
                reset_hint,
                count,
                sum,
                zero_threshold,
                zero_count,
                positive,
                negative,
                custom_values,
            }
        },
    )
}

/// Runs of one layout each, with floats among them.
fn column() -> impl Strategy<Value = Samples> {
    let sample = (number(), hint(), any::<bool>(), prop::num::u8::ANY);
    let run = (histogram(), prop::collection::vec(sample, 1..8));
    prop::collection::vec(run, 1..5).prop_map(|runs| {
        let mut samples = Samples::default();
        for (histogram, changes) in runs {
            for (value, reset_hint, is_total, what) in changes {
                if what % 4 == 0 {
                    samples.push(0, value);
                    continue;
                }
                let mut histogram = Histogram { reset_hint, sum: value, ..histogram.clone() };
                histogram.positive.counts.iter_mut().for_each(|count| *count += f64::from(what));
                if is_total {
                    let sides = [&histogram.positive.counts[..], &histogram.negative.counts];
                    histogram.count = total(histogram.zero_count, sides);
                }
                samples.push_histogram(0, Arc::new(histogram));
            }
        }
        samples
    })
}

proptest! {
    #[test]
    fn any_column_comes_back(samples in column()) {
        comes_back(&samples);
    }

    #[test]
    fn damaged_columns_never_panic(samples in column(), at in 0_usize..400, with in any::<u8>(), more in 0_usize..3) {
        let mut bytes = encoded(&samples);
        let at = at % bytes.len();
        bytes[at] = with;
        let count = samples.values.len() + more;
        let mut out = Samples::default();
        if decode_column(&bytes, count, &(0..count), &mut out).is_ok() {
            prop_assert_eq!(out.values.len(), count);
            let cells = out.values.iter().filter(|value| cell::is_histogram(**value)).count();
            prop_assert!(bytes[0] != TAG_HISTOGRAMS || cells == out.histograms.len());
        }
        let _ = describe_column(&bytes, count);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..200), count in 0_usize..70_000) {
        bytes[0] = TAG_HISTOGRAMS;
        let _ = decode_column(&bytes, count, &(0..count), &mut Samples::default());
        let _ = describe_column(&bytes, count);
    }
}
