//! Heads become blocks, blocks become larger blocks, and old ones go. Each step swaps the manifest once, after
//! what it lists is durable and before what it no longer lists is removed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use ulid::Ulid;

use super::Core;
use super::clock::machine_ns;
use super::deletes::{TombstoneFiles, carry_over};
use super::pace::Pace;
use super::reserve::FREE_BYTES_MIN;
use crate::block::{BLOCKS_DIR, Block, BlockMeta, FinishedBlock, block_path};
use crate::compaction::{Choice, Policy};
use crate::error::{Error, Result};
use crate::head::{Head, HeadStats};
use crate::manifest::{ListedBlock, Manifest};
use crate::merge::{merge, seal};
use crate::querier::SealedHead;
use crate::wal::{segment_numbers, segment_path};
use crate::windows::Windows;

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Blocks written.
    pub blocks: usize,
    /// Samples in them.
    pub samples: u64,
}

/// What compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Blocks that were merged into others.
    pub merged: usize,
    /// Blocks that were written.
    pub created: usize,
    /// Blocks that were dropped because of their age.
    pub expired: usize,
}

impl Core {
    pub(super) fn flush(&self) -> Result<FlushReport> {
        let _one = self.flush.lock();
        self.check_open()?;
        self.seal_all()
    }

    /// Whether a head waits to become blocks.
    pub(super) fn wants_flush(&self) -> bool {
        let view = self.view.read();
        !view.sealed.is_empty() || self.is_large(&view.active)
    }

    /// The last flush; afterwards nobody touches the directory. `closed` is set already.
    pub(super) fn close(&self) -> Result<()> {
        let _compaction = self.compaction.lock();
        let _flush = self.flush.lock();
        let outcome = self.seal_all().map(|_| ());
        // When sealing failed early, batches may still be under way.
        drop(self.switch.write());
        self.lock.lock().take();
        outcome
    }

    /// Writes out the heads that are sealed before it seals the active one: as long as that fails, there is no other.
    pub(super) fn seal_all(&self) -> Result<FlushReport> {
        let mut report = FlushReport::default();
        self.write_out_sealed(&mut report)?;
        self.seal_active()?;
        self.write_out_sealed(&mut report)?;
        Ok(report)
    }

    fn write_out_sealed(&self, report: &mut FlushReport) -> Result<()> {
        let windows = self.windows();
        loop {
            let Some(sealed) = self.view.read().sealed.first().cloned() else { return Ok(()) };
            let start = Instant::now();
            let blocks = seal(&self.directory, &sealed.head, &windows, machine_ns())?;
            let samples: u64 = blocks.iter().map(|block| block.meta().samples).sum();
            let count = blocks.len();
            self.publish_sealed(&sealed, blocks)?;
            self.forget_segments(sealed.next_segment);
            report.blocks += count;
            report.samples += samples;
            self.counters.flushed();
            let HeadStats { series, bytes, .. } = sealed.head.stats();
            tracing::info!(blocks = count, samples, series, bytes, took = ?start.elapsed(), "sealed the head into blocks");
        }
    }

    /// Puts an empty head in place of the active one, if that has samples, or too many series without any.
    fn seal_active(&self) -> Result<()> {
        let _switch = self.switch.write();
        let active = Arc::clone(&self.view.read().active);
        if active.is_empty() && !self.is_large(&active) {
            return Ok(());
        }
        let generation = active.generation() + 1;
        let header = self.wal.rotate(generation)?;
        let mut view = self.view.write();
        view.sealed.push(SealedHead { head: active, next_segment: header.number });
        view.active = Arc::new(Head::new(generation, &self.head_memory));
        Ok(())
    }

    /// Makes the blocks of a sealed head part of the database, and the head no longer.
    fn publish_sealed(&self, sealed: &SealedHead, finished: Vec<FinishedBlock>) -> Result<()> {
        let blocks = self.open_blocks(&finished)?;
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.wal_first = sealed.next_segment;
        next.next_generation = next.next_generation.max(sealed.head.generation() + 2);
        next.blocks.extend(finished.iter().map(|block| ListedBlock::new(block.meta().id)));
        self.swap(&mut manifest, next, finished, TombstoneFiles::new(Arc::clone(&self.directory)))?;
        let mut view = self.view.write();
        self.counters.published(&sealed.head);
        view.sealed.retain(|other| !Arc::ptr_eq(&other.head, &sealed.head));
        view.blocks.extend(blocks);
        sort_blocks(&mut view.blocks);
        Ok(())
    }

    fn open_blocks(&self, finished: &[FinishedBlock]) -> Result<Vec<Arc<Block>>> {
        finished.iter().map(|block| Block::open(&*self.directory, block.meta().id).map(Arc::new)).collect()
    }

