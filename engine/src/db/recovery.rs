//! Opening a database: the lock, the manifest, the blocks, the log.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use ulid::Ulid;

use super::clock::{Clock, machine_ns};
use super::maintenance::sort_blocks;
use super::pace::Foreground;
use super::quiet::Quiet;
use super::reserve::Reserve;
use super::snapshots::remove_unfinished;
use super::stats::Counters;
use super::{Core, HEAD_BYTES_FACTOR_MAX, LOCK_FILE};
use crate::block::{BLOCKS_DIR, Block, block_id, is_temporary};
use crate::budget::Budget;
use crate::directory::{Directory, DirectoryLock};
use crate::error::{Error, Result};
use crate::head::{Admission, Head, Replayed};
use crate::manifest::{ListedBlock, Manifest};
use crate::options::Options;
use crate::querier::{SealedHead, Snapshot};
use crate::tombstones::{TOMBSTONES_DIR, Tombstones, tombstones_id, tombstones_path};
use crate::wal::{
    ReplayProgress, ReplayReport, SegmentHeader, WAL_DIR, Wal, read_log, segment_names, segment_numbers,
    segment_path,
};

/// How often the log says that there is no space for a merge.
const NO_SPACE_INTERVAL: Duration = Duration::from_secs(600);

pub(super) fn open(
    directory: Arc<dyn Directory>,
    options: Options,
    progress: &ReplayProgress,
) -> Result<Core> {
    let start = Instant::now();
    let lock = prepare(&*directory)?;
    let mut manifest = load_manifest(&*directory)?;
    name_foreign_files(&*directory)?;
    let log_begins = manifest.wal_first == 0 || segment_numbers(&*directory)?.contains(&manifest.wal_first);
    tolerate(remove_leftovers(&*directory, &manifest, log_begins))?;
    let (blocks, unreadable) = open_blocks(&*directory, &manifest)?;
    let head_memory = Budget::new("head_bytes_max", new_series_bytes_max(options.head_bytes_max));
    let mut heads = Heads { replayed: Replayed::new(&head_memory) };
    let (mut report, tail) = read_log(&*directory, manifest.wal_first, &mut heads.replayed, progress)?;
    if !log_begins {
        report.corruptions.push(report_missing_log(&*directory, &manifest));
    }
    let (active, sealed) = heads.into_active_and_sealed(&report, manifest.next_generation, &head_memory);
    let header = SegmentHeader {
        number: report.last_segment.max(manifest.wal_first) + 1,
        generation: active.generation(),
        sequence: report.next_sequence,
    };
    let wal = Wal::begin(Arc::clone(&directory), options.wal_sync, header, tail)?;
    let clock_ns =
        clock_begins(&manifest, &blocks, sealed.iter().map(|sealed| &*sealed.head).chain([&active]));
    manifest.clock_ns = Some(clock_ns);
    if active.is_empty() && sealed.is_empty() && report.corruptions.is_empty() && wal.failure().is_none() {
        let next = Manifest { wal_first: header.number, ..manifest.clone() };
        match next.store(&*directory) {
            Ok(()) => {
                manifest = next;
                tolerate(remove_segments(&*directory, header.number))?;
            }
            // The old one lists the same blocks.
            stored => tolerate(stored)?,
        }
    }
    log_report(&report, &blocks, &active, start, progress);
    let counters = Counters::new(&report);
    let admission = Admission::new(&options);
    let reserve = Reserve::open(Arc::clone(&directory));
    let merge_memory = Budget::new("memory_bytes_max (its share for merges)", options.merge_bytes_max);
    Ok(Core {
        directory,
        options,
        wal,
        view: RwLock::new(Snapshot {
            blocks,
            unreadable: unreadable.into(),
            sealed,
            active: Arc::new(active),
        }),
        switch: RwLock::new(()),
        manifest: Mutex::new(manifest),
        flush: Mutex::new(()),
        compaction: Mutex::default(),
        counters,
        foreground: Foreground::default(),
        head_memory,
        merge_memory,
        admission,
        clock: Clock::new(clock_ns),
        reserve,
        no_space: Quiet::new(NO_SPACE_INTERVAL),
        closed: AtomicBool::new(false),
        lock: Mutex::new(Some(lock)),
    })
}

