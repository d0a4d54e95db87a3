//! Sends batches to a server, and tells what it says of them.

use std::fmt;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use ureq::http::HeaderMap;

use super::super::Error;
use super::super::client::{Client, Refusal};
use super::long_line::LongLine;
use crate::http::{INTEGERS_ROUNDED, SAMPLES_STORED, STRINGS_SKIPPED};

/// How often a server that has no room is asked again, and after which pause.
const RETRIES_MAX: u32 = 60;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is smaller is not sent in parts when it is too large for the server.
const PART_BYTES_MIN: usize = 1 << 10;

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Samples stored.
    pub(super) samples: u64,
    /// String fields of stored lines.
    pub(super) strings: u64,
    /// Integers stored rounded.
    pub(super) rounded: u64,
    /// Comments.
    pub(super) comments: u64,
    /// Statements that create databases and their like.
    pub(super) statements: u64,
    /// Lines refused by the server, or not in the format.
    pub(super) refused: u64,
}

impl Totals {
    /// Adds what the answer to a write says.
    fn add(&mut self, headers: &HeaderMap) -> Option<()> {
        let number = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
        self.samples += number(SAMPLES_STORED)?;
        self.strings += number(STRINGS_SKIPPED)?;
        self.rounded += number(INTEGERS_ROUNDED)?;
        Some(())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stored, {} refused", counted(self.samples, "sample"), counted(self.refused, "line"))?;
        for (count, what) in
            [(self.strings, "string field"), (self.comments, "comment"), (self.statements, "statement")]
        {
            if count > 0 {
                write!(f, ", {} skipped", counted(count, what))?;
            }
        }
        if self.rounded > 0 {
            write!(f, ", {} rounded", counted(self.rounded, "integer"))?;
        }
        Ok(())
    }
}

/// A number of things.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Which lines of a file a request holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lines {
    /// Those from this one on.
    From(u64),
    /// Some of the samples of this one.
    PartOf(u64),
    /// Others, that were made of the file's.
    Made,
}

/// Where a file goes, and how its lines are named in messages.
pub(super) struct Target<'a> {
    pub(super) client: &'a Client,
    pub(super) name: &'a str,
    pub(super) bar: &'a ProgressBar,
    pub(super) totals: &'a mut Totals,
}

impl Target<'_> {
    /// Sends lines; gives how many the server refused.
    pub(super) fn send(&mut self, path: &str, text: &[u8], lines: Lines) -> Result<u64, Error> {
        for _ in 0..RETRIES_MAX {
            match self.client.post(path, text)? {
                Ok(response) => return self.count(response.headers(), 0),
                Err(refusal) if refusal.status == 503 => thread::sleep(RETRY_PAUSE),
                Err(refusal) if refusal.status == 413 && text.len() > PART_BYTES_MIN => {
                    return self.send_in_parts(path, text, lines, refusal);
                }
                Err(refusal) => return self.tell_refusal(refusal, lines),
            }
        }
        Err(Error::message("the server has had no room for a minute: give up"))
    }

    /// Sends what the server refused as too large: two halves of the lines, or a JSON line's samples in two lines.
    fn send_in_parts(
        &mut self,
        path: &str,
        text: &[u8],
        lines: Lines,
        refusal: Refusal,
    ) -> Result<u64, Error> {
        let middle = text.len() / 2;
        let before = memchr::memrchr(b'\n', &text[..middle]);
        let after = || memchr::memchr(b'\n', &text[middle..text.len() - 1]).map(|at| middle + at);
        if let Some(at) = before.or_else(after) {
            let (first, rest) = text.split_at(at + 1);
            let lines_of_rest = match lines {
                Lines::From(line) => Lines::From(line + memchr::memchr_iter(b'\n', first).count() as u64),
                other => other,
            };
            return Ok(self.send(path, first, lines)? + self.send(path, rest, lines_of_rest)?);
        }
        let Ok(line) = LongLine::read(text.trim_ascii_end()) else { return Err(refusal.into()) };
        let lines = match lines {
            Lines::From(line) => Lines::PartOf(line),
            other => other,
        };
        let (mut refused, mut refusal) = (0, Some(refusal));
        line.pieces(middle, |piece| {
            // Labels are in each.
            if piece.len() >= text.len() {
                return Err(refusal
                    .take()
                    .map_or_else(|| Error::message("the line is too long"), Error::from));
            }
            refused += self.send(path, piece, lines)?;
            Ok(())
        })?;
        Ok(refused.min(1))
    }

    fn count(&mut self, headers: &HeaderMap, refused: u64) -> Result<u64, Error> {
        self.totals.add(headers).map(|()| refused).ok_or_else(|| {
            Error::message(
                "the server does not say how many samples it stored: is it a Timberline of this version?",
            )
        })
    }

    /// Tells which lines a server refused; an answer that is about something else is an error.
    fn tell_refusal(&mut self, refusal: Refusal, lines: Lines) -> Result<u64, Error> {
        let reasons = refusal
            .message
            .strip_prefix("partial write: ")
            .or_else(|| refusal.message.strip_prefix("unable to parse: "))
            .and_then(|rest| rest.rsplit_once(" dropped="));
        match reasons {
            Some((reasons, dropped)) => {
                self.tell(reasons, lines);
                self.count(&refusal.headers, dropped.parse().unwrap_or(1))
            }
            None => Err(refusal.into()),
        }
    }

    /// Tells the reasons for which lines are refused.
    pub(super) fn tell(&self, reasons: &str, lines: Lines) {
        if !reasons.is_empty() {
            self.say(&name_lines(reasons, self.name, lines));
        }
    }

    /// Writes to stderr.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| super::super::say(format_args!("{text}")));
    }
}

