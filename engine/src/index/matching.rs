//! From matchers to series ids, over whatever index answers for single label pairs.

use croaring::Bitmap;

use crate::error::Result;
use crate::matcher::{MatchOp, Matcher};
use crate::pattern::Pattern;
use crate::watch::Watch;

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

    /// The series that carry the label with one of these values.
    ///
    /// # Errors
    /// When the index is damaged, or `watch` says so.
    fn with_any(
        &self,
        name: &str,
        values: &mut dyn Iterator<Item = &str>,
        watch: Watch<'_>,
    ) -> Result<Bitmap>;

    /// The series that carry the label with a value that `keep` wants.
    ///
    /// # Errors
    /// When the index is damaged, or `watch` says so.
    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool, watch: Watch<'_>) -> Result<Bitmap>;

    /// How many values the label has, about.
    fn count_values(&self, name: &str) -> u64;

    /// The series that carry the label.
    ///
    /// # Errors
    /// When the index is damaged.
    fn with_label(&self, name: &str) -> Result<Bitmap> {
        self.with_values(name, &|_| true, Watch::default())
    }

    /// The series that carry the label with a value that the matcher's regular expression matches though it does not list it,
    /// whether the matcher wants that (`=~`) or not (`!~`).
    ///
    /// # Errors
    /// When the index is damaged, or `watch` says so.
    fn with_pattern(&self, name: &str, pattern: &Pattern, watch: Watch<'_>) -> Result<Bitmap> {
        self.with_values(name, &|value| pattern.rest_matches(value), watch)
    }
}

/// The series that satisfy all matchers, as long as `watch` wants to go on looking at values.
///
/// A matcher that the absent label satisfies cannot be answered by a union of postings, since series without the label
/// are in none; it excludes the series whose value fails it instead.
///
/// # Errors
/// When the index is damaged; [`Error::BrokenOff`](crate::Error::BrokenOff) when `watch` says so.
pub fn matching(index: &impl LabelIndex, matchers: &[Matcher], watch: Watch<'_>) -> Result<Bitmap> {
    let (excluding, including): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches_empty());
    let mut found: Option<Bitmap> = None;
    for matcher in including {
        let postings = included(index, matcher, watch)?;
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
        if matcher.op() == MatchOp::Regex && matcher.wants_any() {
            continue;
        }
        found.andnot_inplace(&excluded(index, matcher, watch)?);
    }
    Ok(found)
}

/// The series that satisfy all matchers of one of the selectors.
///
/// # Errors
/// When the index is damaged; [`Error::BrokenOff`](crate::Error::BrokenOff) when `watch` says so.
pub fn matching_any(index: &impl LabelIndex, selectors: &[&[Matcher]], watch: Watch<'_>) -> Result<Bitmap> {
    let mut found = Bitmap::new();
    for matchers in selectors {
        watch.ask(0)?;
        found.or_inplace(&matching(index, matchers, watch)?);
    }
    Ok(found)
}

/// How many label values [`matching`] looks at one by one.
pub fn values_to_look_at(index: &impl LabelIndex, matchers: &[Matcher]) -> u64 {
    let values = |matcher: &Matcher| {
        let looks_at_all = matcher.op() == MatchOp::NotEqual || matcher.op() == MatchOp::NotRegex;
        match matcher.pattern() {
            _ if looks_at_all || matcher.matches_empty() => index.count_values(matcher.name()),
            None => 0,
            Some(pattern) if pattern.is_list() => pattern.words().len() as u64,
            Some(_) => index.count_values(matcher.name()),
        }
    };
    matchers.iter().map(values).sum()
}

/// The series that carry the label and satisfy the matcher.
fn included(index: &impl LabelIndex, matcher: &Matcher, watch: Watch<'_>) -> Result<Bitmap> {
    match matcher.op() {
        MatchOp::Equal | MatchOp::Regex => with(index, matcher, watch),
        MatchOp::NotEqual | MatchOp::NotRegex => without(index, matcher, watch),
    }
}

/// The series that carry the label and fail the matcher.
fn excluded(index: &impl LabelIndex, matcher: &Matcher, watch: Watch<'_>) -> Result<Bitmap> {
    match matcher.op() {
        MatchOp::Equal | MatchOp::Regex => without(index, matcher, watch),
        MatchOp::NotEqual | MatchOp::NotRegex => with(index, matcher, watch),
    }
}

/// The series that carry the label with the matcher's value, or one that its regular expression matches.
fn with(index: &impl LabelIndex, matcher: &Matcher, watch: Watch<'_>) -> Result<Bitmap> {
    let name = matcher.name();
    let Some(pattern) = matcher.pattern() else { return index.with_value(name, matcher.value()) };
    if matcher.wants_any() {
        return index.with_label(name);
    }
    // What it lists is looked up, unless there are fewer values than that.
    if pattern.is_list() && pattern.words().len() as u64 > index.count_values(name) {
        return index.with_values(name, &|value| pattern.is_match(value), watch);
    }
    let mut found = index.with_any(name, &mut pattern.words(), watch)?;
    if !pattern.is_list() {
        found.or_inplace(&index.with_pattern(name, pattern, watch)?);
    }
    Ok(found)
}

/// The series that carry the label with any other value.
fn without(index: &impl LabelIndex, matcher: &Matcher, watch: Watch<'_>) -> Result<Bitmap> {
    let mut others = index.with_label(matcher.name())?;
    if !matcher.is_regex() && matcher.value().is_empty() {
        return Ok(others);
    }
    others.andnot_inplace(&with(index, matcher, watch)?);
    Ok(others)
}
