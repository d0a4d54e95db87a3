//! Postings: the set of the series that have something in common. Few ids, or ids far apart, are a list of gaps, which takes
//! less than half of what a bitmap does; the others are a roaring bitmap. Either says first how many ids there are.

use croaring::{Bitmap, Portable};

use crate::encoding::{DecodeError, Reader, write_varint};

/// No bitmap takes fewer bytes.
const BITMAP_BYTES_MIN: usize = 12;

/// Appends postings of `ids`, which ascend, in the smaller of both forms.
pub(super) fn write(ids: &[u32], out: &mut Vec<u8>) {
    let start = out.len();
    write_list(ids.len() as u64, ids.iter().copied(), out);
    if out.len() - start > BITMAP_BYTES_MIN {
        out.truncate(start);
        write_bitmap(Bitmap::of(ids), out);
    }
}

/// As [`write`], of ids in a bitmap.
pub(super) fn write_bitmap(mut ids: Bitmap, out: &mut Vec<u8>) {
    let count = ids.cardinality();
    ids.run_optimize();
    let mut next = 0;
    let mut varint_bytes = |id: u32| {
        let gap = id - next;
        next = id.wrapping_add(1);
        (38 - (gap | 1).leading_zeros() as usize) / 7
    };
    let head_bytes = (70 - (count << 1 | 1).leading_zeros() as usize) / 7;
    let list_bytes = head_bytes + ids.iter().map(&mut varint_bytes).sum::<usize>();
    if ids.get_serialized_size_in_bytes::<Portable>() < list_bytes {
        write_varint(out, count << 1 | 1);
        out.extend_from_slice(&ids.serialize::<Portable>());
    } else {
        write_list(count, ids.iter(), out);
    }
}

fn write_list(count: u64, ids: impl Iterator<Item = u32>, out: &mut Vec<u8>) {
    write_varint(out, count << 1);
    let mut next = 0;
    for id in ids {
        write_varint(out, u64::from(id - next));
        next = id.wrapping_add(1);
    }
}

/// Appends the ids of the postings `bytes`.
pub(super) fn read(bytes: &[u8], out: &mut Vec<u32>) -> Result<(), DecodeError> {
    let mut union = Union { ids: std::mem::take(out), bitmaps: Vec::new() };
    let added = union.add(bytes);
    *out = union.ids;
    union.bitmaps.iter().for_each(|bitmap| out.extend(bitmap.iter()));
    added
}

/// How many ids the postings hold, from their first bytes.
pub(super) fn count(bytes: &[u8]) -> Result<u64, DecodeError> {
    Ok(Reader::new(bytes).varint()? >> 1)
}

/// A union of postings.
#[derive(Debug, Default)]
pub(super) struct Union {
    ids: Vec<u32>,
    bitmaps: Vec<Bitmap>,
}

impl Union {
    /// Adds the ids of the postings `bytes`.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        let form = reader.varint()?;
        if form & 1 != 0 {
            let bitmap = Bitmap::try_deserialize::<Portable>(reader.remaining());
            self.bitmaps.push(bitmap.ok_or_else(|| reader.error("a bitmap cannot be read"))?);
            return Ok(());
        }
        if form >> 1 > reader.remaining().len() as u64 {
            return Err(reader.error("more ids than bytes"));
        }
        let mut next = 0_u64;
        for _ in 0..form >> 1 {
            let id = u32::try_from(next.saturating_add(reader.varint()?));
            let id = id.map_err(|_| reader.error("an id is out of range"))?;
            self.ids.push(id);
            next = u64::from(id) + 1;
        }
        Ok(())
    }

    /// All of them.
    pub(super) fn finish(mut self) -> Bitmap {
        // Sorted ids are added in bulk.
        self.ids.sort_unstable();
        let mut union = Bitmap::of(&self.ids);
        match &self.bitmaps[..] {
            [] => {}
            [only] => union.or_inplace(only),
            bitmaps => union.or_inplace(&Bitmap::fast_or(&bitmaps.iter().collect::<Vec<_>>())),
        }
        union
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smaller_form_is_taken() {
        let written = |ids: &[u32]| {
            let mut out = Vec::new();
            write(ids, &mut out);
            out
        };
        assert_eq!(written(&[]), [0]);
        assert_eq!(written(&[5, 6, 300]), [6, 5, 0, 0xa5, 0x02]);
        let run: Vec<u32> = (10..5000).collect();
        let bytes = written(&run);
        assert_eq!(bytes[0] & 1, 1);
        assert!(bytes.len() < 20, "a run is a few bytes: {}", bytes.len());
        assert_eq!(count(&bytes), Ok(4990));
    }

    proptest! {
        #[test]
        fn ids_come_back(
            lists in prop::collection::vec(
                prop_oneof![
                    prop::collection::btree_set(any::<u32>(), 0..50),
                    prop::collection::btree_set(0_u32..3000, 0..2000),
                ],
                0..5,
            )
        ) {
            let mut union = Union::default();
            let mut expected = std::collections::BTreeSet::new();
            for list in lists {
                let mut bytes = Vec::new();
                write(&list.iter().copied().collect::<Vec<_>>(), &mut bytes);
                prop_assert_eq!(count(&bytes)?, list.len() as u64);
                union.add(&bytes)?;
                expected.extend(list);
            }
            prop_assert_eq!(union.finish().to_vec(), expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut union = Union::default();
            if union.add(&bytes).is_ok() {
                union.finish();
            }
        }
    }
}
