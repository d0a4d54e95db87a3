//! The column codecs: time to encode and to decode a sample, and bytes a value or histogram (printed before each group), on columns
//! as monitoring has them. `cargo bench --bench chunk`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use timberline_engine::chunk::{
    decode_column, decode_timestamps, decode_values, encode_column, encode_timestamps, encode_values,
};
use timberline_engine::{BucketSpan, Buckets, Histogram, Samples};

/// Samples in a chunk: 1 h at 10 s, and 12 h.
const LENGTHS: [usize; 2] = [360, 4320];

/// A reproducible stream of numbers without a pattern (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About the normal distribution: mean 0, standard deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// A clamped random walk, cut to integers: what TSBS writes as CPU usage.
    fn cpu_usage(&mut self, length: usize) -> Vec<f64> {
        let mut at = self.uniform() * 100.0;
        let step = |_| {
            at = (at + self.normal()).clamp(0.0, 100.0);
            at.floor()
        };
        (0..length).map(step).collect()
    }
}

fn value_columns(length: usize) -> Vec<(&'static str, Vec<f64>)> {
    let mut noise = Noise(7);
    let mut counter = 1e9;
    let mut level = 5.0;
    let mut temperature = 20.0;
    vec![
        ("tsbs_cpu", noise.cpu_usage(length)),
        ("constant", vec![1.0; length]),
        ("regular_counter", (0..length).map(|index| 1e6 + index as f64 * 15.0).collect()),
        (
            "noisy_counter",
            (0..length)
                .map(|_| {
                    counter += (1000.0 + noise.normal() * 100.0).round();
                    counter
                })
                .collect(),
        ),
        (
            "rare_steps",
            (0..length)
                .map(|_| {
                    level += f64::from(noise.next().is_multiple_of(100));
                    level
                })
                .collect(),
        ),
        ("packed_bytes", (0..length).map(|_| (noise.next() % 256) as f64).collect()),
        ("packed_decimals", (0..length).map(|_| (noise.next() % 100_000) as f64 / 100.0).collect()),
        (
            "full_precision",
            (0..length)
                .map(|_| {
                    temperature += noise.normal();
                    temperature
                })
                .collect(),
        ),
        ("ratios", noise.cpu_usage(length).into_iter().map(|value| value / 7.0).collect()),
        ("random_bits", (0..length).map(|_| f64::from_bits(noise.next())).collect()),
    ]
}

fn timestamp_columns(length: usize) -> Vec<(&'static str, Vec<i64>)> {
    let mut noise = Noise(9);
    let regular = |index| 1_700_000_000_291_000_000 + index as i64 * 10_000_000_000;
    let jitter = |noise: &mut Noise, unit: f64| (noise.normal() * 2.0).round() as i64 * unit as i64;
    vec![
        ("regular", (0..length).map(regular).collect()),
        ("jitter_ms", (0..length).map(|index| regular(index) + jitter(&mut noise, 1e6)).collect()),
        ("jitter_ns", (0..length).map(|index| regular(index) + (noise.normal() * 2e6) as i64).collect()),
    ]
}

fn bench_values(criterion: &mut Criterion) {
    for length in LENGTHS {
        for (name, values) in value_columns(length) {
            let mut bytes = Vec::new();
            encode_values(&values, &mut bytes);
            println!("{name}/{length}: {:.3} bytes a value", bytes.len() as f64 / length as f64);
            let mut group = criterion.benchmark_group(format!("values/{name}"));
            group.throughput(Throughput::Elements(length as u64));
            let mut encoded = Vec::with_capacity(length * 9);
            group.bench_function(BenchmarkId::new("encode", length), |bencher| {
                bencher.iter(|| {
                    encoded.clear();
                    encode_values(black_box(&values), &mut encoded);
                });
            });
            let mut decoded = Vec::with_capacity(length);
            group.bench_function(BenchmarkId::new("decode", length), |bencher| {
                bencher.iter(|| {
                    decoded.clear();
                    decode_values(black_box(&bytes), length, &(0..length), &mut decoded)
                });
            });
            group.finish();
        }
    }
}

fn bench_timestamps(criterion: &mut Criterion) {
    for length in LENGTHS {
        for (name, timestamps) in timestamp_columns(length) {
            let mut bytes = Vec::new();
            encode_timestamps(&timestamps, &mut bytes);
            println!("{name}/{length}: {:.3} bytes a timestamp", bytes.len() as f64 / length as f64);
            let mut group = criterion.benchmark_group(format!("timestamps/{name}"));
            group.throughput(Throughput::Elements(length as u64));
            let mut encoded = Vec::with_capacity(length * 9);
            group.bench_function(BenchmarkId::new("encode", length), |bencher| {
                bencher.iter(|| {
                    encoded.clear();
                    encode_timestamps(black_box(&timestamps), &mut encoded);
                });
            });
            let mut decoded = Vec::with_capacity(length);
            group.bench_function(BenchmarkId::new("decode", length), |bencher| {
                bencher.iter(|| {
                    decoded.clear();
                    decode_timestamps(black_box(&bytes), &mut decoded)
                });
            });
            group.finish();
        }
    }
}

/// A latency in 60 buckets that is scraped after every `observations`.
fn histograms(length: usize, observations: usize) -> Samples {
    const BUCKETS: usize = 60;
    let mut noise = Noise(11);
    let mut counts = vec![0.0; BUCKETS];
    let mut sum = 0.0;
    let mut samples = Samples::default();
    for at in 0..length {
        for _ in 0..observations {
            let bucket = (BUCKETS / 2) as f64 + noise.normal() * 4.0;
            counts[bucket.clamp(0.0, BUCKETS as f64 - 1.0) as usize] += 1.0;
            sum += (bucket / 8.0).exp2();
        }
        let spans = vec![BucketSpan { offset: -10, length: BUCKETS as u32 }];
        let positive = Buckets { spans, counts: counts.clone() };
        let count = counts.iter().sum();
        let histogram = Histogram { schema: 3, count, sum, positive, ..Histogram::default() };
        samples.push_histogram(at as i64, histogram.into());
    }
    samples
}

fn bench_histograms(criterion: &mut Criterion) {
    for length in LENGTHS {
        for observations in [5, 50, 1000] {
            let samples = histograms(length, observations);
            let mut bytes = Vec::new();
            encode_column(&samples.values, &samples.histograms, &mut bytes);
            let name = format!("histograms/{observations}");
            println!("{name}/{length}: {:.3} bytes a histogram", bytes.len() as f64 / length as f64);
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(length as u64));
            let mut encoded = Vec::with_capacity(bytes.len());
            group.bench_function(BenchmarkId::new("encode", length), |bencher| {
                bencher.iter(|| {
                    encoded.clear();
                    encode_column(black_box(&samples.values), &samples.histograms, &mut encoded);
                });
            });
            let mut decoded = Samples::default();
            group.bench_function(BenchmarkId::new("decode", length), |bencher| {
                bencher.iter(|| {
                    decoded.clear();
                    decode_column(black_box(&bytes), length, &(0..length), &mut decoded)
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, bench_values, bench_timestamps, bench_histograms);
criterion_main!(benches);
