//! A WAL segment made of any records, then damaged; and any bytes as a segment or a record.
#![no_main]

use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use timberline_engine::wal::{
    GroupDefinition, Item, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentReader, batch_rows, encode_batch,
};
use timberline_fuzz::damage;

const GENERATION: u64 = 1;

#[derive(Arbitrary, Debug)]
struct Input {
    raw: Vec<u8>,
    records: Vec<(u8, Vec<u8>)>,
    changes: Vec<(u16, u8)>,
    cut: u16,
    closed: bool,
}

fuzz_target!(|input: Input| {
    read(&input.raw, input.closed);

    let mut segment = SegmentHeader { number: 1, generation: GENERATION, sequence: 1 }.encode().to_vec();
    for (i, (kind, payload)) in input.records.iter().enumerate() {
        let durable = segment.len() as u64;
        append_frame(&mut segment, *kind, payload, i as u64 + 1, durable);
    }
    let frames = frames(&segment);
    assert!(frames.iter().map(|frame| (frame.0, &frame.1)).eq(input.records.iter().map(|r| (r.0, &r.1))));

    // Bytes that are cut off take nothing away but the records they belong to.
    let cut = usize::from(input.cut) % (segment.len() + 1);
    let left = self::frames(&segment[..cut]);
    assert_eq!(left, frames[..left.len()]);

    damage(&mut segment, &input.changes);
    read(&segment, input.closed);
});

/// A frame as docs/format/wal.md of the engine has it.
fn append_frame(segment: &mut Vec<u8>, kind: u8, payload: &[u8], sequence: u64, durable: u64) {
    let mut header = vec![0xd7, 0x1b, 0xe5, kind];
    header.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    header.extend_from_slice(&durable.to_le_bytes());
    header.extend_from_slice(&GENERATION.to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c(&header);
    segment.extend_from_slice(&header);
    segment.extend_from_slice(&crc.to_le_bytes());
    segment.extend_from_slice(payload);
}

fn frames(segment: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let Ok(reader) = SegmentReader::new(segment, false) else { return Vec::new() };
    let frames = reader.filter_map(|item| match item {
        Item::Frame(frame) => Some((frame.kind, frame.payload.to_vec())),
        Item::Gap(_) => None,
    });
    frames.collect()
}

/// Reads bytes as a segment with all its records, and as one record.
fn read(bytes: &[u8], closed: bool) {
    read_payload(bytes);
    if let Ok((reader, _)) = SegmentReader::open(bytes, 1, closed) {
        reader.for_each(drop);
    }
    let Ok(reader) = SegmentReader::new(bytes, closed) else { return };
    let mut at = SEGMENT_HEADER_BYTES;
    for item in reader {
        // Frames and gaps stand one behind the other.
        match item {
            Item::Frame(frame) => {
                assert_eq!(frame.offset, at);
                at = frame.end();
                read_payload(frame.payload);
            }
            Item::Gap(gap) => {
                assert_eq!(gap.offset, at);
                at += gap.len;
            }
        }
    }
    // What is left was preallocated.
    assert!(bytes[at..].iter().all(|byte| *byte == 0));
}

fn read_payload(payload: &[u8]) {
    if let Ok(definition) = GroupDefinition::decode(payload) {
        let mut encoded = Vec::new();
        definition.encode(&mut encoded);
        assert_eq!(GroupDefinition::decode(&encoded), Ok(definition));
    }
    let rows: Result<Vec<_>, _> = batch_rows(payload).collect();
    if let Ok(rows) = rows {
        let encoded = encode_batch(&rows);
        let again: Vec<_> = batch_rows(&encoded).map(Result::unwrap).collect();
        let kept: Vec<_> = rows.iter().filter(|rows| !rows.is_empty()).collect();
        assert_eq!(encode_batch(&again), encoded);
        assert!(kept.iter().map(|r| r.samples()).eq(again.iter().map(|r| r.samples())));
    }
}
