//! Label matchers: `=`, `!=`, `=~`, `!~`. A label that a series lacks has the empty value.

use std::sync::Arc;

use crate::budget::Budget;
use crate::pattern::{Pattern, PatternError};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex,
    /// `!~`, anchored at both ends.
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Arc<Pattern>>,
}

impl Matcher {
    /// A matcher on the label `name`. For `=~` and `!~`, `value` is a regular expression in RE2's syntax that must match the
    /// whole value; `.` matches a newline too, as in Prometheus.
    ///
    /// # Errors
    /// The regular expression's error, with the position in it.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, PatternError> {
        Self::new_within(name, op, value, &Budget::unlimited())
    }

    /// The same; its regular expression counts against `budget` as long as the matcher, or a clone of it, is there.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`PatternError::Limit`] if the budget has no room.
    pub fn new_within(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
        budget: &Arc<Budget>,
    ) -> Result<Self, PatternError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(Pattern::new(&value, budget)?)),
        };
        Ok(Self { name: name.into(), op, value, pattern })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with: a value, or the regular expression as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it is `=~` or `!~`.
    #[must_use]
    pub fn is_regex(&self) -> bool {
        self.pattern.is_some()
    }

    /// The compiled regular expression of `=~` and `!~`.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_deref()
    }

    /// Whether it wants every value, or every one that is not empty.
    pub(crate) fn wants_any(&self) -> bool {
        self.is_regex() && matches!(&*self.value, ".*" | ".+")
    }

    /// Whether a label with this value satisfies the matcher; an absent label has the value `""`.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.pattern_matches(value) == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// Whether the value equals the matcher's, or its regular expression matches it, whatever the operator makes of that.
    #[must_use]
    pub fn pattern_matches(&self, value: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => self.value == value,
        }
    }

    /// Whether a series without this label satisfies the matcher.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_anchored_and_the_dot_matches_newlines() {
        let matcher = Matcher::new("a", MatchOp::Regex, "b.*|c").unwrap();
        assert!(matcher.matches("b\nx") && matcher.matches("c"));
        assert!(!matcher.matches("xc") && !matcher.matches("cx"));
        assert!(Matcher::new("a", MatchOp::NotRegex, "b+").unwrap().matches_empty());
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
        assert!(Matcher::new("a", MatchOp::Regex, "b)|(?:c").is_err());
    }
}
