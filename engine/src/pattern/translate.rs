//! From RE2's dialect to that of the `regex` crates.
//!
//! PromQL's expressions are those of Go's `regexp`, with Perl's flags. The `regex` crate searches with the same guarantees, but
//! reads another dialect: its `\d` is Unicode's, its classes nest and intersect, `{` and `\<` mean other things. So a pattern is
//! read here by Go's rules (`regexp/syntax`) and written anew in the crate's dialect: whatever is ambiguous there is written
//! escaped, and what Go refuses is refused with Go's words.
//!
//! What Go accepts and this refuses: two groups of one name, group names that begin with a digit, surrogates (`\x{D800}`), which
//! no text contains, and two repetitions with nothing but flags between (`a*(?i)*`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::PatternError;
use super::classes::{POSIX_CLASSES, perl_class, unicode_property};
use super::listing::{Listing, Rest, Word};
use crate::budget::{Budget, Held};

/// The most repetitions of one part of a pattern, nested ones multiplied, as in Go.
const REPEAT_MAX: u32 = 1000;

/// The most groups within each other.
pub(super) const DEPTH_MAX: usize = 200;

/// The `regex` crate's bound on its tree's height, which is [`DEPTH_MAX`] by its own measure: a group may hold an alternation,
/// of concatenations, of repetitions, before the next group; the group and the class around all are left.
pub(super) const NEST_LIMIT: u32 = 4 * DEPTH_MAX as u32 + 8;

/// What a pattern is in the `regex` crates' dialect.
#[derive(Debug)]
pub(super) struct Translation {
    /// All of it.
    #[cfg(test)]
    pub(super) whole: String,
    /// The texts that it lists, in the order in which they are tried.
    pub(super) words: Vec<Word>,
    /// What it matches beside them.
    pub(super) rest: Vec<Rest>,
    /// The names of its groups, from the first on.
    pub(super) group_names: Vec<Option<String>>,
    /// The memory of all that.
    pub(super) held: Held,
}

/// The flags that a pattern can set, and those that hold at its start: only `s`.
const FLAGS: [char; 4] = ['i', 'm', 's', 'U'];
const FLAGS_AT_START: Flags = [false, false, true, false];

/// Whether each of [`FLAGS`] is set.
pub(super) type Flags = [bool; 4];

/// The flags as a group writes them: `is-m`. `U` is never written: it decides here what each repetition becomes.
pub(super) fn flags_text(flags: Flags) -> String {
    let with = |value| {
        let flags = FLAGS.into_iter().zip(flags).filter(move |(flag, set)| *flag != 'U' && *set == value);
        flags.map(|(flag, _)| flag).collect::<String>()
    };
    let (on, off) = (with(true), with(false));
    if off.is_empty() { on } else { format!("{on}-{off}") }
}

/// A repetition's count; not one with leading zeros. What is too large for the type is too large for [`REPEAT_MAX`].
fn repeat_count(digits: &str) -> Option<u32> {
    let is_count = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    is_count.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// What a repetition would repeat: the last character, class, assertion or group.
#[derive(Clone, Copy)]
struct Atom {
    /// Its greatest product of nested repetitions.
    weight: u32,
    /// Where the repetition that it already has begins.
    repeated_at: Option<usize>,
}

/// A group that is open.
struct Group {
    /// Where it begins, and where what it holds begins.
    start: usize,
    body: usize,
    /// The flags before it, which hold again behind it.
    flags: Flags,
    /// The weight of what stands before it in the group around it.
    weight: u32,
}

/// Reads RE2's dialect and writes the `regex` crate's.
pub(super) struct Translator<'a> {
    pattern: &'a str,
    /// Where the next character to read begins.
    at: usize,
    out: String,
    /// The flags that hold, and those that were written: `a(?i)*` repeats the `a`, so flags wait for the next atom.
    flags: Flags,
    flags_written: Flags,
    groups: Vec<Group>,
    names: HashSet<&'a str>,
    group_names: Vec<Option<String>>,
    listing: Listing,
    /// The properties that were looked up.
    properties: HashMap<&'a str, Option<String>>,
    atom: Option<Atom>,
    /// The greatest weight in the open group, before `atom`.
    weight: u32,
    /// Where the pattern's last `:]` is; behind it, a `[:` in a class is literal.
    last_posix_end: Option<usize>,
}

