//! Heads become blocks, blocks become larger blocks, and old ones go. Each step swaps the manifest once, after
//! what it lists is durable and before what it no longer lists is removed.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ulid::Ulid;

use super::Core;
use crate::block::{Block, BlockMeta, block_path};
use crate::compaction::{Choice, Policy};
use crate::error::{Error, Result};
use crate::head::Head;
use crate::manifest::Manifest;
use crate::merge::{merge, seal};
use crate::querier::SealedHead;
use crate::wal::{segment_numbers, segment_path};

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
        self.seal_active()?;
        let mut report = FlushReport::default();
        loop {
            let Some(sealed) = self.view.read().sealed.first().cloned() else { break };
            let start = Instant::now();
            let span = i64::try_from(self.options.block_span.as_nanos()).unwrap_or(i64::MAX);
            let blocks = seal(&self.directory, &sealed.head, span)?;
            self.publish_sealed(&sealed, &blocks)?;
            self.forget_segments(sealed.next_segment);
            let samples: u64 = blocks.iter().map(|block| block.samples).sum();
            report.blocks += blocks.len();
            report.samples += samples;
            self.counters.flushed();
            tracing::info!(blocks = blocks.len(), samples, took = ?start.elapsed(), "sealed the head into blocks");
        }
        Ok(report)
    }

    /// Puts an empty head in place of the active one, if that has samples.
    fn seal_active(&self) -> Result<()> {
        let _switch = self.switch.write();
        let active = Arc::clone(&self.view.read().active);
        if active.is_empty() {
            return Ok(());
        }
        let generation = active.generation() + 1;
        let header = self.wal.rotate(generation)?;
        let mut view = self.view.write();
        view.sealed.push(SealedHead { head: active, next_segment: header.number });
        view.active = Arc::new(Head::new(generation));
        Ok(())
    }

    /// Makes the blocks of a sealed head part of the database, and the head no longer.
    fn publish_sealed(&self, sealed: &SealedHead, metas: &[BlockMeta]) -> Result<()> {
        let blocks = self.open_blocks(metas)?;
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.wal_first = sealed.next_segment;
        next.next_generation = next.next_generation.max(sealed.head.generation() + 2);
        next.blocks.extend(metas.iter().map(|meta| meta.id));
        self.swap(&mut manifest, next)?;
        let mut view = self.view.write();
        view.sealed.retain(|other| !Arc::ptr_eq(&other.head, &sealed.head));
        view.blocks.extend(blocks);
        sort_blocks(&mut view.blocks);
        Ok(())
    }

    fn open_blocks(&self, metas: &[BlockMeta]) -> Result<Vec<Arc<Block>>> {
        metas.iter().map(|meta| Block::open(&*self.directory, meta.id).map(Arc::new)).collect()
    }

    fn swap(&self, manifest: &mut Manifest, next: Manifest) -> Result<()> {
        next.store(&*self.directory)?;
        *manifest = next;
        Ok(())
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
        let _one = self.compaction.lock();
        let mut report = CompactionReport::default();
        loop {
            let outcome = match self.choose() {
                Choice::DoNothing => return Ok(report),
                Choice::Drop(ids) => {
                    report.expired += ids.len();
                    self.replace_blocks(&ids, &[])
                }
                Choice::Merge(ids) => self.merge_blocks(&ids).map(|created| {
                    report.merged += ids.len();
                    report.created += created;
                }),
            };
            self.counters.compacted(outcome.is_ok());
            outcome?;
        }
    }

    /// Whether there is something to compact.
    pub(super) fn wants_compaction(&self) -> bool {
        self.choose() != Choice::DoNothing
    }

    fn choose(&self) -> Choice {
        match self.policy().choose(&self.metas(), now_ns()) {
            // Nobody knows between which blocks an unreadable one belongs: once it is restored, it must still
            // find the blocks before and after it apart, or an old write would win.
            Choice::Merge(_) if self.counters.blocks_unreadable() > 0 => Choice::DoNothing,
            choice => choice,
        }
    }

    fn policy(&self) -> Policy {
        let ns = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Policy { block_span_ns: ns(self.options.block_span), retention_ns: self.options.retention.map(ns) }
    }

    fn metas(&self) -> Vec<BlockMeta> {
        self.view.read().blocks.iter().map(|block| *block.meta()).collect()
    }

    fn merge_blocks(&self, ids: &[Ulid]) -> Result<usize> {
        let start = Instant::now();
        let mut blocks = self.view.read().blocks.clone();
        blocks.retain(|block| ids.contains(&block.meta().id));
        let merged: Vec<BlockMeta> = merge(&self.directory, &blocks)?.into_iter().collect();
        self.replace_blocks(ids, &merged)?;
        let samples: u64 = merged.iter().map(|meta| meta.samples).sum();
        tracing::info!(blocks = ids.len(), samples, took = ?start.elapsed(), "merged blocks");
        Ok(merged.len())
    }

    fn replace_blocks(&self, old: &[Ulid], new: &[BlockMeta]) -> Result<()> {
        let opened = self.open_blocks(new)?;
        {
            let mut manifest = self.manifest.lock();
            let mut next = manifest.clone();
            next.blocks.retain(|id| !old.contains(id));
            next.blocks.extend(new.iter().map(|meta| meta.id));
            self.swap(&mut manifest, next)?;
            let mut view = self.view.write();
            view.blocks.retain(|block| !old.contains(&block.meta().id));
            view.blocks.extend(opened);
            sort_blocks(&mut view.blocks);
        }
        for id in old {
            // Snapshots that still read the block have its files mapped, which outlives their names.
            if let Err(error) = self.directory.remove_dir_all(&block_path(*id)) {
                tracing::warn!(block = %id, %error, "a block that is no longer needed stays for now");
            }
        }
        Ok(())
    }
}

/// Oldest writes first.
pub(super) fn sort_blocks(blocks: &mut [Arc<Block>]) {
    blocks.sort_by_key(|block| (block.meta().generation_last, block.meta().range.start));
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// What [`Error`] a maintenance step may meet that is no fault of the disk.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::WritesRefused { .. } | Error::Closed)
}
