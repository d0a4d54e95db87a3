//! The bytes of one simulated file: what running processes read, what the disk holds, and what a power cut makes of the two.

use std::collections::BTreeSet;
use std::ops::Range;

use super::random::Random;

/// The unit in which the system writes cached bytes back.
const PAGE_BYTES: usize = 4096;
/// The unit that the disk writes as a whole; a page that is cut short is torn between two of them.
const SECTOR_BYTES: usize = 512;
const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR_BYTES));

/// The bytes of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What a running process reads: the page cache.
    cached: Vec<u8>,
    /// What is on disk for certain.
    disk: Vec<u8>,
    /// The pages that the system still has to write. A page that a failed sync dropped is clean, and yet not on disk.
    dirty: BTreeSet<usize>,
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    /// Writes bytes; the file grows where they do not fit.
    pub(super) fn write_at(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[position..end].copy_from_slice(bytes);
        self.dirty.extend(position / PAGE_BYTES..=(end - 1) / PAGE_BYTES);
    }

    /// Cuts the file, or lengthens it with zeros.
    pub(super) fn set_len(&mut self, len: usize) {
        self.cached.resize(len, 0);
        self.dirty.retain(|page| page * PAGE_BYTES < len);
    }

    /// A sync that works: all dirty pages and the length reach the disk.
    pub(super) fn sync(&mut self) {
        self.disk.resize(self.cached.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            copy(&self.cached, &mut self.disk, page * PAGE_BYTES..(page + 1) * PAGE_BYTES);
        }
    }

    /// A sync that fails, as Linux does it: some of the pages reached the disk, and all of them count as clean from now on,
    /// so a later sync that works does not write them.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        self.disk = self.written_back(random);
        self.dirty.clear();
    }

    /// What the file holds after a power cut. All of it is on disk.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Self {
        let disk = if self.dirty.is_empty() && self.disk.len() == self.cached.len() {
            self.disk.clone()
        } else {
            self.written_back(random)
        };
        Self { cached: disk.clone(), disk, dirty: BTreeSet::new() }
    }

    pub(super) fn flip_bit(&mut self, bit: usize) {
        for bytes in [&mut self.cached, &mut self.disk] {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The disk after the system wrote back any of the dirty pages, whole or torn, and any length on the way to the cached one.
    /// What was lost reads as what was there before: old bytes, or zeros.
    fn written_back(&self, random: &mut Random) -> Vec<u8> {
        let len = self.length_written_back(random);
        let mut disk = self.disk.clone();
        disk.resize(len, 0);
        let fate = random.up_to(3);
        for &page in &self.dirty {
            let start = page * PAGE_BYTES;
            let page_fate = if fate == 3 { random.up_to(2) } else { fate };
            match page_fate {
                0 => {}
                1 => copy(&self.cached, &mut disk, start..start + PAGE_BYTES),
                _ => {
                    for sector in (start..start + PAGE_BYTES).step_by(SECTOR_BYTES) {
                        if random.coin() {
                            copy(&self.cached, &mut disk, sector..sector + SECTOR_BYTES);
                        }
                    }
                }
            }
        }
        disk
    }

    fn length_written_back(&self, random: &mut Random) -> usize {
        let (from, to) = (self.disk.len(), self.cached.len());
        match random.up_to(3) {
            0 => from,
            1 => to,
            // A cut is done or not: there is nothing between.
            _ if to < from => to,
            2 => from + random.up_to(to - from),
            _ => (from + random.up_to(to - from)).next_multiple_of(PAGE_BYTES).min(to),
        }
    }
}

/// Copies the part of `range` that both have.
fn copy(from: &[u8], to: &mut [u8], range: Range<usize>) {
    let end = range.end.min(from.len()).min(to.len());
    if range.start < end {
        to[range.start..end].copy_from_slice(&from[range.start..end]);
    }
}
