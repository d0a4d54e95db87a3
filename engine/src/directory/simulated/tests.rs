//! Each behaviour that the simulated file system models, and a comparison of what it answers with the real one.

use std::collections::BTreeSet;

use super::*;
use crate::directory::RealDirectory;

const SEEDS: u64 = 200;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A file with these bytes, all durable, its name too.
fn durable_file(machine: &SimulatedDirectory, name: &str, bytes: &[u8]) -> Box<dyn WriteFile> {
    let mut file = machine.create(path(name)).unwrap();
    file.write_all(bytes).unwrap();
    file.sync().unwrap();
    machine.sync_dir(path(name).parent().unwrap()).unwrap();
    file
}

/// What `outcome` says about the survivors of one crash under many seeds.
fn survivors<T: Ord>(
    machine: &SimulatedDirectory,
    outcome: impl Fn(&SimulatedDirectory) -> T,
) -> BTreeSet<T> {
    (0..SEEDS).map(|seed| outcome(&machine.restart(seed))).collect()
}

fn names(machine: &SimulatedDirectory) -> String {
    machine.list(path("")).unwrap().join(" ")
}

#[test]
fn what_was_synced_survives() {
    let machine = SimulatedDirectory::new(0);
    machine.create_dir_all(path("a/b")).unwrap();
    machine.sync_dir(path("")).unwrap();
    machine.sync_dir(path("a")).unwrap();
    durable_file(&machine, "a/b/file", b"bytes");
    assert_eq!(survivors(&machine, |after| after.read("a/b/file").unwrap()), [b"bytes".to_vec()].into());
}

#[test]
fn an_unsynced_tail_is_kept_lost_cut_or_torn() {
    let machine = SimulatedDirectory::new(0);
    let mut file = durable_file(&machine, "file", &[1; 5000]);
    file.write_all(&[2; 10_000]).unwrap();
    let contents = survivors(&machine, |after| after.read("file").unwrap());
    for content in &contents {
        assert!((5000..=15_000).contains(&content.len()));
        assert!(content[..5000].iter().all(|byte| *byte == 1), "synced bytes stay");
        assert!(content[5000..].iter().all(|byte| [0, 2].contains(byte)), "a lost page reads as zeros");
    }
    let zeros = |content: &[u8]| content.iter().filter(|byte| **byte == 0).count();
    assert!(contents.iter().any(|content| content.len() == 5000), "all lost");
    assert!(contents.iter().any(|content| content.len() == 15_000 && zeros(content) == 0), "all kept");
    assert!(
        contents.iter().any(|content| content.len() == 15_000 && zeros(content) == 10_000),
        "only the length"
    );
    assert!(
        contents.iter().any(|content| content.len() % PAGE != 0 && content.len() < 15_000),
        "cut anywhere"
    );
    let torn = |content: &Vec<u8>| {
        let page = content.get(8192..12_288).unwrap_or_default();
        page.contains(&0) && page.contains(&2)
    };
    assert!(contents.iter().any(torn), "torn between sectors");
}

const PAGE: usize = 4096;

#[test]
fn a_name_needs_a_sync_of_its_directory() {
    let machine = SimulatedDirectory::new(0);
    let mut file = machine.create(path("file")).unwrap();
    file.write_all(b"bytes").unwrap();
    file.sync().unwrap();
    assert_eq!(survivors(&machine, names), ["".to_owned(), "file".to_owned()].into());
}

#[test]
fn a_name_may_survive_without_the_bytes_of_its_file() {
    let machine = SimulatedDirectory::new(0);
    machine.create(path("file")).unwrap().write_all(b"bytes").unwrap();
    machine.sync_dir(path("")).unwrap();
    let contents = survivors(&machine, |after| after.read("file").unwrap());
    assert!(
        contents.contains(&b""[..]) && contents.contains(&b"bytes"[..]) && contents.contains(&[0; 5][..])
    );
}

#[test]
fn what_is_in_a_directory_is_lost_with_its_name() {
    let machine = SimulatedDirectory::new(0);
    machine.create_dir_all(path("a")).unwrap();
    durable_file(&machine, "a/file", b"bytes");
    assert_eq!(survivors(&machine, |after| after.files().len()), [0, 1].into());
}

