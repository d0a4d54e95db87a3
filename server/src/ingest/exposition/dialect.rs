//! Which of the two text formats a text is in, told by its lines, and whether it is whole.

/// The line that ends a text in OpenMetrics, and none in the Prometheus format.
const EOF: &[u8] = b"# EOF";
/// The start of a line that only OpenMetrics has.
const UNIT: &[u8] = b"# UNIT ";
/// The start of a line that both have,
const TYPE: &[u8] = b"# TYPE ";
/// and the types that only OpenMetrics has.
const TYPES: [&str; 4] = ["unknown", "info", "stateset", "gaugehistogram"];
/// What is kept of a comment; a type's line is shorter.
const HEAD_BYTES_MAX: usize = 1 << 10;

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
    /// The first line that only OpenMetrics has, and what it is.
    evidence: Option<(u64, &'static str)>,
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
        let is_comment = self.head.first().or(part.first()) == Some(&b'#');
        let room = if is_comment { HEAD_BYTES_MAX - self.head.len() } else { 1 - self.head.len().min(1) };
        self.head.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        self.lines += 1;
        let line = self.head.trim_ascii_end();
        match self.eof {
            // Blank lines do no harm.
            Some(_) if line.is_empty() => {}
            Some(_) => drop(self.after_eof.get_or_insert(self.lines)),
            None if line == EOF => self.eof = Some(self.lines),
            None => {
                if let Some(what) = evidence(&self.head) {
                    self.evidence.get_or_insert((self.lines, what));
                }
            }
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
        match (self.eof, self.after_eof, self.evidence) {
            (Some(eof), Some(line), _) => {
                Err(format!("`# EOF`, the end of OpenMetrics, is line {eof}, and line {line} follows it"))
            }
            (Some(_), None, _) => Ok(Dialect::OpenMetrics),
            (None, _, Some((line, what))) => Err(format!(
                "line {line}, `{what}`, is OpenMetrics, and there is no `# EOF` at the end: it is cut off"
            )),
            (None, _, None) if expected == Some(Dialect::OpenMetrics) => {
                Err("OpenMetrics ends with the line `# EOF`, which is missing: it is cut off".to_owned())
            }
            (None, _, None) => Ok(Dialect::Prometheus),
        }
    }
}

/// What a line is that only OpenMetrics has.
fn evidence(line: &[u8]) -> Option<&'static str> {
    if line.starts_with(UNIT) {
        return Some("# UNIT …");
    }
    let kind = line.strip_prefix(TYPE)?.trim_ascii_end().rsplit(|byte| *byte == b' ').next()?;
    TYPES.iter().any(|name| name.as_bytes() == kind).then_some("# TYPE …")
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
        let reason = |text: &str, expected| told(text, expected).unwrap_err();
        assert!(reason("a 1\n", Some(Dialect::OpenMetrics)).contains("`# EOF`, which is missing"));
        assert!(reason("a 1\n# UNIT a s\n", None).starts_with("line 2, `# UNIT …`"));
        for kind in ["unknown", "info", "stateset", "gaugehistogram"] {
            let text = format!("a 1\n# TYPE a {kind}\na 1 1.5\n");
            assert!(reason(&text, None).starts_with("line 2, `# TYPE …`"), "{kind}");
            assert_eq!(told(&format!("{text}# EOF\n"), None), Ok(Dialect::OpenMetrics));
        }
        for kind in ["untyped", "counter", "gauge", "histogram", "summary"] {
            assert_eq!(told(&format!("# TYPE info {kind}\n"), None), Ok(Dialect::Prometheus));
        }
        for expected in [None, Some(Dialect::OpenMetrics)] {
            let reason = reason("a 1\n# EOF\n\nb 2\n# EOF\n", expected);
            assert_eq!(reason, "`# EOF`, the end of OpenMetrics, is line 2, and line 4 follows it");
        }
    }
}
