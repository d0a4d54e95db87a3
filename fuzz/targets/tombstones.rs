//! Any bytes as a file of tombstones: as they are, and behind the right magic bytes and checksum. What decodes comes back
//! the same from its encoding, and answers.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use timberline_engine::TimeRange;
use timberline_engine::tombstones::Tombstones;

fuzz_target!(|data: &[u8]| {
    let file = Path::new("tombstones");
    let _ = Tombstones::decode(file, data);
    let mut bytes = b"TMBRTMB\0\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&[7; 16]);
    bytes.extend_from_slice(data);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let Ok((block, tombstones)) = Tombstones::decode(file, &bytes) else { return };
    let again = Tombstones::decode(file, &tombstones.encode(block)).expect("what was encoded decodes");
    assert_eq!(again, (block, tombstones.clone()));
    assert!(tombstones.since(&tombstones).is_empty());
    for (range, series) in tombstones.iter() {
        for id in series.minimum().into_iter().chain(series.maximum()) {
            let deleted = tombstones.of(id).expect("it has a tombstone");
            assert!(deleted.covers(range) && deleted.touches(TimeRange::ALL));
        }
    }
});