#[test]
fn names_change_independently_and_out_of_order() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "old", b"");
    machine.remove_file(path("old")).unwrap();
    machine.create(path("new")).unwrap();
    let expected = ["", "old", "new", "new old"].map(str::to_owned);
    assert_eq!(survivors(&machine, names), expected.into());
}

#[test]
fn a_rename_is_atomic() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "current", b"old");
    durable_file(&machine, "temporary", b"new");
    machine.rename(path("temporary"), path("current")).unwrap();
    let outcome = |after: &SimulatedDirectory| (names(after), after.read("current").unwrap());
    let expected =
        [("current temporary".to_owned(), b"old".to_vec()), ("current".to_owned(), b"new".to_vec())];
    assert_eq!(survivors(&machine, outcome), expected.into());
}

#[test]
fn a_file_that_moves_away_before_its_name_is_reused_is_never_lost() {
    for synced in [false, true] {
        let machine = SimulatedDirectory::new(0);
        machine.create_dir_all(path("other")).unwrap();
        durable_file(&machine, "current", b"first");
        durable_file(&machine, "temporary", b"second");
        machine.rename(path("current"), path("other/kept")).unwrap();
        machine.rename(path("temporary"), path("current")).unwrap();
        if synced {
            machine.sync_dir(path("")).unwrap();
        }
        let contents = survivors(&machine, |after| {
            after.files().iter().map(|file| after.read(file).unwrap()).collect::<BTreeSet<_>>()
        });
        assert_eq!(contents, [[b"first".to_vec(), b"second".to_vec()].into()].into());
    }
}

#[test]
fn a_directory_may_be_removed_in_part() {
    let machine = SimulatedDirectory::new(0);
    machine.create_dir_all(path("block")).unwrap();
    machine.sync_dir(path("")).unwrap();
    durable_file(&machine, "block/chunks", b"1");
    durable_file(&machine, "block/index", b"2");
    machine.remove_dir_all(path("block")).unwrap();
    assert!(machine.files().is_empty());
    machine.remove_dir_all(path("block")).unwrap();
    assert_eq!(survivors(&machine, |after| after.files().len()), [0, 1, 2].into());
}

#[test]
fn a_failed_sync_loses_pages_that_a_later_one_does_not_write() {
    let mut in_cache = BTreeSet::new();
    let mut on_disk = BTreeSet::new();
    for seed in 0..SEEDS {
        let machine = SimulatedDirectory::new(seed);
        let mut file = durable_file(&machine, "file", b"");
        file.write_all(&[1; 10 * PAGE]).unwrap();
        machine.fail_next_sync();
        assert!(file.sync().is_err());
        let cached = machine.read("file").unwrap();
        assert_eq!(cached.len(), 10 * PAGE);
        in_cache.insert(cached.contains(&0));
        file.write_all(&[1; PAGE]).unwrap();
        file.sync().unwrap();
        let content = machine.restart(seed).read("file").unwrap();
        assert_eq!(content.len(), 11 * PAGE);
        on_disk.insert(content[..10 * PAGE].contains(&0));
        assert_eq!(content[10 * PAGE..], [1; PAGE], "what is written later is written");
    }
    assert_eq!(in_cache, [false, true].into(), "a running process may read what the disk has");
    assert_eq!(on_disk, [false, true].into());
}

#[test]
fn what_a_failed_sync_dropped_is_durable_once_it_is_written_again() {
    for seed in 0..SEEDS {
        let machine = SimulatedDirectory::new(seed);
        let mut file = durable_file(&machine, "file", &[1; 100]);
        file.write_all(&[2; 2 * PAGE]).unwrap();
        machine.fail_next_sync();
        assert!(file.sync().is_err());
        let cached = machine.read("file").unwrap();
        machine.rewrite(path("file"), 100).unwrap();
        assert_eq!(machine.restart(seed).read("file").unwrap(), cached);
    }
}

