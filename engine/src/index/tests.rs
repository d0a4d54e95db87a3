//! The index file: golden bytes, and answers that fit what was built.

use std::path::Path;

use super::*;
use crate::directory::Mapped;
use crate::error::Error;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::time::TimeRange;
use ulid::Ulid;

fn example() -> Vec<u8> {
    let mut builder = IndexBuilder::default();
    let times = builder.add_times(&TimesEntry { offset: 12, range: TimeRange::new(-1, 300), count: 2 });
    for (i, name) in ["cpu_idle", "cpu_user"].into_iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", name), ("host", "a")]).unwrap();
        builder.add_series(&labels, &[ChunkRef { times, values: 20 + 9 * i as u64 }]);
    }
    let meta = BlockMeta {
        id: Ulid::from_bytes([7; 16]),
        range: TimeRange::new(-1, 300),
        generation_first: 1,
        generation_last: 2,
        level: 3,
        series: builder.series(),
        samples: 4,
        chunk_bytes: 38,
    };
    builder.finish(&meta).unwrap()
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
    let roaring = |ids: &[u16]| {
        let mut bitmap = croaring::Bitmap::new();
        ids.iter().for_each(|id| bitmap.add(u32::from(*id)));
        bitmap.run_optimize();
        bitmap.serialize::<croaring::Portable>()
    };
    let lists = [roaring(&[0]), roaring(&[1]), roaring(&[0, 1])];
    let mut end = 0;
    let ends: String = lists
        .iter()
        .map(|list| {
            end += list.len() as u32;
            hex(&end.to_le_bytes())
        })
        .collect();
    let rest = [
        ends,
        lists.iter().map(|list| hex(list)).collect(),
        "01000000".to_owned(),         // set ends
        "02".to_owned(),               // the set: pair 2, host="a"
        "050000000a000000".to_owned(), // series ends
        "0100010014".to_owned(),       // cpu_idle: pair 0, set 0, one chunk, times 0, values 20
        "020001001d".to_owned(),
        "0c00000000000000ffffffffffffffff2c0100000000000002000000".to_owned(), // times
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
    assert_eq!(chunks[0].0, ChunkRef { times: 0, values: 29 });
    let find =
        |op, value| matching(&index, &[Matcher::new("__name__", op, value).unwrap()]).unwrap().to_vec();
    assert_eq!(find(MatchOp::Equal, "cpu_user"), [1]);
    assert_eq!(find(MatchOp::Regex, "cpu_.*"), [0, 1]);
    assert_eq!(find(MatchOp::NotEqual, "cpu_user"), [0]);
    assert!(index.labels(2).is_err() && index.times(1).is_err());
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
