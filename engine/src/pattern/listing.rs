//! Reads off a pattern which texts it matches, as far as it lists them: `a|b|c`, `(?:a|b)`, `api-(one|two)\.example`.
//!
//! The translator tells what it reads. Each branch of an alternation is a list of words or it is not; a list is kept as words, which
//! are looked up, and the others stay a pattern ([`Rest`]). So of `n1|n2|…|x.*` only `x.*` needs an automaton.

use super::translate::{Flags, flags_text};
use crate::budget::Held;
use crate::error::Result;

/// A product of two lists has at most so many words, or as many as the longer list.
const PRODUCT_WORDS_MAX: usize = 256;
/// What a word takes besides its text: its place in a table, and the allocator's share.
const WORD_BYTES: usize = 112;

/// A group's number, and where what it matched begins and ends.
pub(super) type Span = (u32, u32, u32);

/// A text that a pattern matches, and its groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) groups: Vec<Span>,
}

impl Word {
    fn followed_by(&self, next: &Word) -> Word {
        let by = self.text.len() as u32;
        let shifted = next.groups.iter().map(|(group, start, end)| (*group, start + by, end + by));
        Word {
            text: [&*self.text, &*next.text].concat(),
            groups: self.groups.iter().copied().chain(shifted).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.groups.is_empty()
    }
}

/// A branch that is no list, in the `regex` crate's dialect, and the numbers of its groups.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rest {
    pub(super) pattern: String,
    pub(super) groups: Vec<u32>,
}

/// What was read last, which a repetition would repeat.
#[derive(Debug)]
enum Atom {
    Char(char),
    Group(Alternatives),
    NotListed,
}

/// The branches of a group that were read.
#[derive(Debug, Default)]
struct Alternatives {
    words: Vec<Word>,
    rest: Vec<Rest>,
}

/// The branch that is being read.
#[derive(Debug)]
struct Branch {
    /// Where its translation begins, the flags that hold there, and the number of groups before it.
    start: usize,
    flags: Flags,
    groups_before: u32,
    /// What stands before `tail`; `None` when that is no list.
    before: Option<Vec<Word>>,
    /// Characters before `atom`.
    tail: String,
    atom: Option<Atom>,
    /// Whether the end of the text was asked for.
    is_ended: bool,
}

impl Branch {
    fn new(start: usize, flags: Flags, groups_before: u32) -> Self {
        let before = Some(vec![Word::default()]);
        Self { start, flags, groups_before, before, tail: String::new(), atom: None, is_ended: false }
    }

    /// Whether nothing stands before the last atom.
    fn is_first(&self) -> bool {
        self.tail.is_empty() && matches!(self.before.as_deref(), Some([word]) if word.is_empty())
    }
}

/// What is known of an open group, or of the whole pattern.
#[derive(Debug)]
struct Level {
    /// The group's number, if it is one that captures.
    group: Option<u32>,
    done: Alternatives,
    branch: Branch,
}

/// Reads one pattern.
#[derive(Debug)]
pub(super) struct Listing {
    /// Whether somebody wants to know what groups match.
    with_groups: bool,
    levels: Vec<Level>,
    /// The groups so far.
    groups: u32,
    /// A product of lists may have texts of so many bytes.
    product_bytes_max: usize,
    held: Held,
}

impl Listing {
    pub(super) fn new(pattern: &str, with_groups: bool, flags: Flags, held: Held) -> Self {
        let base = Level { group: None, done: Alternatives::default(), branch: Branch::new(0, flags, 0) };
        let product_bytes_max = pattern.len().saturating_mul(16).saturating_add(4096);
        Self { with_groups, levels: vec![base], groups: 0, product_bytes_max, held }
    }

    fn branch(&mut self) -> Option<&mut Branch> {
        self.levels.last_mut().map(|level| &mut level.branch)
    }

    /// Ends the last atom and begins another.
    fn begin(&mut self, atom: Atom) {
        let bytes_max = self.product_bytes_max;
        let Some(branch) = self.branch() else { return };
        fold(branch, bytes_max);
        if branch.is_ended {
            branch.before = None;
        }
        branch.atom = Some(atom);
    }

    /// A character; under the flag `i` letters match others as well.
    pub(super) fn character(&mut self, c: char, ignores_case: bool) {
        let is_itself = !ignores_case || (c.is_ascii() && !c.is_ascii_alphabetic());
        self.begin(if is_itself { Atom::Char(c) } else { Atom::NotListed });
    }

    /// An atom that is no list.
    pub(super) fn not_listed(&mut self) {
        self.begin(Atom::NotListed);
    }

    /// `^`, if it asks for the start of the text.
    pub(super) fn text_start(&mut self) {
        let is_first = |level: &Level| level.branch.is_first() && level.branch.atom.is_none();
        if !self.levels.iter().all(is_first) {
            self.not_listed();
        }
    }

    /// `$`, if it asks for the end of the text.
    pub(super) fn text_end(&mut self) {
        let is_outermost = self.levels.len() == 1;
        match self.branch() {
            Some(branch) if is_outermost => branch.is_ended = true,
            _ => self.not_listed(),
        }
    }

