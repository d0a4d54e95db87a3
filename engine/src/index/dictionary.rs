//! What an index is built from: sources that have numbered their label pairs already, such as the shards of a head or the blocks
//! of a merge, and one numbering of all their pairs. No text is copied: each source keeps its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Debug;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::labels::METRIC_NAME;

/// Series with numbered label pairs. Numbers of series and of pairs begin at 0, each source's own.
pub trait PairSource: Debug {
    /// How many series there are.
    fn series_count(&self) -> usize;

    /// How many pairs there are.
    fn pair_count(&self) -> usize;

    /// All pairs in the order of names and values; `None` when that is the order of their numbers.
    fn pairs_in_order(&self) -> Option<Vec<u32>>;

    /// Name and value of a pair.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    fn pair_text(&self, pair: u32) -> Result<(&str, &str)>;

    /// Appends the pairs of a series, in any order.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    fn pairs_of_series(&self, series: u32, out: &mut Vec<u32>) -> Result<()>;

    /// Appends the series that carry a pair, in any order.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    fn series_of_pair(&self, pair: u32, out: &mut Vec<u32>) -> Result<()>;
}

/// The error about a source that contradicts itself. An index that was opened has right checksums, so this is a fault of
/// the program that wrote it.
pub(super) fn contradiction() -> Error {
    Error::corruption("(index)", 0, "label pairs and series of a source do not fit together")
}

/// One source with what its pairs are called.
#[derive(Debug)]
struct Named<'a> {
    source: &'a dyn PairSource,
    in_order: Option<Vec<u32>>,
    /// The number of each pair among those of all sources.
    numbers: Vec<u32>,
}

impl Named<'_> {
    /// The pair at a position of the order.
    fn pair(&self, at: usize) -> Option<u32> {
        match &self.in_order {
            Some(pairs) => pairs.get(at).copied(),
            None => Some(at as u32).filter(|_| at < self.source.pair_count()),
        }
    }
}

/// All pairs of some sources, numbered in the order of names and values.
#[derive(Debug)]
pub struct Dictionary<'a> {
    sources: Vec<Named<'a>>,
    /// Each name with the numbers of its pairs, sorted.
    names: Vec<(Box<str>, Range<u32>)>,
}

