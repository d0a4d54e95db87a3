//! The label pairs of a shard: each is kept once, known by a number, and knows the series that carry it.

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

use super::hash_bytes;
use super::pages::Pages;
use super::postings::Postings;
use super::size::allocated;

/// What the table of names takes for each.
const NAME_TABLE_BYTES: usize = 16;

/// The number of a label pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairId(u32);

impl PairId {
    /// No pair: fills up a row of a table.
    pub(super) const NONE: Self = Self(u32::MAX);

    /// The number itself.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// The pair with a number that [`number`](Self::number) gave.
    pub(super) fn of(number: u32) -> Self {
        Self(number)
    }

    /// A number as good as random. Those of a series' pairs, added up in any order, are the hash of the series.
    pub(super) fn mixed(self) -> u64 {
        // The finalizer of SplitMix64.
        let mut mixed = u64::from(self.0).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A label name, and its pairs in order of appearance.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    pairs: Vec<PairId>,
}

/// A label pair.
#[derive(Debug)]
struct Pair {
    name: u32,
    value: Span,
    postings: Postings,
}

/// The label pairs of a shard.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    names: Vec<Name>,
    by_name: HashTable<u32>,
    text: Text,
    pairs: Pages<Pair>,
    by_pair: HashTable<PairId>,
    /// What postings and names take elsewhere.
    heap_bytes: usize,
}

impl Pairs {
    /// The number of a pair that is known.
    pub(super) fn get(&self, name: &str, value: &str) -> Option<PairId> {
        let name = self.name(name)?;
        self.find(hash_pair(name, value), name, value)
    }

    fn name(&self, name: &str) -> Option<u32> {
        let hash = hash_bytes(name.as_bytes());
        self.by_name.find(hash, |index| *self.names[*index as usize].text == *name).copied()
    }

    fn find(&self, hash: u64, name: u32, value: &str) -> Option<PairId> {
        let same = |id: &PairId| {
            let pair = &self.pairs[id.0 as usize];
            pair.name == name && self.text.get(pair.value) == value
        };
        self.by_pair.find(hash, same).copied()
    }

    /// The number of a pair. There must be [room](Self::has_room) for it.
    pub(super) fn intern(&mut self, name: &str, value: &str) -> PairId {
        let name = self.name(name).unwrap_or_else(|| self.add_name(name));
        let hash = hash_pair(name, value);
        if let Some(known) = self.find(hash, name, value) {
            return known;
        }
        let id = PairId(self.pairs.len() as u32);
        let value = self.text.push(value);
        self.pairs.push(Pair { name, value, postings: Postings::default() });
        let Self { names, text, pairs, by_pair, heap_bytes, .. } = self;
        let of_name = &mut names[name as usize].pairs;
        *heap_bytes -= of_name.capacity() * size_of::<PairId>();
        of_name.push(id);
        *heap_bytes += of_name.capacity() * size_of::<PairId>();
        by_pair.insert_unique(hash, id, |id| {
            let pair = &pairs[id.0 as usize];
            hash_pair(pair.name, text.get(pair.value))
        });
        id
    }

    fn add_name(&mut self, name: &str) -> u32 {
        let index = self.names.len() as u32;
        self.names.push(Name { text: name.into(), pairs: Vec::new() });
        self.heap_bytes += size_of::<Name>() + allocated(name.len()) + NAME_TABLE_BYTES;
        let names = &self.names;
        self.by_name.insert_unique(hash_bytes(name.as_bytes()), index, |index| {
            hash_bytes(names[*index as usize].text.as_bytes())
        });
        index
    }

    /// Whether pairs whose texts have `bytes` bytes in all can be added.
    pub(super) fn has_room(&self, pairs: usize, bytes: usize) -> bool {
        self.text.has_room(pairs, bytes) && self.pairs.len() + pairs < u32::MAX as usize
    }

    /// Says that `len` series from `start` on carry the pair; series come in ascending order.
    pub(super) fn carried_by(&mut self, id: PairId, start: u32, len: u32) {
        let postings = &mut self.pairs[id.0 as usize].postings;
        let before = postings.heap_bytes();
        postings.add(start, len);
        self.heap_bytes = self.heap_bytes + postings.heap_bytes() - before;
    }

    /// Name and value of a pair.
    pub(super) fn text(&self, id: PairId) -> (&str, &str) {
        let pair = &self.pairs[id.0 as usize];
        (&self.names[pair.name as usize].text, self.text.get(pair.value))
    }

    /// The name of a pair, as a position among [`names`](Self::names).
    pub(super) fn name_of(&self, id: PairId) -> usize {
        self.pairs[id.0 as usize].name as usize
    }

    pub(super) fn postings(&self, id: PairId) -> &Postings {
        &self.pairs[id.0 as usize].postings
    }

