//! The index file: golden bytes, and answers that fit what was built.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::directory::{Directory, Mapped, SimulatedDirectory};
use crate::error::Error;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::time::TimeRange;
use crate::watch::Watch;
use ulid::Ulid;

/// The file of an index with these series, which `fill` adds to the builder.
fn file(labels: Vec<Labels>, fill: impl FnOnce(&mut IndexBuilder<'_>) -> BlockMeta) -> Vec<u8> {
    let simulated = SimulatedDirectory::new(1);
    let directory: Arc<dyn Directory> = simulated.clone();
    let series = ListedSeries::new(labels);
    let dictionary = Dictionary::new([&series as &dyn PairSource]).unwrap();
    let mut builder = IndexBuilder::new(&dictionary, &directory, Path::new(""));
    let meta = fill(&mut builder);
    builder.finish(&meta, Path::new("index")).unwrap();
    assert_eq!(simulated.list(Path::new("")).unwrap(), ["index"]);
    simulated.read(Path::new("index")).unwrap()
}

fn example() -> Vec<u8> {
    let names = ["cpu_idle", "cpu_user"];
    let labels = names.map(|name| Labels::from_pairs([("__name__", name), ("host", "a")]).unwrap());
    file(labels.to_vec(), fill_example)
}

fn fill_example(builder: &mut IndexBuilder<'_>) -> BlockMeta {
    let times = TimesEntry { offset: 12, range: TimeRange::new(-1, 300), count: 2 };
    let times = builder.add_times(&times).unwrap();
    for i in 0..2 {
        let statistics = StatisticsRef { start: 1, len: i as u8 };
        let chunk = ChunkRef { times, values: 20 + 9 * u64::from(i), statistics };
        builder.add_series(&[(0, i)], &[chunk], &[0, 0x77]).unwrap();
    }
    BlockMeta {
        id: Ulid::from_bytes([7; 16]),
        range: TimeRange::new(-1, 300),
        generation_first: 1,
        generation_last: 2,
        level: 3,
        series: builder.series(),
        samples: 4,
        chunk_bytes: 38,
    }
}

/// Of a fresh block with all series of the builder.
fn meta(builder: &IndexBuilder<'_>, samples: u64) -> BlockMeta {
    BlockMeta {
        id: Ulid::from_bytes([7; 16]),
        range: TimeRange::new(0, 1),
        generation_first: 1,
        generation_last: 1,
        level: 0,
        series: builder.series(),
        samples,
        chunk_bytes: 38,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keeps_its_golden_bytes() {
    let bytes = example();
    let sections = [
        "544d425249445800", // magic
        "01000000",         // version
        "0707070707070707070707070707070701d8040102030204",
        "26",                                 // chunk bytes
        "02085f5f6e616d655f5f0204686f737401", // names
        "080000001000000011000000",           // value ends
        "6370755f69646c656370755f7573657261", // value text
    ];
    let expected = sections.concat();
    assert_eq!(hex(&bytes[..expected.len() / 2]), expected);
    let postings = expected.len() / 2;
    let rest = [
        "0200000004000000070000000a0000000d000000", // posting ends: of three pairs and two names
        "0200",                                     // cpu_idle: one id, a list: 0
        "0201",                                     // cpu_user: 1
        "040000",                                   // host="a": two ids, no gaps
        "040000",                                   // __name__
        "040000",                                   // host
        "01000000",                                 // set ends
        "02",                                       // the set: pair 2, host="a"
        "060000000d000000",                         // series ends
        "010001001400", // cpu_idle: pair 0, set 0, one chunk, times 0, values 20, no statistics
        "020001001d0177",
        "0c00000000000000ffffffffffffffff2c0100000000000002000000", // times
    ]
    .concat();
    assert_eq!(hex(&bytes[postings..postings + rest.len() / 2]), rest);
    assert_eq!(bytes.len(), postings + rest.len() / 2 + 11 * 20 + 4 + 8, "then only the footer");
    assert!(bytes.ends_with(b"TMBRIDX\0"));
}

#[test]
fn answers_fit_what_was_built() {
    let index = Index::open(Path::new("index"), Mapped::from_memory(example())).unwrap();
    assert_eq!(index.labels(1).unwrap().to_string(), r#"cpu_user{host="a"}"#);
    let mut chunks = Vec::new();
    index.chunks(1, &mut chunks).unwrap();
    assert_eq!((chunks[0].0.times, chunks[0].0.values), (0, 29));
    assert_eq!(index.statistics(chunks[0].0.statistics).unwrap(), [0x77]);
    let find = |op, value| {
        matching(&index, &[Matcher::new("__name__", op, value).unwrap()], Watch::default()).unwrap().to_vec()
    };
    assert_eq!(find(MatchOp::Equal, "cpu_user"), [1]);
    assert_eq!(find(MatchOp::Regex, "cpu_.*"), [0, 1]);
    assert_eq!(find(MatchOp::NotEqual, "cpu_user"), [0]);
    assert!(index.labels(2).is_err() && index.times(1).is_err());
}

#[test]
fn label_sets_that_are_not_remembered_are_written_again() {
    let names = ["cpu_idle", "cpu_user"];
    let labels = ["a", "b"]
        .map(|host| names.map(|name| Labels::from_pairs([("__name__", name), ("host", host)]).unwrap()));
    let mut labels = labels.concat();
    labels.sort_unstable();
    let read = |shared_sets: usize| {
        let bytes = file(labels.clone(), |builder| {
            builder.share_sets(shared_sets);
            let times = TimesEntry { offset: 12, range: TimeRange::new(0, 1), count: 2 };
            let times = builder.add_times(&times).unwrap();
            let chunk = ChunkRef { times, values: 20, statistics: StatisticsRef::default() };
            (0..4).for_each(|id| builder.add_series(&[(0, id)], &[chunk], &[]).unwrap());
            meta(builder, 8)
        });
        let len = bytes.len();
        let index = Index::open(Path::new("index"), Mapped::from_memory(bytes)).unwrap();
        assert_eq!(
            (0..4).map(|id| index.labels(id).unwrap()).collect::<Vec<_>>(),
            labels,
            "{shared_sets} sets"
        );
        len
    };
    // A set of one pair is its end, 4 bytes, and the pair, 1.
    assert_eq!([read(0), read(1), read(2), read(9)].map(|len| len - read(2)), [10, 5, 0, 0]);
}

#[test]
fn looking_at_values_ends_when_nobody_wants_them() {
    let index = Index::open(Path::new("index"), Mapped::from_memory(example())).unwrap();
    for pattern in ["cpu_.*", "cpu_user|cpu_idle", "a|b|c", "cpu_user|x.*"] {
        for op in [MatchOp::Regex, MatchOp::NotRegex] {
            let matchers = [Matcher::new("__name__", op, pattern).unwrap()];
            let found = matching(&index, &matchers, Watch::new(&|_| false));
            assert!(matches!(found, Err(Error::BrokenOff { .. })), "{pattern}");
        }
    }
}

/// An index of `count` series with a metric name each of three, a label with a value for each series, and one that only
/// every second series has.
fn many(count: u32) -> Index {
    let mut all: Vec<Labels> = (0..count)
        .map(|id| {
            let mut pairs = vec![
                ("__name__".to_owned(), format!("metric_{}", id % 3)),
                ("host".to_owned(), format!("host_{id:04}")),
            ];
            if id % 2 == 0 {
                pairs.push(("zone".to_owned(), format!("z{}", id % 5)));
            }
            Labels::from_pairs(pairs).unwrap()
        })
        .collect();
    all.sort_unstable();
    let fill = |builder: &mut IndexBuilder<'_>| {
        let times = TimesEntry { offset: 12, range: TimeRange::new(0, 1), count: 2 };
        let times = builder.add_times(&times).unwrap();
        for id in 0..count {
            let statistics = StatisticsRef::default();
            builder.add_series(&[(0, id)], &[ChunkRef { times, values: 20, statistics }], &[]).unwrap();
        }
        meta(builder, 2 * u64::from(count))
    };
    Index::open(Path::new("index"), Mapped::from_memory(file(all, fill))).unwrap()
}

#[test]
fn matchers_find_what_they_match() {
    let index = many(1000);
    let labels: Vec<Labels> = (0..1000).map(|id| index.labels(id).unwrap()).collect();
    let patterns = [
        "",
        ".*",
        ".+",
        "host_0001",
        "host_0001|host_0999|x",
        "host_00.*",
        ".*7",
        "(?i)HOST_1.*",
        "host_(01|02)3.",
        "z1|",
        "z[1-3]",
        "z.",
        "|z1.*",
        "metric_[12]",
    ];
    for name in ["__name__", "host", "zone", "absent"] {
        for pattern in patterns {
            for op in [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex] {
                let matcher = Matcher::new(name, op, pattern).unwrap();
                let expected: Vec<u32> = (0..1000)
                    .filter(|id| matcher.matches(labels[*id as usize].get(name).unwrap_or_default()))
                    .collect();
                let found = matching(&index, &[matcher], Watch::default()).unwrap().to_vec();
                assert_eq!(found, expected, "{name} {op:?} {pattern:?}");
            }
        }
    }
}

#[test]
fn series_are_counted_by_value() {
    let index = many(1000);
    let counts = |name| index.series_by_value(name).collect::<crate::Result<Vec<_>>>().unwrap();
    assert_eq!(counts("__name__"), [("metric_0", 334), ("metric_1", 333), ("metric_2", 333)]);
    assert_eq!(counts("host").len(), 1000);
    assert_eq!(counts("zone").iter().map(|(_, series)| series).sum::<u64>(), 500, "every other one");
    assert_eq!(counts("none"), []);
}

#[test]
fn every_damaged_byte_and_every_cut_is_found() {
    let bytes = example();
    let open = |bytes: Vec<u8>| Index::open(Path::new("index"), Mapped::from_memory(bytes));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert!(open(damaged).is_err(), "damage at {at}");
        assert!(matches!(open(bytes[..at].to_vec()), Err(Error::Corruption { .. })), "cut at {at}");
    }
}
