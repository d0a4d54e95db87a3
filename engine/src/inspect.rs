//! Says in words what a file of the engine holds, and verifies every checksum in it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::block::{Block, CHUNKS_FILE, INDEX_FILE, block_id, block_path, verify_units};
use crate::chunk::{describe_column, describe_timestamps};
use crate::directory::{Directory, Mapped, RealDirectory};
use crate::encoding::DecodeError;
use crate::error::{Error, Result};
use crate::index::{ChunkRef, Index, TimesEntry};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::tombstones::{TOMBSTONES_DIR, Tombstones};
use crate::wal::{
    GroupDefinition, Item, OTHER_NUMBER, Rows, SegmentError, SegmentReader, batch_rows, segment_path,
};

/// Writes a description of a WAL segment, a block (its folder, its index or its chunk file), tombstones, a manifest, or a
/// whole data directory. Returns how many damaged places it met, each of which it describes.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read or `out` not be written; [`Error::Corruption`] when it is none of ours.
pub fn describe(path: &Path, out: &mut dyn Write) -> Result<u64> {
    let mut inspector = Inspector { out, damaged: 0 };
    inspector.path(path).map_err(|e| match e {
        Failure::Engine(error) => error,
        Failure::Output(error) => Error::io("write the description of", path, error),
    })?;
    Ok(inspector.damaged)
}

enum Failure {
    Engine(Error),
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Whether a file or a block's folder is called as the engine calls its own.
fn is_ours(name: &str) -> bool {
    let fixed = [MANIFEST_FILE, INDEX_FILE, CHUNKS_FILE].contains(&name);
    fixed || name.ends_with(".wal") || block_id(name).is_some()
}

fn not_ours(path: &Path, reason: &str) -> Error {
    Error::io("describe", path, io::Error::new(io::ErrorKind::InvalidInput, reason))
}

struct Inspector<'a> {
    out: &'a mut dyn Write,
    damaged: u64,
}

