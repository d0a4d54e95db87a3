//! The log as a whole: what is written, interrupted, damaged and replayed.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::directory::{Directory, SimulatedDirectory};
use crate::error::Error;
use crate::labels::Labels;
use crate::options::WalSync;

const HEADER: SegmentHeader = SegmentHeader { number: 1, generation: 1, sequence: 1 };

/// What a replay brought: the groups, and the timestamps of the rows.
#[derive(Debug, Default)]
struct Collected {
    groups: Mutex<Vec<GroupId>>,
    timestamps: Mutex<Vec<i64>>,
}

impl Replay for Collected {
    fn define(&self, definition: &GroupDefinition) -> Result<(), &'static str> {
        self.groups.lock().push(definition.group);
        Ok(())
    }

    fn rows(&self, rows: &Rows) -> u64 {
        self.timestamps.lock().extend(&rows.timestamps);
        0
    }
}

impl Generations for Collected {
    type Head = Self;

    fn generation(&mut self, _generation: u64) -> &Self {
        self
    }
}

fn create(machine: &Arc<SimulatedDirectory>) -> Wal {
    machine.create_dir_all(Path::new(WAL_DIR)).unwrap();
    Wal::begin(machine.clone(), WalSync::Always, HEADER, None).unwrap()
}

fn batch(timestamp: i64, rows: usize) -> Vec<u8> {
    let mut all = Rows::default();
    (0..rows).for_each(|_| all.push(GroupId(16), timestamp, [1.0].into_iter()));
    encode_batch(&[all])
}

fn definition(group: u32) -> GroupDefinition {
    GroupDefinition { group: GroupId(group), series: vec![Labels::from_pairs([("a", "b")]).unwrap()] }
}

/// Reads the log and cuts its tail.
fn replay(machine: &SimulatedDirectory, into: &mut Collected, progress: &ReplayProgress) -> ReplayReport {
    let (report, tail) = read_log(machine, 0, into, progress).unwrap();
    tail.into_iter().for_each(|tail| tail.cut(machine).unwrap());
    report
}

/// What a replay brings after the process was killed.
fn replayed(machine: &Arc<SimulatedDirectory>) -> (ReplayReport, Vec<GroupId>, Vec<i64>) {
    let mut collected = Collected::default();
    let machine = machine.kill();
    let report = replay(&machine, &mut collected, &ReplayProgress::default());
    (report, collected.groups.into_inner(), collected.timestamps.into_inner())
}

#[test]
fn after_a_full_disk_the_log_goes_on_with_the_groups_that_it_lost() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    wal.wait(wal.log(batch(1, 1)).unwrap()).unwrap();
    machine.set_capacity(Some(machine.bytes_used() + 20));
    wal.define(&definition(16)).unwrap();
    let first = wal.log(batch(2, 1)).unwrap();
    let second = wal.log(batch(3, 1)).unwrap();
    let error = wal.wait(first).unwrap_err().to_string();
    assert!(error.contains("simulated/wal/0000000001.wal") && error.contains("free space"), "{error}");
    assert!(wal.define(&definition(32)).is_err() && wal.log(batch(4, 1)).is_err());
    assert!(matches!(wal.resume(), Err(Error::WritesRefused { .. })));
    assert!(wal.failure().unwrap().contains("0000000002.wal"), "{:?}", wal.failure());
    machine.set_capacity(None);
    wal.resume().unwrap();
    wal.resume().unwrap();
    assert_eq!(wal.failure(), None);
    assert!(wal.wait(second).is_err(), "it was lost with the first, though the log goes on");
    wal.wait(wal.log(batch(5, 1)).unwrap()).unwrap();
    assert!(wal.wait(first).is_err(), "its number is another record's now");
    let (report, groups, timestamps) = replayed(&machine);
    assert_eq!((groups, timestamps), (vec![GroupId(16)], vec![1, 5]));
    assert_eq!((report.corruptions, report.torn_bytes, report.segments), (Vec::new(), 0, 2));
    assert_eq!(report.next_sequence, 4);
}

#[test]
fn a_read_only_file_system_that_becomes_writable_takes_writes_again() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    machine.set_read_only(true);
    assert!(wal.wait(wal.log(batch(1, 1)).unwrap()).is_err());
    assert!(wal.resume().is_err());
    machine.set_read_only(false);
    wal.resume().unwrap();
    wal.wait(wal.log(batch(2, 1)).unwrap()).unwrap();
    assert_eq!(replayed(&machine).2, [2]);
}

