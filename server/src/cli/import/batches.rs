//! Cuts a text into batches of whole lines, in bounded memory.

use std::io::{self, Read};

/// Bytes of a batch, roughly.
pub(super) const BATCH_BYTES: usize = 4 << 20;
/// Bytes that are read at a time of a line that is too long for a batch.
const PIECE_BYTES: usize = 1 << 16;

/// Some whole lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    /// Which line of the input the first one is, from 1.
    pub(super) first_line: u64,
}

/// What is next in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Batch(Batch),
    /// A line that is too long, its number in the input: see [`Batches::rest_of_line`].
    LongLine(u64),
}

/// What follows the text that is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// More, and the line may be completed by it.
    More,
    /// More, but the line is as long as a line may be.
    TooMuch,
    Nothing,
}

/// The batches of a text.
pub(super) struct Batches<R> {
    input: R,
    /// Read and not given out yet.
    pending: Vec<u8>,
    next_line: u64,
    batch_bytes: usize,
    line_bytes_max: usize,
    ended: bool,
}

impl<R: Read> Batches<R> {
    /// The batches of `input`, none with a line longer than `line_bytes_max`.
    pub(super) fn new(input: R, line_bytes_max: usize) -> Self {
        Self {
            input,
            pending: Vec::new(),
            next_line: 1,
            batch_bytes: BATCH_BYTES,
            line_bytes_max,
            ended: false,
        }
    }

    /// What is next; `None` at the end. `cut` gets a text and the number of its first line, and says where some whole lines of it
    /// end, or `None` when the first line has no end in it.
    pub(super) fn next(
        &mut self,
        mut cut: impl FnMut(&mut [u8], u64, Rest) -> Option<usize>,
    ) -> io::Result<Option<Next>> {
        let mut wanted = self.batch_bytes;
        loop {
            self.fill(wanted)?;
            if self.pending.is_empty() {
                return Ok(None);
            }
            let rest = match self.ended {
                true => Rest::Nothing,
                false if self.pending.len() >= self.line_bytes_max => Rest::TooMuch,
                false => Rest::More,
            };
            match (cut(&mut self.pending, self.next_line, rest), rest) {
                (Some(end), _) => return Ok(Some(Next::Batch(self.take(end)))),
                (None, Rest::More) => wanted = self.line_bytes_max.min(wanted + self.batch_bytes),
                (None, Rest::TooMuch) => return Ok(Some(Next::LongLine(self.next_line))),
                (None, Rest::Nothing) => return Ok(Some(Next::Batch(self.take(self.pending.len())))),
            }
        }
    }

    fn take(&mut self, end: usize) -> Batch {
        let rest = self.pending.split_off(end);
        let text = std::mem::replace(&mut self.pending, rest);
        let first_line = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &text).count() as u64;
        Batch { text, first_line }
    }

    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.ended || self.pending.len() >= wanted {
            return Ok(());
        }
        let missing = (wanted - self.pending.len()) as u64;
        let read = self.input.by_ref().take(missing).read_to_end(&mut self.pending)?;
        self.ended = (read as u64) < missing;
        Ok(())
    }

    /// A reader of what is left of the current line. It must be read to its end.
    pub(super) fn rest_of_line(&mut self) -> RestOfLine<'_, R> {
        RestOfLine { batches: self, ended: false }
    }
}

/// Where some text of whole lines ends, when only line breaks count.
pub(super) fn at_last_break(text: &[u8], rest: Rest) -> Option<usize> {
    match rest {
        Rest::Nothing => Some(text.len()),
        Rest::More | Rest::TooMuch => memchr::memrchr(b'\n', text).map(|at| at + 1),
    }
}

/// Reads one line, without its break.
pub(super) struct RestOfLine<'a, R> {
    batches: &'a mut Batches<R>,
    ended: bool,
}

impl<R: Read> Read for RestOfLine<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let batches = &mut *self.batches;
        batches.fill(if self.ended { 0 } else { PIECE_BYTES })?;
        if self.ended || batches.pending.is_empty() {
            return Ok(0);
        }
        let len = batches.pending.len().min(out.len());
        let end = memchr::memchr(b'\n', &batches.pending[..len]);
        let len = end.unwrap_or(len);
        out[..len].copy_from_slice(&batches.pending[..len]);
        batches.pending.drain(..len);
        if end.is_some() {
            batches.pending.drain(..1);
            batches.next_line += 1;
            self.ended = true;
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str, batch_bytes: usize, line_bytes_max: usize) -> Vec<(String, u64)> {
        let mut batches = Batches { batch_bytes, ..Batches::new(text.as_bytes(), line_bytes_max) };
        let mut found = Vec::new();
        while let Some(next) = batches.next(|text, _, rest| at_last_break(text, rest)).unwrap() {
            found.push(match next {
                Next::Batch(batch) => (String::from_utf8(batch.text).unwrap(), batch.first_line),
                Next::LongLine(line) => {
                    let mut rest = String::new();
                    batches.rest_of_line().read_to_string(&mut rest).unwrap();
                    (format!("long: {rest}"), line)
                }
            });
        }
        found
    }

    #[test]
    fn batches_are_whole_lines() {
        let expect = |found: Vec<(String, u64)>, expected: &[(&str, u64)]| {
            assert_eq!(found.iter().map(|(text, line)| (text.as_str(), *line)).collect::<Vec<_>>(), expected);
        };
        expect(batches("aa\nbb\ncc\nd", 7, 100), &[("aa\nbb\n", 1), ("cc\nd", 3)]);
        expect(batches("", 7, 100), &[]);
        expect(batches("aaaaaaaaaa\nb\n", 3, 100), &[("aaaaaaaaaa\n", 1), ("b\n", 2)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_read_apart() {
        let long = "x".repeat(200_000);
        let text = format!("a\n{long}\nb\n");
        let found = batches(&text, 4, 8);
        let expected = [("a\n".to_owned(), 1), (format!("long: {long}"), 2), ("b\n".to_owned(), 3)];
        assert!(
            found == expected,
            "{:?}",
            found.iter().map(|(text, line)| (text.len(), line)).collect::<Vec<_>>()
        );
        let last = batches("a\nxxxxxxxxxxxxxxxxxx", 4, 8);
        assert_eq!(last[1], ("long: xxxxxxxxxxxxxxxxxx".to_owned(), 2));
    }
}
