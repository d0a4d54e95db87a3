//! Label matchers: `=`, `!=`, `=~`, `!~`. A label that a series lacks has the empty value.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::Regex;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::{MatchKind, util::syntax};

use crate::budget::{Budget, Held};
use crate::pattern::{NEST_LIMIT, PatternError, anchored_regex};

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
    regex: Option<Arc<Expression>>,
}

/// A compiled regular expression, and its automaton once an index asked for that.
struct Expression {
    regex: Regex,
    automaton: OnceLock<Option<DFA>>,
    _held: Held,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regex.fmt(f)
    }
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
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let held =
                    budget.take(2 * value.len()).map_err(|error| PatternError::of_budget(&error, &value))?;
                let regex = anchored_regex(&value)?;
                Some(Arc::new(Expression { regex, automaton: OnceLock::new(), _held: held }))
            }
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
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
        self.regex.is_some()
    }

    /// The values that the regular expression matches, when it lists them: `a|b|c`.
    #[must_use]
    pub fn literals(&self) -> Option<impl Iterator<Item = &str>> {
        let is_meta = |c: char| r"\.+*?()[]{}^$".contains(c);
        let lists = self.is_regex() && !self.value.contains(is_meta);
        lists.then(|| self.value.split('|'))
    }

    /// Whether a label with this value satisfies the matcher; an absent label has the value `""`.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.pattern_matches(value) == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// Whether the value equals the matcher's, or its regular expression matches it, whatever the operator makes of that.
    #[must_use]
    pub fn pattern_matches(&self, value: &str) -> bool {
        match &self.regex {
            Some(expression) => expression.regex.is_match(value),
            None => self.value == value,
        }
    }

    /// The regular expression as an automaton for whole values; `None` when it cannot be one, or is too large.
    pub(crate) fn automaton(&self) -> Option<&DFA> {
        let expression = self.regex.as_ref()?;
        let build = || {
            let config = DFA::config().match_kind(MatchKind::All);
            let syntax = syntax::Config::new().nest_limit(NEST_LIMIT);
            DFA::builder().configure(config).syntax(syntax).build(expression.regex.as_str()).ok()
        };
        expression.automaton.get_or_init(build).as_ref()
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

    #[test]
    fn an_alternation_of_plain_words_is_a_list() {
        let list =
            |op, value| Some(Matcher::new("a", op, value).unwrap().literals()?.collect::<Vec<_>>().join(","));
        assert_eq!(list(MatchOp::Regex, "b|c d").as_deref(), Some("b,c d"));
        assert_eq!(list(MatchOp::Regex, "b.|c"), None);
        assert_eq!(list(MatchOp::NotRegex, "b").as_deref(), Some("b"));
        assert_eq!(list(MatchOp::Equal, "b"), None);
    }
}