    /// Makes `next`, which names the blocks and the tombstones that are `added`, the manifest.
    pub(super) fn swap(
        &self,
        manifest: &mut Manifest,
        mut next: Manifest,
        added: Vec<FinishedBlock>,
        mut tombstones: TombstoneFiles,
    ) -> Result<()> {
        tombstones.sync()?;
        let stored = self.reserve.pay(|| self.store(&mut next));
        // A store that failed late may have put the new manifest in place all the same: then what it names must stay.
        let in_place = match &stored {
            Ok(()) => Some(next.clone()),
            Err(_) => Manifest::load(&*self.directory).ok().flatten(),
        };
        for block in added {
            if in_place.as_ref().is_none_or(|manifest| manifest.block(block.meta().id).is_some()) {
                block.keep();
            }
        }
        tombstones.keep_if(|file| {
            in_place.as_ref().is_none_or(|manifest| manifest.tombstones().any(|listed| listed == file))
        });
        stored?;
        *manifest = next;
        Ok(())
    }

    /// Stores a manifest, with the time that the retention clock shows.
    pub(super) fn store(&self, manifest: &mut Manifest) -> Result<()> {
        manifest.clock_ns = Some(self.clock.times().kept_ns);
        self.clock.stored(manifest.clock_ns);
        manifest.store(&*self.directory)
    }

    /// Removes the log segments before `first`. What cannot be removed now is removed when the database is opened.
    fn forget_segments(&self, first: u64) {
        let numbers = segment_numbers(&*self.directory).unwrap_or_default();
        for number in numbers.into_iter().filter(|number| *number < first) {
            if let Err(error) = self.directory.remove_file(&segment_path(number)) {
                tracing::warn!(segment = number, %error, "a WAL segment that is no longer needed stays for now");
            }
        }
    }

