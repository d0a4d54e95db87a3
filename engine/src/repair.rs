//! Salvages what checks out of a damaged data directory into a new one, and says what is lost.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ulid::Ulid;

use crate::block::{BLOCKS_DIR, Block, BlockWriter, FinishedBlock};
use crate::budget::Budget;
use crate::db::LOCK_FILE;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::head::Replayed;
use crate::index::{ChunkRef, Dictionary, ListedSeries, PairSource, TimesEntry};
use crate::labels::Labels;
use crate::manifest::{ListedBlock, MANIFEST_FILE, Manifest};
use crate::merge::seal;
use crate::options::Options;
use crate::samples::{Samples, sort_last_wins};
use crate::tombstones::{Deleted, TOMBSTONES_DIR, Tombstones, tombstones_path};
use crate::verify::{disorder, lock, unlisted};
use crate::wal::{ReplayProgress, read_log, segment_numbers, segment_path};
use crate::windows::Windows;

/// What a repair saved and what not.
#[derive(Debug, Default)]
pub struct RepairReport {
    /// A sentence for each thing that is lost, with the file and offset of the reason.
    pub lost: Vec<String>,
    /// Blocks written.
    pub blocks: u64,
    /// Samples in them.
    pub samples: u64,
}

/// Writes all of `from` that checks out into `into`, which must be empty, as a database whose log is empty. What is deleted
/// stays away. The source is not changed.
///
/// # Errors
/// [`Error::Locked`] while a server has one of them open; [`Error::Io`], also when `into` is not empty. Damage is no error:
/// it is in the report.
pub fn repair(from: &dyn Directory, into: &Arc<dyn Directory>) -> Result<RepairReport> {
    let _from = lock(from)?;
    check_empty(&**into)?;
    let _into = lock(&**into)?;
    let blocks = Path::new(BLOCKS_DIR);
    into.create_dir_all(blocks)
        .and_then(|()| into.sync_dir(Path::new("")))
        .map_err(|e| Error::io("create", into.display_path(blocks), e))?;
    let mut repair = Repair { from, into, report: RepairReport::default(), finished: Vec::new() };
    let manifest = repair.manifest()?;
    for block in &manifest.blocks {
        repair.block(block)?;
    }
    repair.log(manifest.wal_first)?;
    repair.publish(manifest.next_generation)
}

fn check_empty(into: &dyn Directory) -> Result<()> {
    let root = Path::new("");
    let names = into.list(root).map_err(|e| Error::io("list", into.display_path(root), e))?;
    if names.iter().all(|name| name == LOCK_FILE) {
        return Ok(());
    }
    let full = io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty: choose a new directory");
    Err(Error::io("repair into", into.display_path(root), full))
}

struct Repair<'a> {
    from: &'a dyn Directory,
    into: &'a Arc<dyn Directory>,
    report: RepairReport,
    finished: Vec<FinishedBlock>,
}

