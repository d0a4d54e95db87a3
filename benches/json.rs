//! How fast the answer of a range query is written as JSON: 100 series of 240 points each, with integers, with decimals, and with
//! doubles of full precision. Bytes are those of the JSON.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use timberline::http::json::write_labels;
use timberline::http::points::PointWriter;
use timberline_engine::Labels;

const SERIES: usize = 100;
const POINTS: usize = 240;

/// The labels of each series and its values.
fn series(value: impl Fn(u64) -> f64) -> Vec<(Labels, Vec<f64>)> {
    let labels = |i: usize| {
        let host = format!("host_{i}");
        let pairs = [("__name__", "cpu_usage_user"), ("hostname", &host), ("region", "eu-central-1")];
        Labels::from_pairs(pairs).unwrap_or_else(|_| Labels::empty())
    };
    let values = |i: usize| (0..POINTS).map(|at| value((i * POINTS + at) as u64)).collect();
    (0..SERIES).map(|i| (labels(i), values(i))).collect()
}

fn encode(series: &[(Labels, Vec<f64>)], timestamps_ms: &[i64], out: &mut Vec<u8>) {
    out.clear();
    let mut points = PointWriter::default();
    for (labels, values) in series {
        out.extend_from_slice(br#"{"metric":"#);
        write_labels(out, labels);
        out.extend_from_slice(br#","values":["#);
        points.begin(timestamps_ms);
        points.write(out, 0, timestamps_ms, values);
        out.extend_from_slice(b"]}");
    }
}

fn json(c: &mut Criterion) {
    let timestamps_ms: Vec<i64> = (0..POINTS as i64).map(|i| 1_767_225_600_000 + i * 15_000).collect();
    let mut group = c.benchmark_group("json");
    let mut out = Vec::new();
    for (name, series) in [
        ("integers", series(|i| (i * 7_919 % 101) as f64)),
        ("decimals", series(|i| (i * 7_919 % 10_007) as f64 / 100.0)),
        ("full_precision", series(|i| (i * 7_919 % 10_007) as f64 / 7.0)),
    ] {
        encode(&series, &timestamps_ms, &mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(name, |b| b.iter(|| encode(black_box(&series), &timestamps_ms, &mut out)));
    }
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
