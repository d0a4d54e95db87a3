//! Cuts a JSON line of a series that is too long for a request into several, in bounded memory.
//!
//! A line has all values and then all timestamps, so both are put aside, on disk when they are many, and dealt out in pairs once
//! the line is known to be whole. Elements stay the text that they are: the server parses them.

use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use tempfile::SpooledTempFile;

/// Bytes of a column that are kept in memory.
const SPOOL_BYTES: usize = 8 << 20;
/// Bytes of labels, of an element or of a name: what is longer is no line of ours.
const ITEM_BYTES_MAX: usize = 1 << 20;

/// Why a line cannot be cut.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    /// Column, from 1, in bytes, and what is wrong there.
    Bad(u64, String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A whole line, taken apart.
pub(super) struct LongLine {
    metric: Vec<u8>,
    values: Column,
    timestamps: Column,
}

/// The elements of an array, one in a line.
struct Column {
    spool: SpooledTempFile,
    count: u64,
}

impl Column {
    fn read(cursor: &mut Cursor<impl Read>) -> Result<Self, Failure> {
        let mut column = Self { spool: SpooledTempFile::new(SPOOL_BYTES), count: 0 };
        let mut element = Vec::new();
        cursor.expect(b'[')?;
        if cursor.skip_if(b']')? {
            return Ok(column);
        }
        loop {
            element.clear();
            cursor.item(&mut element)?;
            element.push(b'\n');
            column.spool.write_all(&element)?;
            column.count += 1;
            if !cursor.skip_if(b',')? {
                cursor.expect(b']')?;
                return Ok(column);
            }
        }
    }

    fn elements(mut self) -> io::Result<BufReader<SpooledTempFile>> {
        self.spool.rewind()?;
        Ok(BufReader::new(self.spool))
    }
}

impl LongLine {
    /// Reads a line to its end, or to the first thing that is wrong with it.
    pub(super) fn read(line: impl Read) -> Result<Self, Failure> {
        let mut cursor = Cursor { input: BufReader::with_capacity(1 << 16, line), column: 1 };
        let (mut metric, mut values, mut timestamps) = (None, None, None);
        cursor.expect(b'{')?;
        loop {
            let mut name = Vec::new();
            cursor.item(&mut name)?;
            cursor.expect(b':')?;
            let twice = match &name[..] {
                b"\"metric\"" => {
                    let mut text = Vec::new();
                    cursor.item(&mut text)?;
                    metric.replace(text).is_some()
                }
                b"\"values\"" => values.replace(Column::read(&mut cursor)?).is_some(),
                b"\"timestamps\"" => timestamps.replace(Column::read(&mut cursor)?).is_some(),
                _ => {
                    cursor.item(&mut Vec::new())?;
                    false
                }
            };
            if twice {
                return Err(cursor.bad(format!("{} is given twice", String::from_utf8_lossy(&name))));
            }
            if !cursor.skip_if(b',')? {
                cursor.expect(b'}')?;
                break;
            }
        }
        if cursor.peek()?.is_some() {
            return Err(cursor.bad("text follows the series".to_owned()));
        }
        let missing = |what: &str| Failure::Bad(1, format!("missing field `{what}`"));
        let metric = metric.ok_or_else(|| missing("metric"))?;
        let values = values.ok_or_else(|| missing("values"))?;
        let timestamps = timestamps.ok_or_else(|| missing("timestamps"))?;
        if values.count != timestamps.count {
            let reason = format!("{} values but {} timestamps", values.count, timestamps.count);
            return Err(Failure::Bad(1, reason));
        }
        Ok(Self { metric, values, timestamps })
    }

    /// Calls `each` with lines of about `bytes` bytes that together are this one.
    pub(super) fn pieces<E: From<io::Error>>(
        self,
        bytes: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = self.values.count;
        let (mut values, mut timestamps) = (self.values.elements()?, self.timestamps.elements()?);
        let mut piece = [Vec::new(), Vec::new()];
        for element in 1..=count {
            let [piece_values, piece_timestamps] = &mut piece;
            for (column, piece) in [(&mut values, &mut *piece_values), (&mut timestamps, piece_timestamps)] {
                piece.push(if piece.is_empty() { b'[' } else { b',' });
                column.read_until(b'\n', piece)?;
                piece.pop();
            }
            if element == count || piece.iter().map(Vec::len).sum::<usize>() >= bytes {
                let [values, timestamps] = &piece;
                let parts: [&[u8]; 7] = [
                    b"{\"metric\":",
                    &self.metric,
                    b",\"values\":",
                    values,
                    b"],\"timestamps\":",
                    timestamps,
                    b"]}\n",
                ];
                each(&parts.concat())?;
                piece.iter_mut().for_each(Vec::clear);
            }
        }
        Ok(())
    }
}

/// Reads JSON as far as it takes to find where its items end.
struct Cursor<R> {
    input: BufReader<R>,
    column: u64,
}

impl<R: Read> Cursor<R> {
    fn bad(&self, reason: String) -> Failure {
        Failure::Bad(self.column, reason)
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.column += bytes as u64;
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Result<Option<u8>, Failure> {
        loop {
            let next = self.input.fill_buf()?.first().copied();
            match next {
                Some(b' ' | b'\t' | b'\r') => self.consume(1),
                next => return Ok(next),
            }
        }
    }

    fn skip_if(&mut self, byte: u8) -> Result<bool, Failure> {
        let is_next = self.peek()? == Some(byte);
        if is_next {
            self.consume(1);
        }
        Ok(is_next)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Failure> {
        if self.skip_if(byte)? {
            return Ok(());
        }
        let found =
            self.peek()?.map_or("the end of the line".to_owned(), |found| format!("{:?}", char::from(found)));
        Err(self.bad(format!("expected {:?}, found {found}", char::from(byte))))
    }

    /// Appends the item that is next: a number, string, word, array or object.
    fn item(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.peek()?;
        let (mut depth, mut in_string, mut is_escaped) = (0_u32, false, false);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let mut ended = false;
            let len = buffer.iter().position(|&byte| {
                if in_string {
                    in_string = is_escaped || byte != b'"';
                    is_escaped = byte == b'\\' && !is_escaped;
                    return false;
                }
                match byte {
                    b'"' => in_string = true,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' if depth > 0 => depth -= 1,
                    b']' | b'}' | b',' | b':' if depth == 0 => ended = true,
                    _ => {}
                }
                ended
            });
            let len = len.unwrap_or(buffer.len());
            out.extend_from_slice(&buffer[..len]);
            self.consume(len);
            if out.len() > ITEM_BYTES_MAX {
                return Err(self.bad(format!("an item of the line is longer than {ITEM_BYTES_MAX} bytes")));
            }
            if ended {
                break;
            }
        }
        out.truncate(out.trim_ascii_end().len());
        match (in_string || depth > 0, out.is_empty()) {
            (true, _) => Err(self.bad("the line is cut off".to_owned())),
            (_, true) => Err(self.bad("a value is missing".to_owned())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(line: &str, bytes: usize) -> Result<Vec<String>, String> {
        let line = match LongLine::read(line.as_bytes()) {
            Ok(line) => line,
            Err(Failure::Bad(column, reason)) => return Err(format!("{column}: {reason}")),
            Err(Failure::Io(error)) => panic!("{error}"),
        };
        let mut found = Vec::new();
        let each = |text: &[u8]| {
            found.push(String::from_utf8(text.to_vec()).unwrap());
            Ok::<(), io::Error>(())
        };
        line.pieces(bytes, each).unwrap();
        Ok(found)
    }

    #[test]
    fn values_and_timestamps_stay_together() {
        let line = r#"{"x":[{"y":"]}"}], "timestamps" : [ 1 ,2,3 ],"metric":{"a":"b,]\"}"},"values":[1.5,"NaN",{"spans":[[0,1]]}]}"#;
        let expected = [
            "{\"metric\":{\"a\":\"b,]\\\"}\"},\"values\":[1.5,\"NaN\"],\"timestamps\":[1,2]}\n",
            "{\"metric\":{\"a\":\"b,]\\\"}\"},\"values\":[{\"spans\":[[0,1]]}],\"timestamps\":[3]}\n",
        ];
        assert_eq!(pieces(line, 14).unwrap(), expected);
        assert_eq!(pieces(line, 1).unwrap().len(), 3);
        assert_eq!(pieces(r#"{"metric":{},"values":[],"timestamps":[]}"#, 1).unwrap(), [""; 0]);
    }

    #[test]
    fn a_broken_line_is_named() {
        for (line, expected) in [
            ("[1]", "1: expected '{', found '['"),
            (r#"{"metric":{},"values":[1],"timestamps":[1,2]}"#, "1: 1 values but 2 timestamps"),
            (r#"{"metric":{},"values":[1]}"#, "1: missing field `timestamps`"),
            (r#"{"metric":{},"values":[1,"#, "26: a value is missing"),
            (r#"{"metric":{},"values":[1,"a"#, "28: the line is cut off"),
            (r#"{"metric":{},"metric":{}}"#, "25: \"metric\" is given twice"),
            (r#"{"metric":{},"values":[1],"timestamps":[1]} x"#, "45: text follows the series"),
        ] {
            assert_eq!(pieces(line, 10).unwrap_err(), expected, "{line}");
        }
        let long = format!(r#"{{"metric":{{"a":"{}"}}}}"#, "x".repeat(ITEM_BYTES_MAX));
        assert!(pieces(&long, 10).unwrap_err().contains("is longer than"));
    }
}
