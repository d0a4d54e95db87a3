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

    /// How many values the label has, about.
    fn count_values(&self, name: &str) -> u64;

    /// The series that carry the label.
    ///
    /// # Errors
    /// When the index is damaged.
    fn with_label(&self, name: &str) -> Result<Bitmap> {
        self.with_values(name, &|_| true)
    }

    /// The series that carry the label with a value that the matcher's regular expression matches, whether the matcher
    /// wants that (`=~`) or not (`!~`).
    ///
    /// # Errors
    /// When the index is damaged.
    fn with_regex(&self, name: &str, matcher: &Matcher) -> Result<Bitmap> {
        self.with_values(name, &|value| matcher.pattern_matches(value))
    }
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
        found.andnot_inplace(&excluded(index, matcher)?);
    }
    Ok(found)
}

/// How many label values [`matching`] looks at one by one.
pub fn values_to_look_at(index: &impl LabelIndex, matchers: &[Matcher]) -> u64 {
    let values = |matcher: &Matcher| match (matcher.op(), matcher.literals()) {
        (MatchOp::Equal, _) if !matcher.matches_empty() => 0,
        (MatchOp::Regex, Some(literals)) if !matcher.matches_empty() => literals.count() as u64,
        _ => index.count_values(matcher.name()),
    };
    matchers.iter().map(values).sum()
}

/// The series that carry the label and satisfy the matcher.
fn included(index: &impl LabelIndex, matcher: &Matcher) -> Result<Bitmap> {
    match matcher.op() {
        MatchOp::Equal | MatchOp::Regex => with_pattern(index, matcher),
        MatchOp::NotEqual | MatchOp::NotRegex => without_pattern(index, matcher),
    }
}

/// The series that carry the label and fail the matcher.
fn excluded(index: &impl LabelIndex, matcher: &Matcher) -> Result<Bitmap> {
    match matcher.op() {
        MatchOp::Equal | MatchOp::Regex => without_pattern(index, matcher),
        MatchOp::NotEqual | MatchOp::NotRegex => with_pattern(index, matcher),
    }
}

/// The series that carry the label with the matcher's value, or one that its regular expression matches.
fn with_pattern(index: &impl LabelIndex, matcher: &Matcher) -> Result<Bitmap> {
    let name = matcher.name();
    if !matcher.is_regex() {
        return index.with_value(name, matcher.value());
    }
    if matches!(matcher.value(), ".+" | ".*") {
        return index.with_label(name);
    }
    let Some(literals) = matcher.literals() else { return index.with_regex(name, matcher) };
    let mut union = Bitmap::new();
    for literal in literals {
        union.or_inplace(&index.with_value(name, literal)?);
    }
    Ok(union)
}

/// The series that carry the label with any other value.
fn without_pattern(index: &impl LabelIndex, matcher: &Matcher) -> Result<Bitmap> {
    let mut others = index.with_label(matcher.name())?;
    if !matcher.is_regex() && matcher.value().is_empty() {
        return Ok(others);
    }
    others.andnot_inplace(&with_pattern(index, matcher)?);
    Ok(others)
}
