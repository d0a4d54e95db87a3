//! Checks every checksum, order and reference of a data directory, and changes nothing in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use croaring::Bitmap;
use ulid::Ulid;

use crate::block::{BLOCKS_DIR, Block, CHUNKS_FILE, INDEX_FILE, block_id, block_path, verify_units};
use crate::db::LOCK_FILE;
use crate::directory::{Directory, DirectoryLock};
use crate::error::{Error, Result};
use crate::index::{ChunkRef, LabelIndex, TimesEntry};
use crate::labels::Labels;
use crate::manifest::{ListedBlock, MANIFEST_FILE, Manifest};
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::tombstones::Tombstones;
use crate::wal::{
    Frame, GroupDefinition, GroupId, Item, OTHER_NUMBER, SEGMENT_HEADER_BYTES, SegmentError, SegmentHeader,
    SegmentReader, batch_rows, segment_numbers, segment_path,
};

/// What a verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// What is wrong, each with its file and offset.
    pub problems: Vec<Error>,
    /// Blocks that are listed.
    pub blocks: u64,
    /// Series in them; one that is in several counts several times.
    pub series: u64,
    /// Samples in them that were decoded.
    pub samples: u64,
    /// Records of the log.
    pub wal_records: u64,
    /// Samples in them.
    pub wal_samples: u64,
    /// Bytes at the end of the log that a crash left of a write that was not answered: no problem.
    pub torn_bytes: u64,
}

/// Checks a data directory: manifest, log, and each block with its index, chunks and tombstones.
///
/// # Errors
/// [`Error::Locked`] while a server has it open; [`Error::Io`] when it cannot be listed. What is wrong with its files is
/// in the report.
pub fn verify(directory: &dyn Directory) -> Result<VerifyReport> {
    let _lock = lock(directory)?;
    let mut verifier = Verifier { directory, report: VerifyReport::default(), places: HashSet::new() };
    let manifest = verifier.manifest()?;
    for block in &manifest.blocks {
        verifier.report.blocks += 1;
        if let Err(error) = verifier.block(block) {
            verifier.problem(error);
        }
    }
    verifier.log(manifest.wal_first)?;
    Ok(verifier.report)
}

/// Takes the lock of a data directory; `None` on a file system that cannot be written, on which there is no server either.
///
/// # Errors
/// [`Error::Locked`] while a server has it open; [`Error::Io`].
pub fn lock(directory: &dyn Directory) -> Result<Option<Box<dyn DirectoryLock>>> {
    let path = Path::new(LOCK_FILE);
    match directory.lock(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(Error::Locked { file: directory.display_path(path) })
        }
        Err(e) => Err(Error::io("lock", directory.display_path(path), e)),
    }
}

/// What a database without a manifest seems to consist of: all finished blocks, and all of the log.
pub(crate) fn unlisted(directory: &dyn Directory) -> Result<Manifest> {
    let folder = Path::new(BLOCKS_DIR);
    let names = match directory.list(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| Error::io("list", directory.display_path(folder), e))?,
    };
    let blocks = names.iter().filter_map(|name| block_id(name)).map(ListedBlock::new).collect();
    Ok(Manifest { blocks, ..Manifest::default() })
}

struct Verifier<'a> {
    directory: &'a dyn Directory,
    report: VerifyReport,
    /// The places of problems, so that a damaged column that many series share is told once.
    places: HashSet<(PathBuf, u64)>,
}

