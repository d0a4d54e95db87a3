//! Few letters in place of Unicode's characters.
//!
//! `\pL{1,255}` as an automaton of UTF-8 has some hundred states for each of its 255 places. But all that this pattern can tell apart
//! is a letter from what is none: characters that stand in the same classes are the same *letter*, one byte, and over letters
//! a class is one state. The text is translated before it is matched.

use std::collections::{BTreeSet, HashMap};

use regex_syntax::hir::{
    Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, HirKind, Look, Repetition,
};

/// A pattern may tell so many classes apart, literal characters among them.
const CLASSES_MAX: usize = u128::BITS as usize;
/// Letters for what has no ASCII character in it: none of them is part of a word or ends a line.
const OTHER_LETTERS: std::ops::RangeInclusive<u8> = 0x80..=0xff;

/// Which letter each character is.
#[derive(Clone, Debug)]
pub(super) struct Alphabet {
    ascii: [u8; 128],
    /// The first character of each run of the same letter, and the letter; ascending.
    runs: Vec<(u32, u8)>,
}

impl Alphabet {
    /// An alphabet for `hir`, and the same expression over its letters; `None` when it needs too many.
    pub(super) fn of(hir: &Hir) -> Option<(Self, Hir)> {
        let mut classes = Classes::default();
        classes.collect(hir)?;
        let (alphabet, letters) = classes.letters()?;
        let translated = classes.translate(hir, &letters)?;
        Some((alphabet, translated))
    }

    /// The letter of a character.
    pub(super) fn letter(&self, c: char) -> u8 {
        if let Some(letter) = self.ascii.get(c as usize) {
            return *letter;
        }
        let after = self.runs.partition_point(|(start, _)| *start <= u32::from(c));
        self.runs[after.saturating_sub(1)].1
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<(u32, u8)>()
    }
}

/// The classes that an expression tells apart.
#[derive(Default)]
struct Classes {
    numbers: HashMap<Vec<(char, char)>, usize>,
}

fn ranges_of(class: &ClassUnicode) -> Vec<(char, char)> {
    class.iter().map(|range| (range.start(), range.end())).collect()
}

impl Classes {
    /// The number of a class, a new one if it is new.
    fn add(&mut self, ranges: Vec<(char, char)>) -> Option<()> {
        let next = self.numbers.len();
        self.numbers.entry(ranges).or_insert(next);
        (self.numbers.len() <= CLASSES_MAX).then_some(())
    }

    fn collect(&mut self, hir: &Hir) -> Option<()> {
        match hir.kind() {
            HirKind::Empty => Some(()),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                text.chars().try_for_each(|c| self.add(vec![(c, c)]))
            }
            HirKind::Class(Class::Unicode(class)) => self.add(ranges_of(class)),
            HirKind::Class(Class::Bytes(class)) => self.add(ranges_of(&class.to_unicode_class()?)),
            HirKind::Look(Look::Start | Look::End) => Some(()),
            HirKind::Look(Look::StartLF | Look::EndLF) => self.add(vec![('\n', '\n')]),
            HirKind::Look(Look::WordAscii | Look::WordAsciiNegate) => {
                self.add(vec![('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')])
            }
            HirKind::Look(_) => None,
            HirKind::Repetition(repetition) => self.collect(&repetition.sub),
            HirKind::Capture(capture) => self.collect(&capture.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => {
                parts.iter().try_for_each(|part| self.collect(part))
            }
        }
    }

    /// The alphabet, and the letters with the classes that each is in.
    fn letters(&self) -> Option<(Alphabet, Vec<(u8, u128)>)> {
        let mut starts = BTreeSet::from([0_u32]);
        for (low, high) in self.numbers.keys().flatten() {
            starts.extend([u32::from(*low), u32::from(*high) + 1]);
        }
        let starts: Vec<u32> = starts.into_iter().filter(|start| *start <= u32::from(char::MAX)).collect();
        let mut sets = vec![0_u128; starts.len()];
        for (ranges, number) in &self.numbers {
            for (low, high) in ranges {
                let first = starts.partition_point(|start| *start < u32::from(*low));
                let end = starts.partition_point(|start| *start <= u32::from(*high));
                sets[first..end].iter_mut().for_each(|set| *set |= 1 << number);
            }
        }
        let mut letters: HashMap<u128, u8> = HashMap::new();
        let mut others = OTHER_LETTERS;
        let mut alphabet = Alphabet { ascii: [0; 128], runs: Vec::with_capacity(starts.len()) };
        for (start, set) in starts.iter().zip(&sets) {
            let letter = match (letters.get(set), u8::try_from(*start)) {
                (Some(letter), _) => *letter,
                // An ASCII character stands for all that are like it: it is a part of a word, or ends a line, as they are.
                (None, Ok(ascii)) if ascii.is_ascii() => ascii,
                (None, _) => others.next()?,
            };
            letters.insert(*set, letter);
            if alphabet.runs.last().is_none_or(|(_, last)| *last != letter) {
                alphabet.runs.push((*start, letter));
            }
        }
        for c in 0..128_u8 {
            let after = alphabet.runs.partition_point(|(start, _)| *start <= u32::from(c));
            alphabet.ascii[usize::from(c)] = alphabet.runs[after.saturating_sub(1)].1;
        }
        Some((alphabet, letters.into_iter().map(|(set, letter)| (letter, set)).collect()))
    }

    fn class(&self, ranges: &Vec<(char, char)>, letters: &[(u8, u128)]) -> Option<Hir> {
        let number = self.numbers.get(ranges)?;
        let inside = letters.iter().filter(|(_, set)| set & (1 << number) != 0);
        let class = ClassBytes::new(inside.map(|(letter, _)| ClassBytesRange::new(*letter, *letter)));
        Some(Hir::class(Class::Bytes(class)))
    }

    fn translate(&self, hir: &Hir, letters: &[(u8, u128)]) -> Option<Hir> {
        let all = |parts: &[Hir]| {
            parts.iter().map(|part| self.translate(part, letters)).collect::<Option<Vec<_>>>()
        };
        Some(match hir.kind() {
            HirKind::Empty => Hir::empty(),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                let chars = text.chars().map(|c| self.class(&vec![(c, c)], letters));
                Hir::concat(chars.collect::<Option<Vec<_>>>()?)
            }
            HirKind::Class(Class::Unicode(class)) => self.class(&ranges_of(class), letters)?,
            HirKind::Class(Class::Bytes(class)) => {
                self.class(&ranges_of(&class.to_unicode_class()?), letters)?
            }
            HirKind::Look(look) => Hir::look(*look),
            HirKind::Repetition(repetition) => {
                let sub = Box::new(self.translate(&repetition.sub, letters)?);
                Hir::repetition(Repetition { sub, ..repetition.clone() })
            }
            HirKind::Capture(capture) => {
                let sub = Box::new(self.translate(&capture.sub, letters)?);
                Hir::capture(Capture { sub, index: capture.index, name: capture.name.clone() })
            }
            HirKind::Concat(parts) => Hir::concat(all(parts)?),
            HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
        })
    }
}