impl<'a> Translator<'a> {
    /// Reads `pattern`; what is made of it counts against `budget`.
    pub(super) fn new(
        pattern: &'a str,
        with_groups: bool,
        budget: &Arc<Budget>,
    ) -> Result<Self, PatternError> {
        // The translation of a character is a few times as long.
        let held =
            budget.take(4 * pattern.len()).map_err(|error| PatternError::of_budget(&error, pattern))?;
        Ok(Self {
            pattern,
            at: 0,
            out: String::with_capacity(pattern.len() + 16),
            flags: FLAGS_AT_START,
            flags_written: FLAGS_AT_START,
            groups: Vec::new(),
            names: HashSet::new(),
            group_names: Vec::new(),
            listing: Listing::new(pattern, with_groups, FLAGS_AT_START, held),
            properties: HashMap::new(),
            atom: None,
            weight: 1,
            last_posix_end: pattern.rfind(":]"),
        })
    }

    pub(super) fn translate(mut self) -> Result<Translation, PatternError> {
        loop {
            let start = self.at;
            let Some(c) = self.bump() else { break };
            match c {
                '(' => self.open_group(start)?,
                ')' => self.close_group(start)?,
                '|' => {
                    self.finish_atom();
                    let listed = self.listing.alternate(&self.out, self.flags_written);
                    listed.map_err(|error| PatternError::of_budget(&error, self.pattern))?;
                    self.out.push('|');
                }
                '[' => self.class(start)?,
                '*' | '+' | '?' => self.repeat(start, None)?,
                '{' => match self.repeat_counts() {
                    Some(counts) => self.repeat(start, Some(counts))?,
                    None => self.literal(c),
                },
                '\\' => self.escape(start)?,
                '.' => self.atom("."),
                '^' if self.is_by_line() => self.atom("^"),
                '$' if self.is_by_line() => self.atom("$"),
                '^' => self.text_start("^"),
                '$' => self.text_end("$"),
                _ => self.literal(c),
            }
        }
        if let Some(group) = self.groups.pop() {
            self.at = group.body;
            return Err(self.error(group.start, "missing closing )", "`)` before the end"));
        }
        let (words, rest, held) =
            self.listing.finish(&self.out).map_err(|error| PatternError::of_budget(&error, self.pattern))?;
        Ok(Translation {
            #[cfg(test)]
            whole: self.out,
            words,
            rest,
            group_names: self.group_names,
            held,
        })
    }

    /// Whether `^` and `$` are about lines.
    fn is_by_line(&self) -> bool {
        let [_, by_line, ..] = self.flags;
        by_line
    }

    fn text_start(&mut self, text: &str) {
        self.start_atom();
        self.out.push_str(text);
        self.listing.text_start();
    }

