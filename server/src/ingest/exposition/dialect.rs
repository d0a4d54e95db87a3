//! Which of the two text formats a text is in, told by its lines, and whether it is whole.

/// The line that ends a text in OpenMetrics, and none in the Prometheus format.
const EOF: &[u8] = b"# EOF";
/// The start of a line that only OpenMetrics has.
const UNIT: &[u8] = b"# UNIT ";

/// Which of the two formats a text is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus: timestamps are whole milliseconds.
    #[default]
    Prometheus,
    /// OpenMetrics: timestamps are seconds with a fraction.
    OpenMetrics,
}

/// Looks for what tells the format while a whole text goes by, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct DialectScan {
    /// The first bytes of the current line, which may come in several pieces.
    head: Vec<u8>,
    /// Lines before the current one.
    lines: u64,
    /// The first line of each kind.
    unit: Option<u64>,
    eof: Option<u64>,
    after_eof: Option<u64>,
}

impl DialectScan {
    /// Takes the next piece of the text.
    pub fn feed(&mut self, mut text: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', text) {
            self.take_head(&text[..end]);
            self.end_line();
            text = &text[end + 1..];
        }
        self.take_head(text);
    }

    fn take_head(&mut self, part: &[u8]) {
        let room = UNIT.len().saturating_sub(self.head.len());
        self.head.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        self.lines += 1;
        let line = self.head.trim_ascii_end();
        let found = match self.eof {
            // Blank lines do no harm.
            Some(_) if line.is_empty() => None,
            Some(_) => Some(&mut self.after_eof),
            None if line == EOF => Some(&mut self.eof),
            None if self.head.starts_with(UNIT) => Some(&mut self.unit),
            None => None,
        };
        if let Some(found) = found {
            found.get_or_insert(self.lines);
        }
        self.head.clear();
    }

    /// What the whole text is; `expected` is what it was said to be, if that was said.
    ///
    /// # Errors
    /// Why it is OpenMetrics, and not the whole of it.
    pub fn finish(mut self, expected: Option<Dialect>) -> Result<Dialect, String> {
        if !self.head.is_empty() {
            self.end_line();
        }
        match (self.eof, self.after_eof, self.unit) {
            (Some(eof), Some(line), _) => {
                Err(format!("`# EOF`, the end of OpenMetrics, is line {eof}, and line {line} follows it"))
            }
            (Some(_), None, _) => Ok(Dialect::OpenMetrics),
            (None, _, Some(line)) => Err(format!(
                "line {line}, `# UNIT …`, is OpenMetrics, and there is no `# EOF` at the end: it is cut off"
            )),
            (None, _, None) if expected == Some(Dialect::OpenMetrics) => {
                Err("OpenMetrics ends with the line `# EOF`, which is missing: it is cut off".to_owned())
            }
            (None, _, None) => Ok(Dialect::Prometheus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, expected: Option<Dialect>) -> Result<Dialect, String> {
        let mut whole = DialectScan::default();
        whole.feed(text.as_bytes());
        let whole = whole.finish(expected);
        let mut bytewise = DialectScan::default();
        text.as_bytes().chunks(1).for_each(|byte| bytewise.feed(byte));
        assert_eq!(bytewise.finish(expected), whole, "{text:?}");
        whole
    }

    #[test]
    fn open_metrics_is_told_by_its_end() {
        for text in
            ["a 1\n# EOF", "a 1\n# EOF\n", "a 1\r\n# EOF\r\n\r\n", "# UNIT a s\na 1\n# EOF\n", "# EOF"]
        {
            assert_eq!(told(text, None), Ok(Dialect::OpenMetrics), "{text:?}");
            assert_eq!(told(text, Some(Dialect::OpenMetrics)), Ok(Dialect::OpenMetrics), "{text:?}");
        }
        for text in ["", "a 1\n", "# EOFX\n", "x # EOF\n", "# EOF is near\na 1\n", "a 1 # {a=\"# UNIT \"} 1"]
        {
            assert_eq!(told(text, None), Ok(Dialect::Prometheus), "{text:?}");
        }
    }

    #[test]
    fn open_metrics_that_is_cut_or_goes_on_is_refused() {
        let reason = |text, expected| told(text, expected).unwrap_err();
        assert!(reason("a 1\n", Some(Dialect::OpenMetrics)).contains("`# EOF`, which is missing"));
        assert!(reason("a 1\n# UNIT a s\n", None).starts_with("line 2, `# UNIT …`"));
        for expected in [None, Some(Dialect::OpenMetrics)] {
            let reason = reason("a 1\n# EOF\n\nb 2\n# EOF\n", expected);
            assert_eq!(reason, "`# EOF`, the end of OpenMetrics, is line 2, and line 4 follows it");
        }
    }
}