/// Goes on where a full or read-only disk keeps something that is not needed from going.
fn tolerate(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.is_passing() => {
            tracing::warn!(%error, "what is no longer needed stays until a later start");
            Ok(())
        }
        done => done,
    }
}

/// New series are refused from so many bytes of all heads on: seven eighths of where writes are.
fn new_series_bytes_max(head_bytes_max: usize) -> usize {
    head_bytes_max.saturating_mul(HEAD_BYTES_FACTOR_MAX) / 8 * 7
}

/// Makes the folders and takes the lock.
fn prepare(directory: &dyn Directory) -> Result<Box<dyn DirectoryLock>> {
    let lock_file = Path::new(LOCK_FILE);
    let lock = directory.lock(lock_file).map_err(|e| {
        let file = directory.display_path(lock_file);
        if e.kind() == io::ErrorKind::WouldBlock {
            Error::Locked { file }
        } else {
            Error::io("lock", file, e)
        }
    })?;
    for folder in [WAL_DIR, BLOCKS_DIR] {
        let folder = Path::new(folder);
        directory
            .create_dir_all(folder)
            .and_then(|()| directory.sync_dir(Path::new("")))
            .map_err(|e| Error::io("create", directory.display_path(folder), e))?;
    }
    Ok(lock)
}

/// Where the retention clock begins: where it was, or at the newest sample where nobody knows. One of the future does not count,
/// and while there is no sample nothing can expire.
fn clock_begins<'a>(
    manifest: &Manifest,
    blocks: &[Arc<Block>],
    heads: impl Iterator<Item = &'a Head>,
) -> i64 {
    let in_heads = heads.filter(|head| !head.is_empty()).map(|head| head.range().end);
    let newest = blocks.iter().map(|block| block.meta().range.end).chain(in_heads).max();
    let machine_ns = machine_ns();
    match (manifest.clock_ns, newest) {
        (Some(kept), _) if !manifest.blocks.is_empty() || newest.is_some() => kept,
        (None, Some(newest)) => newest.min(machine_ns),
        _ => machine_ns,
    }
}

/// The manifest; a new database gets an empty one, so that a missing one is known to be lost.
fn load_manifest(directory: &dyn Directory) -> Result<Manifest> {
    let loaded = Manifest::load(directory).map_err(|error| match error {
        Error::Corruption { file, offset, reason } => {
            Error::Corruption { file, offset, reason: format!("{reason}: restore it from a backup") }
        }
        other => other,
    });
    if let Some(manifest) = loaded? {
        return Ok(manifest);
    }
    let blocks = list(directory, BLOCKS_DIR)?;
    if let Some(block) = blocks.iter().find(|name| block_id(name).is_some()) {
        let file = directory.display_path(Path::new(crate::manifest::MANIFEST_FILE));
        return Err(Error::corruption(
            file,
            0,
            format!("it is missing, and there are blocks, {block} for one: restore it from a backup"),
        ));
    }
    let manifest = Manifest { next_generation: 1, clock_ns: Some(machine_ns()), ..Manifest::default() };
    manifest.store(directory)?;
    Ok(manifest)
}

fn list(directory: &dyn Directory, folder: &str) -> Result<Vec<String>> {
    let folder = Path::new(folder);
    directory.list(folder).map_err(|e| Error::io("list", directory.display_path(folder), e))
}

