//! Cuts a stream of lines into batches of whole lines.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

/// Bytes of a batch, roughly.
const BATCH_BYTES: usize = 4 << 20;
/// A batch is cut here even if that looks like the middle of a string.
const BATCH_BYTES_MAX: usize = 4 * BATCH_BYTES;
/// Bytes that tell a format.
const FORMAT_BYTES: u64 = 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads what is compressed with gzip decompressed, and everything else as it is.
pub(super) fn decompressed(mut input: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::new();
    input.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic)?;
    let is_gzip = magic == GZIP_MAGIC;
    let whole = io::Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, whole)))
    } else {
        Box::new(whole)
    })
}

/// The first bytes of an input, enough to tell its format; they are taken out of it.
pub(super) fn peek(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(FORMAT_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// Some whole lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    /// Which line of the input the first one is, from 1.
    pub(super) first_line: u64,
    /// How many lines there are.
    pub(super) lines: u64,
}

/// The batches of a stream.
pub(super) struct Batches<R> {
    input: R,
    /// Read and not given out yet.
    pending: Vec<u8>,
    next_line: u64,
    batch_bytes: usize,
    /// Whether a string in quotes may hold a line break.
    has_strings: bool,
    ended: bool,
}

impl<R: Read> Batches<R> {
    pub(super) fn new(input: R, has_strings: bool) -> Self {
        Self { input, pending: Vec::new(), next_line: 1, batch_bytes: BATCH_BYTES, has_strings, ended: false }
    }

    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let mut wanted = self.batch_bytes;
        let end = loop {
            self.fill(wanted)?;
            if self.ended {
                break self.pending.len();
            }
            if let Some(end) = self.cut() {
                break end;
            }
            wanted += self.batch_bytes;
        };
        let rest = self.pending.split_off(end);
        let text = std::mem::replace(&mut self.pending, rest);
        if text.is_empty() {
            return Ok(None);
        }
        let first_line = self.next_line;
        let breaks = memchr::memchr_iter(b'\n', &text).count() as u64;
        self.next_line += breaks;
        // The last line of the input may lack its break.
        let lines = breaks + u64::from(!text.ends_with(b"\n"));
        Ok(Some(Batch { text, first_line, lines }))
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

    /// Where to cut `pending`: behind its last line break that is not inside a string.
    fn cut(&self) -> Option<usize> {
        let newline = memchr::memrchr(b'\n', &self.pending);
        if !self.has_strings || self.pending.len() >= BATCH_BYTES_MAX.max(self.batch_bytes) {
            return newline.map(|at| at + 1);
        }
        let (mut in_string, mut end, mut at) = (false, None, 0);
        while let Some(found) = memchr::memchr3(b'"', b'\\', b'\n', &self.pending[at..]) {
            at += found + 1;
            match self.pending[at - 1] {
                b'"' => in_string = !in_string,
                b'\\' => at = (at + 1).min(self.pending.len()),
                _ if !in_string => end = Some(at),
                _ => {}
            }
        }
        end
    }
}

impl<R: Read> Iterator for Batches<R> {
    type Item = io::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn batches(text: &str, batch_bytes: usize, has_strings: bool) -> Vec<(String, u64)> {
        let batches = Batches { batch_bytes, ..Batches::new(text.as_bytes(), has_strings) };
        batches
            .map(|batch| batch.unwrap())
            .map(|batch| (String::from_utf8(batch.text).unwrap(), batch.first_line))
            .collect()
    }

    #[test]
    fn batches_are_whole_lines() {
        let found = batches("aa\nbb\ncc\nd", 7, false);
        assert_eq!(found, [("aa\nbb\n".to_owned(), 1), ("cc\nd".to_owned(), 3)]);
        assert_eq!(batches("", 7, false), []);
        assert_eq!(
            batches("aaaaaaaaaa\nb\n", 3, false),
            [("aaaaaaaaaa\n".to_owned(), 1), ("b\n".to_owned(), 2)]
        );
    }

    #[test]
    fn strings_are_not_cut() {
        let text = "m f=\"x\\\"\ny\"\nn f=1\nn f=2\nn f=3\n";
        let expected = [("m f=\"x\\\"\ny\"\nn f=1\n", 1), ("n f=2\n", 4), ("n f=3\n", 5)];
        let found = batches(text, 11, true);
        assert_eq!(found.iter().map(|(text, line)| (text.as_str(), *line)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn gzip_is_noticed() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"text").unwrap();
        for input in [encoder.finish().unwrap(), b"text".to_vec()] {
            let mut text = String::new();
            decompressed(io::Cursor::new(input)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        let mut text = String::new();
        decompressed(io::Cursor::new(b"x")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }
}
