//! The bytes of one simulated file: what running processes read, what the disk holds, and what a power cut makes of the two.
//!
//! Pages are shared between copies of a file until one of them is written to, so that a copy of a whole machine is cheap.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::random::Random;

/// The unit in which the system writes cached bytes back.
const PAGE_BYTES: usize = 4096;
/// The unit that the disk writes as a whole; a page that is cut short is torn between two of them.
const SECTOR_BYTES: usize = 512;
const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR_BYTES));

type Page = [u8; PAGE_BYTES];

/// Bytes in pages. What is behind the end in the last page is zero.
#[derive(Clone, Debug, Default)]
struct Pages {
    pages: Vec<Arc<Page>>,
    len: usize,
}

impl Pages {
    /// Writes over bytes that are there.
    fn overwrite(&mut self, mut position: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let start = position % PAGE_BYTES;
            let (now, later) = bytes.split_at(bytes.len().min(PAGE_BYTES - start));
            if let Some(page) = self.pages.get_mut(position / PAGE_BYTES) {
                Arc::make_mut(page)[start..start + now.len()].copy_from_slice(now);
            }
            position += now.len();
            bytes = later;
        }
    }

    /// Cuts, or lengthens with zeros.
    fn resize(&mut self, len: usize) {
        self.pages.resize_with(len.div_ceil(PAGE_BYTES), || Arc::new([0; PAGE_BYTES]));
        let used = len % PAGE_BYTES;
        if len < self.len
            && used > 0
            && let Some(page) = self.pages.last_mut()
        {
            Arc::make_mut(page)[used..].fill(0);
        }
        self.len = len;
    }

    /// Takes over one page of `from`, as far as both have it; behind the end of `from` are zeros.
    fn copy_page(&mut self, from: &Self, number: usize) {
        let Some(page) = self.pages.get_mut(number) else { return };
        *page = from.pages.get(number).map_or_else(|| Arc::new([0; PAGE_BYTES]), Arc::clone);
        let used = self.len - number * PAGE_BYTES;
        if used < PAGE_BYTES && page[used..].iter().any(|byte| *byte != 0) {
            Arc::make_mut(page)[used..].fill(0);
        }
    }

    /// Takes over a part of a page that both have.
    fn copy_sector(&mut self, from: &Self, number: usize, within: Range<usize>) {
        let used = self.len.saturating_sub(number * PAGE_BYTES);
        let within = within.start..within.end.min(used);
        if let (Some(to), Some(from)) = (self.pages.get_mut(number), from.pages.get(number))
            && !within.is_empty()
        {
            Arc::make_mut(to)[within.clone()].copy_from_slice(&from[within]);
        }
    }

    fn flip_bit(&mut self, bit: usize) {
        let (number, within) = (bit / 8 / PAGE_BYTES, bit / 8 % PAGE_BYTES);
        if bit / 8 < self.len
            && let Some(page) = self.pages.get_mut(number)
        {
            Arc::make_mut(page)[within] ^= 1 << (bit % 8);
        }
    }

    fn to_bytes(&self) -> Arc<[u8]> {
        let mut bytes: Vec<u8> = self.pages.iter().flat_map(|page| page.iter().copied()).collect();
        bytes.truncate(self.len);
        bytes.into()
    }
}

/// The bytes of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What a running process reads: the page cache.
    cached: Pages,
    /// What is on disk for certain.
    disk: Pages,
    /// The pages that the system still has to write. A page that a failed sync dropped is clean, and yet not on disk.
    dirty: BTreeSet<usize>,
    /// `cached` in one piece, once somebody asked for it.
    image: OnceLock<Arc<[u8]>>,
}

impl Content {
    /// Bytes that a running process reads.
    pub(super) fn len(&self) -> usize {
        self.cached.len
    }

    /// What a running process reads.
    pub(super) fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(self.image.get_or_init(|| self.cached.to_bytes()))
    }

    /// Writes bytes; the file grows where they do not fit.
    pub(super) fn write_at(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if self.cached.len < end {
            self.cached.resize(end);
        }
        self.cached.overwrite(position, bytes);
        self.dirty.extend(position / PAGE_BYTES..=(end - 1) / PAGE_BYTES);
        self.image = OnceLock::new();
    }

    /// Writes the bytes from `from` on over themselves: the system has to write their pages.
    pub(super) fn rewrite(&mut self, from: usize) {
        if from < self.cached.len {
            self.dirty.extend(from / PAGE_BYTES..self.cached.pages.len());
        }
    }

    /// Cuts the file, or lengthens it with zeros.
    pub(super) fn set_len(&mut self, len: usize) {
        self.cached.resize(len);
        self.dirty.retain(|page| page * PAGE_BYTES < len);
        self.image = OnceLock::new();
    }

    /// A sync that works: all dirty pages and the length reach the disk.
    pub(super) fn sync(&mut self) {
        self.disk.resize(self.cached.len);
        for page in std::mem::take(&mut self.dirty) {
            self.disk.copy_page(&self.cached, page);
        }
    }

    /// A sync that fails, as Linux does it: some of the pages reached the disk, and all of them count as clean from now on,
    /// so a later sync that works does not write them. A clean page may leave the cache at any time: then a
    /// running process reads what the disk has.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        self.disk = self.written_back(random);
        let memory_is_short = random.coin();
        for page in std::mem::take(&mut self.dirty) {
            if memory_is_short && random.coin() {
                self.cached.copy_page(&self.disk, page);
            }
        }
        self.image = OnceLock::new();
    }

    /// What the file holds after a power cut. All of it is on disk.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Self {
        if self.dirty.is_empty() && self.disk.len == self.cached.len {
            return Self { cached: self.disk.clone(), disk: self.disk.clone(), ..Self::default() };
        }
        let disk = self.written_back(random);
        Self { cached: disk.clone(), disk, ..Self::default() }
    }

    pub(super) fn flip_bit(&mut self, bit: usize) {
        self.cached.flip_bit(bit);
        self.disk.flip_bit(bit);
        self.image = OnceLock::new();
    }

    /// The disk after the system wrote back any of the dirty pages, whole or torn, and any length on the way to the cached one.
    /// What was lost reads as what was there before: old bytes, or zeros.
    fn written_back(&self, random: &mut Random) -> Pages {
        let mut disk = self.disk.clone();
        disk.resize(self.length_written_back(random));
        let fate = random.up_to(3);
        for &page in &self.dirty {
            let page_fate = if fate == 3 { random.up_to(2) } else { fate };
            match page_fate {
                0 => {}
                1 => disk.copy_page(&self.cached, page),
                _ => {
                    for sector in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                        if random.coin() {
                            disk.copy_sector(&self.cached, page, sector..sector + SECTOR_BYTES);
                        }
                    }
                }
            }
        }
        disk
    }

    fn length_written_back(&self, random: &mut Random) -> usize {
        let (from, to) = (self.disk.len, self.cached.len);
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
