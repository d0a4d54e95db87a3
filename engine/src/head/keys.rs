//! From the raw bytes of a row's key to the places of its series: one hash and one comparison a row.
//!
//! A *key* is whatever bytes a protocol uses to say which series a row belongs to; the engine never looks inside. Rows
//! with the same key nearly always carry the same fields in the same order, and so do rows of other keys: the field
//! names are a *layout* that keys share.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::hash_bytes;
use super::pages::Pages;
use super::size::allocated;
use crate::budget::{Budget, Held};
use crate::rows::Field;
use crate::wal::GroupId;

const KEY_SHARDS: usize = 16;

/// Where a field's series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) group: GroupId,
    pub(super) column: u16,
    pub(super) width: u16,
}

/// The fields of a key in the order in which they were first seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    names: Vec<u8>,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Layout {
    fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut layout = Self { names: Vec::new(), ends: Vec::new() };
        for name in names {
            layout.names.extend_from_slice(name);
            layout.ends.push(layout.names.len() as u32);
        }
        layout.names.shrink_to_fit();
        layout.ends.shrink_to_fit();
        layout
    }

    fn hash<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        names.for_each(|name| hasher.write(name));
        hasher.finish()
    }

    fn name(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.names[start..self.ends[at] as usize]
    }

    /// The names in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|at| self.name(at))
    }

    /// Whether the fields are exactly these names in this order.
    #[inline]
    pub(super) fn is(&self, fields: &[Field<'_>]) -> bool {
        let mut start = 0;
        fields.len() == self.ends.len()
            && fields.iter().zip(&self.ends).all(|(field, end)| {
                let name = &self.names[start..*end as usize];
                start = *end as usize;
                name == field.name
            })
    }

    /// The position of a name, which is probably `expected` or soon behind it.
    pub(super) fn position(&self, name: &[u8], expected: usize) -> Option<usize> {
        let count = self.ends.len();
        (expected..count).chain(0..expected.min(count)).find(|at| self.name(*at) == name)
    }
}

/// What is known of a key.
#[derive(Debug)]
pub(super) struct KeyEntry {
    key: Box<[u8]>,
    pub(super) layout: Arc<Layout>,
    pub(super) fields: Places,
}

/// Where the fields of a key are.
#[derive(Debug)]
pub(super) enum Places {
    /// They are the columns of one group, in order and all of them: the usual case.
    Group(GroupId),
    /// Anything else: one slot for each field.
    Slots(Box<[Slot]>),
}

impl KeyEntry {
    /// The slot of the field at a position of the layout.
    pub(super) fn slot(&self, at: usize) -> Slot {
        match &self.fields {
            Places::Group(group) => {
                Slot { group: *group, column: at as u16, width: self.layout.ends.len() as u16 }
            }
            Places::Slots(slots) => slots[at],
        }
    }

    /// The slot of the field with this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<Slot> {
        self.layout.position(name, 0).map(|at| self.slot(at))
    }

    /// The slots of all fields.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.layout.ends.len()).map(|at| self.slot(at))
    }

    fn heap_bytes(&self) -> usize {
        let places = match &self.fields {
            Places::Group(_) => 0,
            Places::Slots(slots) => size_of_val(&**slots),
        };
        allocated(self.key.len()) + allocated(places)
    }
}

#[derive(Debug)]
pub(super) struct KeyShard {
    entries: Pages<KeyEntry>,
    by_key: HashTable<u32>,
    /// Bytes that the entries keep elsewhere.
    heap_bytes: usize,
    /// What all of it takes.
    held: Held,
}

impl KeyShard {
    #[inline]
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&KeyEntry> {
        let index = self.by_key.find(hash, |i| *self.entries[*i as usize].key == *key)?;
        self.entries.get(*index as usize)
    }
}

/// All keys, in shards with a lock each. What they take is counted when they are learnt; layouts are few and are not.
#[derive(Debug)]
pub(super) struct KeyTable {
    shards: [RwLock<KeyShard>; KEY_SHARDS],
    layouts: RwLock<HashTable<Arc<Layout>>>,
}

fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % KEY_SHARDS
}

impl KeyTable {
    /// No keys; what they take counts in `memory`.
    pub(super) fn new(memory: &Arc<Budget>) -> Self {
        let shard = |_| {
            let (entries, by_key) = (Pages::default(), HashTable::new());
            RwLock::new(KeyShard { entries, by_key, heap_bytes: 0, held: memory.hold() })
        };
        Self { shards: std::array::from_fn(shard), layouts: RwLock::default() }
    }

    #[inline]
    pub(super) fn read(&self, hash: u64) -> RwLockReadGuard<'_, KeyShard> {
        self.shards[shard_of(hash)].read()
    }

    pub(super) fn write(&self, hash: u64) -> RwLockWriteGuard<'_, KeyShard> {
        self.shards[shard_of(hash)].write()
    }

    /// Sets what is known of a key.
    pub(super) fn set(&self, shard: &mut KeyShard, hash: u64, key: &[u8], fields: &[(&[u8], Slot)]) {
        let layout = self.layout(fields);
        let places = Self::places(fields);
        let KeyShard { entries, by_key, heap_bytes, held } = shard;
        if let Some(index) = by_key.find(hash, |i| *entries[*i as usize].key == *key) {
            let entry = &mut entries[*index as usize];
            *heap_bytes -= entry.heap_bytes();
            (entry.layout, entry.fields) = (layout, places);
            *heap_bytes += entry.heap_bytes();
            held.count(*heap_bytes + entries.heap_bytes() + by_key.allocation_size());
            return;
        }
        let index = entries.len() as u32;
        let entry = KeyEntry { key: key.into(), layout, fields: places };
        *heap_bytes += entry.heap_bytes();
        entries.push(entry);
        by_key.insert_unique(hash, index, |i| hash_bytes(&entries[*i as usize].key));
        held.count(*heap_bytes + entries.heap_bytes() + by_key.allocation_size());
    }

    fn places(fields: &[(&[u8], Slot)]) -> Places {
        if let Some((_, Slot { group, width, .. })) = fields.first() {
            let in_order =
                |(i, (_, slot)): (usize, &(_, Slot))| slot.group == *group && usize::from(slot.column) == i;
            if usize::from(*width) == fields.len() && fields.iter().enumerate().all(in_order) {
                return Places::Group(*group);
            }
        }
        Places::Slots(fields.iter().map(|(_, slot)| *slot).collect())
    }

    fn layout(&self, fields: &[(&[u8], Slot)]) -> Arc<Layout> {
        let names = || fields.iter().map(|(name, _)| *name);
        let hash = Layout::hash(names());
        let same = |layout: &Arc<Layout>| layout.names().eq(names());
        if let Some(known) = self.layouts.read().find(hash, same) {
            return Arc::clone(known);
        }
        let mut layouts = self.layouts.write();
        let entry = layouts.entry(hash, same, |layout| Layout::hash(layout.names()));
        Arc::clone(entry.or_insert_with(|| Arc::new(Layout::new(names()))).get())
    }
}