#[test]
fn a_bit_that_flips_on_read_is_right_on_disk() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", b"bytes");
    durable_file(&machine, "empty", b"");
    machine.flip_bit_on_read_after(2);
    assert_eq!(machine.map(path("file")).unwrap()[..], b"bytes"[..]);
    machine.list(path("")).unwrap();
    machine.list(path("")).unwrap();
    assert!(machine.map(path("empty")).unwrap().is_empty());
    assert_eq!(machine.flipped_on_read(), None);
    let flipped = machine.map(path("file")).unwrap();
    let bits = flipped.iter().zip(b"bytes").map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
    assert_eq!((bits, machine.flipped_on_read()), (1, Some("file".into())));
    assert_eq!(machine.map(path("file")).unwrap()[..], b"bytes"[..]);
}

#[test]
fn several_calls_in_a_row_fail() {
    let machine = SimulatedDirectory::new(0);
    machine.fail_calls_after(1, 2, ErrorKind::StorageFull);
    let kinds = ["a", "b", "c", "d"].map(|name| machine.create(path(name)).map_err(|e| e.kind()).err());
    assert_eq!(kinds, [None, Some(ErrorKind::StorageFull), Some(ErrorKind::StorageFull), None]);
}

#[test]
fn a_held_call_waits_and_no_other_does() {
    let machine = SimulatedDirectory::new(0);
    let mut file = durable_file(&machine, "held", b"");
    let hold = machine.hold("held");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| file.write_all(b"bytes"));
        hold.wait_until_reached();
        durable_file(&machine, "other", b"");
        assert!(!held.is_finished() && machine.read("held").unwrap().is_empty());
        hold.release();
        held.join().unwrap().unwrap();
    });
    assert_eq!(machine.read("held").unwrap(), b"bytes");
    drop(machine.hold("held"));
    machine.map(path("held")).unwrap();
}

#[test]
fn copies_of_a_machine_change_apart_from_each_other() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", &[1; 6000]);
    let (first, second) = (machine.kill(), machine.restart(0));
    first.truncate(path("file"), 4100).unwrap();
    second.flip_bit("file", 0).unwrap();
    assert_eq!(first.read("file").unwrap(), [1; 4100]);
    assert_eq!(second.read("file").unwrap()[..2], [0, 1]);
    first.truncate(path("file"), 5000).unwrap();
    assert_eq!(first.restart(0).read("file").unwrap(), [&[1; 4100][..], &[0; 900]].concat());
}

