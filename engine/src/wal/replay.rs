//! Reading the log back: every record that checks out goes to a [`Replay`], damage goes into the report.
//!
//! The segments are read one after the other, each mapped only while it is read. One thread checks the frames and deals
//! what they hold out by shard; the workers decode and apply it. A shard belongs to one worker, so its records stay in
//! order. What waits between the two are references into the mapped segment, so a replay takes little memory besides
//! what it fills.

use std::path::{Path, PathBuf};

use super::WAL_DIR;
use super::names::{segment_numbers, segment_path};
use super::progress::ReplayProgress;
use super::record::{GroupDefinition, Rows};
use super::segment::{Item, SEGMENT_HEADER_BYTES, SegmentError, SegmentHeader, SegmentReader, VERSION};
use super::workers::Workers;
use crate::directory::{Directory, Mapped};
use crate::error::{Error, Result};

/// What is wrong with a segment that somebody renamed.
pub(crate) const OTHER_NUMBER: &str = "the segment has another number than its name says";
/// After so many bytes of a segment the memory that they are mapped to is given back.
const FORGET_BYTES: usize = 8 << 20;

/// Who takes the records of one generation. Records of one shard come in the order of the log, those of several at once.
pub trait Replay: Sync {
    /// A group was defined.
    ///
    /// # Errors
    /// How it contradicts an earlier one.
    fn define(&self, definition: &GroupDefinition) -> Result<(), &'static str>;

    /// Rows were written. Returns how many samples belong to groups that are not defined, so that are lost.
    fn rows(&self, rows: &Rows) -> u64;
}

/// Gives each generation of the log what takes its records.
pub trait Generations {
    /// What takes the records.
    type Head: Replay;

    /// The head of a generation; it is made when it is not there.
    fn generation(&mut self, generation: u64) -> &Self::Head;
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

/// Reads all segments from number `first` on, and changes nothing. What is to be done about the end of the log stands beside
/// the report.
///
/// # Errors
/// When a file cannot be read, or was written by a newer version. Damage is no error: it is in the report.
pub fn read_log(
    directory: &dyn Directory,
    first: u64,
    into: &mut impl Generations,
    progress: &ReplayProgress,
) -> Result<(ReplayReport, Option<LogTail>)> {
    let mut report = ReplayReport::default();
    let mut tail = None;
    let mut numbers = segment_numbers(directory)?;
    let last = numbers.last().copied().unwrap_or_default();
    numbers.retain(|number| *number >= first);
    let bytes = numbers.iter().map(|number| directory.len(&segment_path(*number)).unwrap_or_default());
    let bytes = bytes.sum();
    progress.begin(numbers.len() as u64, bytes);
    if bytes > 0 {
        tracing::info!(segments = numbers.len(), bytes, "replaying the write-ahead log");
    }
    for number in numbers {
        // The segment that the manifest names was finished before the manifest was.
        let may_be_unfinished = number == last && (number > first || first == 0);
        let is_last = number == last;
        let path = segment_path(number);
        let segment = SegmentReplay {
            directory,
            path,
            number,
            is_last,
            may_be_unfinished,
            progress,
            report: &mut report,
        };
        tail = segment.run(into)?;
        report.last_segment = number;
        progress.end_segment(report.samples);
    }
    progress.end();
    Ok((report, tail))
}

/// The end of the log, as a replay leaves it.
#[derive(Debug)]
pub struct LogTail {
    segment: PathBuf,
    end: TailEnd,
}

#[derive(Debug)]
enum TailEnd {
    /// The crash came between the file's creation and the sync of its header: no record was written yet.
    Unfinished,
    /// The log ends at `kept`, and `durable` bytes of the segment are known to have been synced.
    At { kept: usize, durable: u64 },
}

impl LogTail {
    /// Cuts off what was torn, and makes durable what is kept.
    pub(super) fn cut(&self, directory: &dyn Directory) -> Result<()> {
        let path = &self.segment;
        let failed = |what| move |e| Error::io(what, directory.display_path(path), e);
        match &self.end {
            TailEnd::Unfinished => directory
                .remove_file(path)
                .and_then(|()| directory.sync_dir(Path::new(WAL_DIR)))
                .map_err(failed("remove")),
            TailEnd::At { kept, durable } => {
                // This cuts the torn tail and what was preallocated.
                directory.truncate(path, *kept as u64).map_err(failed("truncate"))?;
                if *durable >= *kept as u64 {
                    return Ok(());
                }
                // The process that wrote this may have died before it was synced, or because that failed: then another sync
                // alone would write nothing. Rows that are acknowledged from now on refer to groups that are defined here.
                directory.rewrite(path, *durable).map_err(failed("rewrite"))
            }
        }
    }
}

struct SegmentReplay<'a> {
    directory: &'a dyn Directory,
    path: PathBuf,
    number: u64,
    is_last: bool,
    /// Whether a crash may have come before its header was on disk.
    may_be_unfinished: bool,
    progress: &'a ReplayProgress,
    report: &'a mut ReplayReport,
}

