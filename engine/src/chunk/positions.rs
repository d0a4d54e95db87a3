//! Positions: a sorted list of places in a column, as bit-packed gaps.

use super::DecodeError;
use crate::encoding::bitpack::{pack, packed_len, unpack, width_of};
use crate::encoding::{Reader, write_varint};

/// Appends `positions`, which ascend.
pub(super) fn write(positions: &[usize], out: &mut Vec<u8>) {
    write_varint(out, positions.len() as u64);
    let mut from = 0;
    let gaps: Vec<u64> = positions
        .iter()
        .map(|&position| {
            let gap = position - from;
            from = position + 1;
            gap as u64
        })
        .collect();
    let width = width_of(gaps.iter().copied().max().unwrap_or(0));
    out.push(width as u8);
    pack(gaps.into_iter(), width, out);
}

/// Reads positions in a column of `count` places.
pub(super) fn read(reader: &mut Reader<'_>, count: usize) -> Result<Vec<usize>, DecodeError> {
    let length = reader.varint_at_most(count, "more exceptions than samples")?;
    let width = reader.varint_at_most(32, "gaps between exceptions are too wide")? as u32;
    let start = reader.offset();
    let mut gaps = vec![0; length];
    unpack(reader.bytes(packed_len(length, width))?, width, 0, &mut gaps);
    let mut from = 0;
    let mut positions = Vec::with_capacity(length);
    for gap in gaps {
        let position = from + gap as usize;
        if position >= count {
            return Err(DecodeError { offset: start, reason: "exception lies behind the last sample" });
        }
        positions.push(position);
        from = position + 1;
    }
    Ok(positions)
}
