//! Label matchers on a block's index: `cargo bench --bench index`. The label `host` has as many values as there are series.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use timberline_engine::directory::{Directory, Mapped, SimulatedDirectory};
use timberline_engine::index::{
    BlockMeta, ChunkRef, Dictionary, Index, IndexBuilder, ListedSeries, PairSource, StatisticsRef,
    TimesEntry, matching,
};
use timberline_engine::{Labels, MatchOp, Matcher, Result, TimeRange, Watch};

/// How many series, and values of the label.
const SIZES: [u32; 2] = [100_000, 1_000_000];

/// What is asked of `host`: one value, a list, a prefix of few and of many, a range of digits, an end, and a part.
const PATTERNS: [(&str, &str); 7] = [
    ("one", "host-0012345.example.net"),
    ("list", "host-0000001.example.net|host-0050000.example.net|host-0099999.example.net"),
    ("prefix_100", "host-00123.*"),
    ("prefix_10000", "host-001.*"),
    ("digits", "host-00[0-9]+77[.]example.net"),
    ("suffix", ".*99[.]example.net"),
    ("contains", ".*1234.*"),
];

fn file(size: u32) -> Result<Vec<u8>> {
    let labels = (0..size).map(|id| {
        let host = format!("host-{id:07}.example.net");
        Labels::from_pairs([("__name__", "up"), ("host", &host), ("job", "node")]).unwrap_or_default()
    });
    let series = ListedSeries::new(labels.collect());
    let dictionary = Dictionary::new([&series as &dyn PairSource])?;
    let simulated = SimulatedDirectory::new(1);
    let directory: Arc<dyn Directory> = simulated.clone();
    let mut builder = IndexBuilder::new(&dictionary, &directory, Path::new(""));
    let times = builder.add_times(&TimesEntry { offset: 12, range: TimeRange::new(0, 1), count: 2 })?;
    for id in 0..size {
        let chunk = ChunkRef { times, values: u64::from(id) * 100, statistics: StatisticsRef::default() };
        builder.add_series(&[(0, id)], &[chunk], &[])?;
    }
    let meta = BlockMeta {
        id: Default::default(),
        range: TimeRange::new(0, 1),
        generation_first: 1,
        generation_last: 1,
        level: 0,
        series: size.into(),
        samples: 2 * u64::from(size),
        chunk_bytes: 38,
    };
    builder.finish(&meta, Path::new("index"))?;
    Ok(simulated.read(Path::new("index")).unwrap_or_default())
}

fn bench(criterion: &mut Criterion) {
    for size in SIZES {
        let Ok(bytes) = file(size).map(Mapped::from_memory) else { return };
        println!("index of {size} series: {} bytes", bytes.len());
        let open = || Index::open(Path::new("index"), bytes.clone());
        let Ok(index) = open() else { return };
        let mut group = criterion.benchmark_group("index");
        group.bench_function(BenchmarkId::new("open", size), |bencher| bencher.iter(|| open().is_ok()));
        for (name, pattern) in PATTERNS {
            let Ok(matcher) = Matcher::new("host", MatchOp::Regex, pattern) else { return };
            let matchers = [matcher];
            let found = matching(&index, &matchers, Watch::default())
                .map(|found| found.cardinality())
                .unwrap_or_default();
            println!("{pattern}: {found} series");
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| matching(black_box(&index), &matchers, Watch::default()).is_ok());
            });
        }
        group.bench_function(BenchmarkId::new("series by value", size), |bencher| {
            bencher.iter(|| {
                black_box(&index).series_by_value("host").map_while(Result::ok).map(|(_, n)| n).sum::<u64>()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
