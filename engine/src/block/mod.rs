#![doc = include_str!("../../docs/format/block.md")]
//!
//! # The module
//! [`BlockWriter`] makes a block from series that come sorted by labels; [`Block`] reads one.

mod reader;
mod writer;

use std::path::{Path, PathBuf};

use ulid::Ulid;

pub use reader::{Block, BlockSeries, verify_units};
pub use writer::{BlockWriter, EncodedColumns, FinishedBlock};

use crate::chunk::COLUMN_PARTS_MAX;
pub use crate::index::BlockMeta;

/// The folder of the blocks below the data directory.
pub const BLOCKS_DIR: &str = "blocks";
/// The name of a block's chunk file.
pub const CHUNKS_FILE: &str = "chunks";
/// The name of a block's index file.
pub const INDEX_FILE: &str = "index";
/// A chunk holds at most this many samples. Long chunks compress better; a query that needs few samples of one decodes
/// all of it.
pub const CHUNK_SAMPLES_MAX: usize = 4096;
/// The histograms of a chunk have together at most this many spans, buckets and bounds, unless it has one sample only.
const CHUNK_PARTS_MAX: usize = 1 << 19;
const _: () =
    assert!(CHUNK_PARTS_MAX + crate::histogram::PARTS_MAX <= COLUMN_PARTS_MAX, "a chunk is one column");

const MAGIC: [u8; 8] = *b"TMBRCHK\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// What the folder of a block that is being written ends with.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// The folder of a block.
#[must_use]
pub fn block_path(id: Ulid) -> PathBuf {
    Path::new(BLOCKS_DIR).join(id.to_string())
}

fn temporary_path(id: Ulid) -> PathBuf {
    Path::new(BLOCKS_DIR).join(format!("{id}{TEMPORARY_SUFFIX}"))
}

/// The id in the name of a block's folder; `None` when it is none, or one that was never finished.
#[must_use]
pub fn block_id(folder: &str) -> Option<Ulid> {
    Ulid::from_string(folder).ok().filter(|id| id.to_string() == folder)
}

/// Whether this is the folder of a block that was never finished.
#[must_use]
pub fn is_temporary(folder: &str) -> bool {
    folder.strip_suffix(TEMPORARY_SUFFIX).and_then(block_id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{encode_timestamps, encode_values};
    use crate::directory::{Directory, SimulatedDirectory};
    use crate::index::{Dictionary, ListedSeries, PairSource};
    use crate::labels::Labels;
    use crate::samples::Samples;

    #[test]
    fn the_chunk_file_keeps_its_golden_bytes() {
        let directory = SimulatedDirectory::new(1);
        directory.create_dir_all(Path::new(BLOCKS_DIR)).unwrap();
        let id = Ulid::from_bytes([7; 16]);
        let labels = ["a", "b"].map(|name| Labels::from_pairs([("__name__", name)]).unwrap());
        let series = ListedSeries::new(labels.to_vec());
        let dictionary = Dictionary::new([&series as &dyn PairSource]).unwrap();
        let mut writer = BlockWriter::create(directory.clone(), id, &dictionary).unwrap();
        let mut expected = b"TMBRCHK\0\x01\0\0\0".to_vec();
        let mut unit = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut column = Vec::new();
            encode(&mut column);
            expected.push(column.len() as u8);
            expected.extend_from_slice(&column);
            expected.extend_from_slice(&crc32c::crc32c(&column).to_le_bytes());
        };
        unit(&|out| encode_timestamps(&[1, 2], out));
        for (series, values) in [(0, [1.0, 2.5]), (1, [3.0, 3.0])] {
            writer.samples(&Samples::floats(vec![1, 2], values.to_vec()), 0..2).unwrap();
            writer.end_series(&[(0, series)]).unwrap();
            unit(&|out| encode_values(&values, out));
        }
        let finished = writer.finish((1, 1), 0).unwrap();
        assert!(finished.is_some());
        let written = directory.read(block_path(id).join(CHUNKS_FILE)).unwrap();
        assert_eq!(written, expected, "the timestamps stand there once");
    }
}
