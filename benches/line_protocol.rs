//! How long the parser takes for a point, without the engine behind it: TSBS cpu-only lines (ten tags, ten integer fields),
//! and lines of decimals.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use timberline::ingest::line_protocol::{Decoder, Namespace, write_lines};
use timberline::ingest::{Limits, Precision, RowSink};
use timberline_engine::{Error, Labels, Row};

const LINES: usize = 1_000;
const FIELDS: usize = 10;

const TAGS: &str = "region=eu-central-1,datacenter=eu-central-1a,rack=6,os=Ubuntu15.10,arch=x86,team=SF,service=19,\
                    service_version=1,service_environment=test";

const FIELD_NAMES: [&str; FIELDS] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// Knows every series: what is measured is the path of a known key.
struct Discard;

impl RowSink for Discard {
    fn row(&mut self, row: Row<'_>, _: impl FnMut(&[u8]) -> Result<Labels, Error>) -> Result<(), Error> {
        black_box((row.key, row.timestamp, row.fields));
        Ok(())
    }
}

/// A body of [`LINES`] lines; `value` writes the value for (line, field).
fn body(value: impl Fn(usize, usize) -> String) -> String {
    let mut body = String::new();
    for line in 0..LINES {
        let _ = write!(body, "cpu,hostname=host_{line},{TAGS} ");
        for (index, name) in FIELD_NAMES.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(body, "{comma}{name}={}", value(line, index));
        }
        let _ = writeln!(body, " {}", 1_451_606_400_000_000_000_u64 + line as u64);
    }
    body
}

fn parse(c: &mut Criterion) {
    let integers = body(|line, field| format!("{}i", (line * 7 + field * 31) % 101));
    let decimals =
        body(|line, field| format!("{}.{:06}", line % 101, (line * 7_919 + field * 104_729) % 1_000_000));
    let namespace = Namespace { db: Some("benchmark"), rp: None };

    let mut group = c.benchmark_group("line_protocol");
    group.throughput(Throughput::Elements((LINES * FIELDS) as u64));
    for (name, body) in [("integers", &integers), ("decimals", &decimals)] {
        group.bench_function(format!("write_lines/{name}"), |bencher| {
            bencher.iter(|| {
                let body = black_box(body.as_bytes());
                write_lines(body, &namespace, Precision::Nanoseconds, 0, &Limits::DEFAULT, &mut Discard)
            });
        });
        group.bench_function(format!("strict_decoder/{name}"), |bencher| {
            bencher.iter(|| {
                let decoder = Decoder::new(black_box(body.as_bytes()), Precision::Nanoseconds);
                decoder.filter(Result::is_ok).count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
