//! How records lie in a segment file: a header, then frames. The reader finds its way past damage.

use crate::encoding::{DecodeError, Reader};

/// The first bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"TMBRWAL\0";
/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of the segment header.
pub const SEGMENT_HEADER_BYTES: usize = 40;
/// Bytes in front of each frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 40;
/// The first bytes of every frame, by which a reader finds the next one behind damage.
pub(super) const FRAME_MAGIC: [u8; 3] = [0xd7, 0x1b, 0xe5];
/// A payload is at most this long: the writer refuses a longer one, and a reader takes a larger length for damage.
pub const PAYLOAD_BYTES_MAX: usize = 512 << 20;

/// Numbers of segments, heads and records are at most this, so that others can follow: at a million a second that takes
/// 146,000 years.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

const LENGTH_OUT_OF_RANGE: &str = "the payload's length is out of range";

/// The record is a [`GroupDefinition`](super::GroupDefinition).
pub(super) const KIND_GROUP: u8 = 1;
/// The record is one batch: a sequence of length-prefixed [`Rows`](super::Rows).
pub(super) const KIND_ROWS: u8 = 2;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number; its file is named by it.
    pub number: u64,
    /// The head that its records belong to. Group numbers mean something only within one generation.
    pub generation: u64,
    /// The number of its first record, whether or not there is one yet.
    pub sequence: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.generation.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SegmentError> {
        let mut reader = Reader::new(bytes);
        let header = reader.array::<36>()?;
        let crc = reader.u32_le()?;
        if header[..8] != MAGIC {
            return Err(DecodeError { offset: 0, reason: "not a WAL segment: the magic bytes differ" }.into());
        }
        if crc32c::crc32c(&header) != crc {
            return Err(DecodeError { offset: 36, reason: "the segment header's checksum differs" }.into());
        }
        let mut reader = Reader::new(&header[8..]);
        let version = reader.u32_le()?;
        if version > VERSION {
            return Err(SegmentError::NewerVersion(version));
        }
        let (number, generation, sequence) = (reader.u64_le()?, reader.u64_le()?, reader.u64_le()?);
        if number.max(generation).max(sequence) > NUMBER_MAX {
            return Err(DecodeError { offset: 12, reason: "no other number can follow" }.into());
        }
        Ok(Self { number, generation, sequence })
    }
}

/// Why a segment cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The header is damaged or cut off.
    Damaged(DecodeError),
    /// A newer program wrote it.
    NewerVersion(u32),
    /// The header is sound, and it is that of a segment with another name.
    OtherNumber(SegmentHeader),
}

impl From<DecodeError> for SegmentError {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error)
    }
}

/// Builds the header that stands in front of `payload`.
#[must_use]
pub(super) fn frame_header(
    kind: u8,
    payload: &[u8],
    sequence: u64,
    durable: u64,
    generation: u64,
) -> [u8; FRAME_HEADER_BYTES] {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    bytes[..3].copy_from_slice(&FRAME_MAGIC);
    bytes[3] = kind;
    bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&durable.to_le_bytes());
    bytes[24..32].copy_from_slice(&generation.to_le_bytes());
    bytes[32..36].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// One record that checks out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Where the frame starts in the segment.
    pub offset: usize,
    /// What the payload is.
    pub kind: u8,
    /// The record's number in the log; ascending.
    pub sequence: u64,
    /// How many bytes of the segment were known to be on disk when this frame was written.
    pub durable: u64,
    /// The head that the record belongs to, as the segment's header says it.
    pub generation: u64,
    /// The record.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether the record is a [`GroupDefinition`](super::GroupDefinition); else it is a batch of rows.
    #[must_use]
    pub fn is_group(&self) -> bool {
        self.kind == KIND_GROUP
    }

    /// The offset behind the frame.
    #[must_use]
    pub fn end(&self) -> usize {
        self.offset + FRAME_HEADER_BYTES + self.payload.len()
    }
}

