//! From matchers to series ids, over whatever index answers for single label pairs.

use croaring::Bitmap;

use crate::error::Result;
use crate::matcher::{MatchOp, Matcher};

/// What an index must answer. Series ids are positions in the index's own series table.
pub trait LabelIndex {
    /// All series.
    ///
    /// # Errors
    /// When the index is damaged.
    fn all(&self) -> Result<Bitmap>;

    /// The series that carry the label pair.
    ///
    /// # Errors
    /// When the index is damaged.
    fn with_value(&self, name: &str, value: &str) -> Result<Bitmap>;

    /// The series that carry the label with a value that `keep` wants.
    ///
    /// # Errors
    /// When the index is damaged.
    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool) -> Result<Bitmap>;
}

/// The series that satisfy all matchers.
///
/// A matcher that the absent label satisfies cannot be answered by a union of postings, since series without the label
/// are in none; it excludes the series whose value fails it instead.
///
/// # Errors
/// When the index is damaged.
pub fn matching(index: &impl LabelIndex, matchers: &[Matcher]) -> Result<Bitmap> {
    let (excluding, including): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches_empty());
    let mut found: Option<Bitmap> = None;
    for matcher in including {
        let postings = included(index, matcher)?;
        match &mut found {
            Some(found) => found.and_inplace(&postings),
            None => found = Some(postings),
        }
        if found.as_ref().is_some_and(Bitmap::is_empty) {
            return Ok(Bitmap::new());
        }
    }
    let mut found = match found {
        Some(found) => found,
        None => index.all()?,
    };
    for matcher in excluding {
        if matcher.op() == MatchOp::Regex && matcher.value() == ".*" {
            continue;
        }
        let postings = match (matcher.op(), matcher.value()) {
            (MatchOp::NotEqual, value) if !value.is_empty() => index.with_value(matcher.name(), value)?,
            _ => index.with_values(matcher.name(), &|value| !matcher.matches(value))?,
        };
        found.andnot_inplace(&postings);
    }
    Ok(found)
}

fn included(index: &impl LabelIndex, matcher: &Matcher) -> Result<Bitmap> {
    if matcher.op() == MatchOp::Equal {
        return index.with_value(matcher.name(), matcher.value());
    }
    if let Some(literals) = matcher.literals() {
        let mut union = Bitmap::new();
        for literal in literals {
            union.or_inplace(&index.with_value(matcher.name(), literal)?);
        }
        return Ok(union);
    }
    index.with_values(matcher.name(), &|value| matcher.matches(value))
}
