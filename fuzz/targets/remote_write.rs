//! Any bytes as a remote write request: as they are, and compressed, so that they reach the protobuf decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use timberline::ingest::Limits;
use timberline::ingest::remote_write::{WriteRequest, decode, write_request};
use timberline_fuzz::Memory;

const BYTES_MAX: usize = 1 << 20;

fuzz_target!(|body: &[u8]| {
    let _ = decode(body, BYTES_MAX);
    let Ok(compressed) = snap::raw::Encoder::new().compress_vec(body) else { return };
    let Ok(request) = decode(&compressed, BYTES_MAX) else { return };
    assert_eq!(
        WriteRequest::decode(&*request.encode_to_vec()).map(|again| again.encode_to_vec()),
        Ok(request.encode_to_vec())
    );
    let mut sink = Memory::default();
    let report = write_request(&request, &Limits::DEFAULT, &mut sink).unwrap();
    assert_eq!(report.samples, sink.0.len() as u64);
    assert_eq!(report.refusal().is_some(), !report.errors.is_empty());
});
