//! Which files of the log's folder are segments: those with a segment's name and a number that others can follow.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::WAL_DIR;
use super::segment::{NUMBER_MAX, SegmentReader};
use crate::directory::Directory;
use crate::error::{Error, Result};

const SUFFIX: &str = ".wal";

/// A segment that is further than this behind the one before it has to say its number itself: a log has no such gaps, but for
/// segments that were removed.
const GAP_MAX: u64 = 1 << 16;

/// The file name of a segment.
#[must_use]
pub fn segment_path(number: u64) -> PathBuf {
    Path::new(WAL_DIR).join(format!("{number:010}{SUFFIX}"))
}

/// The number in a segment's name; `None` when the file is called otherwise than this program would call it.
fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok().filter(|number| *number <= NUMBER_MAX)?;
    segment_path(number).file_name().is_some_and(|canonical| canonical == name).then_some(number)
}

/// What is in the log's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentNames {
    /// The numbers of the segments, ascending.
    pub numbers: Vec<u64>,
    /// What else there is. It is never read, written or removed.
    pub foreign: Vec<String>,
}

/// What is in the log's folder; nothing when there is none.
///
/// # Errors
/// When the directory cannot be listed, or a file whose name does not tell cannot be read.
pub fn segment_names(directory: &dyn Directory) -> Result<SegmentNames> {
    let folder = Path::new(WAL_DIR);
    let names = match directory.list(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| Error::io("list", directory.display_path(folder), e))?,
    };
    let (mut found, mut candidates) = (SegmentNames::default(), Vec::new());
    for name in names {
        match segment_number(&name) {
            Some(number) => candidates.push((number, name)),
            None => found.foreign.push(name),
        }
    }
    candidates.sort_unstable();
    for (number, name) in candidates {
        let is_near = found.numbers.last().is_none_or(|last| number - last <= GAP_MAX);
        if is_near || says_its_number(directory, number)? {
            found.numbers.push(number);
        } else {
            found.foreign.push(name);
        }
    }
    Ok(found)
}

/// The numbers of the segments in the directory, ascending.
///
/// # Errors
/// As [`segment_names`].
pub fn segment_numbers(directory: &dyn Directory) -> Result<Vec<u64>> {
    segment_names(directory).map(|names| names.numbers)
}

/// Whether the file has the header of a segment with this number.
fn says_its_number(directory: &dyn Directory, number: u64) -> Result<bool> {
    let path = segment_path(number);
    let bytes = directory.map(&path).map_err(|e| Error::io("read", directory.display_path(&path), e))?;
    Ok(SegmentReader::new(&bytes, true).is_ok_and(|reader| reader.header().number == number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::SimulatedDirectory;
    use crate::wal::SegmentHeader;

    #[test]
    fn segments_have_canonical_names_with_numbers_that_others_can_follow() {
        let header = |number| SegmentHeader { number, generation: 1, sequence: 1 }.encode();
        let far = 3 + 3 * GAP_MAX;
        let damaged = [0; 50].as_slice();
        let files: Vec<(String, &[u8], bool)> = vec![
            ("0000000002.wal".to_owned(), damaged, true),
            ("0000000003.wal".to_owned(), &[], true),
            (format!("{:010}.wal", 3 + GAP_MAX), damaged, true),
            (format!("{far:010}.wal"), &[], false),
            (format!("{:010}.wal", far + GAP_MAX), damaged, false),
            ("99999999999.wal".to_owned(), damaged, false),
            (format!("{}.wal", u64::MAX), damaged, false),
            (format!("{}.wal", u64::MAX - 1), &[], false),
            (format!("{}.wal", NUMBER_MAX + 1), &[], false),
            ("4.wal".to_owned(), damaged, false),
            ("+000000004.wal".to_owned(), damaged, false),
            ("00000000004.wal".to_owned(), damaged, false),
            ("0000000004.wal.bak".to_owned(), damaged, false),
            ("lost+found".to_owned(), damaged, false),
            (".wal".to_owned(), damaged, false),
        ];
        let machine = SimulatedDirectory::new(1);
        machine.create_dir_all(Path::new(WAL_DIR)).unwrap();
        for (name, bytes, _) in &files {
            machine.create(&Path::new(WAL_DIR).join(name)).unwrap().write_all(bytes).unwrap();
        }
        // What is far away and says its number is a segment all the same.
        let honest = 1 << 40;
        machine.create(&segment_path(honest)).unwrap().write_all(&header(honest)).unwrap();
        let found = segment_names(&*machine).unwrap();
        assert_eq!(found.numbers, [2, 3, 3 + GAP_MAX, honest]);
        let mut expected: Vec<&String> =
            files.iter().filter(|(.., ours)| !ours).map(|(name, ..)| name).collect();
        let mut foreign: Vec<&String> = found.foreign.iter().collect();
        expected.sort_unstable();
        foreign.sort_unstable();
        assert_eq!(foreign, expected);
    }
}