impl Inspector<'_> {
    fn path(&mut self, path: &Path) -> Result<(), Failure> {
        let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return self.data_directory(path);
        };
        if !absolute.exists() {
            let missing = io::Error::new(io::ErrorKind::NotFound, "no such file or directory");
            return Err(Error::io("read", path, missing).into());
        }
        let name = name.to_string_lossy();
        if absolute.is_dir() {
            return match block_id(&name) {
                Some(_) => self.block(&absolute),
                None if absolute.join(MANIFEST_FILE).exists() => self.data_directory(&absolute),
                None => self.folder(&absolute),
            };
        }
        let bytes = open(parent)?.map(Path::new(&*name)).map_err(|e| Error::io("read", path, e))?;
        match bytes.get(..8) {
            Some(b"TMBRWAL\0") => self.segment(path, &bytes),
            Some(b"TMBRIDX\0") => self.index(path, bytes),
            Some(b"TMBRCHK\0") => self.chunks(path, &bytes),
            Some(b"TMBRMAN\0") => self.manifest(path, &bytes),
            Some(b"TMBRTMB\0") => self.tombstones(path, &bytes),
            _ if is_ours(&name) => {
                Err(Error::corruption(path, 0, "the first bytes are those of no format").into())
            }
            _ => Err(not_ours(path, "not a file of Timberline").into()),
        }
    }

    fn data_directory(&mut self, path: &Path) -> Result<(), Failure> {
        let directory = open(path)?;
        let mut paths = vec![PathBuf::from(MANIFEST_FILE)];
        for folder in [crate::wal::WAL_DIR, crate::block::BLOCKS_DIR, TOMBSTONES_DIR] {
            let names = match directory.list(Path::new(folder)) {
                // A snapshot has no log, and not every database has tombstones.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                names => names.map_err(|e| Error::io("list", path.join(folder), e))?,
            };
            paths.extend(names.into_iter().map(|name| Path::new(folder).join(name)));
        }
        self.all(path, paths)
    }

    /// The segments or the blocks of a data directory.
    fn folder(&mut self, path: &Path) -> Result<(), Failure> {
        let names = open(path)?.list(Path::new("")).map_err(|e| Error::io("list", path, e))?;
        let ours: Vec<PathBuf> = names.iter().filter(|name| is_ours(name)).map(PathBuf::from).collect();
        if ours.is_empty() {
            return Err(not_ours(
                path,
                "neither a data directory, which has a MANIFEST, nor a folder of one",
            )
            .into());
        }
        self.all(path, ours)
    }

    fn all(&mut self, folder: &Path, names: Vec<PathBuf>) -> Result<(), Failure> {
        for name in names {
            if let Err(failure) = self.path(&folder.join(name)) {
                self.damage(failure)?;
            }
        }
        Ok(())
    }

    fn damage(&mut self, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Engine(error) => {
                self.damaged += 1;
                Ok(writeln!(self.out, "  DAMAGED: {error}")?)
            }
            output @ Failure::Output(_) => Err(output),
        }
    }

    fn segment(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        // The file may lie elsewhere under another name: then its header alone says which segment it is.
        let opened = match SegmentReader::new(bytes, is_closed(path)) {
            Ok(reader) => Ok((reader, None)),
            Err(_) => SegmentReader::open(bytes, segment_number(path), is_closed(path)),
        };
        let located = |e: DecodeError| Error::corruption(path, e.offset as u64, e.reason);
        let reader = match opened {
            Ok((reader, damage)) => {
                damage.map_or(Ok(()), |e| self.damage(located(e).into()))?;
                reader
            }
            Err(SegmentError::NewerVersion(found)) => {
                return Err(Error::NewerVersion { file: path.to_owned(), found, supported: 1 }.into());
            }
            Err(SegmentError::Damaged(e)) => return Err(located(e).into()),
            Err(SegmentError::OtherNumber(_)) => return Err(not_ours(path, OTHER_NUMBER).into()),
        };
        let header = reader.header();
        writeln!(
            self.out,
            "{}: WAL segment {}, of head {}, {} bytes",
            path.display(),
            header.number,
            header.generation,
            bytes.len()
        )?;
        let (mut groups, mut series, mut batches, mut samples) = (0_u64, 0_u64, 0_u64, 0_u64);
        let (mut range, mut torn) = (EMPTY, 0);
        for item in reader {
            match item {
                Item::Frame(frame) => {
                    if frame.is_group() {
                        match GroupDefinition::decode(frame.payload) {
                            Ok(definition) => {
                                groups += 1;
                                series += definition.series.len() as u64;
                            }
                            Err(e) => {
                                self.damage(Error::corruption(path, frame.offset as u64, e.reason).into())?;
                            }
                        }
                        continue;
                    }
                    batches += 1;
                    match batch_rows(frame.payload).collect::<Result<Vec<Rows>, _>>() {
                        Ok(all) => {
                            for rows in &all {
                                samples += rows.samples() as u64;
                                range = rows
                                    .timestamps
                                    .iter()
                                    .fold(range, |r, t| r.union(TimeRange::new(*t, *t)));
                            }
                        }
                        Err(e) => {
                            self.damage(Error::corruption(path, frame.offset as u64, e.reason).into())?;
                        }
                    }
                }
                Item::Gap(gap) if gap.was_durable => {
                    let lost = format!("{}; {} bytes are lost", gap.reason, gap.len);
                    self.damage(Error::corruption(path, gap.offset as u64, lost).into())?;
                }
                Item::Gap(gap) => torn += gap.len,
            }
        }
        writeln!(
            self.out,
            "  {series} series defined in {groups} groups; {samples} samples in {batches} batches"
        )?;
        self.range(range)?;
        if torn > 0 {
            writeln!(
                self.out,
                "  the last {torn} bytes are what a crash left of a write that was not synced"
            )?;
        }
        Ok(())
    }

    fn index(&mut self, path: &Path, bytes: Mapped) -> Result<(), Failure> {
        let len = bytes.len();
        let index = Index::open(path, bytes)?;
        let meta = *index.meta();
        writeln!(
            self.out,
            "{}: index of block {}, {len} bytes, all checksums hold",
            path.display(),
            meta.id
        )?;
        writeln!(
            self.out,
            "  {} series, {} samples, level {}, heads {} to {}",
            meta.series, meta.samples, meta.level, meta.generation_first, meta.generation_last
        )?;
        writeln!(self.out, "  {} columns of timestamps", index.times_count())?;
        self.range(meta.range)?;
        for (name, values) in index.names() {
            writeln!(self.out, "  label {name}: {values} values")?;
        }
        Ok(())
    }

    fn chunks(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let units = verify_units(path, bytes)?;
        writeln!(
            self.out,
            "{}: chunk file, {} bytes, {units} columns, all checksums hold",
            path.display(),
            bytes.len()
        )?;
        Ok(())
    }

    /// A whole block: index, chunks, and what encodings the columns have.
    fn block(&mut self, path: &Path) -> Result<(), Failure> {
        self.path(&path.join(INDEX_FILE))?;
        self.path(&path.join(CHUNKS_FILE))?;
        let index_path = path.join(INDEX_FILE);
        let directory = open(path)?;
        let index = Index::open(
            &index_path,
            directory.map(Path::new(INDEX_FILE)).map_err(|e| Error::io("read", &index_path, e))?,
        )?;
        let chunks = directory.map(Path::new(CHUNKS_FILE)).map_err(|e| Error::io("read", path, e))?;
        let block = Block::from_parts(index, path.join(CHUNKS_FILE), chunks)?;
        let mut encodings: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
        let mut statistics = (0_u64, 0_u64);
        let mut samples = Samples::default();
        for id in 0..block.meta().series as u32 {
            let mut chunks = Vec::new();
            block.index().chunks(id, &mut chunks)?;
            for (chunk, times) in chunks {
                samples.clear();
                if let Err(error) = block.decode(chunk, &times, &mut samples) {
                    self.damage(error.into())?;
                    continue;
                }
                let columns = block.encoded(chunk, &times)?;
                if let Err(error) = check_statistics(&block, chunk, &times, &samples) {
                    self.damage(error.into())?;
                }
                statistics.0 += u64::from(!columns.statistics.is_empty());
                statistics.1 += columns.statistics.len() as u64;
                let names = [
                    (describe_timestamps(columns.timestamps), "timestamps", columns.timestamps.len()),
                    (describe_column(columns.values, times.count as usize), "values", columns.values.len()),
                ];
                for (name, kind, bytes) in names {
                    let name = name.unwrap_or_default();
                    let encoding = name.split(',').next().unwrap_or_default();
                    let entry = encodings.entry(format!("{kind}: {encoding}")).or_default();
                    *entry = (entry.0 + 1, entry.1 + u64::from(times.count), entry.2 + bytes as u64);
                }
            }
        }
        for (encoding, (columns, samples, bytes)) in encodings {
            writeln!(self.out, "  {encoding}: {columns} chunks, {samples} samples, {bytes} bytes")?;
        }
        writeln!(self.out, "  statistics: {} chunks, {} bytes", statistics.0, statistics.1)?;
        Ok(())
    }

    fn manifest(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let manifest = Manifest::decode(path, bytes)?;
        writeln!(
            self.out,
            "{}: manifest, checksum holds; the log begins at segment {}, the next head is {}",
            path.display(),
            manifest.wal_first,
            manifest.next_generation
        )?;
        if let Some(clock_ns) = manifest.clock_ns {
            writeln!(self.out, "  the retention clock was at {clock_ns} ns")?;
        }
        for block in manifest.blocks {
            match block.tombstones {
                Some(tombstones) => writeln!(self.out, "  block {}, tombstones {tombstones}", block.id)?,
                None => writeln!(self.out, "  block {}", block.id)?,
            }
        }
        Ok(())
    }

    fn tombstones(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let (block, tombstones) = Tombstones::decode(path, bytes)?;
        let (series, samples) = (tombstones.series(), tombstones.samples());
        writeln!(self.out, "{}: tombstones of block {block}, checksum holds", path.display())?;
        writeln!(self.out, "  about {samples} samples of {series} series are deleted")?;
        for (range, series) in tombstones.iter() {
            let series = series.cardinality();
            writeln!(self.out, "  from {} ns to {} ns of {series} series", range.start, range.end)?;
        }
        Ok(())
    }

    fn range(&mut self, range: TimeRange) -> Result<(), Failure> {
        if !range.is_empty() {
            writeln!(self.out, "  from {} ns to {} ns", range.start, range.end)?;
        }
        Ok(())
    }
}