    fn text_end(&mut self, text: &str) {
        self.start_atom();
        self.out.push_str(text);
        self.listing.text_end();
    }

    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let comes = self.rest().starts_with(token);
        if comes {
            self.at += token.len();
        }
        comes
    }

    /// Reads up to `end`, and `end`.
    fn eat_until(&mut self, end: &str) -> Option<&'a str> {
        let (text, _) = self.rest().split_once(end)?;
        self.at += text.len() + end.len();
        Some(text)
    }

    /// The error about the part from `start` to where reading stopped.
    fn error(&self, start: usize, reason: &'static str, expected: &'static str) -> PatternError {
        let position = self.pattern[..start].chars().count() + 1;
        PatternError::Syntax { reason, part: self.pattern[start..self.at].to_owned(), position, expected }
    }

    /// Ends what a repetition could repeat.
    fn finish_atom(&mut self) {
        let weight = self.atom.take().map_or(1, |atom| atom.weight);
        self.weight = self.weight.max(weight);
    }

    /// Begins what a repetition can repeat, under the flags that hold.
    fn start_atom(&mut self) {
        self.finish_atom();
        if self.flags != self.flags_written {
            self.out.push_str("(?");
            self.out.push_str(&flags_text(self.flags));
            self.out.push(')');
            self.flags_written = self.flags;
        }
        self.atom = Some(Atom { weight: 1, repeated_at: None });
    }

    /// An atom that matches several texts, or none.
    fn atom(&mut self, text: &str) {
        self.start_atom();
        self.out.push_str(text);
        self.listing.not_listed();
    }

    fn literal(&mut self, c: char) {
        self.start_atom();
        self.push_escaped(c);
        let [ignores_case, ..] = self.flags;
        self.listing.character(c, ignores_case);
    }

    /// Writes a character so that it means itself, in a class or outside.
    fn push_escaped(&mut self, c: char) {
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
    }

    /// `(…`, `(?:…`, `(?i:…`, `(?P<name>…`, `(?<name>…`; or `(?i)`, which is no group.
    fn open_group(&mut self, start: usize) -> Result<(), PatternError> {
        let (mut inner, mut opening) = (self.flags, "(".to_owned());
        let (mut captures, mut name) = (true, None);
        if self.eat("?P<") || self.eat("?<") {
            let text = self.group_name(start)?;
            opening = format!("(?P<{text}>");
            name = Some(text.to_owned());
        } else if self.eat("?") {
            let is_group;
            (inner, is_group) = self.group_flags(start)?;
            if !is_group {
                self.flags = inner;
                return Ok(());
            }
            opening = format!("(?{}:", flags_text(inner));
            captures = false;
        }
        if self.groups.len() == DEPTH_MAX {
            return Err(self.error(
                start,
                "expression nests too deeply",
                "at most 200 groups within each other",
            ));
        }
        self.start_atom();
        self.out.push_str(&opening);
        self.listing.open(captures, self.out.len(), inner);
        if captures {
            self.group_names.push(name);
        }
        self.groups.push(Group { start, body: self.at, flags: self.flags, weight: self.weight });
        (self.flags, self.flags_written) = (inner, inner);
        (self.atom, self.weight) = (None, 1);
        Ok(())
    }

    fn group_name(&mut self, start: usize) -> Result<&'a str, PatternError> {
        const REASON: &str = "invalid named capture";
        let is_name = |name: &&str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let Some(name) = self.eat_until(">").filter(is_name) else {
            return Err(self.error(start, REASON, "a name of letters, digits and `_`, then `>`"));
        };
        if !self.names.insert(name) {
            return Err(self.error(start, REASON, "a name that no group before has"));
        }
        Ok(name)
    }

    /// The flags behind `(?`, and whether a group begins with them: `i:`, or only `i)`.
    fn group_flags(&mut self, start: usize) -> Result<(Flags, bool), PatternError> {
        let (mut flags, mut value, mut complete) = (self.flags, true, true);
        while let Some(c) = self.bump() {
            match c {
                '-' if value => (value, complete) = (false, false),
                ':' | ')' if complete => return Ok((flags, c == ':')),
                _ => {
                    let Some(flag) = FLAGS.iter().position(|flag| *flag == c) else { break };
                    (flags[flag], complete) = (value, true);
                }
            }
        }
        let expected = "`(?:`, `(?P<name>`, `(?<name>`, or the flags i, m, s and U";
        Err(self.error(start, "invalid or unsupported Perl syntax", expected))
    }

    fn close_group(&mut self, start: usize) -> Result<(), PatternError> {
        let Some(group) = self.groups.pop() else {
            return Err(self.error(start, "unexpected )", "a `(` before it, or `\\)`"));
        };
        self.finish_atom();
        let listed = self.listing.close(&self.out);
        listed.map_err(|error| PatternError::of_budget(&error, self.pattern))?;
        self.out.push(')');
        self.atom = Some(Atom { weight: self.weight, repeated_at: None });
        self.weight = group.weight;
        (self.flags, self.flags_written) = (group.flags, group.flags);
        Ok(())
    }

    /// The counts behind a `{`, least and most, if they are counts: else the `{` is literal.
    fn repeat_counts(&mut self) -> Option<(u32, Option<u32>)> {
        let rest = self.rest();
        let body = &rest[..rest.find(|c: char| c != ',' && !c.is_ascii_digit())?];
        if !rest[body.len()..].starts_with('}') {
            return None;
        }
        let counts = match body.split_once(',') {
            None => (repeat_count(body)?, Some(repeat_count(body)?)),
            Some((least, "")) => (repeat_count(least)?, None),
            Some((least, most)) => (repeat_count(least)?, Some(repeat_count(most)?)),
        };
        self.at += body.len() + 1;
        Some(counts)
    }

    /// Repeats the last atom by the operator between `start` and here.
    fn repeat(&mut self, start: usize, counts: Option<(u32, Option<u32>)>) -> Result<(), PatternError> {
        let operator = &self.pattern[start..self.at];
        let swaps_greed = self.eat("?");
        let Some(mut atom) = self.atom else {
            let expected = "something to repeat before it";
            return Err(self.error(start, "missing argument to repetition operator", expected));
        };
        if let Some(first) = atom.repeated_at {
            let expected = "one operator, or a group around the first and its argument";
            return Err(self.error(first, "invalid nested repetition operator", expected));
        }
        if let Some((least, most)) = counts {
            let factor = most.unwrap_or(least);
            let weight = if most == Some(0) { 1 } else { atom.weight.saturating_mul(factor.max(1)) };
            if least > factor || weight > REPEAT_MAX {
                let expected = "at most 1000 in all, the lower count first";
                return Err(self.error(start, "invalid repeat count", expected));
            }
            atom.weight = weight;
        }
        atom.repeated_at = Some(start);
        self.atom = Some(atom);
        self.out.push_str(operator);
        let [.., ungreedy] = self.flags;
        if ungreedy != swaps_greed {
            self.out.push('?');
        }
        let (least, most) = counts.unwrap_or(match operator {
            "?" => (0, Some(1)),
            "+" => (1, None),
            _ => (0, None),
        });
        self.listing.repeat(least, most, ungreedy == swaps_greed);
        Ok(())
    }

    /// `\…` outside of a class.
    fn escape(&mut self, start: usize) -> Result<(), PatternError> {
        let after_backslash = self.at;
        match self.bump() {
            Some('A') => self.text_start(r"\A"),
            Some('z') => self.text_end(r"\z"),
            Some('b') => self.atom(r"(?-u:\b)"),
            Some('B') => self.atom(r"(?-u:\B)"),
            Some('Q') => {
                let Some(text) = self.eat_until(r"\E") else {
                    return Err(self.error(start, "missing closing \\E", "`\\E` before the end"));
                };
                text.chars().for_each(|c| self.literal(c));
            }
            Some('p' | 'P') => {
                let class = self.unicode_class(start)?;
                self.atom(&class);
            }
            letter => {
                if let Some(class) = letter.and_then(perl_class) {
                    self.atom(class);
                } else {
                    self.at = after_backslash;
                    let c = self.escaped_char(start)?;
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    /// The character that an escape stands for, in a class or outside; its backslash is read.
    fn escaped_char(&mut self, start: usize) -> Result<char, PatternError> {
        let Some(c) = self.bump() else {
            let expected = "a character after it";
            return Err(self.error(start, "trailing backslash at end of expression", expected));
        };
        let code = match c {
            'a' => Some(0x07),
            't' => Some(0x09),
            'n' => Some(0x0a),
            'v' => Some(0x0b),
            'f' => Some(0x0c),
            'r' => Some(0x0d),
            '0'..='7' => self.octal(c),
            'x' => self.hexadecimal(),
            _ => (c.is_ascii() && !c.is_ascii_alphanumeric()).then_some(u32::from(c)),
        };
        code.and_then(char::from_u32).ok_or_else(|| {
            let expected = "RE2's escapes; only ASCII punctuation can be escaped to mean itself";
            self.error(start, "invalid escape sequence", expected)
        })
    }

    /// Up to three octal digits, `first` among them; a single one but 0 would refer back to a group.
    fn octal(&mut self, first: char) -> Option<u32> {
        let more = self.rest().bytes().take(2).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        if first != '0' && more == 0 {
            return None;
        }
        let digits = &self.pattern[self.at - 1..self.at + more];
        self.at += more;
        u32::from_str_radix(digits, 8).ok()
    }

    /// The code behind `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.eat("{") {
            self.eat_until("}")?
        } else {
            let digits = self.rest().get(..2)?;
            self.at += 2;
            digits
        };
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hexadecimal.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
    }

    /// `\pN`, `\p{Greek}`, `\P{Greek}` or `\p{^Greek}`, whose `p` or `P` is read.
    fn unicode_class(&mut self, start: usize) -> Result<String, PatternError> {
        let is_upper = self.pattern[..self.at].ends_with('P');
        let letter_at = self.at;
        let name = match self.bump() {
            Some('{') => self.eat_until("}"),
            _ => Some(&self.pattern[letter_at..self.at]),
        };
        let (name, is_negated) = match name.and_then(|name| name.strip_prefix('^')) {
            Some(name) => (Some(name), !is_upper),
            None => (name, is_upper),
        };
        let property = name
            .and_then(|name| self.properties.entry(name).or_insert_with(|| unicode_property(name)).clone());
        match property {
            Some(property) => Ok(format!(r"\{}{{{property}}}", if is_negated { 'P' } else { 'p' })),
            None => Err(self.error(
                start,
                "invalid character class range",
                "a Unicode general category or script, `\\pL` or `\\p{Greek}`",
            )),
        }
    }

    /// `[…]`, whose `[` is read. A class of one character, such as `[.]`, is that character.
    fn class(&mut self, start: usize) -> Result<(), PatternError> {
        self.start_atom();
        self.out.push('[');
        let is_negated = self.eat("^");
        if is_negated {
            self.out.push('^');
        }
        // A `]` that comes first is literal.
        let mut only = self.class_item(start)?.filter(|_| !is_negated);
        while !self.eat("]") {
            self.class_item(start)?;
            only = None;
        }
        self.out.push(']');
        match only {
            Some(c) => {
                let [ignores_case, ..] = self.flags;
                self.listing.character(c, ignores_case);
            }
            None => self.listing.not_listed(),
        }
        Ok(())
    }

    /// One class, character or range in the class that begins at `class_start`; gives the character if it is one.
    fn class_item(&mut self, class_start: usize) -> Result<Option<char>, PatternError> {
        let start = self.at;
        if self.last_posix_end.is_some_and(|end| start + 2 <= end) && self.eat("[:") {
            return self.posix_class(start).map(|()| None);
        }
        if self.eat(r"\p") || self.eat(r"\P") {
            let class = self.unicode_class(start)?;
            self.out.push_str(&class);
            return Ok(None);
        }
        let escaped = self.rest().strip_prefix('\\').and_then(|rest| rest.chars().next());
        if let Some(class) = escaped.and_then(perl_class) {
            self.at += 2;
            self.out.push_str(class);
            return Ok(None);
        }
        let low = self.class_char(class_start)?;
        self.push_escaped(low);
        let is_range =
            self.rest().strip_prefix('-').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(']'));
        if !is_range {
            return Ok(Some(low));
        }
        self.at += 1;
        let high = self.class_char(class_start)?;
        if high < low {
            return Err(self.error(start, "invalid character class range", "the lower end first"));
        }
        self.out.push('-');
        self.push_escaped(high);
        Ok(None)
    }

    /// `[:alpha:]` or `[:^alpha:]`, whose `[:` is read.
    fn posix_class(&mut self, start: usize) -> Result<(), PatternError> {
        let name = self.eat_until(":]").unwrap_or_default();
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(self.error(start, "invalid character class range", "a POSIX class like `[:alpha:]`"));
        }
        self.out.push_str(&self.pattern[start..self.at]);
        Ok(())
    }

    fn class_char(&mut self, class_start: usize) -> Result<char, PatternError> {
        let start = self.at;
        match self.bump() {
            Some('\\') => self.escaped_char(start),
            Some(c) => Ok(c),
            None => Err(self.error(class_start, "missing closing ]", "`]` before the end")),
        }
    }
}
