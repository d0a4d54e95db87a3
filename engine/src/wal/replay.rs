//! Reading the log back: every record that checks out goes to a [`Replay`], damage goes into the report.

use std::path::{Path, PathBuf};

use super::record::{GroupDefinition, Rows, batch_rows};
use super::segment::{
    Item, KIND_GROUP, KIND_ROWS, SEGMENT_HEADER_BYTES, SegmentError, SegmentHeader, SegmentReader, VERSION,
};
use super::{WAL_DIR, segment_path};
use crate::directory::Directory;
use crate::encoding::DecodeError;
use crate::error::{Error, Result};

/// Who takes the records of a log.
pub trait Replay {
    /// A group was defined.
    ///
    /// # Errors
    /// When it contradicts an earlier one.
    fn define(&mut self, generation: u64, definition: &GroupDefinition) -> Result<(), DecodeError>;

    /// Rows were written. Returns how many samples belong to groups that are not defined, so that are lost.
    fn rows(&mut self, generation: u64, rows: &Rows) -> u64;
}

/// What a replay found.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Samples read.
    pub samples: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes cut off the end of the log: what a crash left of a write that was not answered.
    pub torn_bytes: u64,
    /// Damage in what had been written completely: file, offset and reason.
    pub corruptions: Vec<String>,
    /// Samples whose group's definition was lost to damage.
    pub orphaned_samples: u64,
    /// The number of the last segment; 0 when there is none.
    pub last_segment: u64,
    /// The generation of the last segment.
    pub last_generation: u64,
    /// Each generation that has a segment, with the number of its first; ascending.
    pub generations: Vec<(u64, u64)>,
    /// The number that the next record gets.
    pub next_sequence: u64,
}

/// The numbers of the segments in the directory, ascending.
///
/// # Errors
/// When the directory cannot be listed.
pub fn segment_numbers(directory: &dyn Directory) -> Result<Vec<u64>> {
    let names = directory
        .list(Path::new(WAL_DIR))
        .map_err(|e| Error::io("list", directory.display_path(Path::new(WAL_DIR)), e))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(".wal")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads all segments from number `first` on, cuts the torn tail off the last one, and makes durable what is kept of it.
///
/// # Errors
/// When a file cannot be read, or was written by a newer version. Damage is no error: it is in the report.
pub fn replay(directory: &dyn Directory, first: u64, into: &mut impl Replay) -> Result<ReplayReport> {
    let mut report = ReplayReport::default();
    let numbers = segment_numbers(directory)?;
    let last = numbers.last().copied().unwrap_or_default();
    for number in numbers.into_iter().filter(|number| *number >= first) {
        // The segment that the manifest names was finished before the manifest was.
        let may_be_unfinished = number == last && (number > first || first == 0);
        SegmentReplay { directory, path: segment_path(number), report: &mut report }.run(
            into,
            number == last,
            may_be_unfinished,
        )?;
        report.last_segment = number;
    }
    Ok(report)
}

struct SegmentReplay<'a> {
    directory: &'a dyn Directory,
    path: PathBuf,
    report: &'a mut ReplayReport,
}

impl SegmentReplay<'_> {
    fn run(mut self, into: &mut impl Replay, is_last: bool, may_be_unfinished: bool) -> Result<()> {
        let shown = self.directory.display_path(&self.path);
        let bytes = self.directory.map(&self.path).map_err(|e| Error::io("read", &shown, e))?;
        self.report.segments += 1;
        self.report.bytes += bytes.len() as u64;
        let items = match SegmentReader::new(&bytes, !is_last) {
            Ok(items) => items,
            Err(SegmentError::NewerVersion(found)) => {
                return Err(Error::NewerVersion { file: shown, found, supported: VERSION });
            }
            Err(SegmentError::Damaged(error)) if may_be_unfinished && bytes.len() <= SEGMENT_HEADER_BYTES => {
                // The crash came between the file's creation and the sync of its header: no record was written yet.
                self.report.torn_bytes += bytes.len() as u64;
                tracing::info!(file = %shown.display(), %error, "a WAL segment was never finished");
                return self
                    .directory
                    .remove_file(&self.path)
                    .and_then(|()| self.directory.sync_dir(Path::new(WAL_DIR)))
                    .map_err(|e| Error::io("remove", &shown, e));
            }
            Err(SegmentError::Damaged(error)) => {
                self.corruption(error.offset, bytes.len(), error.reason);
                return Ok(());
            }
        };
        let header = items.header();
        self.report.last_generation = header.generation;
        if self.report.generations.last().is_none_or(|(last, _)| *last < header.generation) {
            self.report.generations.push((header.generation, header.number));
        }
        if segment_path(header.number) != self.path {
            self.corruption(12, bytes.len(), "the segment has another number than its name says");
            return Ok(());
        }
        let mut kept = bytes.len();
        // How much is known to have been synced.
        let mut durable = 0;
        // Within the log, sequence numbers have no gaps.
        let mut expected = (self.report.records > 0).then_some(self.report.next_sequence);
        for item in items {
            match item {
                Item::Frame(frame) => {
                    self.report.records += 1;
                    durable = durable.max(frame.durable);
                    if expected.is_some_and(|expected| expected != frame.sequence) {
                        self.corruption(frame.offset, 0, "records before this one are missing");
                    }
                    expected = Some(frame.sequence + 1);
                    self.report.next_sequence = self.report.next_sequence.max(frame.sequence + 1);
                    if let Err(error) = self.record(header, frame.kind, frame.payload, into) {
                        self.corruption(frame.offset, frame.payload.len(), error.reason);
                    }
                }
                Item::Gap(gap) if gap.was_durable => {
                    expected = None;
                    self.corruption(gap.offset, gap.len, gap.reason);
                }
                Item::Gap(gap) => {
                    self.report.torn_bytes += gap.len as u64;
                    tracing::info!(
                        file = %shown.display(), offset = gap.offset, bytes = gap.len, reason = gap.reason,
                        "cut an unfinished write off the end of the WAL"
                    );
                    kept = gap.offset;
                }
            }
        }
        if is_last {
            self.directory.truncate(&self.path, kept as u64).map_err(|e| Error::io("truncate", &shown, e))?;
            if durable < kept as u64 {
                // The process that wrote this may have died before it was synced, or because that failed: then another sync
                // alone would write nothing. Rows that are acknowledged from now on refer to groups that are defined here.
                self.directory.rewrite(&self.path, durable).map_err(|e| Error::io("rewrite", &shown, e))?;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        header: SegmentHeader,
        kind: u8,
        payload: &[u8],
        into: &mut impl Replay,
    ) -> Result<(), DecodeError> {
        match kind {
            KIND_GROUP => into.define(header.generation, &GroupDefinition::decode(payload)?)?,
            KIND_ROWS => {
                for rows in batch_rows(payload) {
                    let rows = rows?;
                    self.report.samples += rows.samples() as u64;
                    self.report.orphaned_samples += into.rows(header.generation, &rows);
                }
            }
            _ => return Err(DecodeError { offset: 3, reason: "the record's kind is unknown" }),
        }
        Ok(())
    }

    fn corruption(&mut self, offset: usize, len: usize, reason: &str) {
        let error = Error::corruption(
            self.directory.display_path(&self.path),
            offset as u64,
            format!("{reason}; {len} bytes are lost"),
        );
        tracing::error!(%error, "the WAL is damaged");
        self.report.corruptions.push(error.to_string());
    }
}