/// Compares the statistics of a chunk with its samples.
fn check_statistics(
    block: &Block,
    chunk: ChunkRef,
    times: &TimesEntry,
    samples: &Samples,
) -> Result<(), Error> {
    match block.statistics(chunk, times)? {
        Some(statistics) if !statistics.fit(&samples.values) => {
            let reason = format!(
                "the statistics differ from the samples of the chunk with values at byte {}",
                chunk.values
            );
            Err(Error::corruption(
                block_path(block.meta().id).join(INDEX_FILE),
                chunk.statistics.start.into(),
                reason,
            ))
        }
        _ => Ok(()),
    }
}

/// Whether another segment follows the one at `path`.
fn is_closed(path: &Path) -> bool {
    let next = segment_path(segment_number(path).saturating_add(1));
    next.file_name().is_some_and(|name| path.with_file_name(name).exists())
}

/// The number in a segment's name; 0 when it has none.
fn segment_number(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok()).unwrap_or_default()
}

const EMPTY: TimeRange = TimeRange { start: i64::MAX, end: i64::MIN };

fn open(folder: &Path) -> Result<RealDirectory> {
    RealDirectory::open(folder).map_err(|e| Error::io("open", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use crate::labels::Labels;
    use crate::options::Options;

    fn describe_all(folder: &Path) -> (u64, String) {
        let mut text = Vec::new();
        let damaged = describe(folder, &mut text).unwrap();
        (damaged, String::from_utf8(text).unwrap())
    }

    #[test]
    fn every_kind_of_file_is_described_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path(), Options { background: false, ..Options::default() }).unwrap();
        let write = |start: i64| {
            let labels = Labels::from_pairs([("__name__", "up"), ("job", "x")]).unwrap();
            let mut batch = db.appender().unwrap();
            batch.series(&labels, (start..start + 50).map(|i| (i * 1_000_000_000, i as f64))).unwrap();
            batch.commit().unwrap();
        };
        write(0);
        db.flush().unwrap();
        let some = TimeRange::new(10_000_000_000, 19_000_000_000);
        db.delete(&[vec![]], some).unwrap();
        write(50);
        let (damaged, text) = describe_all(folder.path());
        assert_eq!(damaged, 0, "{text}");
        for expected in [
            "manifest",
            "the retention clock was at 1",
            "index of block",
            "chunk file",
            "label job: 1 values",
            "1 series defined in 1 groups; 50 samples",
            "statistics: 1 chunks, 6 bytes",
            "tombstones of block",
            "from 10000000000 ns to 19000000000 ns of 1 series",
        ] {
            assert!(text.contains(expected), "{expected:?} is missing in {text}");
        }
        let block = db.snapshot().blocks[0].meta().id;
        let chunks = folder.path().join(crate::block::block_path(block)).join(CHUNKS_FILE);
        let mut bytes = std::fs::read(&chunks).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&chunks, bytes).unwrap();
        let (damaged, text) = describe_all(folder.path());
        assert_eq!(damaged, 1, "{text}");
        assert!(text.contains("chunks is corrupt at byte"), "{text}");
        assert!(describe(&folder.path().join("LOCK"), &mut Vec::new()).is_err());
    }
}
