//! The database as its users see it, on a real directory.

use super::*;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::rows::{Field, Row};
use crate::samples::Samples;
use crate::time::TimeRange;

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

fn labels(field: &[u8], host: &str) -> Labels {
    let name = format!("cpu_{}", String::from_utf8_lossy(field));
    Labels::from_pairs([("__name__", name.as_str()), ("host", host)]).unwrap()
}

/// Writes one row of fields for a host.
fn write(db: &Db, host: &str, timestamp: i64, fields: &[(&str, f64)]) {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|(name, value)| Field { name: name.as_bytes(), value: *value }).collect();
    let mut batch = db.appender().unwrap();
    let key = format!("k{host}");
    batch
        .row(Row { key: key.as_bytes(), timestamp, fields: &fields }, |field| Ok(labels(field, host)))
        .unwrap();
    assert_eq!(batch.commit().unwrap(), fields.len());
}

/// Everything that the matchers select, as text.
fn read(db: &Db, matchers: &[Matcher]) -> Vec<(String, Vec<(i64, f64)>)> {
    let mut samples = Samples::default();
    let selected = db.snapshot().select(matchers, TimeRange::ALL).unwrap();
    selected
        .iter()
        .map(|series| {
            series.read(&mut samples).unwrap();
            let pairs = samples.timestamps.iter().copied().zip(samples.values.iter().copied());
            (series.labels().to_string(), pairs.collect())
        })
        .collect()
}

#[test]
fn rows_are_visible_through_flush_compaction_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(folder.path(), options()).unwrap();
    for i in 0..500 {
        write(&db, "a", i * 1_000_000_000, &[("user", i as f64), ("idle", -(i as f64))]);
        write(&db, "b", i * 1_000_000_000, &[("idle", 0.5)]);
    }
    let before = read(&db, &[]);
    assert_eq!(before.len(), 3);
    assert_eq!(before[0].0, r#"cpu_idle{host="a"}"#);
    assert_eq!(before[0].1[499], (499_000_000_000, -499.0));
    for step in 0..4 {
        match step {
            0 => assert_eq!(db.flush().unwrap().samples, 1500),
            1 => {
                drop(db);
                db = Db::open(folder.path(), options()).unwrap();
            }
            2 => assert_eq!(db.compact().unwrap(), CompactionReport::default()),
            _ => {
                db.close().unwrap();
                assert!(matches!(db.appender(), Err(Error::Closed)));
                db = Db::open(folder.path(), options()).unwrap();
                assert_eq!(db.stats().head_samples, 0);
            }
        }
        assert_eq!(read(&db, &[]), before, "step {step}");
    }
}

#[test]
fn the_last_write_wins_across_heads_and_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(folder.path(), options()).unwrap();
    for round in 0..6 {
        write(&db, "a", 5, &[("user", f64::from(round))]);
        write(&db, "a", 10 + i64::from(round), &[("user", 0.0)]);
        match round {
            0 | 3 => assert_eq!(db.flush().unwrap().blocks, 1),
            1 => {
                drop(db);
                db = Db::open(folder.path(), options()).unwrap();
            }
            4 => {
                db.flush().unwrap();
                assert_eq!(db.compact().unwrap(), CompactionReport { merged: 3, created: 1, expired: 0 });
            }
            _ => {}
        }
        let all = read(&db, &[]);
        assert_eq!(all[0].1[0], (5, f64::from(round)), "round {round}");
        assert_eq!(all[0].1.len(), 2 + round as usize);
    }
}

#[test]
fn fields_may_come_and_go_and_series_may_have_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    write(&db, "a", 1, &[("user", 1.0), ("idle", 2.0)]);
    write(&db, "a", 2, &[("idle", 3.0)]);
    write(&db, "a", 3, &[("idle", 4.0), ("nice", 5.0), ("user", 6.0), ("nice", 7.0)][..3]);
    let mut batch = db.appender().unwrap();
    batch.series(&labels(b"nice", "a"), [(4, 8.0), (5, f64::NAN)]).unwrap();
    batch.commit().unwrap();
    let expect = |db: &Db| {
        let all = read(db, &[]);
        assert_eq!(all[0].1, [(1, 2.0), (2, 3.0), (3, 4.0)]);
        assert_eq!(all[1].1[..2], [(3, 5.0), (4, 8.0)]);
        assert!(all[1].1[2].1.is_nan());
        assert_eq!(all[2].1, [(1, 1.0), (3, 6.0)]);
    };
    expect(&db);
    drop(db);
    let db = Db::open(folder.path(), options()).unwrap();
    expect(&db);
    db.flush().unwrap();
    expect(&db);
}

