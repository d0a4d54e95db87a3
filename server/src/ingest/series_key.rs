//! Row keys. The engine finds a series by the bytes of its row's key, so the key must say all that the labels are
//! made from. Its first byte keeps the formats apart.

use timberline_engine::{Error, Labels};

use super::error::quote;
use super::limits::{Limits, past_limit};

/// First byte of the keys of line protocol: database, retention policy, and the raw measurement and tags follow.
pub(super) const LINE_PROTOCOL: u8 = b'L';
/// First byte of the keys that list labels: see [`LabelSet::write_key`].
const LABEL_SET: u8 = b'P';

/// A label set as it stands in the input: pairs in any order, not checked yet. Reused from series to series.
#[derive(Debug, Default)]
pub(super) struct LabelSet<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> LabelSet<'a> {
    pub(super) fn clear(&mut self) {
        self.pairs.clear();
    }

    pub(super) fn push(&mut self, name: &'a [u8], value: &'a [u8]) {
        self.pairs.push((name, value));
    }

    /// Sorts the pairs and checks what does not need the text. Labels with an empty value are dropped: they are
    /// absent labels.
    ///
    /// # Errors
    /// The reason why this is not a label set.
    pub(super) fn canonicalize(&mut self, limits: &Limits) -> Result<(), String> {
        self.pairs.sort_unstable();
        if self.pairs.first().is_some_and(|(name, _)| name.is_empty()) {
            return Err("a label has an empty name".to_owned());
        }
        if let Some(twice) = self.pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("label {} is given twice", quote(twice[0].0)));
        }
        self.pairs.retain(|(_, value)| !value.is_empty());
        if self.pairs.is_empty() {
            return Err("the series has no labels".to_owned());
        }
        check_limits(self.pairs.iter().copied(), limits)
    }

    /// Replaces `key` by the key of these labels: names and values, each behind its length.
    pub(super) fn write_key(&self, key: &mut Vec<u8>) {
        key.clear();
        key.push(LABEL_SET);
        for (name, value) in &self.pairs {
            for text in [name, value] {
                key.extend_from_slice(&(text.len() as u32).to_le_bytes());
                key.extend_from_slice(text);
            }
        }
    }

    /// The labels.
    ///
    /// # Errors
    /// [`Error::InvalidSeries`] when a name or value is not UTF-8.
    pub(super) fn labels(&self) -> Result<Labels, Error> {
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (name, value) in &self.pairs {
            pairs.push((utf8(name)?, utf8(value)?));
        }
        Labels::from_pairs(pairs)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes)
        .map_err(|_| Error::InvalidSeries { reason: format!("{} is not UTF-8", quote(bytes)) })
}

/// Checks the number and sizes of labels.
///
/// # Errors
/// The reason, with the limit's name.
pub(super) fn check_limits<'a>(
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    limits: &Limits,
) -> Result<(), String> {
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in pairs {
        count += 1;
        bytes += name.len() + value.len();
        if name.len() > limits.label_name_bytes_max {
            return Err(past_limit("label_name_bytes_max", limits.label_name_bytes_max, name.len()));
        }
        if value.len() > limits.label_value_bytes_max {
            return Err(past_limit("label_value_bytes_max", limits.label_value_bytes_max, value.len()));
        }
    }
    if count > limits.labels_max {
        return Err(past_limit("labels_max", limits.labels_max, count));
    }
    if bytes > limits.series_key_bytes_max {
        return Err(past_limit("series_key_bytes_max", limits.series_key_bytes_max, bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<'a>(pairs: &[(&'a str, &'a str)]) -> LabelSet<'a> {
        LabelSet { pairs: pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect() }
    }

    #[test]
    fn order_and_empty_values_do_not_change_the_key() {
        let (mut a, mut b) = (set(&[("x", "1"), ("y", "2"), ("z", "")]), set(&[("y", "2"), ("x", "1")]));
        a.canonicalize(&Limits::DEFAULT).unwrap();
        b.canonicalize(&Limits::DEFAULT).unwrap();
        let (mut key_a, mut key_b) = (Vec::new(), Vec::new());
        a.write_key(&mut key_a);
        b.write_key(&mut key_b);
        assert_eq!(key_a, key_b);
        assert_eq!(a.labels().unwrap(), b.labels().unwrap());
    }

    #[test]
    fn bad_label_sets_are_refused() {
        let reason = |pairs| set(pairs).canonicalize(&Limits::DEFAULT).unwrap_err();
        assert_eq!(reason(&[("a", "1"), ("a", "")]), r#"label "a" is given twice"#);
        assert_eq!(reason(&[("", "1")]), "a label has an empty name");
        assert_eq!(reason(&[("a", "")]), "the series has no labels");
        let long = "v".repeat(4_097);
        assert!(reason(&[("a", long.as_str())]).starts_with("limit label_value_bytes_max"));
        assert!(LabelSet { pairs: vec![(b"a", b"\xff")] }.labels().is_err());
    }
}