/// Bytes that are no valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where they start.
    pub offset: usize,
    /// How many there are.
    pub len: usize,
    /// What is wrong at the start.
    pub reason: &'static str,
    /// Whether these bytes had been on disk intact: a later frame says that they were synced before it was written.
    /// Else they are what a crash leaves of an unfinished write.
    pub was_durable: bool,
}

/// What stands next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Frame(Frame<'a>),
    /// Damage.
    Gap(Gap),
}

/// Reads a segment front to back.
#[derive(Debug)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    header: SegmentHeader,
    offset: usize,
    /// Whether all of it had been synced before the log went on in another segment.
    closed: bool,
}

impl<'a> SegmentReader<'a> {
    /// A reader of a whole segment file. A segment that is `closed`, since another one follows it, had been synced as a
    /// whole, so it has no torn tail.
    ///
    /// # Errors
    /// When the header does not check out.
    pub fn new(bytes: &'a [u8], closed: bool) -> Result<Self, SegmentError> {
        let header = SegmentHeader::decode(bytes)?;
        Ok(Self { bytes, header, offset: SEGMENT_HEADER_BYTES, closed })
    }

    /// A reader of the segment that is named by `number`, and what is wrong with its header: the frames behind a damaged one
    /// are read all the same.
    ///
    /// # Errors
    /// When nothing of it can be read.
    pub fn open(
        bytes: &'a [u8],
        number: u64,
        closed: bool,
    ) -> Result<(Self, Option<DecodeError>), SegmentError> {
        match Self::new(bytes, closed) {
            Ok(reader) if reader.header.number != number => Err(SegmentError::OtherNumber(reader.header)),
            Ok(reader) => Ok((reader, None)),
            Err(SegmentError::Damaged(error)) => match Self::salvage(bytes, number, closed) {
                Some(reader) => Ok((reader, Some(error))),
                None => Err(SegmentError::Damaged(error)),
            },
            Err(error) => Err(error),
        }
    }

    /// A reader of a segment whose header is damaged: its name gives the number, its frames the generation. `None` when no
    /// frame checks out.
    fn salvage(bytes: &'a [u8], number: u64, closed: bool) -> Option<Self> {
        let offset = SEGMENT_HEADER_BYTES;
        let mut reader =
            Self { bytes, header: SegmentHeader { number, generation: 0, sequence: 0 }, offset, closed };
        let first = reader.frame_at(reader.find_frame(offset)?).ok()?;
        (reader.header.generation, reader.header.sequence) = (first.generation, first.sequence);
        Some(reader)
    }

    /// What the segment says of itself.
    #[must_use]
    pub fn header(&self) -> SegmentHeader {
        self.header
    }

    fn frame_at(&self, offset: usize) -> Result<Frame<'a>, &'static str> {
        let mut reader = Reader::new(&self.bytes[offset..]);
        let header = reader.array::<36>().map_err(|_| "the frame header is cut off")?;
        let crc = reader.u32_le().map_err(|_| "the frame header is cut off")?;
        if header[..3] != FRAME_MAGIC {
            return Err("no frame starts here");
        }
        if crc32c::crc32c(&header) != crc {
            return Err("the frame header's checksum differs");
        }
        let mut fields = Reader::new(&header[4..]);
        let (Ok(len), Ok(sequence), Ok(durable), Ok(generation), Ok(payload_crc)) =
            (fields.u32_le(), fields.u64_le(), fields.u64_le(), fields.u64_le(), fields.u32_le())
        else {
            return Err("the frame header is cut off");
        };
        if len as usize > PAYLOAD_BYTES_MAX {
            return Err(LENGTH_OUT_OF_RANGE);
        }
        if sequence.max(generation) > NUMBER_MAX {
            return Err("no other number can follow");
        }
        let payload = reader.bytes(len as usize).map_err(|_| "the payload is cut off")?;
        if crc32c::crc32c(payload) != payload_crc {
            return Err("the payload's checksum differs");
        }
        Ok(Frame { offset, kind: header[3], sequence, durable, generation, payload })
    }

