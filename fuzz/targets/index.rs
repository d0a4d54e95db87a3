//! An index of any series, found again; then damaged behind good checksums: every access gives an answer or an error.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use timberline_engine::chunk::decode_statistics;
use timberline_engine::directory::{Directory, Mapped, SimulatedDirectory};
use timberline_engine::index::{
    BlockMeta, ChunkRef, Dictionary, Index, IndexBuilder, ListedSeries, PairSource, StatisticsRef,
    TimesEntry, matching,
};
use timberline_engine::{Labels, MatchOp, Matcher, TimeRange, Watch};
use timberline_fuzz::damage;
use ulid::Ulid;

const SECTIONS: usize = 11;
const ENTRY_BYTES: usize = 20;
const FOOTER_BYTES: usize = SECTIONS * ENTRY_BYTES + 4 + 8;
const SERIES_READ_MAX: u32 = 100;

/// One of each kind; expressions are compiled once.
static MATCHERS: LazyLock<[Matcher; 4]> = LazyLock::new(|| {
    [
        Matcher::new("n1", MatchOp::Regex, "v1.*").unwrap(),
        Matcher::new("n2", MatchOp::NotRegex, "v1|v2").unwrap(),
        Matcher::new("n3", MatchOp::NotEqual, "v1").unwrap(),
        Matcher::new("n4", MatchOp::Equal, "").unwrap(),
    ]
});

#[derive(Arbitrary, Debug)]
struct Input {
    raw: Vec<u8>,
    series: Vec<Vec<(u8, u8)>>,
    times: Vec<(u64, i64, i64, u32)>,
    changes: Vec<(u16, u8)>,
}

fuzz_target!(|input: Input| {
    read(input.raw.clone());

    let mut series: Vec<Labels> = input.series.iter().take(50).map(|pairs| labels(pairs)).collect();
    series.sort_unstable();
    series.dedup();
    let mut bytes = build(&series, &input.times);
    let index = Index::open(Path::new("index"), Mapped::from_memory(bytes.clone())).unwrap();
    for (id, labels) in (0..).zip(&series) {
        assert_eq!(&index.labels(id).unwrap(), labels);
        for (name, value) in labels.iter() {
            assert!(matching(&index, &[Matcher::equal(name, value)], Watch::default()).unwrap().contains(id));
        }
    }
    let content = bytes.len() - FOOTER_BYTES;
    damage(&mut bytes[12..content], &input.changes);
    repair_checksums(&mut bytes);
    read(bytes);
});

/// A few names, with a few values each.
fn labels(pairs: &[(u8, u8)]) -> Labels {
    let mut pairs: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, value)| match name % 8 {
            0 => ("__name__".to_owned(), format!("m{value}")),
            name => (format!("n{name}"), format!("v{value}")),
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup_by(|a, b| a.0 == b.0);
    Labels::from_pairs(pairs).unwrap()
}

fn build(series: &[Labels], times: &[(u64, i64, i64, u32)]) -> Vec<u8> {
    let listed = ListedSeries::new(series.to_vec());
    let dictionary = Dictionary::new([&listed as &dyn PairSource]).unwrap();
    let simulated = SimulatedDirectory::new(1);
    let directory: Arc<dyn Directory> = simulated.clone();
    let mut builder = IndexBuilder::new(&dictionary, &directory, Path::new(""));
    let columns: Vec<u32> = times
        .iter()
        .map(|(offset, start, end, count)| {
            let range = TimeRange::new(*start, *end);
            builder.add_times(&TimesEntry { offset: *offset, range, count: *count }).unwrap()
        })
        .collect();
    for id in 0..series.len() as u32 {
        let chunks = columns.iter().map(|times| ChunkRef {
            times: *times,
            values: u64::from(*times) * 10,
            statistics: StatisticsRef { start: 0, len: (times % 3) as u8 },
        });
        builder.add_series(&[(0, id)], &chunks.collect::<Vec<_>>(), &[1, 2]).unwrap();
    }
    let meta = BlockMeta {
        id: Ulid::from_parts(1, 2),
        range: TimeRange::ALL,
        generation_first: 1,
        generation_last: 2,
        level: 0,
        series: series.len() as u64,
        samples: 3,
        chunk_bytes: 4,
    };
    builder.finish(&meta, Path::new("index")).unwrap();
    simulated.read(Path::new("index")).unwrap()
}

/// Makes all checksums right, as docs/format/index.md of the engine has them.
fn repair_checksums(bytes: &mut [u8]) {
    let footer = bytes.len() - FOOTER_BYTES;
    for section in 0..SECTIONS {
        let entry = footer + section * ENTRY_BYTES;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (start, len) = (word(entry), word(entry + 8));
        let crc = crc32c::crc32c(&bytes[start..start + len]);
        bytes[entry + 16..entry + 20].copy_from_slice(&crc.to_le_bytes());
    }
    let table = footer + SECTIONS * ENTRY_BYTES;
    let crc = crc32c::crc32c(&bytes[footer..table]);
    bytes[table..table + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Asks everything of an index.
fn read(bytes: Vec<u8>) {
    let Ok(index) = Index::open(Path::new("index"), Mapped::from_memory(bytes)) else { return };
    let series = u32::try_from(index.meta().series).unwrap_or(u32::MAX).min(SERIES_READ_MAX);
    let mut chunks = Vec::new();
    for id in 0..=series {
        let _ = (index.labels(id), index.chunks(id, &mut chunks), index.times(id));
        for (chunk, times) in chunks.drain(..) {
            let _ = index
                .statistics(chunk.statistics)
                .map(|bytes| decode_statistics(bytes, times.count as usize));
        }
    }
    let names: Vec<String> = index.names().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().map(String::as_str).chain(["absent"]) {
        for value in index.values(name).take(100).flatten() {
            let _ = matching(&index, &[Matcher::equal(name, value)], Watch::default());
        }
    }
    for name in &names {
        index.series_by_value(name).take(100).for_each(drop);
    }
    for matcher in &*MATCHERS {
        let _ = matching(&index, std::slice::from_ref(matcher), Watch::default());
    }
}