impl Repair<'_> {
    fn lose(&mut self, what: impl std::fmt::Display, why: &Error) {
        self.report.lost.push(format!("{what}: {why}"));
    }

    fn manifest(&mut self) -> Result<Manifest> {
        let error = match Manifest::load(self.from) {
            Ok(Some(manifest)) => return Ok(manifest),
            Ok(None) => {
                let file = self.from.display_path(Path::new(MANIFEST_FILE));
                Error::corruption(file, 0, "the file is missing")
            }
            // Nothing is damaged: the newer version reads all of it.
            Err(error @ Error::NewerVersion { .. }) => return Err(error),
            Err(error) => error,
        };
        let what = "the list of blocks (all that are there are taken; samples that had expired may be back)";
        self.lose(what, &error);
        let mut manifest = unlisted(self.from)?;
        self.find_tombstones(&mut manifest);
        Ok(manifest)
    }

    /// The newest tombstones of each block; the files are named in the order of time.
    fn find_tombstones(&self, manifest: &mut Manifest) {
        let names = self.from.list(Path::new(TOMBSTONES_DIR)).unwrap_or_default();
        for id in names.iter().filter_map(|name| Ulid::from_string(name).ok()) {
            let path = tombstones_path(id);
            let decoded = self.from.map(&path).ok().and_then(|bytes| Tombstones::decode(&path, &bytes).ok());
            let of = decoded.map(|(block, _)| block);
            let listed = manifest.blocks.iter_mut().find(|listed| Some(listed.id) == of);
            if let Some(listed) = listed {
                listed.tombstones = listed.tombstones.max(Some(id));
            }
        }
    }

    fn block(&mut self, listed: &ListedBlock) -> Result<()> {
        let mut block = match Block::open(self.from, listed.id) {
            Ok(block) => block,
            Err(error @ Error::NewerVersion { .. }) => return Err(error),
            Err(error) => match Block::salvage(self.from, listed.id) {
                Ok(block) => {
                    self.lose(format!("the chunks of block {} that are named below", listed.id), &error);
                    block
                }
                Err(_) => {
                    self.lose(format!("all samples of block {}", listed.id), &error);
                    return Ok(());
                }
            },
        };
        if let Some(file) = listed.tombstones {
            match Tombstones::load(self.from, file, listed.id, block.meta().series) {
                Ok(tombstones) => block = block.with_tombstones(tombstones),
                Err(error @ Error::NewerVersion { .. }) => return Err(error),
                Err(error) => {
                    let what = format!("what was deleted from block {} (those samples are back)", listed.id);
                    self.lose(what, &error);
                }
            }
        }
        let (mut ids, mut good): (Vec<u32>, Vec<Labels>) = (Vec::new(), Vec::new());
        for id in 0..u32::try_from(block.meta().series).unwrap_or(u32::MAX) {
            match series(&block, id, good.last()) {
                Err(error) => self.lose(format!("series {id} of block {}", listed.id), &error),
                Ok((labels, _)) => {
                    ids.push(id);
                    good.push(labels);
                }
            }
        }
        // Postings of an index that contradicts itself are not to be trusted: these are made of the labels.
        let source = ListedSeries::new(good);
        let dictionary = Dictionary::new([&source as &dyn PairSource])?;
        let mut writer = BlockWriter::create(Arc::clone(self.into), Ulid::generate(), &dictionary)?;
        for (number, id) in (0..).zip(ids) {
            let (labels, chunks) = series(&block, id, None)?;
            self.series(&block, (&labels, block.deleted(id)), &chunks, &mut writer)?;
            writer.end_series(&[(0, number)])?;
        }
        let meta = block.meta();
        let finished = writer.finish((meta.generation_first, meta.generation_last), meta.level)?;
        self.finished.extend(finished);
        Ok(())
    }

    /// Writes the chunks of a series that check out.
    fn series(
        &mut self,
        block: &Block,
        (labels, deleted): (&Labels, Option<Deleted>),
        chunks: &[(ChunkRef, TimesEntry)],
        writer: &mut BlockWriter<'_>,
    ) -> Result<()> {
        let mut samples = Samples::default();
        let mut sound = Vec::with_capacity(chunks.len());
        let mut in_order = true;
        for (chunk, times) in chunks {
            samples.clear();
            if let Err(error) = block.decode(*chunk, times, &mut samples) {
                let (count, range) = (times.count, times.range);
                let what = format!("{count} samples of {labels} from {} to {} ns", range.start, range.end);
                self.lose(what, &error);
                continue;
            }
            let previous = sound.last().map(|(_, times): &(ChunkRef, TimesEntry)| times.range.end);
            in_order &= disorder(&samples, times).is_none()
                && previous.is_none_or(|previous| previous < times.range.start);
            sound.push((*chunk, *times));
        }
        if in_order {
            copy_chunks(block, &sound, deleted.as_ref(), writer)?;
        } else {
            // Each sample is there, and the chunks are not what the index says of them: a query sorts them, too.
            samples.clear();
            sound.iter().try_for_each(|(chunk, times)| block.decode(*chunk, times, &mut samples))?;
            if let Some(deleted) = &deleted {
                deleted.remove_from(&mut samples, 0);
            }
            sort_last_wins(&mut samples);
            writer.samples(&samples, 0..samples.len())?;
        }
        Ok(())
    }

    /// Turns what the log holds into blocks. It is read as it is when the database is opened.
    fn log(&mut self, first: u64) -> Result<()> {
        let mut heads = Replayed::new(&Budget::unlimited());
        let what = "writes in the log";
        if first != 0 && !segment_numbers(self.from)?.contains(&first) {
            let file = self.from.display_path(&segment_path(first));
            let reason = "the manifest names this segment as the first, and it is missing";
            self.lose(what, &Error::corruption(file, 0, reason));
        }
        let (report, _) = read_log(self.from, first, &mut heads, &ReplayProgress::default())?;
        self.report.lost.extend(report.corruptions.iter().map(|damage| format!("{what}: {damage}")));
        if report.orphaned_samples > 0 {
            let lost = format!("{what}: the series of {} samples are not known", report.orphaned_samples);
            self.report.lost.push(lost);
        }
        let windows = Windows::new(Options::default().block_span, None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for head in heads.by_generation.into_values().filter(|head| !head.is_empty()) {
            let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
            self.finished.extend(seal(self.into, &head, &windows, now)?);
        }
        Ok(())
    }

    fn publish(mut self, next_generation: u64) -> Result<RepairReport> {
        let metas = || self.finished.iter().map(|block| block.meta());
        let newest = metas().map(|meta| meta.generation_last).max().unwrap_or_default();
        let manifest = Manifest {
            wal_first: 0,
            next_generation: next_generation.max(newest + 1),
            clock_ns: None,
            blocks: metas().map(|meta| ListedBlock::new(meta.id)).collect(),
        };
        self.report.blocks = self.finished.len() as u64;
        self.report.samples = metas().map(|meta| meta.samples).sum();
        manifest.store(&**self.into)?;
        self.finished.into_iter().for_each(FinishedBlock::keep);
        Ok(self.report)
    }
}

/// A series and its chunks, if it sorts after the one before.
fn series(
    block: &Block,
    id: u32,
    previous: Option<&Labels>,
) -> Result<(Labels, Vec<(ChunkRef, TimesEntry)>)> {
    let labels = block.index().labels(id)?;
    if previous.is_some_and(|previous| *previous >= labels) {
        return Err(Error::corruption(
            block.chunks_file(),
            0,
            format!("the series {labels} is out of order"),
        ));
    }
    let mut chunks = Vec::new();
    block.index().chunks(id, &mut chunks)?;
    Ok((labels, chunks))
}

/// Copies chunks, less what is deleted of them.
fn copy_chunks(
    block: &Block,
    chunks: &[(ChunkRef, TimesEntry)],
    deleted: Option<&Deleted>,
    writer: &mut BlockWriter<'_>,
) -> Result<()> {
    let mut samples = Samples::default();
    for (chunk, times) in chunks {
        match deleted {
            Some(deleted) if deleted.touches(times.range) => {
                samples.clear();
                block.decode(*chunk, times, &mut samples)?;
                deleted.remove_from(&mut samples, 0);
                writer.samples(&samples, 0..samples.len())?;
            }
            _ => writer.encoded(block.encoded(*chunk, times)?)?,
        }
    }
    Ok(())
}