impl<'a> Dictionary<'a> {
    /// Numbers the pairs of these sources.
    ///
    /// # Errors
    /// [`Error::Corruption`] in one of them; [`Error::Limit`] when there are too many pairs.
    pub fn new(sources: impl IntoIterator<Item = &'a dyn PairSource>) -> Result<Self> {
        let named = |source: &'a dyn PairSource| {
            let (in_order, numbers) = (source.pairs_in_order(), vec![0; source.pair_count()]);
            Named { source, in_order, numbers }
        };
        let mut dictionary = Self { sources: sources.into_iter().map(named).collect(), names: Vec::new() };
        let mut next = BinaryHeap::with_capacity(dictionary.sources.len());
        for source in 0..dictionary.sources.len() {
            next.extend(dictionary.text_at(source, 0)?);
        }
        let mut last: Option<(&str, &str)> = None;
        let mut number = 0_u32;
        while let Some(Reverse((text, source, at))) = next.pop() {
            if last != Some(text) {
                if last.is_some_and(|last| last > text) {
                    return Err(contradiction());
                }
                number = if last.is_some() { number.checked_add(1).ok_or_else(full)? } else { 0 };
                dictionary.name(text.0, number);
                last = Some(text);
            }
            let named = &mut dictionary.sources[source];
            let pair = named.pair(at).ok_or_else(contradiction)?;
            *named.numbers.get_mut(pair as usize).ok_or_else(contradiction)? = number;
            next.extend(dictionary.text_at(source, at + 1)?);
        }
        Ok(dictionary)
    }

    /// The text of the pair at a position of a source's order.
    #[expect(clippy::type_complexity, reason = "an entry of the heap, and nothing else")]
    fn text_at(
        &self,
        source: usize,
        at: usize,
    ) -> Result<Option<Reverse<((&'a str, &'a str), usize, usize)>>> {
        let named = &self.sources[source];
        let Some(pair) = named.pair(at) else { return Ok(None) };
        Ok(Some(Reverse((named.source.pair_text(pair)?, source, at))))
    }

    /// Adds a number to the last name, or to this new one.
    fn name(&mut self, name: &str, number: u32) {
        match self.names.last_mut() {
            Some((last, pairs)) if **last == *name => pairs.end = number + 1,
            _ => self.names.push((name.into(), number..number + 1)),
        }
    }

    /// How many pairs there are.
    pub(super) fn pair_count(&self) -> usize {
        self.names.last().map_or(0, |(_, pairs)| pairs.end as usize)
    }

    /// Each name with the numbers of its pairs.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Range<u32>)> {
        self.names.iter().map(|(name, pairs)| (&**name, pairs.clone()))
    }

    /// The pairs that are metric names.
    pub(super) fn metric_names(&self) -> Range<u32> {
        let found = self.names().find(|(name, _)| *name == METRIC_NAME);
        found.map_or(0..0, |(_, pairs)| pairs)
    }

    /// How many series each source has.
    pub(super) fn series_counts(&self) -> impl Iterator<Item = usize> {
        self.sources.iter().map(|named| named.source.series_count())
    }

    /// The numbers of a series' pairs, ascending, which is the order of their names: so series are in the order of their
    /// labels when these are.
    ///
    /// # Errors
    /// [`Error::Corruption`] in the source.
    pub fn pairs_of(&self, source: usize, series: u32, out: &mut Vec<u32>) -> Result<()> {
        let Named { source, numbers, .. } = &self.sources[source];
        out.clear();
        source.pairs_of_series(series, out)?;
        for pair in &mut *out {
            *pair = *numbers.get(*pair as usize).ok_or_else(contradiction)?;
        }
        out.sort_unstable();
        Ok(())
    }

    /// Name and value of a pair of a source.
    pub(super) fn text(&self, (source, pair): (usize, u32)) -> Result<(&'a str, &'a str)> {
        self.sources[source].source.pair_text(pair)
    }

    /// Appends the series of a source that carry one of its pairs.
    pub(super) fn series_of(&self, (source, pair): (usize, u32), out: &mut Vec<u32>) -> Result<()> {
        self.sources[source].source.series_of_pair(pair, out)
    }

    /// All pairs in order, each with the sources that have it.
    pub(super) fn in_order(&self) -> InOrder<'_> {
        let mut pairs = InOrder { dictionary: self, next: BinaryHeap::with_capacity(self.sources.len()) };
        (0..self.sources.len()).for_each(|source| pairs.advance(source, 0));
        pairs
    }
}

fn full() -> Error {
    Error::Limit { name: "label pairs of an index", limit: u32::MAX.into(), got: 1 << 32 }
}

/// The pairs of a [`Dictionary`] in order.
#[derive(Debug)]
pub(super) struct InOrder<'d> {
    dictionary: &'d Dictionary<'d>,
    /// The next number of each source, and its position there.
    next: BinaryHeap<Reverse<(u32, usize, usize)>>,
}

impl InOrder<'_> {
    fn advance(&mut self, source: usize, at: usize) {
        let named = &self.dictionary.sources[source];
        if let Some(pair) = named.pair(at) {
            self.next.push(Reverse((named.numbers[pair as usize], source, at)));
        }
    }

    /// The next pair's number; `places` becomes the sources that have it, with their own number for it.
    pub(super) fn next(&mut self, places: &mut Vec<(usize, u32)>) -> Option<u32> {
        places.clear();
        let number = self.next.peek()?.0.0;
        while let Some(Reverse((_, source, at))) = self.next.peek().copied().filter(|next| next.0.0 == number)
        {
            self.next.pop();
            places.extend(self.dictionary.sources[source].pair(at).map(|pair| (source, pair)));
            self.advance(source, at + 1);
        }
        Some(number)
    }
}
