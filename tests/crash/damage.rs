//! Damaged files: each is named, survived, and the others are served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Directory, Error, Labels, METRIC_NAME};

use crate::common::{Cells, Random, Workload, Write, bits, for_each_seed, read_all, with_problems_logged};
use crate::options;

#[test]
fn a_flipped_bit_is_never_a_wrong_value() {
    for_each_seed(4, |seed| {
        let (machine, written, last) = database_with_every_kind_of_file(seed);
        let mut random = Random(seed);
        for file in machine.files() {
            let bits = machine.read(&file).unwrap().len() * 8;
            // The head of a file, where its structure is, and places all over it.
            let places: BTreeSet<usize> = (0..bits.min(256))
                .chain((0..60).filter(|_| bits > 0).map(|_| random.below(bits.max(1))))
                .collect();
            for bit in places {
                let damaged = machine.kill();
                damaged.flip_bit(&file, bit).unwrap();
                let context = format!("bit {bit} of {}", file.display());
                let name = file.file_name().unwrap().to_str().unwrap();
                // Damage to the last record cannot be told from a write that a crash stopped, which nobody was promised.
                let lost_max = if name.ends_with(".wal") { last } else { 0 };
                check_damaged(&damaged, &written, name, lost_max, &context);
            }
        }
    });
}

#[test]
fn a_file_that_was_cut_is_never_a_wrong_value() {
    for_each_seed(6, |seed| {
        let (machine, written, _) = database_with_every_kind_of_file(seed);
        // The last segment of the log is a new one then, and the one with the samples is closed.
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        let labels = Labels::from_pairs([(METRIC_NAME, "last")]).unwrap();
        let mut appender = db.appender().unwrap();
        appender.series(&labels, [(1, 1.0)]).unwrap();
        assert_eq!(appender.commit().unwrap(), 1);
        let mut written = written;
        written.insert(labels, [(1, 1.0_f64.to_bits())].into());
        let machine = machine.kill();
        let mut random = Random(seed);
        let files = machine.files();
        let last_segment = files.iter().rfind(|file| file.extension().is_some_and(|end| end == "wal"));
        for file in &files {
            let len = machine.read(file).unwrap().len();
            let places = [0, 1, 8, 12, 31, 32, len / 2, len.saturating_sub(1), random.below(len.max(1))];
            for cut in places.into_iter().filter(|cut| *cut < len) {
                let damaged = machine.kill();
                damaged.truncate(file, cut as u64).unwrap();
                let context = format!("{} cut to {cut} of {len} bytes", file.display());
                let name = file.file_name().unwrap().to_str().unwrap();
                // What is cut off the end of the log cannot be told from a write that a crash stopped.
                let lost_max = usize::from(Some(file) == last_segment);
                check_damaged(&damaged, &written, name, lost_max, &context);
            }
        }
    });
}

#[test]
fn a_bit_that_flips_on_read_is_never_a_wrong_value_and_does_no_damage() {
    for_each_seed(6, |seed| {
        let (machine, written, last) = database_with_every_kind_of_file(seed);
        let whole = machine.kill();
        drop(Db::open_in(whole.clone(), options(600)).unwrap());
        for call in 0..whole.calls() {
            let flipping = machine.kill();
            flipping.flip_bit_on_read_after(call);
            let (opened, _) = with_problems_logged(|| Db::open_in(flipping.clone(), options(600)));
            drop(opened);
            let Some(file) = flipping.flipped_on_read() else { continue };
            let context = format!("{}, flipped in call {call}", file.display());
            let name = file.file_name().unwrap().to_str().unwrap();
            let lost_max = if name.ends_with(".wal") { last } else { 0 };
            check_damaged(&flipping.kill(), &written, name, lost_max, &context);
        }
    });
}

/// A database with blocks of each kind and a log that is not yet in blocks, each timestamp of a series written once.
/// Returns what was written, and the number of samples in the last batch.
fn database_with_every_kind_of_file(seed: u64) -> (Arc<SimulatedDirectory>, Cells, usize) {
    let machine = SimulatedDirectory::new(seed);
    let mut written = Cells::new();
    let mut last = 0;
    let mut workload = Workload { hosts: 0..3, ..Workload::new(seed) };
    let db = Db::open_in(machine.clone(), options(600)).unwrap();
    for step in 0..40 {
        let batch: Vec<Write> =
            workload.batch(6).into_iter().filter(|write| is_new(write, &mut written)).collect();
        let mut appender = db.appender().unwrap();
        for write in &batch {
            write.append(&mut appender).unwrap();
        }
        last = match appender.commit().unwrap() {
            0 => last,
            samples => samples,
        };
        if step % 8 == 7 && step < 35 {
            db.flush().unwrap();
        }
        if step == 20 {
            db.compact().unwrap();
        }
    }
    assert_eq!(read_all(&db.snapshot()).unwrap(), written);
    (machine.kill(), written, last)
}

/// Notes what is written and says whether none of it was there.
fn is_new(write: &Write, written: &mut Cells) -> bool {
    let cells = write.cells();
    let places: BTreeSet<_> = cells.iter().map(|(labels, timestamp, _)| (labels, *timestamp)).collect();
    let taken = |(labels, timestamp): &(_, i64)| {
        written.get(*labels).is_some_and(|cells| cells.contains_key(timestamp))
    };
    if places.len() < cells.len() || places.iter().any(taken) {
        return false;
    }
    for (labels, timestamp, bits) in cells {
        written.entry(labels).or_default().insert(timestamp, bits);
    }
    true
}

/// A damaged database opens and tells of what is missing, or fails and names the file.
fn check_damaged(
    machine: &Arc<SimulatedDirectory>,
    written: &Cells,
    file: &str,
    lost_max: usize,
    context: &str,
) {
    let assert_named = |error: &Error| {
        let text = error.to_string();
        assert!(text.contains(file), "{context}: the error does not name the file: {text}");
    };
    let (opened, problems) = with_problems_logged(|| Db::open_in(machine.clone(), options(600)));
    let db = match opened {
        Ok(db) => db,
        Err(error) => return assert_named(&error),
    };
    let snapshot = db.snapshot();
    let series = match snapshot.select(&[], timberline_engine::TimeRange::ALL) {
        Ok(series) => series,
        Err(error) => return assert_named(&error),
    };
    let mut samples = timberline_engine::Samples::default();
    let (mut found, mut failed) = (0, 0);
    for series in series {
        if let Err(error) = series.read(&mut samples) {
            assert_named(&error);
            failed += 1;
            continue;
        }
        let expected =
            written.get(series.labels()).unwrap_or_else(|| panic!("{context}: {:?}", series.labels()));
        for (timestamp, bits) in bits(&samples) {
            assert_eq!(
                expected.get(&timestamp),
                Some(&bits),
                "{context}: {} at {timestamp}",
                series.labels()
            );
            found += 1;
        }
    }
    let total: usize = written.values().map(BTreeMap::len).sum();
    assert!(
        found + lost_max >= total || failed + problems > 0,
        "{context}: {found} of {total} samples, and nobody said so"
    );
    // The log of this workload is a small part of the whole, and a block is one of several.
    assert!(found > 0, "{context}: nothing is left");
}