#[test]
fn after_a_failed_sync_the_log_never_goes_on() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let machine = SimulatedDirectory::new(1);
        let wal = create(&machine);
        let logged = wal.log(batch(1, 1)).unwrap();
        machine.fail_after(1, kind);
        let error = wal.wait(logged).unwrap_err().to_string();
        assert!(
            error.contains("cannot sync simulated/wal/0000000001.wal") && error.contains("restart"),
            "{error}"
        );
        assert!(wal.resume().is_err());
        assert!(wal.log(batch(2, 1)).is_err());
    }
}

#[test]
fn a_cut_whose_sync_fails_is_a_failed_sync() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    machine.fail_after(0, ErrorKind::StorageFull);
    assert!(wal.wait(wal.log(batch(1, 1)).unwrap()).is_err());
    machine.fail_next_sync();
    assert!(wal.resume().is_err());
    let error = wal.resume().unwrap_err().to_string();
    assert!(error.contains("restart"), "{error}");
}

#[test]
fn another_error_than_no_space_is_left_to_a_restart() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    machine.fail_after(0, ErrorKind::Other);
    assert!(wal.wait(wal.log(batch(1, 1)).unwrap()).is_err());
    assert!(wal.resume().is_err());
}

#[test]
fn space_is_set_aside_and_given_back() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    for timestamp in 1..40 {
        wal.wait(wal.log(batch(timestamp, 100)).unwrap()).unwrap();
    }
    let (path, written) = (segment_path(1), wal.stats().bytes + SEGMENT_HEADER_BYTES as u64);
    let len = machine.read(&path).unwrap().len() as u64;
    assert!(len > written && len <= 2 * written + (8 << 10), "{len} bytes for {written}");
    let killed = machine.kill();
    let mut collected = Collected::default();
    let report = replay(&killed, &mut collected, &ReplayProgress::default());
    assert_eq!((report.torn_bytes, report.records, report.corruptions.len()), (0, 39, 0));
    assert_eq!(killed.read(&path).unwrap().len() as u64, written);
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    wal.wait(wal.log(batch(1, 1000)).unwrap()).unwrap();
    wal.rotate(2).unwrap();
    assert_eq!(machine.read(&path).unwrap().len() as u64, wal.stats().bytes + SEGMENT_HEADER_BYTES as u64);
}

#[test]
fn records_of_a_segment_with_a_damaged_header_are_replayed_and_the_damage_is_told() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    wal.define(&definition(16)).unwrap();
    wal.wait(wal.log(batch(1, 1)).unwrap()).unwrap();
    wal.rotate(2).unwrap();
    wal.wait(wal.log(batch(2, 1)).unwrap()).unwrap();
    for number in [1, 2] {
        machine.flip_bit(segment_path(number), 8 * 20).unwrap();
    }
    let (report, groups, timestamps) = replayed(&machine);
    assert_eq!((groups, timestamps), (vec![GroupId(16)], vec![1, 2]));
    assert_eq!(report.generations, [(1, 1), (2, 2)]);
    assert_eq!(report.corruptions.len(), 2, "{:?}", report.corruptions);
    assert!(report.corruptions[0].contains("0000000001.wal"), "{:?}", report.corruptions);
}

#[test]
fn progress_reaches_the_end_of_the_log() {
    let machine = SimulatedDirectory::new(1);
    let wal = create(&machine);
    wal.wait(wal.log(batch(1, 3)).unwrap()).unwrap();
    wal.rotate(2).unwrap();
    wal.wait(wal.log(batch(2, 1)).unwrap()).unwrap();
    let progress = ReplayProgress::default();
    assert!(!progress.state().is_done);
    replay(&machine.kill(), &mut Collected::default(), &progress);
    let state = progress.state();
    assert!(state.is_done);
    assert_eq!((state.segments, state.segments_total, state.samples), (2, 2, 4));
    assert_eq!(state.bytes, wal.stats().bytes);
    assert_eq!(state.bytes_total, state.bytes + 2 * SEGMENT_HEADER_BYTES as u64);
}