    /// All names in order of appearance.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &*name.text)
    }

    /// The pairs of a name in order of appearance.
    pub(super) fn ids(&self, name: &str) -> &[PairId] {
        self.name(name).map_or(&[], |name| &self.names[name as usize].pairs)
    }

    /// The values of a name in order of appearance, with the series that carry them.
    pub(super) fn values(&self, name: &str) -> impl ExactSizeIterator<Item = (&str, &Postings)> {
        self.ids(name).iter().map(|id| (self.text(*id).1, self.postings(*id)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// All pairs in the order of names and values.
    pub(super) fn in_order(&self) -> Vec<PairId> {
        let mut names: Vec<&Name> = self.names.iter().collect();
        names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for name in names {
            let start = pairs.len();
            pairs.extend_from_slice(&name.pairs);
            pairs[start..].sort_unstable_by(|a, b| self.text(*a).1.cmp(self.text(*b).1));
        }
        pairs
    }

    /// Bytes that they take.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text.heap_bytes + self.pairs.heap_bytes() + self.by_pair.allocation_size() + self.heap_bytes
    }
}

fn hash_pair(name: u32, value: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(name);
    hasher.write(value.as_bytes());
    hasher.finish()
}

/// Where a text is: its page in the high bits of `at`, its start there in the low ones.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    len: u32,
}

/// Texts one after the other, in pages that never move.
#[derive(Debug, Default)]
struct Text {
    pages: Vec<String>,
    /// What the pages take.
    heap_bytes: usize,
}

impl Text {
    const OFFSET_BITS: u32 = 16;
    const PAGE_BYTES: usize = 1 << Self::OFFSET_BITS;
    const PAGES_MAX: usize = 1 << (u32::BITS - Self::OFFSET_BITS);

    fn push(&mut self, text: &str) -> Span {
        let fits =
            |page: &String| page.len() < Self::PAGE_BYTES && page.len() + text.len() <= page.capacity();
        match self.pages.last() {
            Some(page) if fits(page) => {}
            // The first page grows, so that a small head stays small.
            Some(page) if self.pages.len() == 1 && page.len() + text.len() <= Self::PAGE_BYTES => {}
            Some(_) => self.pages.push(String::with_capacity(text.len().max(Self::PAGE_BYTES))),
            None => self.pages.push(String::new()),
        }
        let at = self.pages.len() - 1;
        let page = &mut self.pages[at];
        let start = page.len();
        // A page that is new has nothing and takes what it has room for.
        self.heap_bytes -= if start == 0 { 0 } else { page.capacity() };
        page.push_str(text);
        self.heap_bytes += page.capacity();
        Span { at: (at << Self::OFFSET_BITS | start) as u32, len: text.len() as u32 }
    }

    fn get(&self, span: Span) -> &str {
        let start = span.at as usize % Self::PAGE_BYTES;
        let range: Range<usize> = start..start + span.len as usize;
        &self.pages[(span.at >> Self::OFFSET_BITS) as usize][range]
    }

    /// Whether so many texts can be added, even if each begins a page or is spread so that pages are half full.
    fn has_room(&self, texts: usize, bytes: usize) -> bool {
        let pages = texts.min(1 + 2 * bytes / Self::PAGE_BYTES);
        self.pages.len() + pages < Self::PAGES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_kept_once_with_its_series() {
        let mut pairs = Pairs::default();
        // Long enough for several pages of text; some alone are longer than a page.
        let long = "x".repeat(70_000);
        let value = |i: usize| if i % 1000 == 7 { format!("{long}{i}") } else { format!("value-{i:040}") };
        let texts: Vec<(String, String)> = (0..5000).map(|i| (format!("name-{}", i % 3), value(i))).collect();
        let first: Vec<PairId> = texts.iter().map(|(name, value)| pairs.intern(name, value)).collect();
        for (i, id) in first.iter().enumerate() {
            pairs.carried_by(*id, i as u32, 1);
        }
        let again: Vec<PairId> = texts.iter().map(|(name, value)| pairs.intern(name, value)).collect();
        assert_eq!(first, again);
        for ((name, value), id) in texts.iter().zip(&first) {
            assert_eq!(pairs.text(*id), (&**name, &**value));
            assert_eq!(pairs.get(name, value), Some(*id));
        }
        assert_eq!(pairs.get("name-0", "value"), None);
        assert_eq!(pairs.get("name", &texts[0].1), None);
        assert_eq!(pairs.get("name-1", &texts[0].1), None, "the value belongs to another name");
        assert_eq!(pairs.names().collect::<Vec<_>>(), ["name-0", "name-1", "name-2"]);
        let values: Vec<_> =
            pairs.values("name-2").map(|(value, postings)| (value, postings.count())).collect();
        assert_eq!(values.len(), 5000 / 3);
        assert_eq!(values[1], (&*texts[5].1, 1));
        assert_eq!(pairs.values("name-3").count(), 0);
        assert!(pairs.has_room(1000, 1 << 20) && !pairs.has_room(1 << 20, 5 << 30));
    }
}
