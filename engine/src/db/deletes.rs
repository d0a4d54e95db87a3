//! Deletes: tombstones for what the blocks hold, in one swap of the manifest. The page on tombstones says why it is this way.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use croaring::Bitmap;
use ulid::Ulid;

use super::{CompactionReport, Core};
use crate::block::{Block, block_path};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::time::TimeRange;
use crate::tombstones::{TOMBSTONES_DIR, Tombstones, tombstones_path};
use crate::watch::Watch;

/// What a delete did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Blocks in which something is hidden that was not before.
    pub blocks: usize,
    /// Series that matched, each counted once a block.
    pub series: u64,
    /// Samples that are hidden and were not before, estimated from the times of chunks.
    pub samples: u64,
}

/// A block's tombstones after a delete.
struct AfterDelete {
    tombstones: Tombstones,
    series: u64,
    samples: u64,
}

impl Core {
    pub(super) fn delete(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<DeleteReport> {
        // While this is held no head becomes blocks: all blocks hold what was written before.
        let _one = self.flush.lock();
        self.check_open()?;
        self.check_readable()?;
        if self.heads_may_hold(selectors, range)? {
            self.seal_all()?;
        }
        let report = self.reserve.pay(|| self.hide(selectors, range))?;
        self.counters.deleted();
        Ok(report)
    }

    /// Nobody knows which samples of an unreadable block are meant; once it is restored they would be back.
    fn check_readable(&self) -> Result<()> {
        match self.view.read().unreadable.first() {
            None => Ok(()),
            Some(id) => {
                let folder = self.directory.display_path(&block_path(*id));
                let reason = "this block cannot be read, so nothing can be deleted from it, and deletes are refused: restore \
                              its folder from a backup, or salvage the rest with `timberline repair`";
                Err(Error::corruption(folder, 0, reason))
            }
        }
    }

    fn heads_may_hold(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<bool> {
        let view = self.view.read().clone();
        for head in view.sealed.iter().map(|sealed| &sealed.head).chain([&view.active]) {
            for selector in selectors {
                if head.count_series(selector, range)? > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Writes and shows the tombstones of a delete.
    fn hide(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<DeleteReport> {
        let mut replaced: Vec<Ulid> = Vec::new();
        let mut hidden: Vec<Arc<Block>> = Vec::new();
        let mut report = DeleteReport::default();
        {
            let mut manifest = self.manifest.lock();
            let mut next = manifest.clone();
            let mut files = TombstoneFiles::new(Arc::clone(&self.directory));
            let blocks = self.view.read().blocks.clone();
            for block in &blocks {
                let Some(after) = with_deleted(block, selectors, range)? else { continue };
                let AfterDelete { tombstones, series, samples } = after;
                report.blocks += 1;
                report.series += series;
                report.samples += samples;
                let id = block.meta().id;
                let file = files.write(&tombstones, id)?;
                let listed = next.blocks.iter_mut().filter(|listed| listed.id == id);
                replaced.extend(listed.filter_map(|listed| listed.tombstones.replace(file)));
                hidden.push(Arc::new(block.with_tombstones(tombstones)));
            }
            if hidden.is_empty() {
                return Ok(report);
            }
            self.swap(&mut manifest, next, Vec::new(), files)?;
            let mut view = self.view.write();
            for block in &mut view.blocks {
                if let Some(hidden) = hidden.iter().find(|hidden| hidden.meta().id == block.meta().id) {
                    *block = Arc::clone(hidden);
                }
            }
        }
        replaced.into_iter().for_each(|file| self.forget_tombstones(file));
        Ok(report)
    }

    /// Writes each block that has tombstones anew without what they hide.
    pub(super) fn clean_tombstones(&self) -> Result<CompactionReport> {
        let _one = self.compaction.lock();
        self.check_open()?;
        let mut report = CompactionReport::default();
        let mut damage = None;
        let view = self.view.read().clone();
        for block in view.blocks.iter().filter(|block| block.tombstones().is_some()) {
            self.check_open()?;
            match self.merge_blocks(&[block.meta().id]) {
                Ok(created) => {
                    report.merged += 1;
                    report.created += created;
                }
                // No reason to leave the others alone.
                Err(error @ Error::Corruption { .. }) => drop(damage.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(report), Err)
    }

    /// Removes a file of tombstones that is not listed any more.
    pub(super) fn forget_tombstones(&self, file: Ulid) {
        if let Err(error) = self.directory.remove_file(&tombstones_path(file)) {
            tracing::warn!(%file, %error, "tombstones that are no longer needed stay until the next start");
        }
    }
}

/// The tombstones of a block after a delete; `None` when it has nothing of what is deleted.
fn with_deleted(block: &Block, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<Option<AfterDelete>> {
    let mut series = Bitmap::new();
    for selector in selectors {
        series.or_inplace(&block.series_ids(&[selector], range, Watch::default())?);
    }
    let mut tombstones = block.tombstones().cloned().unwrap_or_default();
    let before = hidden_samples(block, &tombstones, &series)?;
    // Deletes with the same bounds inside the block become one entry, whatever their bounds outside.
    if !tombstones.add(block.meta().range.intersection(range), &series) {
        return Ok(None);
    }
    let gained = hidden_samples(block, &tombstones, &series)?.saturating_sub(before);
    tombstones.set_samples(tombstones.samples() + gained);
    Ok(Some(AfterDelete { tombstones, series: series.cardinality(), samples: gained }))
}

/// How many samples of these series are hidden, estimated.
fn hidden_samples(block: &Block, tombstones: &Tombstones, series: &Bitmap) -> Result<u64> {
    let mut samples = 0;
    let mut chunks = Vec::new();
    for id in series.iter() {
        let Some(deleted) = tombstones.of(id) else { continue };
        chunks.clear();
        block.index().chunks(id, &mut chunks)?;
        let hidden = chunks.iter().map(|(_, times)| deleted.estimate(times.range, times.count.into()));
        samples += hidden.sum::<u64>();
    }
    Ok(samples)
}

/// The tombstones that `new` needs, which was made of blocks as they `were`, when they are as they are `now`.
///
/// What a source gained since is from deletes that came after all of `new` was written; so it holds for the series as a
/// whole, whichever source its samples are from.
pub(super) fn carry_over(were: &[Arc<Block>], now: &[Arc<Block>], new: &Block) -> Result<Option<Tombstones>> {
    let mut carried = Tombstones::default();
    let mut all = Bitmap::new();
    for was in were {
        let is = now.iter().find(|block| block.meta().id == was.meta().id);
        let Some(is) = is.and_then(|block| block.tombstones()) else { continue };
        let gained = was.tombstones().map_or_else(|| is.clone(), |was| is.since(was));
        let mut ids: BTreeMap<u32, Option<u32>> = BTreeMap::new();
        for (range, series) in gained.iter() {
            let mut moved = Bitmap::new();
            for id in series.iter() {
                let to = match ids.get(&id) {
                    Some(to) => *to,
                    None => *ids.entry(id).or_insert(series_with(new, &was.index().labels(id)?)?),
                };
                moved.extend(to);
            }
            carried.add(range, &moved);
            all.or_inplace(&moved);
        }
    }
    if carried.is_empty() {
        return Ok(None);
    }
    carried.set_samples(hidden_samples(new, &carried, &all)?);
    Ok(Some(carried))
}

/// The id of the series with these labels: ids are in the order of labels.
fn series_with(block: &Block, labels: &Labels) -> Result<Option<u32>> {
    let (mut low, mut high) = (0, u32::try_from(block.meta().series).unwrap_or(u32::MAX));
    while low < high {
        let middle = low + (high - low) / 2;
        match block.index().labels(middle)?.cmp(labels) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Ok(Some(middle)),
        }
    }
    Ok(None)
}

/// Files of tombstones that no manifest names yet: removed when dropped, unless they are kept.
#[derive(Debug)]
pub(super) struct TombstoneFiles {
    directory: Arc<dyn Directory>,
    files: Vec<Ulid>,
}

impl TombstoneFiles {
    pub(super) fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory, files: Vec::new() }
    }

    /// Writes the tombstones of `block` into a new file.
    pub(super) fn write(&mut self, tombstones: &Tombstones, block: Ulid) -> Result<Ulid> {
        let folder = Path::new(TOMBSTONES_DIR);
        if self.files.is_empty() {
            self.directory
                .create_dir_all(folder)
                .and_then(|()| self.directory.sync_dir(Path::new("")))
                .map_err(|e| Error::io("create", self.directory.display_path(folder), e))?;
        }
        let id = Ulid::generate();
        self.files.push(id);
        tombstones.store(&*self.directory, id, block)?;
        Ok(id)
    }

    /// Makes the names of the files durable.
    pub(super) fn sync(&self) -> Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let folder = Path::new(TOMBSTONES_DIR);
        self.directory.sync_dir(folder).map_err(|e| Error::io("sync", self.directory.display_path(folder), e))
    }

    /// Leaves the files on the disk for which `keep` is true: a manifest names them, or may do so.
    pub(super) fn keep_if(&mut self, keep: impl Fn(Ulid) -> bool) {
        self.files.retain(|file| !keep(*file));
    }
}

impl Drop for TombstoneFiles {
    fn drop(&mut self) {
        for file in &self.files {
            match self.directory.remove_file(&tombstones_path(*file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%file, %error, "what was written of tombstones stays until the next start");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