    /// The offset of the next frame that checks out, from `from` on.
    fn find_frame(&self, from: usize) -> Option<usize> {
        let mut from = from;
        while let Some(rest) = self.bytes.get(from..) {
            let at = from + rest.windows(FRAME_MAGIC.len()).position(|w| w == FRAME_MAGIC)?;
            if self.frame_at(at).is_ok() {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }

    /// Whether some frame from `from` on says that `offset` had been synced.
    fn proves_durable(&self, from: usize, offset: usize) -> bool {
        let mut from = from;
        while let Some(at) = self.find_frame(from) {
            let Ok(frame) = self.frame_at(at) else { return false };
            if frame.durable > offset as u64 {
                return true;
            }
            from = frame.end();
        }
        false
    }
}

impl<'a> Iterator for SegmentReader<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let offset = self.offset;
        if offset >= self.bytes.len() {
            return None;
        }
        match self.frame_at(offset) {
            Ok(frame) => {
                self.offset = frame.end();
                Some(Item::Frame(frame))
            }
            // What was preallocated and never written.
            Err(_) if is_zero(&self.bytes[offset..]) => {
                self.offset = self.bytes.len();
                None
            }
            Err(reason) => {
                let next = self.find_frame(offset + 1);
                // No crash makes a header whose checksum holds and whose length nobody writes.
                let was_durable = self.closed
                    || reason == LENGTH_OUT_OF_RANGE
                    || next.is_some_and(|next| self.proves_durable(next, offset));
                // What lies behind an unfinished write was not answered either, so the log ends here.
                let end = next.filter(|_| was_durable).unwrap_or(self.bytes.len());
                self.offset = end;
                Some(Item::Gap(Gap { offset, len: end - offset, reason, was_durable }))
            }
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: SegmentHeader = SegmentHeader { number: 7, generation: 3, sequence: 5 };

    /// A segment of frames, each written when all before it was on disk (`synced`) or when nothing was.
    fn segment(payloads: &[&[u8]], synced: bool) -> Vec<u8> {
        let mut bytes = HEADER.encode().to_vec();
        for (i, payload) in payloads.iter().enumerate() {
            let durable = if synced { bytes.len() as u64 } else { 0 };
            bytes.extend_from_slice(&frame_header(
                KIND_ROWS,
                payload,
                HEADER.sequence + i as u64,
                durable,
                3,
            ));
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
        let items = SegmentReader::new(bytes, false).unwrap();
        items
            .filter_map(|item| match item {
                Item::Frame(frame) => Some(frame.payload),
                Item::Gap(_) => None,
            })
            .collect()
    }

    #[test]
    fn frames_keep_their_golden_bytes() {
        let bytes = segment(&[b"ab"], true);
        assert_eq!(bytes[..12], *b"TMBRWAL\0\x01\0\0\0");
        assert_eq!(bytes[12..20], 7_u64.to_le_bytes());
        assert_eq!(bytes[20..28], 3_u64.to_le_bytes());
        assert_eq!(bytes[28..36], 5_u64.to_le_bytes());
        let frame = &bytes[SEGMENT_HEADER_BYTES..];
        assert_eq!(frame[..8], [0xd7, 0x1b, 0xe5, 2, 2, 0, 0, 0]);
        assert_eq!(frame[8..24], [5, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(frame[24..32], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(frame[32..36], crc32c::crc32c(b"ab").to_le_bytes());
        assert_eq!(frame[FRAME_HEADER_BYTES..], *b"ab");
    }

    #[test]
    fn a_torn_tail_ends_the_log() {
        let bytes = segment(&[b"one", b"two", b"three"], true);
        for cut in 1..=FRAME_HEADER_BYTES + 4 {
            let torn = &bytes[..bytes.len() - cut];
            assert_eq!(payloads(torn), [b"one", b"two"]);
            let Some(Item::Gap(gap)) = SegmentReader::new(torn, false).unwrap().last() else {
                panic!("no gap")
            };
            assert!(!gap.was_durable, "{gap:?}");
        }
    }

    #[test]
    fn damage_before_a_synced_frame_is_reported_and_the_rest_survives() {
        let clean = segment(&[b"one", b"two", b"three", b"four"], true);
        let second = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3;
        for at in second..second + FRAME_HEADER_BYTES + 3 {
            let mut bytes = clean.clone();
            bytes[at] ^= 0x10;
            assert_eq!(payloads(&bytes), [&b"one"[..], b"three", b"four"], "damage at {at}");
            let gap = SegmentReader::new(&bytes, false).unwrap().find_map(|item| match item {
                Item::Gap(gap) => Some(gap),
                Item::Frame(_) => None,
            });
            let gap = gap.unwrap();
            assert_eq!((gap.offset, gap.len, gap.was_durable), (second, FRAME_HEADER_BYTES + 3, true));
        }
    }

    #[test]
    fn a_hole_in_an_unsynced_write_cuts_what_follows() {
        let mut bytes = segment(&[b"one", b"two", b"three"], false);
        let second = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3;
        bytes[second..second + 10].fill(0);
        assert_eq!(payloads(&bytes), [b"one"]);
    }

    #[test]
    fn a_closed_segment_has_no_torn_tail() {
        let mut bytes = segment(&[b"one", b"two", b"three"], false);
        let second = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 3;
        bytes[second..second + 10].fill(0);
        let items: Vec<_> = SegmentReader::new(&bytes, true).unwrap().collect();
        assert!(matches!(items[1], Item::Gap(Gap { was_durable: true, .. })), "{items:?}");
        assert!(matches!(items[2], Item::Frame(frame) if frame.payload == b"three"));
    }

    #[test]
    fn zeros_to_the_end_were_preallocated_and_a_torn_write_before_them_is_cut() {
        let mut bytes = segment(&[b"one", b"two"], true);
        let end = bytes.len();
        bytes.resize(end + 5000, 0);
        for closed in [false, true] {
            let items: Vec<_> = SegmentReader::new(&bytes, closed).unwrap().collect();
            assert!(items.len() == 2 && matches!(items[1], Item::Frame(frame) if frame.end() == end));
        }
        bytes[end - 1] ^= 1;
        let Some(Item::Gap(gap)) = SegmentReader::new(&bytes, false).unwrap().last() else {
            panic!("no gap")
        };
        assert!(!gap.was_durable && gap.offset == end - FRAME_HEADER_BYTES - 3, "{gap:?}");
    }

    #[test]
    fn frames_behind_a_damaged_header_are_read() {
        let mut bytes = segment(&[b"one", b"two"], true);
        bytes[21] ^= 1;
        assert!(matches!(SegmentReader::new(&bytes, true), Err(SegmentError::Damaged(_))));
        let (reader, damage) = SegmentReader::open(&bytes, 7, true).unwrap();
        assert_eq!((reader.header(), damage.map(|damage| damage.offset)), (HEADER, Some(36)));
        assert_eq!(reader.count(), 2);
        bytes.truncate(SEGMENT_HEADER_BYTES + 10);
        assert!(matches!(SegmentReader::open(&bytes, 7, true), Err(SegmentError::Damaged(_))));
        assert!(matches!(SegmentReader::open(&bytes[..3], 7, true), Err(SegmentError::Damaged(_))));
        let sound = segment(&[b"one"], true);
        assert_eq!(SegmentReader::open(&sound, 8, true).unwrap_err(), SegmentError::OtherNumber(HEADER));
        assert_eq!(SegmentReader::open(&sound, 7, true).unwrap().1, None);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = HEADER.encode();
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentReader::new(&bytes, false).unwrap_err(), SegmentError::NewerVersion(9));
        bytes[9] = 1;
        assert!(matches!(SegmentReader::new(&bytes, false), Err(SegmentError::Damaged(_))));
        assert!(matches!(SegmentReader::new(&bytes[..10], false), Err(SegmentError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut whole = HEADER.encode().to_vec();
            whole.extend_from_slice(&bytes);
            let items = SegmentReader::new(&whole, false).unwrap().count();
            prop_assert_eq!(items.min(1), usize::from(bytes.iter().any(|byte| *byte != 0)));
            let _ = SegmentReader::open(&whole, 7, true).map(|(reader, _)| reader.count());
            let _ = SegmentReader::new(&bytes, false).map(Iterator::count);
        }
    }
}
