#![doc = include_str!("../docs/format/manifest.md")]

use std::path::Path;

use ulid::Ulid;

use crate::directory::Directory;
use crate::encoding::{DecodeError, Envelope, Reader, write_varint};
use crate::error::{Error, Result};

/// The manifest's file name.
pub const MANIFEST_FILE: &str = "MANIFEST";
const TEMPORARY_FILE: &str = "MANIFEST.tmp";
/// The first version whose manifests keep the retention clock.
const VERSION_WITH_CLOCK: u32 = 2;
const ENVELOPE: Envelope =
    Envelope { magic: *b"TMBRMAN\0", oldest: 1, version: VERSION_WITH_CLOCK, what: "a manifest" };

/// What the database consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The first WAL segment whose samples are not in blocks.
    pub wal_first: u64,
    /// The generation that the next head gets.
    pub next_generation: u64,
    /// Where the [retention clock](crate::RetentionClock) was when this was stored, nanoseconds since the epoch; `None` when
    /// nobody knows: a manifest of version 1 does not say it, nor does one that a repair made.
    pub clock_ns: Option<i64>,
    /// The blocks.
    pub blocks: Vec<ListedBlock>,
}

/// A block that belongs to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedBlock {
    /// Its id.
    pub id: Ulid,
    /// The file of its tombstones; `None` when nothing was deleted from it.
    pub tombstones: Option<Ulid>,
}

impl ListedBlock {
    /// A block from which nothing was deleted.
    #[must_use]
    pub fn new(id: Ulid) -> Self {
        Self { id, tombstones: None }
    }
}

impl Manifest {
    /// The entry of a block.
    #[must_use]
    pub fn block(&self, id: Ulid) -> Option<&ListedBlock> {
        self.blocks.iter().find(|block| block.id == id)
    }

    /// The files with tombstones.
    pub fn tombstones(&self) -> impl Iterator<Item = Ulid> {
        self.blocks.iter().filter_map(|block| block.tombstones)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = ENVELOPE.open();
        write_varint(&mut bytes, self.wal_first);
        write_varint(&mut bytes, self.next_generation);
        bytes.push(u8::from(self.clock_ns.is_some()));
        bytes.extend(self.clock_ns.iter().flat_map(|clock| clock.to_le_bytes()));
        write_varint(&mut bytes, self.blocks.len() as u64);
        for block in &self.blocks {
            bytes.extend_from_slice(&block.id.to_bytes());
            bytes.push(u8::from(block.tombstones.is_some()));
            bytes.extend(block.tombstones.iter().flat_map(Ulid::to_bytes));
        }
        Envelope::close(bytes)
    }

    /// Reads a manifest's bytes.
    ///
    /// # Errors
    /// [`Error::Corruption`] or [`Error::NewerVersion`], naming `file`.
    pub fn decode(file: &Path, bytes: &[u8]) -> Result<Self> {
        ENVELOPE.read(file, bytes, |version, reader| {
            let (wal_first, next_generation) = (reader.varint()?, reader.varint()?);
            let clock_ns = if version < VERSION_WITH_CLOCK { None } else { read_clock(reader)? };
            let count = reader.varint_at_most(bytes.len(), "more blocks than bytes")?;
            let blocks = (0..count).map(|_| read_block(reader)).collect::<Result<_, _>>()?;
            Ok(Self { wal_first, next_generation, clock_ns, blocks })
        })
    }

    /// Reads the manifest of a data directory; `None` when there is none yet.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::NewerVersion`], [`Error::Io`].
    pub fn load(directory: &dyn Directory) -> Result<Option<Self>> {
        let path = Path::new(MANIFEST_FILE);
        let shown = directory.display_path(path);
        match directory.map(path) {
            Ok(bytes) => Self::decode(&shown, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", shown, e)),
        }
    }

    /// Replaces the manifest of the data directory: durable when this returns, and the old one or the new one at any moment before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn store(&self, directory: &dyn Directory) -> Result<()> {
        self.store_in(directory, Path::new(""))
    }

    /// As [`store`](Self::store), for a database in a folder below the directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn store_in(&self, directory: &dyn Directory, folder: &Path) -> Result<()> {
        let (temporary, file_name) = (&folder.join(TEMPORARY_FILE), &folder.join(MANIFEST_FILE));
        let swap = || -> std::io::Result<()> {
            match directory.remove_file(temporary) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = directory.create(temporary)?;
            file.write_all(&self.encode())?;
            file.sync()?;
            directory.rename(temporary, file_name)?;
            directory.sync_dir(folder)
        };
        swap().map_err(|e| Error::io("replace", directory.display_path(file_name), e))
    }
}

fn read_clock(reader: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => Ok(Some(i64::from_le_bytes(reader.array()?))),
        _ => Err(reader.error("neither with a clock nor without")),
    }
}

fn read_block(reader: &mut Reader<'_>) -> Result<ListedBlock, DecodeError> {
    let id = Ulid::from_bytes(reader.array()?);
    let tombstones = match reader.u8()? {
        0 => None,
        1 => Some(Ulid::from_bytes(reader.array()?)),
        _ => return Err(reader.error("neither with tombstones nor without")),
    };
    Ok(ListedBlock { id, tombstones })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_golden_bytes_and_finds_damage() {
        let (plain, deleted) = (Ulid::from_bytes([7; 16]), Ulid::from_bytes([8; 16]));
        let tombstones = Some(Ulid::from_bytes([9; 16]));
        let blocks = vec![ListedBlock::new(plain), ListedBlock { id: deleted, tombstones }];
        let manifest = Manifest { wal_first: 3, next_generation: 300, clock_ns: Some(-2), blocks };
        let bytes = manifest.encode();
        assert_eq!(bytes[..16], *b"TMBRMAN\0\x02\0\0\0\x03\xac\x02\x01");
        assert_eq!(bytes[16..25], *b"\xfe\xff\xff\xff\xff\xff\xff\xff\x02");
        assert_eq!(bytes[25..42], *[[7; 16].as_slice(), &[0]].concat());
        assert_eq!(bytes[42..75], *[[8; 16].as_slice(), &[1], &[9; 16]].concat());
        let file = Path::new("MANIFEST");
        assert_eq!(Manifest::decode(file, &bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Manifest::decode(file, &damaged).is_err(), "damage at {at}");
            assert!(Manifest::decode(file, &bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_manifest_of_version_1_has_no_clock() {
        let mut bytes = b"TMBRMAN\0\x01\0\0\0\x03\xac\x02\x01".to_vec();
        bytes.extend_from_slice(&[[7; 16].as_slice(), &[0]].concat());
        let bytes = Envelope::close(bytes);
        let blocks = vec![ListedBlock::new(Ulid::from_bytes([7; 16]))];
        let expected = Manifest { wal_first: 3, next_generation: 300, clock_ns: None, blocks };
        assert_eq!(Manifest::decode(Path::new("MANIFEST"), &bytes).unwrap(), expected);
        let stored = expected.encode();
        assert_eq!(
            Manifest::decode(Path::new("MANIFEST"), &stored).unwrap(),
            expected,
            "nor once it is stored"
        );
    }
}