#[test]
fn matchers_select_in_the_head_and_in_blocks_alike() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    for host in ["a", "b", "c"] {
        write(&db, host, 1, &[("user", 1.0), ("idle", 2.0)]);
    }
    let mut batch = db.appender().unwrap();
    batch.series(&Labels::from_pairs([("__name__", "up")]).unwrap(), [(1, 1.0)]).unwrap();
    batch.commit().unwrap();
    for place in ["head", "block"] {
        let count = |name: &str, op, value: &str| read(&db, &[Matcher::new(name, op, value).unwrap()]).len();
        assert_eq!(count("host", MatchOp::Equal, "a"), 2, "{place}");
        assert_eq!(count("host", MatchOp::Equal, ""), 1, "{place}");
        assert_eq!(count("host", MatchOp::NotEqual, "a"), 5, "{place}");
        assert_eq!(count("host", MatchOp::NotEqual, ""), 6, "{place}");
        assert_eq!(count("host", MatchOp::Regex, "a|c|x"), 4, "{place}");
        assert_eq!(count("host", MatchOp::Regex, "[ab]|"), 5, "{place}");
        assert_eq!(count("host", MatchOp::NotRegex, "[ab]"), 3, "{place}");
        assert_eq!(count("host", MatchOp::Regex, ".*"), 7, "{place}");
        assert_eq!(count("host", MatchOp::Regex, ".+"), 6, "{place}");
        let view = db.snapshot();
        assert_eq!(view.label_names(&[], TimeRange::ALL).unwrap(), ["__name__", "host"]);
        assert_eq!(view.label_values("host", &[], TimeRange::ALL).unwrap(), ["a", "b", "c"]);
        let up = [Matcher::equal("__name__", "up")];
        assert_eq!(view.label_names(&up, TimeRange::ALL).unwrap(), ["__name__"]);
        assert_eq!(view.label_values("__name__", &up, TimeRange::ALL).unwrap(), ["up"]);
        assert!(view.select(&[], TimeRange::new(2, 9)).unwrap().is_empty(), "{place}");
        db.flush().unwrap();
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let second = Db::open(folder.path(), options());
    assert!(matches!(second, Err(Error::Locked { .. })));
    db.close().unwrap();
    Db::open(folder.path(), options()).unwrap();
}

#[test]
fn concurrent_writers_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let db = &db;
            scope.spawn(move || {
                (0..20).for_each(|i| write(db, &format!("{writer}"), i, &[("user", 1.0), ("idle", 2.0)]));
            });
        }
    });
    let all = read(&db, &[]);
    assert_eq!(all.len(), 16);
    assert!(all.iter().all(|(_, samples)| samples.len() == 20));
    drop(db);
    assert_eq!(read(&Db::open(folder.path(), options()).unwrap(), &[]), all);
}

#[test]
fn a_row_whose_series_cannot_be_resolved_leaves_the_batch_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let mut batch = db.appender().unwrap();
    let fields = [Field { name: b"user", value: 1.0 }, Field { name: b"bad", value: 2.0 }];
    let refuse = |field: &[u8]| match field {
        b"bad" => Err(Error::InvalidSeries { reason: "bad".to_owned() }),
        good => Ok(labels(good, "a")),
    };
    assert!(batch.row(Row { key: b"k", timestamp: 1, fields: &fields }, refuse).is_err());
    batch.row(Row { key: b"k", timestamp: 2, fields: &fields[..1] }, refuse).unwrap();
    assert_eq!(batch.commit().unwrap(), 1);
    assert_eq!(read(&db, &[])[0].1, [(2, 1.0)]);
}