impl Verifier<'_> {
    fn problem(&mut self, error: Error) {
        let is_new = match &error {
            Error::Corruption { file, offset, .. } => self.places.insert((file.clone(), *offset)),
            _ => true,
        };
        if is_new {
            self.report.problems.push(error);
        }
    }

    fn manifest(&mut self) -> Result<Manifest> {
        match Manifest::load(self.directory) {
            Ok(Some(manifest)) => return Ok(manifest),
            Ok(None) => {
                let file = self.directory.display_path(Path::new(MANIFEST_FILE));
                self.problem(Error::corruption(file, 0, "the file is missing"));
            }
            // What it lists is not known, and no damage.
            Err(error @ Error::NewerVersion { .. }) => return Err(error),
            Err(error) => self.problem(error),
        }
        unlisted(self.directory)
    }

    fn block(&mut self, listed: &ListedBlock) -> Result<()> {
        if let Some(file) = listed.tombstones
            && let Err(error) = Tombstones::load(self.directory, file, listed.id, u64::MAX)
        {
            self.problem(error);
        }
        let block = Block::open(self.directory, listed.id)?;
        if let Some(file) = listed.tombstones
            && let Err(error) = Tombstones::load(self.directory, file, listed.id, block.meta().series)
        {
            self.problem(error);
        }
        let index_file = self.directory.display_path(&block_path(listed.id).join(INDEX_FILE));
        let problem_in_index = |reason: String| Error::corruption(&index_file, 0, reason);
        let before = self.report.problems.len();
        let meta = *block.meta();
        let mut postings = Postings::default();
        let mut previous: Option<Labels> = None;
        let (mut range, mut samples) = (TimeRange::new(i64::MAX, i64::MIN), 0);
        for id in 0..u32::try_from(meta.series).unwrap_or(u32::MAX) {
            let labels = block.index().labels(id)?;
            if previous.as_ref().is_some_and(|previous| *previous >= labels) {
                self.problem(problem_in_index(format!("the series {labels} is out of order")));
            }
            postings.add(id, &labels);
            let chunks = self.series(&block, id, &labels, &index_file)?;
            samples += chunks.iter().map(|(_, times)| u64::from(times.count)).sum::<u64>();
            range = chunks.iter().fold(range, |range, (_, times)| range.union(times.range));
            previous = Some(labels);
        }
        self.report.series += meta.series;
        if (range, samples) != (meta.range, meta.samples) {
            let reason = format!(
                "the block has {samples} samples from {} to {} ns, and says {} from {} to {} ns",
                range.start, range.end, meta.samples, meta.range.start, meta.range.end
            );
            self.problem(problem_in_index(reason));
        }
        if let Some(reason) = postings.differ(&block)? {
            self.problem(problem_in_index(reason));
        }
        if self.report.problems.len() == before {
            // Columns that no series refers to.
            self.units(listed.id)?;
        }
        Ok(())
    }

    fn units(&mut self, id: Ulid) -> Result<()> {
        let path = block_path(id).join(CHUNKS_FILE);
        let shown = self.directory.display_path(&path);
        let bytes = self.directory.map(&path).map_err(|e| Error::io("read", &shown, e))?;
        verify_units(&shown, &bytes).map(|_| ())
    }

    /// Decodes all chunks of a series.
    fn series(
        &mut self,
        block: &Block,
        id: u32,
        labels: &Labels,
        index_file: &Path,
    ) -> Result<Vec<(ChunkRef, TimesEntry)>> {
        let mut chunks = Vec::new();
        block.index().chunks(id, &mut chunks)?;
        if chunks.is_empty() {
            self.problem(Error::corruption(index_file, 0, format!("the series {labels} has no chunk")));
        }
        if chunks.windows(2).any(|pair| pair[0].1.range.end >= pair[1].1.range.start) {
            let reason = format!("the chunks of the series {labels} overlap or are out of order");
            self.problem(Error::corruption(index_file, 0, reason));
        }
        let mut samples = Samples::default();
        for (chunk, times) in &chunks {
            samples.clear();
            match block.decode(*chunk, times, &mut samples) {
                Err(error) => self.problem(error),
                Ok(()) => {
                    self.report.samples += samples.len() as u64;
                    if let Some(reason) = disorder(&samples, times) {
                        let reason = format!("{reason}, of the series {labels}");
                        self.problem(Error::corruption(block.chunks_file(), times.offset, reason));
                    }
                }
            }
        }
        Ok(chunks)
    }

    fn log(&mut self, first: u64) -> Result<()> {
        let mut widths: HashMap<(u64, GroupId), usize> = HashMap::new();
        walk_log(self.directory, first, &mut |found| match found {
            Found::Problem(error) => self.problem(error),
            Found::Torn(bytes) => self.report.torn_bytes += bytes,
            Found::Frame(file, header, frame) => {
                self.report.wal_records += 1;
                match check_frame(header, &frame, &mut widths) {
                    Ok(samples) => self.report.wal_samples += samples,
                    Err(reason) => self.problem(Error::corruption(file, frame.offset as u64, reason)),
                }
            }
        })
    }
}

/// What does not fit about the samples of a chunk.
pub(crate) fn disorder(samples: &Samples, times: &TimesEntry) -> Option<&'static str> {
    let timestamps = &samples.timestamps;
    if timestamps.len() != times.count as usize || samples.values.len() != timestamps.len() {
        Some("the chunk has another number of samples than the index says")
    } else if !timestamps.is_sorted_by(|a, b| a < b) {
        Some("the timestamps of the chunk do not ascend")
    } else if (timestamps.first(), timestamps.last()) != (Some(&times.range.start), Some(&times.range.end)) {
        Some("the chunk has another time range than the index says")
    } else {
        None
    }
}

/// The series of each label pair, by the series.
#[derive(Default)]
struct Postings(BTreeMap<String, BTreeMap<String, Bitmap>>);

