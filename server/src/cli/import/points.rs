//! The lines of line protocol in a file: which are points, and what the others say. `influx_inspect export` writes statements
//! that create databases, and then, above the points of each, which one they are of:
//!
//! ```text
//! # DDL
//! CREATE DATABASE plant WITH NAME autogen
//! # DML
//! # CONTEXT-DATABASE:plant
//! # CONTEXT-RETENTION-POLICY:autogen
//! pump,unit=p1 flow=1.5 1700000000000000000
//! ```

use super::batches::Rest;
use super::units::Units;

/// The retention policy that a database has from its beginning, in InfluxDB 1.x and before. Who writes without naming one, as
/// Telegraf does, writes to it, and the series then have no label `rp`; so imported ones have none either.
const DEFAULT_POLICIES: [&str; 2] = ["autogen", "default"];

/// Where points go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) db: Option<String>,
    pub(super) rp: Option<String>,
}

/// Takes a text apart, piece by piece, in order.
#[derive(Debug)]
pub(super) struct Points {
    /// That of the points which were cut off last.
    pub(super) context: Context,
    /// The line that named it in the text, if one did.
    pub(super) context_line: Option<u64>,
    /// How many points there are in what was cut off last.
    pub(super) points: u64,
    /// Comments so far.
    pub(super) comments: u64,
    /// Statements so far.
    pub(super) statements: u64,
    pub(super) units: Units,
    /// Whether what comes are statements.
    in_statements: bool,
}

/// What a line is.
enum Line {
    Blank,
    Comment,
    /// The line `# DDL` (true) or `# DML`.
    Statements(bool),
    Database(String),
    Policy(String),
    Other,
}

impl Line {
    /// That of the line which `text` starts with.
    fn of(text: &[u8]) -> Self {
        let line = &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())];
        let Some(comment) = line.strip_prefix(b"#") else {
            return if line.trim_ascii().is_empty() { Self::Blank } else { Self::Other };
        };
        let comment = comment.trim_ascii();
        let name = |prefix: &[u8]| {
            comment.strip_prefix(prefix).map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned())
        };
        match comment {
            b"DDL" => Self::Statements(true),
            b"DML" => Self::Statements(false),
            _ => name(b"CONTEXT-DATABASE:")
                .map(Self::Database)
                .or_else(|| name(b"CONTEXT-RETENTION-POLICY:").map(Self::Policy))
                .unwrap_or(Self::Comment),
        }
    }
}

impl Points {
    pub(super) fn new(db: Option<&str>, units: Units) -> Self {
        Self {
            context: Context { db: db.map(str::to_owned), rp: None },
            context_line: None,
            points: 0,
            comments: 0,
            statements: 0,
            units,
            in_statements: false,
        }
    }

    /// Where to cut `text`: behind as many whole lines as are of one context. What is no point is overwritten by spaces, so that
    /// lines and columns stay where they are. `None` when the first line has no end in `text`.
    pub(super) fn cut(&mut self, text: &mut [u8], first_line: u64, rest: Rest) -> Option<usize> {
        self.points = 0;
        let mut at = 0;
        while at < text.len() {
            let blanks = text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\r')).count();
            let start = at + blanks;
            let line = Line::of(&text[start..]);
            let is_point = matches!(line, Line::Other) && !self.in_statements;
            let ends =
                if is_point { end_of_point(text, start, rest) } else { end_of_line(text, start, rest) };
            let Some(Ends { fields, line: end }) = ends else { break };
            let number = || first_line + memchr::memchr_iter(b'\n', &text[..start]).count() as u64;
            if is_point {
                self.points += 1;
                let timestamp = std::str::from_utf8(&text[fields..end]).unwrap_or_default().trim().parse();
                if let Ok(timestamp) = timestamp {
                    self.units.observe(timestamp, || Some(number()));
                }
            } else if matches!(line, Line::Database(_) | Line::Policy(_)) && self.points > 0 {
                // The points before it are another batch.
                return Some(at);
            } else {
                self.take(line, number);
                text[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            }
            at = end;
        }
        (at > 0).then_some(at)
    }

    /// Takes notice of a line that is no point.
    fn take(&mut self, line: Line, number: impl Fn() -> u64) {
        match line {
            Line::Blank => return,
            Line::Other => {
                self.statements += 1;
                return;
            }
            Line::Comment => {}
            Line::Statements(begin) => self.in_statements = begin,
            Line::Database(name) => {
                self.context.db = Some(name).filter(|name| !name.is_empty());
                self.context_line = Some(number());
                self.in_statements = false;
            }
            Line::Policy(name) => {
                let is_named = !name.is_empty() && !DEFAULT_POLICIES.contains(&name.as_str());
                self.context.rp = is_named.then_some(name);
            }
        }
        self.comments += 1;
    }
}

/// Where a line ends.
struct Ends {
    /// Its fields; what follows is the timestamp.
    fields: usize,
    /// The line with its break.
    line: usize,
}

/// The ends of the line at `start`, whatever it is; `None` when they are not there yet.
fn end_of_line(text: &[u8], start: usize, rest: Rest) -> Option<Ends> {
    let line = match memchr::memchr(b'\n', &text[start..]) {
        Some(newline) => start + newline + 1,
        None if rest == Rest::Nothing => text.len(),
        None => return None,
    };
    Some(Ends { fields: line, line })
}

/// The ends of the point at `start`, a line in which a string may hold line breaks. Where a string is never closed the line ends
/// at its first break, as it does for the server.
fn end_of_point(text: &[u8], start: usize, rest: Rest) -> Option<Ends> {
    let mut at = match end_of_key(text, start) {
        Some(space) => space + text[space..].iter().take_while(|byte| **byte == b' ').count(),
        None => return end_of_line(text, start, rest),
    };
    loop {
        let Some(found) = memchr::memchr3(b'"', b' ', b'\n', &text[at..]) else {
            return end_of_line(text, at, rest);
        };
        at += found;
        let before = text[at - 1];
        match text[at] {
            b'"' if before == b'=' => match end_of_string(text, at + 1) {
                Some(end) => at = end,
                None if rest == Rest::More => return None,
                None => return end_of_line(text, at, rest),
            },
            b' ' if before != b'\\' => {
                let ends = end_of_line(text, at, rest);
                return ends.map(|ends| Ends { fields: at, ..ends });
            }
            b'\n' => return Some(Ends { fields: at, line: at + 1 }),
            _ => at += 1,
        }
    }
}

/// The space that ends measurement and tags, if one does in this line.
fn end_of_key(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b' ', b'\n', &text[at..])?;
        match text[at] {
            b'\n' => return None,
            _ if at > start && text[at - 1] == b'\\' => at += 1,
            _ => return Some(at),
        }
    }
}

