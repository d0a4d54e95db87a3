//! The automaton of what a pattern does not list.
//!
//! 1. The memory of the syntax tree is charged by the length of the text, then the tree is made.
//! 2. The memory of the automaton is charged by the tree. An automaton of UTF-8 that would be large becomes one of
//!    [letters](super::alphabet) if that is smaller.
//! 3. It is built, and what it takes less than was charged is given back. The time of all three is in proportion to what is charged.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::alphabet::Alphabet;
use super::listing::Rest;
use super::translate::NEST_LIMIT;
use super::{Groups, PatternError};
use crate::budget::Held;

/// What the syntax trees of one byte of a pattern take, abstract and high-level, and of a class in it.
const TREE_BYTES: usize = 192;
const TREE_CLASS_BYTES: usize = 8 << 10;
/// An automaton of UTF-8 is large from here on.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes of an automaton's state, of a further edge of one, and of what an edge of UTF-8 may become.
const STATE_BYTES: usize = 64;
const EDGE_BYTES: usize = 8;
const UTF8_RANGE_BYTES: usize = 64;
const UTF8_CLASS_BYTES: usize = 640;
/// An expression is built forwards, backwards, and once more for [`Automaton::walker`], from parts that are as large meanwhile.
const COPIES: usize = 6;
/// What states made on demand may take: in proportion to the automaton, within these bounds. There are two caches of them.
const CACHE_FACTOR: usize = 32;
const CACHE_BYTES_MIN: usize = 128 << 10;
const CACHE_BYTES_MAX: usize = 2 << 20;

/// An automaton for whole texts.
#[derive(Debug)]
pub(super) struct Automaton {
    regex: meta::Regex,
    /// What the texts are translated to first; `None` when their bytes are matched.
    alphabet: Option<Alphabet>,
    /// The translated pattern.
    text: String,
    /// The number of each group of `regex`, in the pattern as it was written.
    groups: Vec<u32>,
    walker: OnceLock<Option<DFA>>,
}

impl Automaton {
    /// Compiles what a pattern has beside its list, and charges it to `held`.
    pub(super) fn new(
        rest: Vec<Rest>,
        with_groups: bool,
        held: &mut Held,
        pattern: &str,
    ) -> Result<Self, PatternError> {
        let no_room = |error| PatternError::of_budget(&error, pattern);
        let before = held.bytes();
        let bytes = rest.iter().map(|rest| rest.pattern.len() + 8).sum::<usize>();
        held.add(bytes.saturating_add(tree_bytes(&rest))).map_err(no_room)?;
        let mut text = String::with_capacity(bytes);
        let mut groups = Vec::new();
        text.push_str("^(?s:");
        for (at, part) in rest.into_iter().enumerate() {
            text.push_str(if at > 0 { "|" } else { "" });
            text.push_str(&part.pattern);
            groups.extend(part.groups);
        }
        text.push_str(")$");
        let hir = parse(&text)?;

        let letters = if automaton_bytes(&hir) > LARGE_BYTES { Alphabet::of(&hir) } else { None };
        let (alphabet, hir) = match letters {
            Some((alphabet, translated)) => (Some(alphabet), translated),
            None => (None, hir),
        };
        let size = automaton_bytes(&hir);
        let cache = size
            .saturating_mul(CACHE_FACTOR)
            .clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX.max(size.saturating_mul(4)));
        let slots = if with_groups { size.saturating_mul(groups.len() + 1) } else { 0 };
        let charged = size.saturating_mul(COPIES).saturating_add(2 * cache).saturating_add(slots);
        held.add(charged).map_err(no_room)?;
        let captures = if with_groups { WhichCaptures::All } else { WhichCaptures::Implicit };
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(captures)
            .nfa_size_limit(Some(charged))
            .onepass_size_limit(Some(cache))
            .hybrid_cache_capacity(cache);
        let regex = meta::Builder::new().configure(config).build_from_hir(&hir).map_err(|error| {
            PatternError::Unsupported(error.size_limit().map_or_else(
                || error.to_string(),
                |limit| {
                    format!(
                        "it takes more than the {limit} bytes that it should take: please report this pattern"
                    )
                },
            ))
        })?;
        let alphabet_bytes = alphabet.as_ref().map_or(0, Alphabet::heap_bytes);
        let walker = if alphabet.is_none() { size } else { 0 };
        held.shrink(before + bytes + regex.memory_usage() + alphabet_bytes + walker + 2 * cache + slots);
        Ok(Self { regex, alphabet, text, groups, walker: OnceLock::new() })
    }

    /// Whether it matches all of `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(Input::new(&*self.letters(text)).anchored(Anchored::Yes))
    }

    /// What its groups match in `text`, if it matches all of it.
    pub(super) fn groups(&self, text: &str, found: &mut Groups) -> bool {
        let letters = self.letters(text);
        let mut captures = self.regex.create_captures();
        self.regex.captures(Input::new(&*letters).anchored(Anchored::Yes), &mut captures);
        if !captures.is_match() {
            return false;
        }
        let offset = |letter: usize| match &self.alphabet {
            Some(_) if !text.is_ascii() => text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at),
            _ => letter,
        };
        for (at, group) in self.groups.iter().enumerate() {
            if let Some(span) = captures.get_group(at + 1) {
                found.set(*group, Range { start: offset(span.start), end: offset(span.end) });
            }
        }
        true
    }

    /// The translated pattern.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn letters<'a>(&self, text: &'a str) -> Cow<'a, [u8]> {
        match &self.alphabet {
            None => Cow::Borrowed(text.as_bytes()),
            Some(alphabet) => Cow::Owned(text.chars().map(|c| alphabet.letter(c)).collect()),
        }
    }

    /// The same as an automaton that whoever walks over sorted texts can stop and go on with; `None` when it reads no bytes.
    pub(super) fn walker(&self) -> Option<&DFA> {
        let build = || {
            let config = DFA::config().match_kind(MatchKind::All);
            let syntax = syntax::Config::new().nest_limit(NEST_LIMIT);
            DFA::builder().configure(config).syntax(syntax).build(&self.text).ok()
        };
        self.walker.get_or_init(|| if self.alphabet.is_none() { build() } else { None }).as_ref()
    }
}