/// Turns each `line 3, column 17` of a batch into the place in the file, `name:1003:17`.
fn name_lines(reasons: &str, name: &str, lines: Lines) -> String {
    let place = |rest: &str| -> Option<(u64, u64, usize)> {
        let rest = rest.strip_prefix("line ")?;
        let (line, after) = rest.split_once(", column ")?;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let length = "line ".len() + line.len() + ", column ".len() + digits;
        Some((line.parse().ok()?, after[..digits].parse().ok()?, length))
    };
    let reasons: Vec<String> = reasons
        .split("; ")
        .map(|reason| match (place(reason), lines) {
            (Some((line, column, length)), Lines::From(first)) => {
                format!("{name}:{}:{column}{}", first + line - 1, &reason[length..])
            }
            (Some((_, _, length)), Lines::PartOf(line)) => format!("{name}:{line}{}", &reason[length..]),
            (Some((_, _, length)), Lines::Made) => format!("{name}{}", &reason[length..]),
            (None, _) => reason.to_owned(),
        })
        .collect();
    reasons.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_by_their_place_in_the_file() {
        let reasons = "line 3, column 17: bad; line 4, column 1: worse; and 5 more";
        let told = name_lines(reasons, "x.lp", Lines::From(1001));
        assert_eq!(told, "x.lp:1003:17: bad\nx.lp:1004:1: worse\nand 5 more");
        assert_eq!(
            name_lines(reasons, "x.jsonl", Lines::PartOf(7)),
            "x.jsonl:7: bad\nx.jsonl:7: worse\nand 5 more"
        );
        assert_eq!(name_lines(reasons, "x.prom", Lines::Made), "x.prom: bad\nx.prom: worse\nand 5 more");
    }

    #[test]
    fn totals_tell_things_apart() {
        let totals = Totals { samples: 1, refused: 0, ..Totals::default() };
        assert_eq!(totals.to_string(), "1 sample stored, 0 lines refused");
        let totals = Totals { samples: 5, strings: 2, rounded: 1, comments: 3, statements: 1, refused: 1 };
        let expected = "5 samples stored, 1 line refused, 2 string fields skipped, 3 comments skipped, 1 statement skipped, \
                        1 integer rounded";
        assert_eq!(totals.to_string(), expected);
    }
}
