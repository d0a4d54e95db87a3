//! The file of a block's tombstones.

use std::io;
use std::path::{Path, PathBuf};

use croaring::{Bitmap, Portable};
use ulid::Ulid;

use super::Tombstones;
use crate::directory::Directory;
use crate::encoding::{DecodeError, Envelope, Reader, write_varint, write_zigzag};
use crate::error::{Error, Result};
use crate::time::TimeRange;

/// The folder of the tombstones below the data directory.
pub const TOMBSTONES_DIR: &str = "tombstones";

const ENVELOPE: Envelope = Envelope { magic: *b"TMBRTMB\0", oldest: 1, version: 1, what: "a tombstone file" };
/// Where the entries begin, behind the block's id.
const ENTRIES_AT: usize = Envelope::HEADER_BYTES + 16;

/// The file with this id.
#[must_use]
pub fn tombstones_path(id: Ulid) -> PathBuf {
    Path::new(TOMBSTONES_DIR).join(id.to_string())
}

/// The id in the name of a file of tombstones; `None` when it is none.
#[must_use]
pub fn tombstones_id(name: &str) -> Option<Ulid> {
    Ulid::from_string(name).ok().filter(|id| id.to_string() == name)
}

impl Tombstones {
    /// The bytes of the file for `block`.
    #[must_use]
    pub fn encode(&self, block: Ulid) -> Vec<u8> {
        let mut bytes = ENVELOPE.open();
        bytes.extend_from_slice(&block.to_bytes());
        write_varint(&mut bytes, self.samples);
        write_varint(&mut bytes, self.ranges.len() as u64);
        for (range, ids) in self.iter() {
            write_zigzag(&mut bytes, range.start);
            write_zigzag(&mut bytes, range.end);
            let mut ids = ids.clone();
            ids.run_optimize();
            let ids = ids.serialize::<Portable>();
            write_varint(&mut bytes, ids.len() as u64);
            bytes.extend_from_slice(&ids);
        }
        Envelope::close(bytes)
    }

    /// Reads a file's bytes: the id of its block, and the tombstones.
    ///
    /// # Errors
    /// [`Error::Corruption`] or [`Error::NewerVersion`], naming `file`.
    pub fn decode(file: &Path, bytes: &[u8]) -> Result<(Ulid, Self)> {
        ENVELOPE.read(file, bytes, |_, reader| Ok((Ulid::from_bytes(reader.array()?), read_entries(reader)?)))
    }

    /// Reads the file `id`, which must be one for `block`, a block with this many series.
    ///
    /// # Errors
    /// [`Error::Corruption`], also when the file is missing; [`Error::NewerVersion`], [`Error::Io`].
    pub fn load(directory: &dyn Directory, id: Ulid, block: Ulid, series: u64) -> Result<Self> {
        let path = tombstones_path(id);
        let shown = directory.display_path(&path);
        let bytes = directory.map(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::corruption(&shown, 0, "the file is missing"),
            _ => Error::io("read", &shown, e),
        })?;
        let (of, tombstones) = Self::decode(&shown, &bytes)?;
        if of != block {
            return Err(Error::corruption(shown, 12, "the tombstones belong to another block"));
        }
        if tombstones.series_last().is_some_and(|last| u64::from(last) >= series) {
            let reason = "a tombstone is for a series that the block does not have";
            return Err(Error::corruption(shown, ENTRIES_AT as u64, reason));
        }
        Ok(tombstones)
    }

    /// Writes the file `id` for `block`. Its bytes are durable when this returns; its name is once the folder is synced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn store(&self, directory: &dyn Directory, id: Ulid, block: Ulid) -> Result<()> {
        let path = tombstones_path(id);
        let write = || -> io::Result<()> {
            let mut file = directory.create(&path)?;
            file.write_all(&self.encode(block))?;
            file.sync()
        };
        write().map_err(|e| Error::io("write", directory.display_path(&path), e))
    }
}

