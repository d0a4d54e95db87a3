//! Regular expressions as Prometheus reads them: RE2's syntax, anchored at both ends, `.` matching newlines too.
//!
//! 1. [`translate`] reads a pattern by Go's rules and writes it in the dialect of the `regex` crates.
//! 2. [`listing`] reads off which texts it lists: these are looked up.
//! 3. [`automaton`] is made of what it does not list, if anything.
//!
//! All that takes memory is charged to a budget first, and so is bounded in time.

mod alphabet;
mod automaton;
mod classes;
mod listing;
mod translate;

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use regex_automata::hybrid::dfa::DFA;

use self::automaton::Automaton;
use self::listing::{Span, Word};
use self::translate::{Translation, Translator};
use crate::budget::{Budget, Held};
use crate::error::Error;

/// Errors show so many characters of a pattern.
const PART_CHARS_MAX: usize = 60;

/// Why a regular expression was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It does not follow RE2's syntax.
    #[error("error parsing regexp: {reason}: `{part}` at character {position}, expected {expected}")]
    Syntax {
        /// What is wrong, in Go's words.
        reason: &'static str,
        /// The part of the pattern that is wrong.
        part: String,
        /// Where that part begins: 1 is the pattern's first character.
        position: usize,
        /// What could stand there.
        expected: &'static str,
    },
    /// There is no room for it in a budget of memory.
    #[error(
        "limit {name} reached: with the regular expression `{part}` the query needs at least {got} bytes, the limit is {limit}"
    )]
    Limit {
        /// The limit's configuration name.
        name: &'static str,
        /// Its value, bytes.
        limit: u64,
        /// What would be held, bytes.
        got: u64,
        /// How the expression begins.
        part: String,
    },
    /// The `regex` crates do not take its translation.
    #[error("error parsing regexp: {0}")]
    Unsupported(String),
}

impl PatternError {
    /// The configuration name of the limit that is the reason, if one is.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { name, .. } => Some(name),
            _ => None,
        }
    }

    /// A budget's error about `pattern`.
    fn of_budget(error: &Error, pattern: &str) -> Self {
        let Error::Limit { name, limit, got } = error else { return Self::Unsupported(error.to_string()) };
        let mut part: String = pattern.chars().take(PART_CHARS_MAX).collect();
        if part.len() < pattern.len() {
            part.push('…');
        }
        Self::Limit { name, limit: *limit, got: *got, part }
    }
}

/// A compiled pattern, which matches whole texts.
pub struct Pattern {
    /// The texts that it lists, and their groups.
    words: HashMap<Box<str>, Box<[Span]>, foldhash::fast::RandomState>,
    /// What it matches beside these.
    rest: Option<Automaton>,
    group_names: Vec<Option<String>>,
    _held: Held,
}

impl Pattern {
    /// Compiles a pattern in RE2's syntax of which nobody asks what its groups match. What it holds counts against `budget` as
    /// long as it is there.
    ///
    /// # Errors
    /// The first part of `pattern` that RE2 does not know; [`PatternError::Limit`] if the budget has no room.
    pub fn new(pattern: &str, budget: &Arc<Budget>) -> Result<Self, PatternError> {
        Self::compile(pattern, false, budget)
    }

    /// The same for [`groups`](Self::groups).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_groups(pattern: &str, budget: &Arc<Budget>) -> Result<Self, PatternError> {
        Self::compile(pattern, true, budget)
    }

    fn compile(pattern: &str, with_groups: bool, budget: &Arc<Budget>) -> Result<Self, PatternError> {
        let Translation { words: listed, rest, group_names, mut held, .. } =
            Translator::new(pattern, with_groups, budget)?.translate()?;
        let mut words =
            HashMap::with_capacity_and_hasher(listed.len(), foldhash::fast::RandomState::default());
        for Word { text, groups } in listed {
            // The first way to match a text counts.
            words.entry(text.into_boxed_str()).or_insert_with(|| groups.into_boxed_slice());
        }
        let rest = match rest {
            rest if rest.is_empty() => None,
            rest => Some(Automaton::new(rest, with_groups, &mut held, pattern)?),
        };
        Ok(Self { words, rest, group_names, _held: held })
    }

    /// Whether it matches all of `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.words.contains_key(text) || self.rest_matches(text)
    }

    /// What its groups match in `text`, if it matches all of it.
    #[must_use]
    pub fn groups(&self, text: &str) -> Option<Groups> {
        let mut found = Groups { spans: vec![None; self.group_names.len() + 1] };
        found.set(0, 0..text.len());
        if let Some(groups) = self.words.get(text) {
            groups.iter().for_each(|(group, start, end)| found.set(*group, *start as usize..*end as usize));
            return Some(found);
        }
        self.rest.as_ref().is_some_and(|rest| rest.groups(text, &mut found)).then_some(found)
    }

    /// The names of its groups, from the first on.
    #[must_use]
    pub fn group_names(&self) -> &[Option<String>] {
        &self.group_names
    }

    /// The texts that it lists, in no order.
    pub(crate) fn words(&self) -> impl ExactSizeIterator<Item = &str> {
        self.words.keys().map(|word| &**word)
    }

    /// Whether it only matches what it lists.
    pub(crate) fn is_list(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether what it does not list matches `text`.
    pub(crate) fn rest_matches(&self, text: &str) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.is_match(text))
    }

    /// What it does not list as an automaton for whoever walks over sorted values; `None` when there is none.
    pub(crate) fn walker(&self) -> Option<&DFA> {
        self.rest.as_ref()?.walker()
    }
}

/// The same for the same pattern, however its table is ordered.
impl Debug for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rest = self.rest.as_ref().map(Automaton::text);
        f.debug_struct("Pattern")
            .field("words", &self.words.len())
            .field("rest", &rest)
            .finish_non_exhaustive()
    }
}

/// What the groups of a pattern match in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    spans: Vec<Option<Range<usize>>>,
}

impl Groups {
    fn set(&mut self, group: u32, span: Range<usize>) {
        if let Some(place) = self.spans.get_mut(group as usize) {
            *place = Some(span);
        }
    }

    /// Where the group is in the text; 0 is all of it. `None` when the pattern has no such group, or the text matched without it.
    #[must_use]
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        self.spans.get(group)?.clone()
    }
}

#[cfg(test)]
mod tests;
