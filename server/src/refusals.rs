//! What was refused: counted for `/metrics`, and told in the log.
//!
//! The first refusal of a kind (a protocol and a reason) is logged at once. Later ones are only counted, and told by [`Refusals::tell`], which is
//! called once a minute: a line for each kind, with their number and the first one's text.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use parking_lot::Mutex;

/// How much of a refusal's text is logged, bytes.
const TEXT_BYTES_MAX: usize = 512;

/// What is refused at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Lines or series of a write, of which others are stored.
    Rows,
    /// A request as a whole.
    Request,
}

/// Which refusals are told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    unit: Unit,
    protocol: &'static str,
    reason: &'static str,
}

#[derive(Debug, Default)]
struct Count {
    total: u64,
    /// Those that no line of the log has told yet, and the text of the first of them.
    untold: u64,
    first: String,
    /// Whether a line was logged since the last [`Refusals::tell`], or by it.
    is_told: bool,
}

/// Counts refusals by kind. Protocols and reasons are words of this program, so there are only so many.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<Kind, Count>>);

impl Refusals {
    /// Notes rows that were refused. `reason` is a limit's configuration name or another word for the kind of reason; `text` is what the
    /// client was told of the first one.
    pub fn rows(&self, protocol: &'static str, reason: &'static str, count: u64, text: &dyn Display) {
        self.note(Kind { unit: Unit::Rows, protocol, reason }, count, text);
    }

    /// Notes a request that was refused as a whole, as [`rows`](Self::rows) does.
    pub fn request(&self, protocol: &'static str, reason: &'static str, text: &dyn Display) {
        self.note(Kind { unit: Unit::Request, protocol, reason }, 1, text);
    }

    fn note(&self, kind: Kind, refused: u64, text: &dyn Display) {
        let mut counts = self.0.lock();
        let count = counts.entry(kind).or_default();
        count.total += refused;
        if !count.is_told {
            count.is_told = true;
            drop(counts);
            return log(kind, refused, &cut(text));
        }
        if count.untold == 0 {
            count.first = cut(text);
        }
        count.untold += refused;
    }

    /// Logs what came since the last line about it. To be called once a minute.
    pub fn tell(&self) {
        let mut due = Vec::new();
        for (kind, count) in self.0.lock().iter_mut() {
            count.is_told = count.untold > 0;
            if count.is_told {
                due.push((*kind, std::mem::take(&mut count.untold), std::mem::take(&mut count.first)));
            }
        }
        for (kind, refused, first) in due {
            log(kind, refused, &first);
        }
    }

    /// How many were refused so far, by protocol and reason.
    #[must_use]
    pub fn totals(&self, unit: Unit) -> Vec<(&'static str, &'static str, u64)> {
        let counts = self.0.lock();
        let of_unit = counts.iter().filter(|(kind, _)| kind.unit == unit);
        of_unit.map(|(kind, count)| (kind.protocol, kind.reason, count.total)).collect()
    }
}

fn log(kind: Kind, refused: u64, first: &str) {
    let Kind { unit, protocol, reason } = kind;
    match unit {
        Unit::Rows => tracing::warn!(protocol, reason, rows = refused, first, "rows were refused"),
        Unit::Request => tracing::warn!(protocol, reason, requests = refused, first, "requests were refused"),
    }
}

/// The beginning of a text.
fn cut(text: &dyn Display) -> String {
    let mut whole = String::new();
    // Writing into a string cannot fail.
    let _ = write!(whole, "{text}");
    let end = whole.floor_char_boundary(TEXT_BYTES_MAX);
    if end < whole.len() {
        whole.truncate(end);
        whole.push('…');
    }
    whole
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    /// What is logged, line by line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        let text = String::from_utf8(std::mem::take(&mut *lines.0.lock())).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_with_their_number() {
        let refusals = Refusals::default();
        let note = |line: u32| refusals.rows("line", "malformed", 2, &format!("line {line}"));
        let lines = logged(|| (1..=3).for_each(note));
        let told = r#"WARN rows were refused protocol="line" reason="malformed" rows=2 first="line 1""#;
        assert_eq!(lines, [told]);
        let told = r#"WARN rows were refused protocol="line" reason="malformed" rows=4 first="line 2""#;
        assert_eq!(logged(|| refusals.tell()), [told]);
        assert!(logged(|| note(4)).is_empty(), "a line a minute");
        assert_eq!(logged(|| refusals.tell()).len(), 1);
        assert!(logged(|| refusals.tell()).is_empty());
        assert_eq!(logged(|| note(5)).len(), 1, "after a quiet minute, at once");
        assert_eq!(refusals.totals(Unit::Rows), [("line", "malformed", 10)]);
    }

    #[test]
    fn kinds_are_told_apart_and_texts_are_cut_and_quoted() {
        let refusals = Refusals::default();
        let lines = logged(|| {
            refusals.request("query", "query_timeout", &"first\nsecond");
            refusals.request("query", "query_queue_max", &"é".repeat(TEXT_BYTES_MAX));
            refusals.rows("line", "query_timeout", 1, &"");
        });
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with(r#"requests=1 first="first\nsecond""#), "{}", lines[0]);
        assert!(lines[1].len() < TEXT_BYTES_MAX + 200 && lines[1].ends_with("é…\""), "{}", lines[1]);
        let expected = [("query", "query_queue_max", 1), ("query", "query_timeout", 1)];
        assert_eq!(refusals.totals(Unit::Request), expected);
    }
}