/// The syntax tree of a pattern in the crate's dialect.
pub(super) fn parse(text: &str) -> Result<Hir, PatternError> {
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(NEST_LIMIT).build().parse(text);
    parsed.map_err(|error| PatternError::Unsupported(error.to_string()))
}

/// What the syntax trees take at most. A class is as large as Unicode makes it: by its name, or by a flag that ignores case.
fn tree_bytes(rest: &[Rest]) -> usize {
    let of = |Rest { pattern, .. }: &Rest| {
        let mut classes = pattern.matches(r"\p").count() + pattern.matches(r"\P").count();
        if pattern.contains("(?i") {
            classes += pattern.matches('[').count();
        }
        pattern.len().saturating_mul(TREE_BYTES).saturating_add(classes.saturating_mul(TREE_CLASS_BYTES))
    };
    rest.iter().map(of).fold(0, usize::saturating_add)
}

/// What an automaton takes at most.
fn automaton_bytes(hir: &Hir) -> usize {
    let sum = |parts: &[Hir]| {
        let each = parts.iter().map(|part| automaton_bytes(part).saturating_add(EDGE_BYTES));
        each.fold(STATE_BYTES, usize::saturating_add)
    };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => STATE_BYTES,
        HirKind::Literal(literal) => literal.0.len().saturating_mul(STATE_BYTES),
        HirKind::Class(Class::Unicode(class)) if !class.is_ascii() => {
            UTF8_CLASS_BYTES + class.ranges().len() * UTF8_RANGE_BYTES
        }
        HirKind::Class(Class::Unicode(class)) => STATE_BYTES + class.ranges().len() * EDGE_BYTES,
        HirKind::Class(Class::Bytes(class)) => STATE_BYTES + class.ranges().len() * EDGE_BYTES,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1) as usize;
            (automaton_bytes(&repetition.sub).saturating_add(STATE_BYTES)).saturating_mul(times)
        }
        HirKind::Capture(capture) => automaton_bytes(&capture.sub).saturating_add(2 * STATE_BYTES),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}
