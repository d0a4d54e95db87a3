//! The parts of a series: known by time, number and statistics before they are decoded.

use timberline_engine::{Db, Error, Labels, Matcher, Options, Samples, TimeRange, WantedLabels, Watch};

#[test]
fn parts_tell_what_they_hold_before_they_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), Options { background: false, ..Options::default() }).unwrap();
    let labels = Labels::from_pairs([("__name__", "up")]).unwrap();
    let write = |from: i64, values: &[f64]| {
        let mut batch = db.appender().unwrap();
        batch.series(&labels, (from..).zip(values.iter().copied())).unwrap();
        batch.commit().unwrap();
    };
    let counter: Vec<f64> = (0..60).map(|index| f64::from(index % 40) / 4.0).collect();
    write(0, &counter);
    db.flush().unwrap();
    write(100, &[1.0, 2.0]);
    let select = || db.snapshot().select(&[Matcher::equal("__name__", "up")], TimeRange::ALL).unwrap();
    let [series] = &select()[..] else { panic!("there is one series") };
    let known: Vec<_> = series.parts().iter().map(|part| (part.range(), part.samples())).collect();
    assert_eq!(known, [(TimeRange::new(0, 59), 60), (TimeRange::new(100, 101), 2)]);
    assert!(series.is_ordered());
    let statistics = series.parts()[0].statistics().unwrap().unwrap();
    assert!(statistics.fit(&counter));
    assert_eq!(statistics.sum, counter.iter().sum::<f64>());
    assert_eq!(statistics.resets.map(|resets| (resets.count, resets.lost)), Some((1, 9.75)));
    assert_eq!(series.parts()[1].statistics().unwrap(), None);

    write(30, &[5.0]);
    db.flush().unwrap();
    assert!(!select()[0].is_ordered(), "a late sample lies inside the block");
    db.compact().unwrap();
    let series = &select()[0];
    let mut samples = Samples::default();
    series.read(&mut samples).unwrap();
    for part in series.parts() {
        let mut decoded = Samples::default();
        part.decode(TimeRange::ALL, &mut decoded).unwrap();
        assert_eq!(part.samples(), decoded.values.len());
        if let Some(statistics) = part.statistics().unwrap() {
            assert!(statistics.fit(&decoded.values));
        }
    }
    assert_eq!(samples.values[30], 5.0);
}

#[test]
fn a_selection_breaks_off_when_nobody_wants_it_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), Options { background: false, ..Options::default() }).unwrap();
    let mut appender = db.appender().unwrap();
    for i in 0..5000 {
        let labels = Labels::from_pairs([("__name__", "up"), ("i", &i.to_string())]).unwrap();
        appender.series(&labels, [(1, 1.0)]).unwrap();
    }
    appender.commit().unwrap();
    for place in ["head", "block"] {
        let select = |series_max: u64| {
            let goes_on = |found| found <= series_max;
            let snapshot = db.snapshot();
            snapshot
                .select_watched(&[], TimeRange::ALL, WantedLabels::All, Watch::new(&goes_on))
                .map(|found| found.len())
        };
        assert_eq!(select(5000).unwrap(), 5000, "{place}");
        // It looks now and then, so it finds a few more.
        let Err(Error::BrokenOff { found }) = select(2000) else { panic!("not broken off in the {place}") };
        assert!((2001..4000).contains(&found), "{found} in the {place}");
        db.flush().unwrap();
    }
}

#[test]
fn series_of_one_place_have_the_wanted_labels_alone() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), Options { background: false, ..Options::default() }).unwrap();
    let write = |host: &str, timestamp: i64| {
        let pairs = [("__name__", "up"), ("dc", "1"), ("host", host), ("zone", "z")];
        let labels = Labels::from_pairs(pairs).unwrap();
        let mut appender = db.appender().unwrap();
        appender.series(&labels, [(timestamp, 1.0)]).unwrap();
        appender.commit().unwrap();
    };
    let select = |range: TimeRange| -> Vec<(String, usize)> {
        let wanted = WantedLabels::Named(&["__name__", "dc", "none"]);
        let found = db.snapshot().select_watched(&[], range, wanted, Watch::default()).unwrap();
        found.iter().map(|series| (series.labels().to_string(), series.parts().len())).collect()
    };
    write("a", 1);
    write("b", 2);
    db.flush().unwrap();
    let wanted = r#"up{dc="1"}"#.to_owned();
    assert_eq!(select(TimeRange::ALL), [(wanted.clone(), 1), (wanted.clone(), 1)]);
    // The head has a part of a series: all labels bring it to the others.
    write("b", 100);
    let all = |host: &str| format!(r#"up{{dc="1", host="{host}", zone="z"}}"#);
    assert_eq!(select(TimeRange::ALL), [(all("a"), 1), (all("b"), 2)]);
    assert_eq!(select(TimeRange::new(0, 50)), [(wanted.clone(), 1), (wanted, 1)]);
}

#[test]
fn series_of_a_block_and_the_head_count_once_and_are_joined_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open(directory.path(), Options { background: false, ..Options::default() }).unwrap();
    let write = |range: std::ops::Range<i64>, timestamp: i64| {
        let mut appender = db.appender().unwrap();
        for i in range {
            let labels = Labels::from_pairs([("__name__", "up"), ("i", &i.to_string())]).unwrap();
            appender.series(&labels, [(timestamp, i as f64 + timestamp as f64)]).unwrap();
        }
        appender.commit().unwrap();
    };
    write(0..6000, 1);
    db.flush().unwrap();
    write(4000..10_000, 2);
    let select = |series_max: u64| {
        let goes_on = |found| found <= series_max;
        db.snapshot().select_watched(&[], TimeRange::ALL, WantedLabels::All, Watch::new(&goes_on))
    };
    let all = select(10_000).unwrap();
    assert_eq!(all.len(), 10_000);
    assert!(all.is_sorted_by(|a, b| a.labels() < b.labels()));
    let mut samples = Samples::default();
    for series in &all {
        let i: i64 = series.labels().get("i").unwrap().parse().unwrap();
        series.read(&mut samples).unwrap();
        let times: &[i64] = if i < 4000 {
            &[1]
        } else if i < 6000 {
            &[1, 2]
        } else {
            &[2]
        };
        assert_eq!(samples.timestamps, times, "{i}");
        assert_eq!(samples.values[0], (i + times[0]) as f64);
    }
    // Neither the block nor the head has as many; together they do.
    let Err(Error::BrokenOff { found }) = select(7000) else { panic!("not broken off") };
    assert!((7001..9000).contains(&found), "{found}");
}