/// The offset behind the quote that closes a string.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += if matches!(text.get(at + 1), Some(b'"' | b'\\')) { 2 } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Precision;

    fn points() -> Points {
        Points::new(None, Units::new(Precision::Nanoseconds))
    }

    /// The batches of a text: database, policy, and the points.
    fn batches(points: &mut Points, text: &str) -> Vec<(Option<String>, Option<String>, String)> {
        let (mut text, mut found, mut first_line) = (text.as_bytes().to_vec(), Vec::new(), 1);
        while let Some(end) = points.cut(&mut text, first_line, Rest::Nothing) {
            let rest = text.split_off(end);
            let batch = String::from_utf8(std::mem::replace(&mut text, rest)).unwrap();
            first_line += batch.lines().count() as u64;
            let lines: Vec<&str> = batch.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            assert_eq!(points.points, lines.len() as u64);
            let Context { db, rp } = points.context.clone();
            found.push((db, rp, lines.join("|")));
        }
        found
    }

    #[test]
    fn an_export_of_two_databases_is_two_batches() {
        let mut points = points();
        let text = "# INFLUXDB EXPORT: 1677 - 2262\n# DDL\nCREATE DATABASE a WITH NAME autogen\r\n\
                    CREATE DATABASE b WITH NAME month\n# DML\n# CONTEXT-DATABASE:a\n\
                    # CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\nm f=1 1\n# writing wal data\nm f=2 2\n\
                    # CONTEXT-DATABASE:b:c\r\n# CONTEXT-RETENTION-POLICY:month\r\nm f=3 3";
        let text_of = |text: &str| Some(text.to_owned());
        let expected = [
            (text_of("a"), None, "m f=1 1|m f=2 2".to_owned()),
            (text_of("b:c"), text_of("month"), "m f=3 3".to_owned()),
        ];
        assert_eq!(batches(&mut points, text), expected);
        assert_eq!((points.comments, points.statements, points.context_line), (9, 2, Some(12)));
    }

    #[test]
    fn lines_keep_their_places_and_strings_their_breaks() {
        let mut points = points();
        let text = "m f=\"x\\\"\n# no comment\" 1\n  # one\nm\\ n,t=\"a f=1 2\nm f=\"open\n# DDL\nCREATE x\n";
        let mut cut = text.as_bytes().to_vec();
        let end = points.cut(&mut cut, 1, Rest::Nothing).unwrap();
        assert_eq!((end, points.points, points.comments, points.statements), (text.len(), 3, 2, 1));
        let blanked =
            text.replace("# one", "     ").replace("# DDL", "     ").replace("CREATE x", "        ");
        assert_eq!(String::from_utf8(cut).unwrap(), blanked);
    }

    #[test]
    fn what_is_not_all_there_waits() {
        for (text, end) in [
            ("m f=1 1\nm f=", Some(8)),
            ("m f=1", None),
            ("m f=\"a\nb", None),
            ("m f=1 1\nm f=\"a\nb", Some(8)),
            ("# comm", None),
            ("m f=1 1\n# CONTEXT-DATABASE:a", Some(8)),
        ] {
            assert_eq!(points().cut(&mut text.as_bytes().to_vec(), 1, Rest::More), end, "{text:?}");
        }
        let open = "m f=\"a\nb";
        assert_eq!(points().cut(&mut open.as_bytes().to_vec(), 1, Rest::TooMuch), Some(7));
        assert_eq!(points().cut(&mut b"m f=1".to_vec(), 1, Rest::TooMuch), None);
    }

    #[test]
    fn a_wrong_unit_is_noticed_with_its_line() {
        let mut points = points();
        points.cut(
            &mut b"m f=1\nm,a=b f=1,g=\"x y\" 1700000000\nm f=1 1700000001\n".to_vec(),
            10,
            Rest::Nothing,
        );
        let warning = points.units.take_warning("x.lp").unwrap();
        assert!(warning.starts_with("x.lp:11: ") && warning.contains("--precision s"), "{warning}");
        assert_eq!(points.units.take_warning("x.lp"), None);
    }
}
