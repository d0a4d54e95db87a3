//! Many series: what bounds them, how they are counted, and that they go when they stop.

use super::*;
use crate::querier::Count;

/// Tries to write one row of fields for a host.
fn try_write(db: &Db, hosts: &[&str], fields: &[&str]) -> Vec<String> {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|name| Field { name: name.as_bytes(), value: 1.0 }).collect();
    let mut batch = db.appender().unwrap();
    let mut errors = Vec::new();
    for host in hosts {
        let key = format!("k{host}");
        let row = Row { key: key.as_bytes(), timestamp: 1, fields: &fields };
        errors.extend(batch.row(row, |field| Ok(labels(field, host))).err().map(|error| error.to_string()));
    }
    batch.commit().unwrap();
    errors
}

#[test]
fn a_series_too_many_is_refused_and_the_others_go_on() {
    let machine = SimulatedDirectory::new(3);
    let limited = Options { head_series_max: Some(5), ..options() };
    let db = Db::open_in(machine.clone(), limited.clone()).unwrap();
    let refused = "limit head_series_max reached: 6 is more than 5";
    assert_eq!(try_write(&db, &["a", "b", "c", "d"], &["x", "y"]), [refused, refused]);
    assert_eq!(try_write(&db, &["c", "a"], &["x"]), [""; 0], "there is room for one more");
    assert_eq!(try_write(&db, &["a"], &["x", "y", "z"]), [refused], "a known line with a new field");
    assert_eq!(read(&db, &[]).len(), 5);
    let stats = db.stats();
    assert_eq!((stats.head_series, stats.series_created_total), (5, 5));

    db.flush().unwrap();
    assert_eq!(try_write(&db, &["d", "e"], &["x", "y"]), [""; 0], "the new head has room");
    drop(db);
    let db = Db::open_in(machine, Options { head_series_max: Some(1), ..limited }).unwrap();
    assert_eq!(db.stats().head_series, 4, "what was answered is replayed whatever the limit");
    assert_eq!(try_write(&db, &["d"], &["x"]), [""; 0]);
    assert_eq!(try_write(&db, &["f"], &["x"]).len(), 1);
}

#[test]
fn new_series_are_refused_where_the_heads_are_full_and_known_ones_go_on() {
    let limited = Options { head_bytes_max: 200_000, ..options() };
    let db = Db::open_in(SimulatedDirectory::new(5), limited).unwrap();
    let mut refused = Vec::new();
    let mut hosts = 0;
    while refused.is_empty() {
        hosts += 1;
        assert!(hosts < 10_000, "series are counted");
        refused = try_write(&db, &[&format!("h{hosts}")], &["x", "y"]);
    }
    assert!(refused[0].starts_with("limit head_bytes_max reached: "), "{refused:?}");
    assert!(refused[0].ends_with(" is more than 350000"), "{refused:?}");
    let stats = db.stats();
    assert_eq!((stats.head_series, stats.series_created_total), (2 * hosts - 2, 2 * hosts - 2));
    assert!((300_000..360_000).contains(&stats.head_bytes), "{}", stats.head_bytes);
    assert_eq!(try_write(&db, &["h1", "new", "h2"], &["x", "y"]).len(), 1, "known series go on");
    assert!(db.core.wants_flush(), "it is sealed although its samples are few");

    // A head that a reader still holds takes its memory, also after it was sealed.
    let reader = db.snapshot();
    db.flush().unwrap();
    assert_eq!(try_write(&db, &["new"], &["x", "y"]).len(), 1);
    drop(reader);
    assert_eq!(try_write(&db, &["new", "h1"], &["x", "y"]), [""; 0]);
    assert_eq!(read(&db, &[]).len() as u64, 2 * hosts);
}