fn read_entries(reader: &mut Reader<'_>) -> Result<Tombstones, DecodeError> {
    let mut tombstones = Tombstones { samples: reader.varint()?, ..Tombstones::default() };
    let count = reader.varint_at_most(reader.remaining().len(), "more entries than bytes")?;
    let mut previous = None;
    for _ in 0..count {
        let range = TimeRange::new(reader.zigzag()?, reader.zigzag()?);
        let key = (range.start, range.end);
        if range.is_empty() || previous.is_some_and(|previous| previous >= key) {
            return Err(reader.error("a range is empty or out of order"));
        }
        previous = Some(key);
        let ids = Bitmap::try_deserialize::<Portable>(reader.prefixed_bytes()?);
        let ids =
            ids.filter(|ids| !ids.is_empty()).ok_or_else(|| reader.error("the series cannot be read"))?;
        tombstones.add(range, &ids);
    }
    Ok(tombstones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::SimulatedDirectory;

    fn example() -> Tombstones {
        let mut tombstones = Tombstones::default();
        tombstones.add(TimeRange::new(-1, 300), &Bitmap::of(&[2, 70_000]));
        tombstones.add(TimeRange::new(i64::MIN, i64::MAX), &Bitmap::from_range(0..1000));
        tombstones.set_samples(300);
        tombstones
    }

    #[test]
    fn the_file_keeps_its_golden_bytes_and_finds_damage() {
        let block = Ulid::from_bytes([7; 16]);
        let bytes = example().encode(block);
        let mut expected = b"TMBRTMB\0\x01\0\0\0".to_vec();
        expected.extend_from_slice(&[7; 16]);
        expected.extend_from_slice(&[0xac, 0x02, 2]); // samples, entries
        expected.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        expected.extend_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        // One container with one run, from 0 on 999 more.
        expected.extend_from_slice(&[15, 0x3b, 0x30, 0, 0, 1, 0, 0, 0xe7, 3, 1, 0, 0, 0, 0xe7, 3]);
        expected.extend_from_slice(&[1, 0xd8, 0x04]); // -1 to 300
        // Two containers with one id each: cookie, count, (key, cardinality - 1) of each, offsets, ids.
        expected.extend_from_slice(&[28, 0x3a, 0x30, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend_from_slice(&[24, 0, 0, 0, 26, 0, 0, 0, 2, 0, 0x70, 0x11]);
        assert_eq!(bytes[..bytes.len() - 4], expected);
        assert_eq!(bytes[bytes.len() - 4..], crc32c::crc32c(&expected).to_le_bytes());
        let file = Path::new("t");
        assert_eq!(Tombstones::decode(file, &bytes).unwrap(), (block, example()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Tombstones::decode(file, &damaged).is_err(), "damage at {at}");
            assert!(Tombstones::decode(file, &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_behind_a_right_checksum() {
        let header = [b"TMBRTMB\0\x01\0\0\0".as_slice(), &[7; 16]].concat();
        let bitmap = Bitmap::of(&[1]).serialize::<Portable>();
        let entry = |start: u8, end: u8, ids: &[u8]| [&[start, end, ids.len() as u8], ids].concat();
        let right = entry(2, 4, &bitmap);
        let cases: [(&str, Vec<u8>); 5] = [
            ("empty or out of order", [&[0, 1], &entry(4, 2, &bitmap)[..]].concat()),
            ("empty or out of order", [&[0, 2], &right[..], &right[..]].concat()),
            (
                "series cannot be read",
                [&[0, 1], &entry(2, 4, &Bitmap::new().serialize::<Portable>())[..]].concat(),
            ),
            ("series cannot be read", [&[0, 1], &entry(2, 4, &bitmap[..4])[..]].concat()),
            ("bytes follow", [&[0, 1], &right[..], &[0]].concat()),
        ];
        for (reason, content) in cases {
            let mut bytes = [&header[..], &content].concat();
            bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            let error = Tombstones::decode(Path::new("t"), &bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn a_file_is_for_one_block_and_its_series() {
        let directory = SimulatedDirectory::new(1);
        directory.create_dir_all(Path::new(TOMBSTONES_DIR)).unwrap();
        let (id, block) = (Ulid(1), Ulid(2));
        let load = |id, block, series| Tombstones::load(&*directory, id, block, series);
        example().store(&*directory, id, block).unwrap();
        assert_eq!(load(id, block, 70_001).unwrap(), example());
        for (id, block, series, reason) in [
            (id, block, 70_000, "a series that the block does not have"),
            (id, Ulid(3), 70_001, "another block"),
            (Ulid(9), block, 70_001, "missing"),
        ] {
            let error = load(id, block, series).unwrap_err();
            assert!(
                matches!(error, Error::Corruption { .. }) && error.to_string().contains(reason),
                "{error}"
            );
        }
    }
}
