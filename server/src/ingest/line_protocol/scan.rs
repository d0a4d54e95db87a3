//! The hot path: splits a line without looking at more bytes than it must.
//!
//! What it leaves out is checked elsewhere, once. It does not validate names: a key or field name that the engine
//! knows was validated when it came first, and one that it does not know goes through [`super::series`]. It does not
//! explain: where anything is unusual it gives up, and the caller asks [`super::syntax`].
//!
//! A line that both accept has the same key, fields and timestamp in both: a valid key holds no unescaped space, and a
//! valid field key no unescaped `=`. A space, comma or `=` is escaped exactly when a backslash stands before it,
//! because a backslash is itself never escaped in a name.

use timberline_engine::Field;

use super::super::precision::Precision;
use super::number::{byte_at, scan_timestamp, scan_value};
use super::syntax::{check_field_key, end_of_line, end_of_string};

/// A line, split; the fields are in the buffer that was passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split<'a> {
    /// Raw measurement and tags.
    pub(super) key: &'a [u8],
    /// In nanoseconds.
    pub(super) timestamp: Option<i64>,
    /// The start of the next line.
    pub(super) end: usize,
    /// String fields, left out.
    pub(super) strings: u64,
    /// Integers that were rounded.
    pub(super) rounded: u64,
}

/// Splits the line at `start` and replaces `fields` by its fields that are samples. `None` where the line needs
/// the strict grammar, as one with more than `fields_max` fields does.
pub(super) fn split_line<'a>(
    body: &'a [u8],
    start: usize,
    precision: Precision,
    fields_max: usize,
    fields: &mut Vec<Field<'a>>,
) -> Option<Split<'a>> {
    fields.clear();
    if byte_at(body, start) == b'#' {
        // A comment, in which the grammar still refuses control characters.
        return None;
    }
    let key_end = find_key_end(body, start)?;
    let mut split = Split { key: &body[start..key_end], timestamp: None, end: 0, strings: 0, rounded: 0 };
    let mut at = skip_spaces(body, key_end);
    for _ in 0..fields_max {
        let equals = find_equals(body, at)?;
        let name = &body[at..equals];
        let value = equals + 1;
        at = match byte_at(body, value) {
            b'"' => {
                split.strings += 1;
                // Nobody will ask for this name's labels, so it is validated here.
                check_field_key(name).ok()?;
                skip_string(body, value + 1)?
            }
            b'0'..=b'9' | b'-' | b'.' | b't' | b'T' | b'f' | b'F' => {
                let scanned = scan_value(body, value)?;
                split.rounded += u64::from(scanned.rounded);
                fields.push(Field { name, value: scanned.value });
                scanned.end
            }
            _ => return None,
        };
        if byte_at(body, at) != b',' {
            split.end = scan_end(body, at, precision, &mut split.timestamp)?;
            return Some(split);
        }
        at += 1;
    }
    None
}

/// Reads what follows the fields, whose end is at `at`: gives the start of the next line.
#[inline]
fn scan_end(body: &[u8], at: usize, precision: Precision, timestamp: &mut Option<i64>) -> Option<usize> {
    let end = skip_spaces(body, at);
    match end_of_line(body, end) {
        Some(next) => Some(next),
        None if end == at => None,
        None => {
            let (units, end) = scan_timestamp(body, end)?;
            *timestamp = Some(precision.to_nanoseconds(units)?);
            end_of_line(body, skip_spaces(body, end))
        }
    }
}

#[inline]
fn skip_spaces(body: &[u8], mut at: usize) -> usize {
    while body.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// The offset of the first space that is not escaped, in this line.
#[inline]
fn find_key_end(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b' ', b'\n', body.get(at..)?)?;
        if body[at] == b'\n' || at == start {
            return None;
        }
        if body[at - 1] != b'\\' {
            return Some(at);
        }
        at += 1;
    }
}

/// The offset of the first `=` that is not escaped and not at `start`, in this line. Field keys are short, so eight
/// bytes in a register are faster than a call into vector code.
#[inline]
fn find_equals(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = body.get(at..)?;
        at += match rest.first_chunk::<8>() {
            Some(eight) => match first_equals_or_newline(u64::from_le_bytes(*eight)) {
                Some(index) => index,
                None => {
                    at += 8;
                    continue;
                }
            },
            None => rest.iter().position(|&b| b == b'=' || b == b'\n')?,
        };
        if body[at] == b'\n' || at == start {
            return None;
        }
        if body[at - 1] != b'\\' {
            return Some(at);
        }
        at += 1;
    }
}

/// The index of the first byte that is `=` or a line break. A zero byte borrows from the bytes above it only, so the
/// lowest mark is right.
#[inline]
fn first_equals_or_newline(word: u64) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_bytes = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let marks = zero_bytes(word ^ (LOW * b'=' as u64)) | zero_bytes(word ^ (LOW * b'\n' as u64));
    (marks != 0).then(|| (marks.trailing_zeros() / 8) as usize)
}

/// The offset behind the closing quote, when the text is UTF-8.
fn skip_string(body: &[u8], start: usize) -> Option<usize> {
    let end = end_of_string(body, start)?;
    std::str::from_utf8(&body[start..end]).ok()?;
    Some(end + 1)
}
