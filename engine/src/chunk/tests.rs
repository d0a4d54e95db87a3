//! Golden bytes of every encoding, round trips of everything that series are made of, and bytes that no encoder wrote.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::STALE_NAN;

fn encoded_values(values: &[f64]) -> Vec<u8> {
    let mut out = vec![0xaa];
    encode_values(values, &mut out);
    assert_eq!(out.remove(0), 0xaa, "encoding appends");
    out
}

fn encoded_timestamps(timestamps: &[i64]) -> Vec<u8> {
    let mut out = vec![0xaa];
    encode_timestamps(timestamps, &mut out);
    assert_eq!(out.remove(0), 0xaa, "encoding appends");
    out
}

fn decoded_values(bytes: &[u8], count: usize) -> Vec<f64> {
    let mut out = vec![1.5];
    decode_values(bytes, count, &(0..count), &mut out).unwrap();
    assert_eq!(out.remove(0), 1.5, "decoding appends");
    out
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_values_come_back(values: &[f64]) -> String {
    let bytes = encoded_values(values);
    assert!(bytes.len() <= 1 + values.len() * 8, "raw is the bound");
    assert_eq!(bits(&decoded_values(&bytes, values.len())), bits(values));
    assert_parts_come_back(&bytes, values);
    describe_values(&bytes, values.len()).unwrap()
}

/// Decodes what is between any two positions near the ends or in the middle.
fn assert_parts_come_back(bytes: &[u8], values: &[f64]) {
    let count = values.len();
    let middle = count / 2..count / 2 + 1;
    let positions: BTreeSet<usize> = (0..7)
        .chain(middle)
        .chain(count.saturating_sub(6)..=count)
        .filter(|position| *position <= count)
        .collect();
    for &start in &positions {
        for &end in positions.range(start..) {
            let mut out = vec![1.5];
            decode_values(bytes, count, &(start..end), &mut out).unwrap();
            assert_eq!(bits(&out[1..]), bits(&values[start..end]), "{start}..{end} of {count}");
        }
    }
}

fn assert_timestamps_come_back(timestamps: &[i64]) -> String {
    let bytes = encoded_timestamps(timestamps);
    assert!(bytes.len() <= 4 + timestamps.len() * 8, "raw is the bound");
    assert_eq!(timestamp_count(&bytes), Ok(timestamps.len()));
    let mut out = vec![7];
    decode_timestamps(&bytes, &mut out).unwrap();
    assert_eq!(out[0], 7, "decoding appends");
    assert_eq!(&out[1..], timestamps);
    describe_timestamps(&bytes).unwrap()
}

/// A reproducible stream of numbers without a pattern (SplitMix64).
fn noise(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |index: u64| {
        let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A walk in steps that are mostly small: its deltas are worth entropy coding.
fn walk(length: usize) -> Vec<f64> {
    let mut at = 50.0;
    let step = |number: u64| f64::from(number.count_ones()) / 4.0 - 8.0;
    noise(1)
        .take(length)
        .map(|number| {
            at += step(number).round();
            at
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_golden_values(values: &[f64], golden: &str, description: &str) {
    assert_eq!(assert_values_come_back(values), description);
    assert_eq!(hex(&encoded_values(values)), golden, "{description}");
}

fn assert_golden_timestamps(timestamps: &[i64], golden: &str, description: &str) {
    assert_eq!(assert_timestamps_come_back(timestamps), description);
    assert_eq!(hex(&encoded_timestamps(timestamps)), golden, "{description}");
}

#[test]
fn golden_timestamps() {
    const SECOND: i64 = 1_000_000_000;
    assert_golden_timestamps(&[], "0100", "0 samples, empty");
    assert_golden_timestamps(&[-2], "010101030000", "1 samples, delta, all 0");
    let regular: Vec<i64> = (0..360).map(|index| 1_700_000_000 * SECOND + index * 10 * SECOND).collect();
    assert_golden_timestamps(
        &regular,
        "01e802018080d0e2c6bfce972f008090dfc04a",
        "360 samples, delta, all 10000000000",
    );
    assert_golden_timestamps(
        &[0, 1_001_000_000, 1_999_000_000, 3_000_000_000, 4_002_000_000],
        "01058100c0843d01cc0f03c308",
        "5 samples, delta, divisor 1ms, 3 bits",
    );
    assert_golden_timestamps(
        &[0, 10, 30, 60, 100, 150, 210, 281, 360, 450, 550],
        "010b020014011002aace02",
        "11 samples, delta of delta, 2 bits",
    );
    assert_golden_timestamps(
        &[5, 3, 9, 1, 8, 2, 5],
        "0107000a010704827041",
        "7 samples, frame of reference, 4 bits",
    );
    let random: Vec<i64> = noise(5).take(3).map(|number| number as i64).collect();
    assert_golden_timestamps(
        &random,
        "00035ac389a30c3b0363f83697934d3197c047c16b10f0d3923b",
        "3 samples, raw",
    );
    assert_golden_timestamps(
        &[i64::MIN, 77, i64::MAX, -1, i64::MIN + 5],
        "010501ffffffffffffffffff0101e4feffffffffffffff01089b004e54",
        "5 samples, delta, 8 bits",
    );
}

#[test]
fn golden_values() {
    assert_golden_values(&[], "00", "raw");
    assert_golden_values(&[42.0], "020001540000", "integer, delta, all 0");
    assert_golden_values(&[0.5; 1000], "0201010a0000", "decimal × 10^-1, delta, all 0");
    assert_golden_values(&[STALE_NAN; 3], "01020000000000f07f", "constant NaN");
    assert_golden_values(&[1.5, 1.75, 2.0, 2.25], "020201ac020032", "decimal × 10^-2, delta, all 25");
    assert_golden_values(
        &[12.34, 12.35, 12.33, 12.36, 12.34, 12.31, 12.38],
        "020201a4130105041416a0",
        "decimal × 10^-2, delta, 4 bits",
    );
    let mut sparse = [7.0; 200];
    sparse[100..].fill(9.0);
    assert_golden_values(
        &sparse,
        "0200810e020200000107630202",
        "integer, delta, divisor 2, 0 bits, 1 exception",
    );
    assert_golden_values(
        &[1.1, 1.2, STALE_NAN, 1.4, 1.3, 1.2, -0.0, 1.1],
        "028102020e020000000000f07f000000000000008001160101023604",
        "decimal × 10^-1 but 2, delta, 2 bits",
    );
    assert_golden_values(
        &walk(240),
        "020001600300b52712834224faffc1a595f308f83dc397c82f970966e8e6fbe779fe272ec70fe85ce770ed99e1a4cec8c36d510a8cb1180c22904c0cdd6c5c401df48353cce9b32c22b457dd96db7ec3e826",
        "integer, delta, entropy-coded, 7 bins, 76 bytes",
    );
    assert_golden_values(
        &walk(64),
        "020001600203029facbee16b914a63797a44777df64b1904047df4048888",
        "integer, delta, 2 bits, 4 exceptions",
    );
    assert_golden_values(
        &[0.1_f64.sqrt(), 0.2_f64.sqrt(), 0.3_f64.sqrt()],
        "000f494862133dd43fd9edbfc5259fdc3f7284f874f186e13f",
        "raw",
    );
    let third = (1.0_f64 / 3.0).to_bits();
    let near = [0, 3, 1, 7, 2, 6, 4, 5, 0, 7].map(|change| f64::from_bits(third ^ change));
    assert_golden_values(&near, "04555555555555d53f000102034ab98006", "XOR, shift 0, 3 bits");
    assert_golden_values(
        &[1.0, 2.0, 4.0, 8.0].map(f64::sqrt),
        "030180808080808080f07f029aeff9e7cca7d0060001010133cc100366867d05",
        "bits as integers, delta, 0 bits, 1 exception",
    );
    assert_golden_values(
        &[f64::MIN_POSITIVE / 3.0, f64::NAN, f64::NEG_INFINITY],
        "005555555555550500000000000000f87f000000000000f0ff",
        "raw",
    );
}

#[test]
fn bits_that_are_easily_lost_come_back() {
    let special = [
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -f64::NAN,
        STALE_NAN,
        f64::from_bits(0x7ff8_dead_beef_0001),
        f64::from_bits(1),
        -f64::MIN_POSITIVE / 2.0,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        (1_u64 << 53) as f64 + 2.0,
        1e15 + 0.3,
        9_223_372_036_854_775_807.0,
        -9_223_372_036_854_775_808.0,
        1e22,
        1e23,
        0.1 + 0.2,
        1e-22,
        5e-324,
    ];
    assert_values_come_back(&special);
    for value in special {
        assert_values_come_back(&[value]);
        assert_values_come_back(&[value, value]);
        for other in special {
            assert_values_come_back(&[value, other]);
            let mut gauge: Vec<f64> = (0..100).map(|index| f64::from(index) / 10.0).collect();
            gauge[50] = value;
            gauge[99] = other;
            assert_values_come_back(&gauge);
        }
    }
}

#[test]
fn the_longest_chunk_comes_back_and_a_longer_one_is_refused() {
    let long: Vec<i64> = (0..CHUNK_SAMPLES_MAX as i64).map(|index| index * index * index).collect();
    assert_timestamps_come_back(&long);
    assert_values_come_back(&walk(CHUNK_SAMPLES_MAX));
    let too_many = DecodeError { offset: 1, reason: "more samples than a chunk may have" };
    assert_eq!(timestamp_count(&[0, 0x81, 0x80, 0x04]), Err(too_many));
    let mut out = Vec::new();
    assert!(decode_values(&encoded_values(&[1.0]), CHUNK_SAMPLES_MAX + 1, &(0..1), &mut out).is_err());
    assert!(
        std::panic::catch_unwind(|| encode_values(&[0.0; CHUNK_SAMPLES_MAX + 1], &mut Vec::new())).is_err()
    );
}

#[test]
fn wide_residuals_are_entropy_coded_only_when_that_saves_a_tenth() {
    // Steps of a normal distribution, near enough: the sum of some even ones.
    let full_precision = |length| -> Vec<f64> {
        let mut at = 20.0;
        let mut step = noise(3).map(|number| (number >> 11) as f64 / (1_u64 << 52) as f64 - 1.0);
        let mut next = || {
            at += (0..12).filter_map(|_| step.next()).sum::<f64>();
            at
        };
        (0..length).map(|_| next()).collect()
    };
    let few = assert_values_come_back(&full_precision(360));
    assert!(!few.contains("entropy"), "{few}");
    let narrow = assert_values_come_back(&walk(360));
    assert!(narrow.contains("entropy"), "{narrow}");
}

#[test]
fn sizes_stay_near_the_entropy() {
    // Deltas with a standard deviation of 1: their entropy is 2.1 bits.
    let bytes = encoded_values(&walk(4320)).len();
    assert!(bytes < 4320 * 29 / 100, "{bytes} bytes");
    let bytes = encoded_values(&walk(360)).len();
    assert!(bytes < 360 * 34 / 100, "{bytes} bytes");
    let regular: Vec<i64> =
        (0..360).map(|index| 1_700_000_000_000_000_000 + index * 10_000_000_000).collect();
    assert!(encoded_timestamps(&regular).len() <= 20);
    let jittered: Vec<i64> =
        regular.iter().zip(noise(3)).map(|(at, noise)| at + (noise % 4) as i64 * 1_000_000).collect();
    assert!(encoded_timestamps(&jittered).len() < 360 * 45 / 100);
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let any_bits = any::<u64>().prop_map(f64::from_bits);
    let gauge = (0_i32..6, -1000_i64..1000).prop_map(|(digits, number)| number as f64 / 10_f64.powi(digits));
    let counter_step = (0_u64..64).prop_flat_map(|bits| 0..=u64::MAX >> bits);
    prop_oneof![
        prop::collection::vec(any_bits.clone(), 0..300),
        prop::collection::vec(gauge.clone(), 0..300),
        prop::collection::vec(
            prop_oneof![50 => gauge, 1 => any_bits, 1 => Just(STALE_NAN), 1 => Just(-0.0)],
            0..600
        ),
        (any::<u32>(), prop::collection::vec(0_u32..100, 0..600)).prop_map(|(first, steps)| {
            let mut counter = u64::from(first);
            steps
                .into_iter()
                .map(|step| {
                    counter += u64::from(step);
                    counter as f64
                })
                .collect()
        }),
        prop::collection::vec(counter_step.prop_map(|step| step as f64), 0..300),
        prop::collection::vec(-3_i8..4, 0..600).prop_map(|steps| {
            let mut at = 20.0;
            steps
                .into_iter()
                .map(|step| {
                    at += f64::from(step);
                    at
                })
                .collect()
        }),
        prop::collection::vec(prop_oneof![30 => Just(0.25), 1 => 0.0..1.0], 0..600),
        prop::collection::vec(1e3..1e4, 0..300),
    ]
}

fn timestamps() -> impl Strategy<Value = Vec<i64>> {
    let unit = prop_oneof![Just(1), Just(1_000), Just(1_000_000), Just(15_000_000_000_i64)];
    let jittered = (any::<i64>(), unit, prop::collection::vec(-5_i64..6, 0..600));
    prop_oneof![
        prop::collection::vec(any::<i64>(), 0..300),
        (any::<i64>(), any::<i64>(), 0_i64..600).prop_map(|(first, delta, count)| (0..count)
            .map(|at| first.wrapping_add(delta.wrapping_mul(at)))
            .collect()),
        jittered.prop_map(|(first, unit, jitter)| {
            let at = |(index, jitter)| first.wrapping_add((index as i64 * 1000 + jitter) * unit);
            jitter.into_iter().enumerate().map(at).collect()
        }),
        prop::collection::vec(any::<i64>().prop_map(|number| number >> (number & 63)), 0..300),
    ]
}

/// Decodes bytes that may be anything: whatever happens is no panic, and errors name a place in the bytes.
fn decode_anything(bytes: &[u8], count: usize) {
    let check = |result: Result<(), DecodeError>| {
        if let Err(error) = result {
            assert!(error.offset <= bytes.len() && !error.reason.is_empty(), "{error}");
        }
    };
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    check(decode_timestamps(bytes, &mut timestamps));
    check(timestamp_count(bytes).map(|_| ()));
    check(describe_timestamps(bytes).map(|_| ()));
    check(decode_values(bytes, count, &(0..count), &mut values));
    check(decode_values(bytes, count, &(count / 3..count / 2), &mut values));
    check(describe_values(bytes, count).map(|_| ()));
}

proptest! {
    #[test]
    fn values_come_back(values in values()) {
        assert_values_come_back(&values);
    }

    #[test]
    fn timestamps_come_back(timestamps in timestamps()) {
        assert_timestamps_come_back(&timestamps);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        header in prop::collection::vec(0_u8..6, 0..6),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        count in 0..2000_usize,
    ) {
        decode_anything(&[&header[..], &bytes].concat(), count);
    }

    #[test]
    fn damaged_columns_never_panic(
        values in values(),
        timestamps in timestamps(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        count in 0..2000_usize,
    ) {
        for mut bytes in [encoded_values(&values), encoded_timestamps(&timestamps)] {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            decode_anything(&bytes, values.len());
            decode_anything(&bytes, count);
            bytes.truncate(cut.index(bytes.len()));
            decode_anything(&bytes, values.len());
        }
    }
}