/// Says that the manifest names a log segment that is not there: either it was restored from a backup that is older than
/// the rest, or the segment was removed.
fn report_missing_log(directory: &dyn Directory, manifest: &Manifest) -> String {
    let segment = directory.display_path(&segment_path(manifest.wal_first));
    let reason = "the manifest names this segment as the first, and it is missing: what it held is lost, unless it can be \
                  restored together with a manifest of the same time";
    let error = Error::corruption(segment, 0, reason);
    tracing::error!(%error, "the WAL is damaged");
    error.to_string()
}

/// What a block is called that the manifest should list and does not.
const UNLISTED_SUFFIX: &str = ".unlisted";

/// Removes blocks that were not finished or are no longer listed, and log segments that blocks have replaced. What
/// somebody else put there stays. Where the manifest does not fit the log (`!trusted`), finished blocks are only set aside.
fn remove_leftovers(directory: &dyn Directory, manifest: &Manifest, trusted: bool) -> Result<()> {
    for name in list(directory, BLOCKS_DIR)?.into_iter().filter(|name| is_block(name)) {
        let id = block_id(&name);
        if id.is_some_and(|id| manifest.block(id).is_some()) {
            continue;
        }
        let path = Path::new(BLOCKS_DIR).join(&name);
        let shown = directory.display_path(&path);
        if id.is_some() && !trusted {
            let aside = Path::new(BLOCKS_DIR).join(format!("{name}{UNLISTED_SUFFIX}"));
            directory.rename(&path, &aside).map_err(|e| Error::io("rename", &shown, e))?;
            tracing::error!(block = %shown.display(), "the manifest does not list this block: it is set aside");
        } else {
            directory.remove_dir_all(&path).map_err(|e| Error::io("remove", &shown, e))?;
        }
    }
    if trusted {
        remove_tombstones(directory, manifest)?;
    }
    remove_unfinished(directory)?;
    remove_segments(directory, manifest.wal_first)
}

/// Whether this is the folder of a block, finished or not.
fn is_block(name: &str) -> bool {
    block_id(name).is_some() || is_temporary(name)
}

/// Names what is in the folders and not from this program. It is left alone.
fn name_foreign_files(directory: &dyn Directory) -> Result<()> {
    let mut blocks = list(directory, BLOCKS_DIR)?;
    blocks.retain(|name| !is_block(name));
    let mut tombstones = list_tombstones(directory)?;
    tombstones.retain(|name| tombstones_id(name).is_none());
    let segments = segment_names(directory)?.foreign;
    for (folder, names, what) in [
        (BLOCKS_DIR, blocks, "what is no block is left alone: move it elsewhere"),
        (TOMBSTONES_DIR, tombstones, "what is no file of tombstones is left alone: move it elsewhere"),
        (WAL_DIR, segments, "what is no segment of the write-ahead log is left alone: move it elsewhere"),
    ] {
        if !names.is_empty() {
            let folder = directory.display_path(Path::new(folder));
            tracing::warn!(folder = %folder.display(), ?names, "{what}");
        }
    }
    Ok(())
}

fn list_tombstones(directory: &dyn Directory) -> Result<Vec<String>> {
    let folder = Path::new(TOMBSTONES_DIR);
    match directory.list(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(|e| Error::io("list", directory.display_path(folder), e)),
    }
}

/// Removes the tombstones that the manifest does not name.
fn remove_tombstones(directory: &dyn Directory, manifest: &Manifest) -> Result<()> {
    let listed: Vec<Ulid> = manifest.tombstones().collect();
    let ours = list_tombstones(directory)?.into_iter().filter_map(|name| tombstones_id(&name));
    for id in ours.filter(|id| !listed.contains(id)) {
        let path = tombstones_path(id);
        directory.remove_file(&path).map_err(|e| Error::io("remove", directory.display_path(&path), e))?;
    }
    Ok(())
}