    pub(super) fn compact(&self) -> Result<CompactionReport> {
        let mut failed = self.compaction.lock();
        let mut report = CompactionReport::default();
        let mut damage = None;
        let mut no_space: Vec<Vec<Ulid>> = Vec::new();
        loop {
            self.check_open()?;
            let choice = self.choose(&[failed.as_slice(), &no_space].concat());
            let outcome = match &choice {
                Choice::DoNothing => return damage.map_or(Ok(report), Err),
                Choice::Drop(ids) => self.drop_expired(ids).map(|()| report.expired += ids.len()),
                Choice::Merge(ids) => self.merge_blocks(ids).map(|created| {
                    report.merged += ids.len();
                    report.created += created;
                }),
            };
            let is_put_off = outcome.as_ref().is_err_and(Error::is_no_space);
            if !is_put_off && !matches!(outcome, Err(Error::Closed)) {
                self.counters.compacted(outcome.is_ok());
            }
            match (outcome, choice) {
                (Ok(()), _) => {}
                // What is smaller, or expires, goes on.
                (Err(error), Choice::Merge(ids)) if error.is_no_space() => {
                    no_space.push(ids);
                    if self.no_space.is_due() {
                        tracing::warn!(%error, "there is no space to merge blocks: they stay as they are for now");
                    }
                }
                // What is wrong with the blocks stays wrong, and is no reason to leave the others alone.
                (Err(error @ (Error::Corruption { .. } | Error::Limit { .. })), Choice::Merge(ids)) => {
                    failed.push(ids);
                    if let Some(earlier) = damage.replace(error) {
                        tracing::error!(error = %earlier, "blocks cannot be merged and stay as they are");
                    }
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    fn choose(&self, failed: &[Vec<Ulid>]) -> Choice {
        let (metas, deleted) = self.metas_and_deleted();
        let policy = Policy { windows: self.windows() };
        match policy.choose(&metas, &deleted, failed, machine_ns(), self.oldest_ns()) {
            // Nobody knows between which blocks an unreadable one belongs: once it is restored, it must still
            // find the blocks before and after it apart, or an old write would win. A single block stays where it is.
            Choice::Merge(ids) if ids.len() > 1 && !self.view.read().unreadable.is_empty() => {
                Choice::DoNothing
            }
            choice => choice,
        }
    }

    fn windows(&self) -> Windows {
        Windows::new(self.options.block_span, self.options.retention)
    }

    fn metas_and_deleted(&self) -> (Vec<BlockMeta>, Vec<(Ulid, u64)>) {
        let view = self.view.read();
        let metas = view.blocks.iter().map(|block| *block.meta());
        let deleted = |block: &Arc<Block>| Some((block.meta().id, block.tombstones()?.samples()));
        (metas.collect(), view.blocks.iter().filter_map(deleted).collect())
    }

    /// The blocks with these ids, oldest writes first.
    pub(super) fn blocks(&self, ids: &[Ulid]) -> Vec<Arc<Block>> {
        let view = self.view.read();
        view.blocks.iter().filter(|block| ids.contains(&block.meta().id)).cloned().collect()
    }

    /// Drops blocks that are older than the retention.
    fn drop_expired(&self, ids: &[Ulid]) -> Result<()> {
        let blocks = self.blocks(ids);
        let oldest_ns = self.oldest_ns();
        self.replace_blocks(&blocks, None)?;
        for meta in blocks.iter().map(|block| block.meta()) {
            self.counters.expired(meta.samples);
            tracing::info!(
                block = %meta.id, from = %utc(meta.range.start), to = %utc(meta.range.end), samples = meta.samples,
                oldest = %utc(oldest_ns), retention = ?self.options.retention.unwrap_or_default(),
                "dropped a block: all its samples are older than the retention, by the retention clock"
            );
        }
        Ok(())
    }

    /// Makes one block of some, or writes one anew without what is deleted. The caller holds `compaction`.
    pub(super) fn merge_blocks(&self, ids: &[Ulid]) -> Result<usize> {
        let start = Instant::now();
        let blocks = self.blocks(ids);
        let pace = Pace::new(&self.foreground);
        let go_on = || {
            pace.step();
            self.check_open()
        };
        let merged = match self.check_space(&blocks)? {
            // Nothing is left of them.
            0 => self.reserve.pay(|| merge(&self.directory, &blocks, &self.merge_memory, go_on))?,
            _ => merge(&self.directory, &blocks, &self.merge_memory, go_on)?,
        };
        let (created, samples) = merged.as_ref().map_or((0, 0), |block| (1, block.meta().samples));
        self.replace_blocks(&blocks, merged)?;
        tracing::info!(blocks = ids.len(), samples, took = ?start.elapsed(), "merged blocks");
        Ok(created)
    }

    /// The bytes that a merge of these blocks may take, when there is space for them.
    fn check_space(&self, blocks: &[Arc<Block>]) -> Result<u64> {
        let left = |block: &Arc<Block>| {
            let (samples, bytes) = (block.meta().samples.max(1), block.bytes());
            let deleted = block.tombstones().map_or(0, |tombstones| tombstones.samples()).min(samples);
            (u128::from(bytes) * u128::from(samples - deleted)).div_ceil(u128::from(samples)) as u64
        };
        let needed: u64 = blocks.iter().map(left).sum();
        match self.directory.free_bytes() {
            Ok(free) if needed > 0 && free < needed.saturating_add(FREE_BYTES_MIN) => {
                let reason = format!("a merge may take {needed} bytes, and {free} are free");
                let folder = self.directory.display_path(Path::new(BLOCKS_DIR));
                Err(Error::io("write to", folder, io::Error::new(io::ErrorKind::StorageFull, reason)))
            }
            _ => Ok(needed),
        }
    }

    /// Puts a block, or none, in place of others, which come as they were when the new one was made of them.
    pub(super) fn replace_blocks(&self, old: &[Arc<Block>], new: Option<FinishedBlock>) -> Result<()> {
        let new: Vec<FinishedBlock> = new.into_iter().collect();
        let mut opened = self.open_blocks(&new)?;
        let is_old = |id: Ulid| old.iter().any(|block| block.meta().id == id);
        let removed: Vec<ListedBlock> = {
            let mut manifest = self.manifest.lock();
            let mut next = manifest.clone();
            let removed = next.blocks.extract_if(.., |block| is_old(block.id)).collect();
            let now = self.view.read().blocks.clone();
            let mut files = TombstoneFiles::new(Arc::clone(&self.directory));
            for block in &mut opened {
                let mut listed = ListedBlock::new(block.meta().id);
                // What was deleted meanwhile stays deleted.
                if let Some(tombstones) = carry_over(old, &now, block)? {
                    listed.tombstones = Some(files.write(&tombstones, listed.id)?);
                    *block = Arc::new(block.with_tombstones(tombstones));
                }
                next.blocks.push(listed);
            }
            self.swap(&mut manifest, next, new, files)?;
            let mut view = self.view.write();
            view.blocks.retain(|block| !is_old(block.meta().id));
            view.blocks.extend(opened);
            sort_blocks(&mut view.blocks);
            removed
        };
        self.forget_blocks(&removed);
        Ok(())
    }

    /// Removes blocks that are not listed any more. What cannot be removed now is removed when the database is opened.
    fn forget_blocks(&self, removed: &[ListedBlock]) {
        for ListedBlock { id, tombstones } in removed {
            // Snapshots that still read the block have its files mapped, which outlives their names.
            if let Err(error) = self.directory.remove_dir_all(&block_path(*id)) {
                tracing::warn!(block = %id, %error, "a block that is no longer needed stays for now");
            }
            tombstones.iter().for_each(|file| self.forget_tombstones(*file));
        }
    }
}

/// A time, nanoseconds since the epoch, as a person reads it.
fn utc(time_ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(time_ns.into()).unwrap_or_default()
}

/// Oldest writes first.
pub(super) fn sort_blocks(blocks: &mut [Arc<Block>]) {
    blocks.sort_by_key(|block| (block.meta().generation_last, block.meta().range.start));
}
