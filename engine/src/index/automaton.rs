//! Walks sorted values with the automaton of a regular expression, as one walks a trie.
//!
//! 1. Neighbours share a prefix: the automaton goes on from the state behind it.
//! 2. Where no match is possible any more, all values with the prefix read so far are skipped by a binary search.
//!
//! So a pattern with a literal prefix costs two searches, and one like `host_1[0-9]*7` reads only what begins with `host_1`.

use std::ops::Range;

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;

use crate::error::Result;

/// Calls `found` with the positions in `range` whose value the automaton matches, ascending. `value` gives the value at a
/// position; values ascend. Returns the first position that was not looked at: the end of the range, or where the
/// automaton's cache was full.
pub(super) fn walk<'a>(
    automaton: &DFA,
    range: Range<u32>,
    value: impl Fn(u32) -> Result<&'a [u8]>,
    mut found: impl FnMut(u32) -> Result<()>,
) -> Result<u32> {
    let mut cache = automaton.create_cache();
    let Some(mut path) = Path::new(automaton, &mut cache) else { return Ok(range.start) };
    let mut at = range.start;
    let mut previous: &[u8] = &[];
    while at < range.end {
        let text = value(at)?;
        let shared = previous.iter().zip(text).take_while(|(a, b)| a == b).count();
        previous = text;
        match path.step(shared, text) {
            Step::Matches => {
                found(at)?;
                at += 1;
            }
            Step::Fails => at += 1,
            Step::Dead(len) => at = skip(at, range.end, &text[..len], &value)?,
            Step::CacheFull => return Ok(at),
        }
    }
    Ok(at)
}

enum Step {
    Matches,
    Fails,
    /// No value that begins with so many bytes of this one matches.
    Dead(usize),
    CacheFull,
}

/// The states behind each byte of a value.
struct Path<'a> {
    automaton: &'a DFA,
    cache: &'a mut Cache,
    states: Vec<LazyStateID>,
}

impl<'a> Path<'a> {
    fn new(automaton: &'a DFA, cache: &'a mut Cache) -> Option<Self> {
        let start = automaton.start_state(cache, &start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { automaton, cache, states: vec![start] })
    }

    /// Goes to the end of `text`, of which `shared` bytes are those of the text before.
    fn step(&mut self, shared: usize, text: &[u8]) -> Step {
        let mut len = shared.min(self.states.len() - 1);
        self.states.truncate(len + 1);
        let mut state = self.states[len];
        for &byte in &text[len..] {
            let Ok(next) = self.automaton.next_state(self.cache, state, byte) else { return Step::CacheFull };
            // States from before a clearing mean nothing.
            if self.cache.clear_count() > 0 || next.is_quit() {
                return Step::CacheFull;
            }
            len += 1;
            if next.is_dead() {
                return Step::Dead(len);
            }
            self.states.push(next);
            state = next;
        }
        match self.automaton.next_eoi_state(self.cache, state) {
            Ok(_) | Err(_) if self.cache.clear_count() > 0 => Step::CacheFull,
            Ok(end) if end.is_match() => Step::Matches,
            Ok(_) => Step::Fails,
            Err(_) => Step::CacheFull,
        }
    }
}

/// The first position behind `at` whose value does not begin with `prefix`, as that at `at` does.
fn skip<'a>(at: u32, end: u32, prefix: &[u8], value: &impl Fn(u32) -> Result<&'a [u8]>) -> Result<u32> {
    let (mut low, mut high, mut width) = (at + 1, end, 1);
    // Mostly the end is near: the steps double.
    while low < high {
        let probe = low + (width - 1).min(high - low - 1);
        if !value(probe)?.starts_with(prefix) {
            high = probe;
            break;
        }
        low = probe + 1;
        width = width.saturating_mul(2);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if value(middle)?.starts_with(prefix) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::{MatchOp, Matcher};
    use crate::pattern::Pattern;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// What is found, and how many values were looked at.
    fn find(pattern: &str, values: &[String]) -> (Vec<u32>, usize) {
        let matcher = Matcher::new("a", MatchOp::Regex, pattern).unwrap();
        // Of a pattern that is a list there is nothing to walk for.
        let Some(walker) = matcher.pattern().and_then(Pattern::walker) else {
            let found =
                (0..values.len() as u32).filter(|at| matcher.matches(&values[*at as usize])).collect();
            return (found, 0);
        };
        let (mut found, reads) = (Vec::new(), Cell::new(0));
        let value = |at: u32| {
            reads.set(reads.get() + 1);
            Ok(values[at as usize].as_bytes())
        };
        let push = |at| {
            found.push(at);
            Ok(())
        };
        let end = walk(walker, 0..values.len() as u32, value, push).unwrap();
        assert_eq!(end as usize, values.len());
        // What the pattern lists is looked up.
        let is_listed =
            |at: &u32| matcher.pattern().is_some_and(|p| p.words().any(|word| word == values[*at as usize]));
        found.extend((0..values.len() as u32).filter(is_listed));
        found.sort_unstable();
        found.dedup();
        (found, reads.get())
    }

    #[test]
    fn a_prefix_skips_all_others() {
        let mut values: Vec<String> = (0..100_000).map(|index| format!("host_{index:06}")).collect();
        values.extend((0..100_000).map(|index| format!("zone_{index:06}")));
        let (found, reads) = find("host_09999.*", &values);
        assert_eq!(found, (99_990..100_000).collect::<Vec<u32>>());
        assert!(reads < 1000, "{reads}");
        let (found, reads) = find("host_0123(45|46|99)", &values);
        assert_eq!(found, [12_345, 12_346, 12_399]);
        assert!(reads < 2000, "{reads}");
        assert_eq!(find(".*7777", &values).0.len(), 20);
    }

    proptest! {
        #[test]
        fn finds_what_the_expression_matches(
            values in prop::collection::btree_set("[ab\u{e9}\n]{0,6}", 0..60),
            pattern in prop_oneof![
                Just("a.*".to_owned()), Just(".*b".to_owned()), Just("(?i)A+b?".to_owned()), Just("".to_owned()),
                Just("a|b|ab".to_owned()), Just("(?m)^a$".to_owned()), Just("a\\b.*".to_owned()), Just("\u{e9}+".to_owned()),
                Just("[^a]{2,3}".to_owned()), Just(".+".to_owned()), Just(".*".to_owned()), Just("(a|ab)(b|)".to_owned()),
                "[ab|.*+?]{0,8}",
            ],
        ) {
            let Ok(matcher) = Matcher::new("a", MatchOp::Regex, &*pattern) else { return Ok(()) };
            let values: Vec<String> = values.into_iter().collect();
            let expected: Vec<u32> =
                (0..values.len() as u32).filter(|at| matcher.matches(&values[*at as usize])).collect();
            prop_assert_eq!(find(&pattern, &values).0, expected);
        }
    }
}