    /// The last atom is repeated.
    pub(super) fn repeat(&mut self, least: u32, most: Option<u32>, is_greedy: bool) {
        let Some(branch) = self.branch() else { return };
        if branch.is_ended || (least, most) == (1, Some(1)) {
            return;
        }
        let Some(atom) = branch.atom.take() else { return };
        let words = match atom {
            Atom::Char(c) => Some(vec![Word { text: c.to_string(), groups: Vec::new() }]),
            Atom::Group(Alternatives { words, rest }) if rest.is_empty() => Some(words),
            _ => None,
        };
        let repeated = match (words, least, most) {
            (Some(_), 0, Some(0)) => Some(vec![Word::default()]),
            (Some(mut words), 0, Some(1)) => {
                words.insert(if is_greedy { words.len() } else { 0 }, Word::default());
                Some(words)
            }
            _ => None,
        };
        let group = |words| Atom::Group(Alternatives { words, rest: Vec::new() });
        branch.atom = Some(repeated.map_or(Atom::NotListed, group));
    }

    /// A group begins, whose translation begins at `start` under `flags`.
    pub(super) fn open(&mut self, captures: bool, start: usize, flags: Flags) {
        let bytes_max = self.product_bytes_max;
        if let Some(branch) = self.branch() {
            fold(branch, bytes_max);
        }
        self.groups += u32::from(captures);
        let group = captures.then_some(self.groups);
        let branch = Branch::new(start, flags, self.groups);
        self.levels.push(Level { group, done: Alternatives::default(), branch });
    }

    /// The group ends; its last branch ends where `out` does.
    pub(super) fn close(&mut self, out: &str) -> Result<()> {
        self.end_branch(out)?;
        let Some(Level { group, mut done, .. }) = self.levels.pop() else { return Ok(()) };
        if let Some(group) = group {
            for rest in &mut done.rest {
                rest.pattern = format!("({})", rest.pattern);
                rest.groups.insert(0, group);
            }
            if self.with_groups {
                done.words.iter_mut().for_each(|word| word.groups.push((group, 0, word.text.len() as u32)));
            }
        }
        if let Some(branch) = self.branch() {
            if branch.is_ended {
                branch.before = None;
            }
            branch.atom = Some(Atom::Group(done));
        }
        Ok(())
    }

    /// A branch ends, and another begins at the end of `out` under `flags`; `out` still lacks the `|`.
    pub(super) fn alternate(&mut self, out: &str, flags: Flags) -> Result<()> {
        self.end_branch(out)?;
        let groups = self.groups;
        if let Some(level) = self.levels.last_mut() {
            level.branch = Branch::new(out.len() + 1, flags, groups);
        }
        Ok(())
    }

    fn end_branch(&mut self, out: &str) -> Result<()> {
        let Some(Level { done, branch, .. }) = self.levels.last_mut() else { return Ok(()) };
        let slice = |branch: &Branch| Rest {
            pattern: format!("(?{}:{})", flags_text(branch.flags), &out[branch.start..]),
            groups: (branch.groups_before + 1..=self.groups).collect(),
        };
        // Of words and patterns that match the same text, the first says what groups match. Words are looked at first.
        if self.with_groups && !done.rest.is_empty() {
            done.rest.push(slice(branch));
            return Ok(());
        }
        if branch.is_first()
            && let Some(Atom::Group(group)) = &mut branch.atom
            && !group.rest.is_empty()
        {
            done.words.append(&mut group.words);
            done.rest.append(&mut group.rest);
            return Ok(());
        }
        fold(branch, self.product_bytes_max);
        flush(branch, self.product_bytes_max);
        match branch.before.take() {
            Some(words) => {
                let bytes =
                    |word: &Word| WORD_BYTES + word.text.len() + word.groups.len() * size_of::<Span>();
                self.held.add(words.iter().map(bytes).sum())?;
                done.words.extend(words);
            }
            None => {
                let rest = slice(branch);
                self.held.add(WORD_BYTES + rest.pattern.len())?;
                done.rest.push(rest);
            }
        }
        Ok(())
    }

    /// The words and the patterns beside them, and what they hold.
    pub(super) fn finish(mut self, out: &str) -> Result<(Vec<Word>, Vec<Rest>, Held)> {
        self.end_branch(out)?;
        let done = self.levels.pop().map(|level| level.done).unwrap_or_default();
        Ok((done.words, done.rest, self.held))
    }
}

/// Adds the last atom to what stands before.
fn fold(branch: &mut Branch, bytes_max: usize) {
    match branch.atom.take() {
        Some(Atom::Char(c)) if branch.before.is_some() => branch.tail.push(c),
        None | Some(Atom::Char(_)) => {}
        Some(Atom::Group(Alternatives { words, rest })) if rest.is_empty() => {
            flush(branch, bytes_max);
            branch.before = branch.before.take().and_then(|before| product(&before, words, bytes_max));
        }
        Some(Atom::Group(_) | Atom::NotListed) => branch.before = None,
    }
}

/// Adds the characters before the last atom to the words before them.
fn flush(branch: &mut Branch, bytes_max: usize) {
    if branch.tail.is_empty() {
        return;
    }
    let tail = Word { text: std::mem::take(&mut branch.tail), groups: Vec::new() };
    branch.before = branch.before.take().and_then(|before| product(&before, vec![tail], bytes_max));
}

/// Each word of `first` followed by each of `second`, in the order in which they are tried; `None` when these are too many.
fn product(first: &[Word], second: Vec<Word>, bytes_max: usize) -> Option<Vec<Word>> {
    if let [word] = first
        && word.is_empty()
    {
        return Some(second);
    }
    let count = first.len().checked_mul(second.len())?;
    let bytes = |words: &[Word]| words.iter().map(|word| word.text.len()).sum::<usize>();
    let text =
        bytes(first).saturating_mul(second.len()).saturating_add(bytes(&second).saturating_mul(first.len()));
    if count > first.len().max(second.len()).max(PRODUCT_WORDS_MAX) || text > bytes_max {
        return None;
    }
    Some(first.iter().flat_map(|word| second.iter().map(|next| word.followed_by(next))).collect())
}