#[test]
fn a_cut_is_durable() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", b"bytes");
    machine.truncate(path("file"), 2).unwrap();
    assert_eq!(survivors(&machine, |after| after.read("file").unwrap()), [b"by".to_vec()].into());
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", b"bytes");
    machine.crash_after(1);
    assert!(machine.truncate(path("file"), 2).is_err());
    let either = [b"by".to_vec(), b"bytes".to_vec()];
    assert_eq!(survivors(&machine, |after| after.read("file").unwrap()), either.into());
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote_and_its_lock() {
    let machine = SimulatedDirectory::new(0);
    let _lock = machine.lock(path("LOCK")).unwrap();
    assert_eq!(machine.lock(path("LOCK")).unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut file = machine.create(path("file")).unwrap();
    file.write_all(b"bytes").unwrap();
    let after = machine.kill();
    assert_eq!(after.read("file").unwrap(), b"bytes");
    assert!(file.write_all(b"more").is_err(), "the old process is dead");
    drop(after.lock(path("LOCK")).unwrap());
    drop(after.lock(path("LOCK")).unwrap());
    assert_eq!(survivors(&after, |after| after.files().len()), [0, 1, 2].into(), "it was not synced");
}

#[test]
fn a_crash_stops_in_the_middle_of_any_call() {
    let run = |machine: &SimulatedDirectory| -> io::Result<()> {
        machine.create_dir_all(path("a/b"))?;
        let mut file = machine.create(path("a/b/file"))?;
        file.write_all(&[1; 100])?;
        file.sync()?;
        machine.rename(path("a/b/file"), path("a/file"))?;
        machine.sync_dir(path("a"))?;
        machine.remove_dir_all(path("a"))
    };
    let whole = SimulatedDirectory::new(0);
    run(&whole).unwrap();
    assert_eq!(whole.calls(), 2 + 5 + 4);
    let mut written = BTreeSet::new();
    for (call, seed) in (0..whole.calls()).flat_map(|call| (0..20).map(move |seed| (call, seed))) {
        let machine = SimulatedDirectory::new(seed);
        machine.crash_after(call);
        assert!(run(&machine).is_err());
        assert!(machine.has_crashed() && machine.list(path("")).is_err());
        written.extend(machine.kill().read("a/b/file").map(|bytes| bytes.len()));
        assert_eq!(machine.restart(seed).calls(), 0);
    }
    assert!(written.len() > 5 && written.contains(&0) && written.contains(&100), "a write stops anywhere");
}

#[test]
fn one_call_fails_and_the_next_one_works() {
    let machine = SimulatedDirectory::new(3);
    let mut file = machine.create(path("file")).unwrap();
    machine.fail_after(1, ErrorKind::Other);
    file.write_all(&[1; 100]).unwrap();
    assert_eq!(file.write_all(&[2; 100]).unwrap_err().kind(), ErrorKind::Other);
    let len = machine.len(path("file")).unwrap();
    assert!((100..=200).contains(&len), "a short write");
    file.write_all(&[3; 100]).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits() {
    let machine = SimulatedDirectory::new(0);
    machine.set_capacity(Some(150));
    let mut file = machine.create(path("file")).unwrap();
    file.write_all(&[1; 100]).unwrap();
    assert_eq!(file.write_all(&[1; 100]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(machine.bytes_used(), 150);
    machine.set_capacity(None);
    file.write_all(&[1; 100]).unwrap();
}

#[test]
fn a_read_only_file_system_refuses_changes() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", b"bytes");
    machine.set_read_only(true);
    assert_eq!(machine.create(path("other")).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(machine.lock(path("LOCK")).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(&machine.map(path("file")).unwrap()[..], b"bytes");
    machine.set_read_only(false);
    machine.create(path("other")).unwrap();
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let machine = SimulatedDirectory::new(0);
    durable_file(&machine, "file", b"bytes");
    machine.flip_bit("file", 8).unwrap();
    assert_eq!(&machine.map(path("file")).unwrap()[..], b"bxtes");
    assert_eq!(machine.restart(0).read("file").unwrap(), b"bxtes");
    assert!(machine.flip_bit("file", 40).is_err());
}

#[test]
fn equal_seeds_give_equal_survivors() {
    let survivor = |seed| {
        let machine = SimulatedDirectory::new(seed);
        for name in ["a", "b", "c"] {
            machine.create(path(name)).unwrap().write_all(&[1; 9000]).unwrap();
        }
        let after = machine.restart(seed);
        after.files().into_iter().map(|file| (after.read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    for seed in 0..20 {
        assert_eq!(survivor(seed), survivor(seed));
    }
}

/// Random calls, with every kind of wrong path among them, answered as the real file system answers them. (But what a
/// directory is as a mapped file, and a file as a synced directory, is left to the real one.)
#[test]
fn answers_as_the_real_file_system_does() {
    let paths = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "x/a", "a/b"].map(Path::new);
    for seed in 0..50 {
        let root = tempfile::tempdir().unwrap();
        let real = RealDirectory::open(root.path()).unwrap();
        let simulated = SimulatedDirectory::new(seed);
        let mut random = Random::new(seed);
        for step in 0..60 {
            let (call, first, second) = (random.up_to(8), paths[random.up_to(8)], paths[random.up_to(8)]);
            let [expected, got] = [&real as &dyn Directory, &*simulated].map(|directory| {
                let answer = answer(directory, call, first, second);
                answer.map_err(|error| error.kind())
            });
            assert_eq!(got, expected, "seed {seed}, step {step}: call {call} with {first:?}, {second:?}");
        }
    }
}

fn answer(directory: &dyn Directory, call: usize, first: &Path, second: &Path) -> io::Result<Vec<String>> {
    match call {
        0 | 1 => directory.create(first)?.write_all(first.as_os_str().as_encoded_bytes())?,
        2 => directory.create_dir_all(first)?,
        3 => directory.rename(first, second)?,
        4 => directory.remove_file(first)?,
        5 => directory.remove_dir_all(first)?,
        6 => return directory.list(first),
        7 if directory.list(first).is_ok() => {}
        7 => return Ok(vec![String::from_utf8_lossy(&directory.map(first)?).into_owned()]),
        _ => {
            directory.list(first)?;
            directory.sync_dir(first)?;
        }
    }
    Ok(Vec::new())
}