/// Removes the log segments before number `first`.
fn remove_segments(directory: &dyn Directory, first: u64) -> Result<()> {
    for number in segment_numbers(directory)?.into_iter().filter(|number| *number < first) {
        let path = segment_path(number);
        let removed = directory.remove_file(&path);
        removed.map_err(|e| Error::io("remove", directory.display_path(&path), e))?;
    }
    Ok(())
}

/// Opens the blocks that check out, and names the others. A damaged one stays on disk and in the manifest.
fn open_blocks(directory: &dyn Directory, manifest: &Manifest) -> Result<(Vec<Arc<Block>>, Vec<Ulid>)> {
    let (mut blocks, mut unreadable) = (Vec::new(), Vec::new());
    for listed in &manifest.blocks {
        match open_listed(directory, listed) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(error @ Error::Corruption { .. }) => {
                report_unreadable(listed.id, &error);
                unreadable.push(listed.id);
            }
            // A read that failed may succeed the next time: better no database than one without the block.
            Err(error) => return Err(error),
        }
    }
    sort_blocks(&mut blocks);
    Ok((blocks, unreadable))
}

/// A block with its tombstones: without them it would bring back what was deleted.
fn open_listed(directory: &dyn Directory, listed: &ListedBlock) -> Result<Block> {
    let block = Block::open(directory, listed.id)?;
    let Some(id) = listed.tombstones else { return Ok(block) };
    Ok(block.with_tombstones(Tombstones::load(directory, id, listed.id, block.meta().series)?))
}

fn report_unreadable(id: Ulid, error: &Error) {
    tracing::error!(
        block = %id, %error,
        "a block cannot be read and is left out, and no blocks are merged as long as it is: restore its folder from a backup"
    );
}

/// The heads that a replay fills. They take no more memory than while the server ran: the log holds what those heads held
/// that were not yet blocks, and writes are refused before these pass their bound ([`Core::check_room`]). Those before the
/// newest are sealed as soon as the database is open.
#[derive(Debug)]
struct Heads {
    replayed: Replayed,
}

impl Heads {
    /// The newest head goes on, if it has samples; else a fresh one takes its place, so that segments without samples need
    /// not be kept. Those before it were being sealed when the log ended.
    fn into_active_and_sealed(
        mut self,
        report: &ReplayReport,
        next_generation: u64,
        memory: &Arc<Budget>,
    ) -> (Head, Vec<SealedHead>) {
        // Behind damage a fresh head begins, so that group numbers which the damage freed are not used again.
        let goes_on = |head: &Head| !head.is_empty() && report.corruptions.is_empty();
        let newest = match self.replayed.by_generation.get(&report.last_generation) {
            Some(head) if goes_on(head) => self.replayed.by_generation.remove(&report.last_generation),
            _ => None,
        };
        let fresh = next_generation.max(report.last_generation + 1);
        let active = newest.unwrap_or_else(|| Head::new(fresh, memory));
        let next_segment = |generation: u64| {
            let next = report.generations.iter().find(|(other, _)| *other > generation);
            next.map_or(report.last_segment + 1, |(_, segment)| *segment)
        };
        let sealed = self.replayed.by_generation.into_iter().filter(|(_, head)| !head.is_empty());
        let sealed = sealed.map(|(generation, head)| SealedHead {
            head: Arc::new(head),
            next_segment: next_segment(generation),
        });
        (active, sealed.collect())
    }
}

fn log_report(
    report: &ReplayReport,
    blocks: &[Arc<Block>],
    active: &Head,
    start: Instant,
    progress: &ReplayProgress,
) {
    tracing::info!(
        blocks = blocks.len(),
        wal_segments = report.segments,
        wal_records = report.records,
        wal_samples = report.samples,
        wal_bytes = report.bytes,
        torn_bytes = report.torn_bytes,
        corruptions = report.corruptions.len(),
        orphaned_samples = report.orphaned_samples,
        head_series = active.stats().series,
        replay_took = ?progress.state().took,
        took = ?start.elapsed(),
        "opened the database"
    );
}
