//! Any bytes as a manifest: as they are, and behind the right magic bytes and checksum.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use timberline_engine::manifest::Manifest;

fuzz_target!(|data: &[u8]| {
    let _ = Manifest::decode(Path::new("MANIFEST"), data);
    for version in 1..=2 {
        let mut bytes = [b"TMBRMAN\0".as_slice(), &[version, 0, 0, 0], data].concat();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        if let Ok(manifest) = Manifest::decode(Path::new("MANIFEST"), &bytes) {
            assert!(manifest.blocks.len() * 16 <= data.len());
        }
    }
});