#[test]
fn one_body_of_new_series_fills_the_heads_no_further_than_many_do() {
    let limited = Options { head_bytes_max: 200_000, ..options() };
    let db = Db::open_in(SimulatedDirectory::new(5), limited).unwrap();
    let hosts: Vec<String> = (0..3000).map(|i| format!("h{i}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    assert!(!try_write(&db, &hosts, &["x"]).is_empty(), "some are refused");
    let stats = db.stats();
    assert!((300_000..360_000).contains(&stats.head_bytes), "{}", stats.head_bytes);
    assert_eq!(try_write(&db, &["h1"], &["x"]), [""; 0], "known series go on");
}

#[test]
fn a_head_that_series_without_samples_fill_is_replaced() {
    let limited = Options { head_bytes_max: 50_000, ..options() };
    let db = Db::open_in(SimulatedDirectory::new(6), limited).unwrap();
    let mut batch = db.appender().unwrap();
    let fields = [Field { name: b"x", value: 1.0 }];
    let refused = (0..10_000).find_map(|host| {
        let (host, key) = (host.to_string(), format!("k{host}"));
        let row = Row { key: key.as_bytes(), timestamp: 1, fields: &fields };
        batch.row(row, |field| Ok(labels(field, &host))).err()
    });
    assert!(refused.is_some());
    drop(batch);
    assert_eq!((db.stats().head_samples, db.core.wants_flush()), (0, true));
    assert_eq!(db.flush().unwrap(), FlushReport::default());
    assert_eq!((db.stats().head_series, db.core.wants_flush()), (0, false));
    assert_eq!(try_write(&db, &["new"], &["x"]), [""; 0]);
}

#[test]
fn new_series_are_bounded_by_the_second() {
    let limited = Options { new_series_per_second_max: Some(1), ..options() };
    let db = Db::open_in(SimulatedDirectory::new(4), limited).unwrap();
    // The first group empties the bucket for 40 seconds.
    let names: Vec<String> = (0..40).map(|i| format!("f{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let errors = try_write(&db, &["a", "b"], &names);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("limit new_series_per_second_max reached: "), "{errors:?}");
    assert!(errors[0].ends_with(" is more than 1"), "{errors:?}");
    assert_eq!(db.stats().head_series, 40);
}

fn pairs(counts: &[Count]) -> Vec<(&str, u64)> {
    counts.iter().map(|count| (&*count.name, count.count)).collect()
}

#[test]
fn series_are_counted_by_metric_label_and_pair() {
    let db = Db::open_in(SimulatedDirectory::new(5), options()).unwrap();
    let hosts: Vec<String> = (0..100).map(|i| format!("h{i:02}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    assert_eq!(try_write(&db, &hosts, &["x", "y"]), [""; 0]);
    assert_eq!(try_write(&db, &["h07"], &["z"]), [""; 0]);
    let check = |with_blocks| {
        let found = db.snapshot().cardinality(2, with_blocks, Watch::default()).unwrap();
        assert_eq!((found.series, found.label_pairs), (201, 103));
        assert_eq!(pairs(&found.series_by_metric), [("cpu_x", 100), ("cpu_y", 100)]);
        assert_eq!(pairs(&found.values_by_label), [("host", 100), ("__name__", 3)]);
        assert_eq!(pairs(&found.bytes_by_label), [("__name__", 201 * 5), ("host", 201 * 3)]);
        assert_eq!(pairs(&found.series_by_pair), [("__name__=cpu_x", 100), ("__name__=cpu_y", 100)]);
        found
    };
    let found = check(false);
    assert_eq!((found.head_chunks, found.head_range), (201, Some(TimeRange::new(1, 1))));
    let all = db.snapshot().cardinality(1000, false, Watch::default()).unwrap();
    assert!(pairs(&all.series_by_pair).contains(&("host=h07", 3)));
    check(true);
    db.flush().unwrap();
    assert_eq!(
        db.snapshot().cardinality(2, false, Watch::default()).unwrap(),
        crate::querier::Cardinality::default()
    );
    assert_eq!(check(true).head_range, None);
    try_write(&db, &hosts, &["x"]);
    check(true);
}

#[test]
fn blocks_of_more_series_than_fit_in_memory_are_merged() {
    let hosts: Vec<String> = (0..1000).map(|i| format!("h{i:03}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    // Each block takes 13 bytes a series: 4 for its number, and 9 for its host. The second leaves nothing for label sets.
    for (merge_bytes_max, merged) in [(1 << 20, 3), (39_200, 3), (30_000, 0)] {
        let limited = Options { merge_bytes_max, ..options() };
        let db = Db::open_in(SimulatedDirectory::new(7), limited).unwrap();
        for _ in 0..3 {
            assert_eq!(try_write(&db, &hosts, &["x"]), [""; 0]);
            db.flush().unwrap();
        }
        let before = read(&db, &[]);
        let outcome = db.compact();
        assert_eq!(
            outcome.as_ref().map_or(0, |report| report.merged),
            merged,
            "{merge_bytes_max}: {outcome:?}"
        );
        if let Err(error) = outcome {
            let told = error.to_string();
            assert!(told.starts_with("limit memory_bytes_max (its share for merges) reached: "), "{told}");
        }
        assert_eq!(read(&db, &[]), before);
    }
}

/// Nothing that a head keeps (keys, layouts, labels, postings) may live longer than the head.
#[test]
fn series_that_stop_take_no_memory_once_their_head_is_sealed() {
    let db = Db::open_in(SimulatedDirectory::new(6), options()).unwrap();
    try_write(&db, &["a", "b"], &["x", "y"]);
    assert!(db.stats().head_bytes > 0);
    let head = Arc::downgrade(&db.snapshot().active);
    db.flush().unwrap();
    assert!(head.upgrade().is_none(), "somebody holds the sealed head");
    let stats = db.stats();
    assert_eq!((stats.head_series, stats.head_bytes), (0, 0));
}