impl Postings {
    fn add(&mut self, id: u32, labels: &Labels) {
        for (name, value) in labels {
            if !self.0.contains_key(name) {
                self.0.insert(name.to_owned(), BTreeMap::new());
            }
            let Some(values) = self.0.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(ids) => ids.add(id),
                None => drop(values.insert(value.to_owned(), Bitmap::of(&[id]))),
            }
        }
    }

    /// Where the index says something else.
    fn differ(&self, block: &Block) -> Result<Option<String>> {
        let index = block.index();
        let names: Vec<(&str, usize)> = index.names().collect();
        let expected: Vec<(&str, usize)> =
            self.0.iter().map(|(name, values)| (name.as_str(), values.len())).collect();
        if names != expected {
            return Ok(Some("the label names are not those of the series".to_owned()));
        }
        for (name, values) in &self.0 {
            let mut found = index.values(name);
            for (value, ids) in values {
                let is_next = found.next().transpose()?.is_some_and(|found| found == value);
                if !is_next || index.with_value(name, value)? != *ids {
                    return Ok(Some(format!("the postings of {name}={value:?} are not those of the series")));
                }
            }
        }
        Ok(None)
    }
}

/// What is next in a log.
enum Found<'a> {
    /// A record that checks out, its file and the segment's header.
    Frame(&'a Path, SegmentHeader, Frame<'a>),
    /// Something is wrong.
    Problem(Error),
    /// So many bytes are what a crash left.
    Torn(u64),
}

/// Reads the log from segment `first` on as a replay does, and changes nothing.
fn walk_log(directory: &dyn Directory, first: u64, visit: &mut dyn FnMut(Found<'_>)) -> Result<()> {
    let numbers = segment_numbers(directory)?;
    let last = numbers.last().copied();
    if first != 0 && !numbers.contains(&first) {
        let file = directory.display_path(&segment_path(first));
        let reason = "the manifest names this segment as the first, and it is missing";
        visit(Found::Problem(Error::corruption(file, 0, reason)));
    }
    let mut expected = None;
    for number in numbers.into_iter().filter(|number| *number >= first) {
        let path = segment_path(number);
        let shown = directory.display_path(&path);
        let bytes = directory.map(&path).map_err(|e| Error::io("read", &shown, e))?;
        let is_last = Some(number) == last;
        let items = match SegmentReader::open(&bytes, number, !is_last) {
            Ok((items, damage)) => {
                if let Some(e) = damage {
                    visit(Found::Problem(Error::corruption(&shown, e.offset as u64, e.reason)));
                }
                items
            }
            Err(SegmentError::NewerVersion(found)) => {
                visit(Found::Problem(Error::NewerVersion { file: shown, found, supported: 1 }));
                continue;
            }
            // The crash came before the header of a new segment was synced.
            Err(SegmentError::Damaged(_))
                if is_last && number != first && bytes.len() <= SEGMENT_HEADER_BYTES =>
            {
                visit(Found::Torn(bytes.len() as u64));
                continue;
            }
            Err(SegmentError::Damaged(e)) => {
                visit(Found::Problem(Error::corruption(&shown, e.offset as u64, e.reason)));
                expected = None;
                continue;
            }
            Err(SegmentError::OtherNumber(_)) => {
                visit(Found::Problem(Error::corruption(&shown, 12, OTHER_NUMBER)));
                continue;
            }
        };
        let header = items.header();
        if expected.is_some_and(|expected| expected != header.sequence) {
            let reason = "records before this segment are missing";
            visit(Found::Problem(Error::corruption(&shown, 28, reason)));
        }
        expected = Some(header.sequence);
        for item in items {
            match item {
                Item::Frame(frame) => {
                    if expected.is_some_and(|expected| expected != frame.sequence) {
                        let reason = "records before this one are missing";
                        visit(Found::Problem(Error::corruption(&shown, frame.offset as u64, reason)));
                    }
                    expected = Some(frame.sequence + 1);
                    visit(Found::Frame(&shown, header, frame));
                }
                Item::Gap(gap) if gap.was_durable => {
                    expected = None;
                    let reason = format!("{}; {} bytes are lost", gap.reason, gap.len);
                    visit(Found::Problem(Error::corruption(&shown, gap.offset as u64, reason)));
                }
                Item::Gap(gap) => visit(Found::Torn(gap.len as u64)),
            }
        }
    }
    Ok(())
}

/// Checks what a record holds; returns the number of its samples.
fn check_frame(
    header: SegmentHeader,
    frame: &Frame<'_>,
    widths: &mut HashMap<(u64, GroupId), usize>,
) -> Result<u64, &'static str> {
    if frame.is_group() {
        let definition = GroupDefinition::decode(frame.payload).map_err(|e| e.reason)?;
        let known = widths.insert((header.generation, definition.group), definition.series.len());
        return if known.is_some() { Err("a group is defined twice") } else { Ok(0) };
    }
    let mut samples = 0;
    for rows in batch_rows(frame.payload) {
        let rows = rows.map_err(|e| e.reason)?;
        samples += rows.samples() as u64;
        if rows.iter().any(|row| widths.get(&(header.generation, row.group)) != Some(&row.width)) {
            return Err("a row belongs to a group that is not defined, or not with this width");
        }
    }
    Ok(samples)
}