impl SegmentReplay<'_> {
    /// Replays the segment; what is to be done about it if it is the last one.
    fn run(mut self, into: &mut impl Generations) -> Result<Option<LogTail>> {
        let shown = self.directory.display_path(&self.path);
        let bytes = self.directory.map(&self.path).map_err(|e| Error::io("read", &shown, e))?;
        self.report.segments += 1;
        self.report.bytes += bytes.len() as u64;
        let reader = match SegmentReader::open(&bytes, self.number, !self.is_last) {
            Ok((reader, None)) => reader,
            Ok((reader, Some(error))) => {
                let reason = format!("{}; the records behind it are read all the same", error.reason);
                self.damage(error.offset, &reason);
                reader
            }
            Err(SegmentError::NewerVersion(found)) => {
                return Err(Error::NewerVersion { file: shown, found, supported: VERSION });
            }
            Err(SegmentError::Damaged(error))
                if self.may_be_unfinished && bytes.len() <= SEGMENT_HEADER_BYTES =>
            {
                self.report.torn_bytes += bytes.len() as u64;
                tracing::info!(file = %shown.display(), %error, "a WAL segment was never finished");
                return Ok(Some(LogTail { segment: self.path, end: TailEnd::Unfinished }));
            }
            Err(SegmentError::Damaged(error)) => {
                self.corruption(error.offset, bytes.len(), error.reason);
                return Ok(None);
            }
            Err(SegmentError::OtherNumber(header)) => {
                self.note_generation(header.generation);
                self.corruption(12, bytes.len(), OTHER_NUMBER);
                return Ok(None);
            }
        };
        let generation = reader.header().generation;
        self.note_generation(generation);
        let (kept, durable) = self.records(&bytes, reader, into.generation(generation));
        let tail = LogTail { segment: self.path, end: TailEnd::At { kept, durable } };
        Ok(self.is_last.then_some(tail))
    }

    fn note_generation(&mut self, generation: u64) {
        self.report.last_generation = generation;
        if self.report.generations.last().is_none_or(|(last, _)| *last < generation) {
            self.report.generations.push((generation, self.number));
        }
    }

    /// Replays what the segment holds; returns where the log ends in it, and how much of it is known to have been synced.
    fn records(&mut self, bytes: &Mapped, items: SegmentReader<'_>, head: &impl Replay) -> (usize, u64) {
        let header = items.header();
        let (ends, applied) = std::thread::scope(|scope| {
            let mut workers = Workers::start(scope, head);
            (self.deal_out(bytes, items, header, &mut workers), workers.finish())
        });
        self.report.samples += applied.samples;
        self.report.orphaned_samples += applied.orphaned;
        for damage in applied.damages {
            self.corruption(damage.offset, damage.len, damage.reason);
        }
        ends
    }

    /// Checks the frames and gives what they hold to the workers; returns what [`records`](Self::records) does.
    fn deal_out<'s, 'b: 's>(
        &mut self,
        bytes: &Mapped,
        items: SegmentReader<'b>,
        header: SegmentHeader,
        workers: &mut Workers<'s, 'b>,
    ) -> (usize, u64) {
        let (mut kept, mut durable) = (SEGMENT_HEADER_BYTES, 0);
        // Within the log, sequence numbers have no gaps.
        if self.report.segments > 1 && self.report.next_sequence != header.sequence {
            self.corruption(0, 0, "records before this segment are missing");
        }
        self.report.next_sequence = self.report.next_sequence.max(header.sequence);
        let mut expected = Some(header.sequence);
        let mut forgotten = 0;
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
                    self.progress.advance((frame.end() - kept) as u64);
                    kept = frame.end();
                    if kept - forgotten >= FORGET_BYTES {
                        // From the start: workers that are behind have read some of it again.
                        bytes.forget(0..kept);
                        forgotten = kept;
                    }
                    if frame.generation != header.generation {
                        self.corruption(
                            frame.offset,
                            frame.payload.len(),
                            "the record belongs to another head",
                        );
                    } else if let Err(error) = workers.give(frame) {
                        self.corruption(frame.offset, frame.payload.len(), error.reason);
                    }
                }
                Item::Gap(gap) if gap.was_durable => {
                    expected = None;
                    kept = gap.offset + gap.len;
                    self.corruption(gap.offset, gap.len, gap.reason);
                }
                Item::Gap(gap) => {
                    self.report.torn_bytes += gap.len as u64;
                    tracing::info!(
                        file = %self.directory.display_path(&self.path).display(),
                        offset = gap.offset, bytes = gap.len, reason = gap.reason,
                        "cut an unfinished write off the end of the WAL"
                    );
                }
            }
        }
        (kept, durable)
    }

    fn corruption(&mut self, offset: usize, len: usize, reason: &str) {
        self.damage(offset, &format!("{reason}; {len} bytes are lost"));
    }

    fn damage(&mut self, offset: usize, reason: &str) {
        let error = Error::corruption(self.directory.display_path(&self.path), offset as u64, reason);
        tracing::error!(%error, "the WAL is damaged");
        self.report.corruptions.push(error.to_string());
    }
}
