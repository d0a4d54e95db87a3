//! Files in the data directory that are not this program's.

use super::*;
use crate::tombstones::TOMBSTONES_DIR;
use crate::wal::{SEGMENT_HEADER_BYTES, WAL_DIR, segment_path};

/// A file of the largest number made the next segment overflow to 0, which the start after that took for an old one and removed,
/// with all that had been answered.
#[test]
fn what_is_no_segment_is_left_alone_and_costs_no_write() {
    let largest = format!("{}.wal", u64::MAX);
    let next_to_it = format!("{}.wal", u64::MAX - 1);
    let names =
        [largest.as_str(), &next_to_it, "99999999999.wal", "7.wal", "+000000007.wal", "notes", "x.wal"];
    for content in [Vec::new(), vec![0; SEGMENT_HEADER_BYTES], b"anything".repeat(100)] {
        let mut machine = SimulatedDirectory::new(1);
        drop(Db::open_in(machine.clone(), options()).unwrap());
        let foreign: Vec<_> = names.map(|name| Path::new(WAL_DIR).join(name)).into();
        for path in &foreign {
            machine.create(path).unwrap().write_all(&content).unwrap();
        }
        for round in 0..4 {
            machine = machine.kill();
            let db = Db::open_in(machine.clone(), options()).unwrap();
            write(&db, "a", round, &[("user", 1.0)]);
            if round == 2 {
                db.flush().unwrap();
            }
            let expected: Vec<_> = (0..=round).map(|time| (time, 1.0)).collect();
            assert_eq!(read(&db, &[])[0].1, expected);
            assert_eq!(db.stats().wal_corruptions_total, 0);
        }
        for path in &foreign {
            assert_eq!(machine.read(path).unwrap(), content, "{}", path.display());
        }
    }
}

#[test]
fn a_number_of_which_no_other_can_follow_is_damage_inside_a_segment_too() {
    let machine = SimulatedDirectory::new(1);
    let db = Db::open_in(machine.clone(), options()).unwrap();
    write(&db, "a", 1, &[("user", 1.0)]);
    drop(db);
    let machine = machine.kill();
    let header =
        crate::wal::SegmentHeader { number: 2, generation: u64::MAX - 1, sequence: u64::MAX - 1 }.encode();
    machine.create(&segment_path(2)).unwrap().write_all(&[header.as_slice(), &[1; 80]].concat()).unwrap();
    let db = Db::open_in(machine.clone(), options()).unwrap();
    assert_eq!(db.stats().wal_corruptions_total, 1);
    write(&db, "a", 2, &[("user", 1.0)]);
    drop(db);
    let db = Db::open_in(machine.kill(), options()).unwrap();
    assert_eq!(read(&db, &[])[0].1, [(1, 1.0), (2, 1.0)]);
}

#[test]
fn what_is_no_block_and_no_file_of_tombstones_is_left_alone() {
    let machine = SimulatedDirectory::new(1);
    drop(Db::open_in(machine.clone(), options()).unwrap());
    // An id in small letters is the same id, and no name that this program would give.
    let id = "01arz3ndektsv4rrffq69g5fav";
    machine.create_dir_all(Path::new(TOMBSTONES_DIR)).unwrap();
    let files = [
        Path::new(TOMBSTONES_DIR).join(id),
        Path::new(TOMBSTONES_DIR).join("notes"),
        Path::new(BLOCKS_DIR).join(id),
        Path::new(BLOCKS_DIR).join(format!("{id}.tmp")),
    ];
    for path in &files {
        machine.create(path).unwrap();
    }
    for _ in 0..2 {
        let db = Db::open_in(machine.clone(), options()).unwrap();
        write(&db, "a", 1, &[("user", 1.0)]);
        db.close().unwrap();
    }
    let left = machine.files();
    assert!(files.iter().all(|path| left.contains(path)), "{left:?}");
}
