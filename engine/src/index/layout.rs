//! The parts of an index file that its writer and its reader share.

use crate::encoding::{DecodeError, Reader, write_varint, write_zigzag};
use crate::time::TimeRange;
use ulid::Ulid;

/// The first and the last bytes of an index file.
pub(super) const MAGIC: [u8; 8] = *b"TMBRIDX\0";
/// The version that this program writes, and the newest that it reads.
pub(super) const VERSION: u32 = 1;
/// Magic and version, at the front.
pub(super) const HEADER_BYTES: usize = 12;
/// Offset, length and checksum of a section.
pub(super) const SECTION_ENTRY_BYTES: usize = 20;
/// Bytes of one entry of the section [`Section::Times`].
pub(super) const TIMES_ENTRY_BYTES: usize = 28;

/// The sections in the order in which they lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Meta,
    Names,
    ValueEnds,
    ValueText,
    PostingEnds,
    Postings,
    SetEnds,
    Sets,
    SeriesEnds,
    Series,
    Times,
}

impl Section {
    pub(super) const COUNT: usize = Self::Times as usize + 1;
}

/// Section table, its checksum, and the magic bytes again.
pub(super) const FOOTER_BYTES: usize = Section::COUNT * SECTION_ENTRY_BYTES + 4 + MAGIC.len();

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMeta {
    /// Its name.
    pub id: Ulid,
    /// The first and the last sample's timestamps.
    pub range: TimeRange,
    /// The first of the heads whose samples are in it.
    pub generation_first: u64,
    /// The last of these heads. Of two blocks that overlap, the one from later heads holds the later writes.
    pub generation_last: u64,
    /// How often its samples have been merged.
    pub level: u32,
    /// How many series it holds.
    pub series: u64,
    /// How many samples it holds.
    pub samples: u64,
    /// The length of its chunk file, bytes.
    pub chunk_bytes: u64,
}

impl BlockMeta {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_bytes());
        write_zigzag(out, self.range.start);
        write_zigzag(out, self.range.end);
        for number in [
            self.generation_first,
            self.generation_last,
            u64::from(self.level),
            self.series,
            self.samples,
            self.chunk_bytes,
        ] {
            write_varint(out, number);
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(Self {
            id: Ulid::from_bytes(reader.array()?),
            range: TimeRange::new(reader.zigzag()?, reader.zigzag()?),
            generation_first: reader.varint()?,
            generation_last: reader.varint()?,
            level: reader.varint_at_most(u32::MAX as usize, "the level is out of range")? as u32,
            series: reader.varint()?,
            samples: reader.varint()?,
            chunk_bytes: reader.varint()?,
        })
    }
}

/// Where a chunk's two columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// The position of its timestamp column in the index.
    pub times: u32,
    /// Where its value column starts in the chunk file.
    pub values: u64,
    /// What its values amount to, encoded.
    pub statistics: StatisticsRef,
}

/// A span of the bytes that hold chunks' statistics: those that an index is built from, or an open index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatisticsRef {
    /// Where it begins.
    pub start: u32,
    /// How long it is: 0 when the chunk has no statistics.
    pub len: u8,
}

/// A timestamp column, which many chunks may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimesEntry {
    /// Where it starts in the chunk file.
    pub offset: u64,
    /// Its first and last timestamp.
    pub range: TimeRange,
    /// How many timestamps it holds.
    pub count: u32,
}

impl TimesEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.range.start.to_le_bytes());
        out.extend_from_slice(&self.range.end.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            offset: reader.u64_le()?,
            range: TimeRange::new(reader.u64_le()? as i64, reader.u64_le()? as i64),
            count: reader.u32_le()?,
        })
    }
}
