//! Label sets. A series is identified by its labels; the metric name is the label `__name__`.
//!
//! A [`Labels`] is one allocation: the pairs sorted by name, each string behind its length as LEB128.
//! So a clone is a reference count, and equality and hashing run over plain bytes.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A label set: sorted by name, names unique and not empty, values not empty.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    packed: Arc<[u8]>,
}

impl Labels {
    /// The empty label set.
    #[must_use]
    pub fn empty() -> Self {
        Self { packed: Arc::from([]) }
    }

    /// Builds a label set from pairs in any order. A pair with an empty value is the absence of that label and is left out.
    ///
    /// # Errors
    /// [`Error::InvalidSeries`] when a name is empty or stands twice.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pack(&mut pairs)
    }

    /// Packs pairs that are sorted, unique and not empty already, as those of an index are.
    #[must_use]
    pub(crate) fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut packer = Packer::default();
        pairs.into_iter().for_each(|(name, value)| packer.push(name, value));
        packer.finish()
    }

    /// The pairs, sorted by name.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.packed }
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric name.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// A builder that starts from these labels.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        let mut builder = LabelsBuilder::new();
        for (name, value) in self.iter() {
            builder.push(name, value);
        }
        builder
    }

    /// The labels whose names `keep` wants.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        let mut packer = Packer { packed: Vec::with_capacity(self.packed.len()), ..Packer::default() };
        self.iter().filter(|(name, _)| keep(name)).for_each(|(name, value)| packer.push(name, value));
        packer.finish()
    }

    /// The packed form: see the module's text. Equal label sets have equal bytes.
    #[must_use]
    pub fn as_packed(&self) -> &[u8] {
        &self.packed
    }

    /// Reads a packed form that came from outside, checking all of it.
    ///
    /// # Errors
    /// [`Error::InvalidSeries`] when the bytes are not a packed label set.
    pub fn from_packed(bytes: &[u8]) -> Result<Self> {
        let invalid = |reason: &str| Error::InvalidSeries { reason: reason.to_owned() };
        let mut rest = bytes;
        let mut previous: Option<&str> = None;
        while !rest.is_empty() {
            let mut string = || -> Option<&str> {
                let (len, used) = read_len(rest)?;
                let text = std::str::from_utf8(rest.get(used..used.checked_add(len)?)?).ok()?;
                rest = &rest[used + len..];
                Some(text)
            };
            let (Some(name), Some(value)) = (string(), string()) else {
                return Err(invalid("a packed label set is cut off or not UTF-8"));
            };
            if name.is_empty() || value.is_empty() || previous.is_some_and(|p| p >= name) {
                return Err(invalid("a packed label set is not sorted or has empty parts"));
            }
            previous = Some(name);
        }
        Ok(Self { packed: Arc::from(bytes) })
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Pair by pair, as Prometheus orders series.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As PromQL writes it: `name{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name().unwrap_or_default())?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() && self.metric_name().is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, (name, value)) in rest.enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Which labels of the series are of interest to a selection.
#[derive(Clone, Copy, Debug, Default)]
pub enum WantedLabels<'a> {
    /// All that they have.
    #[default]
    All,
    /// Those with these names. Others may be there too.
    Named(&'a [&'a str]),
}

/// Packs label sets one after the other, in memory that is reused. Label sets that follow each other have most of their pairs in
/// common: where pairs have a number, those that were packed lately are only copied.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    packed: Vec<u8>,
    /// Where numbered pairs are in `texts`; the place is given by the number's low bits. Empty before the first.
    known: Vec<KnownPair>,
    texts: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct KnownPair {
    number: u32,
    start: u32,
    /// 0 when none is known.
    len: u32,
}

impl Packer {
    /// How many pairs are remembered: a power of two.
    const KNOWN: usize = 256;
    /// All pairs are forgotten when they take more bytes than this.
    const TEXT_BYTES_MAX: usize = 1 << 18;

    /// Adds a pair that is sorted behind the ones before, with another name, and not empty.
    #[inline]
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            write_len(&mut self.packed, text.len());
            self.packed.extend_from_slice(text.as_bytes());
        }
    }

    /// As [`push`](Self::push), of a pair that has a number of its own.
    pub(crate) fn push_numbered(&mut self, number: u32, name: &str, value: &str) {
        let before = self.packed.len();
        self.push(name, value);
        if self.known.is_empty() || self.texts.len() > Self::TEXT_BYTES_MAX {
            self.known.clear();
            self.known.resize(Self::KNOWN, KnownPair::default());
            self.texts.clear();
        }
        let packed = &self.packed[before..];
        if let (Ok(start), Ok(len)) = (u32::try_from(self.texts.len()), u32::try_from(packed.len())) {
            self.texts.extend_from_slice(packed);
            self.known[number as usize % Self::KNOWN] = KnownPair { number, start, len };
        }
    }

    /// Adds the pair with this number, if it was packed lately; whether it was.
    #[inline]
    pub(crate) fn push_known(&mut self, number: u32) -> bool {
        match self.known.get(number as usize % Self::KNOWN) {
            Some(known) if known.number == number && known.len > 0 => {
                let start = known.start as usize;
                self.packed.extend_from_slice(&self.texts[start..start + known.len as usize]);
                true
            }
            _ => false,
        }
    }

    /// The label set of the pairs so far.
    pub(crate) fn finish(&self) -> Labels {
        Labels { packed: Arc::from(&*self.packed) }
    }

    /// Begins another label set. Numbers go on meaning the same pairs.
    pub(crate) fn clear(&mut self) {
        self.packed.clear();
    }
}

/// The pairs of a [`Labels`], sorted by name.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iter<'a> {
    fn string(&mut self) -> Option<&'a str> {
        let (len, used) = read_len(self.rest)?;
        let (text, rest) = self.rest.get(used..)?.split_at_checked(len)?;
        self.rest = rest;
        #[expect(unsafe_code, reason = "checking each time takes a fifth of the CPU that a new series costs")]
        // SAFETY: `packed` is private and made in two places, of `&str`s (`Packer`) or of bytes whose strings are all
        // checked to be UTF-8 (`from_packed`). Both put each string behind its length, and this walks over the same lengths
        // from the start, so `text` is one of these strings.
        let text = unsafe { std::str::from_utf8_unchecked(text) };
        Some(text)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.string()?, self.string()?))
    }
}

/// Collects pairs in any order into a [`Labels`].
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// A builder without labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair. A name that is there already is an error that [`build`](Self::build) reports.
    pub fn push(&mut self, name: &str, value: &str) -> &mut Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a label, replacing what it had; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.remove(name);
        self.push(name, value)
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// Keeps the labels that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, _)| keep(n));
        self
    }

    /// The label set.
    ///
    /// # Errors
    /// [`Error::InvalidSeries`] when a name is empty or stands twice.
    pub fn build(&mut self) -> Result<Labels> {
        pack(&mut self.pairs)
    }
}

/// Packs pairs that come in any order.
fn pack<N: AsRef<str>, V: AsRef<str>>(pairs: &mut Vec<(N, V)>) -> Result<Labels> {
    pairs.retain(|(_, value)| !value.as_ref().is_empty());
    pairs.sort_unstable_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
    let invalid = |reason: String| Err(Error::InvalidSeries { reason });
    if pairs.first().is_some_and(|(name, _)| name.as_ref().is_empty()) {
        return invalid("a label has an empty name".to_owned());
    }
    if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0.as_ref() == pair[1].0.as_ref()) {
        return invalid(format!("label {:?} is given twice", twice[0].0.as_ref()));
    }
    Ok(Labels::from_sorted(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))))
}

fn write_len(out: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

#[inline]
fn read_len(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((first as usize, 1));
    }
    let mut len = 0_usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        len |= ((byte & 0x7f) as usize) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((len, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_pairs_drops_empty_values_and_refuses_duplicates() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), (METRIC_NAME, "up")]).unwrap();
        assert_eq!(labels.to_string(), r#"up{a="1", b="2"}"#);
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.len(), 3);
        assert!(Labels::from_pairs([("a", "1"), ("a", "2")]).is_err());
        assert!(Labels::from_pairs([("", "1")]).is_err());
    }

    #[test]
    fn packed_form_round_trips_and_is_checked() {
        let long = "v".repeat(300);
        let labels = Labels::from_pairs([("a", long.as_str()), ("b", "2")]).unwrap();
        assert_eq!(Labels::from_packed(labels.as_packed()).unwrap(), labels);
        for cut in 1..labels.as_packed().len() {
            let shorter = &labels.as_packed()[..cut];
            if let Ok(read) = Labels::from_packed(shorter) {
                assert_eq!(read.len(), 1, "only the whole first pair may stand alone");
            }
        }
        assert!(Labels::from_packed(&[1, b'b', 1, b'x', 1, b'a', 1, b'x']).is_err());
    }

    #[test]
    fn retain_gives_what_a_builder_would() {
        let long = "v".repeat(300);
        let labels =
            Labels::from_pairs([(METRIC_NAME, "up"), ("a", &*long), ("b", "2"), ("c", "3")]).unwrap();
        let kept = labels.retain(|name| name != "b" && name != METRIC_NAME);
        assert_eq!(kept, Labels::from_pairs([("a", &*long), ("c", "3")]).unwrap());
        assert_eq!(kept, labels.to_builder().remove("b").remove(METRIC_NAME).build().unwrap());
        assert_eq!(labels.retain(|_| true), labels);
        assert_eq!(labels.retain(|_| false), Labels::empty());
    }

    #[test]
    fn orders_pair_by_pair() {
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        assert!(of(&[("a", "1")]) < of(&[("a", "1"), ("b", "1")]));
        assert!(of(&[("a", "10")]) < of(&[("a", "9")]));
        assert!(of(&[("aa", "1")]) > of(&[("a", "2")]));
    }
}
