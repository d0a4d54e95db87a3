//! Variable-length integers (LEB128) with zigzag for signed ones, and the [`Reader`] that takes apart what was
//! written: fixed-width little-endian numbers, varints and byte strings, each with an error that says where.
//!
//! A varint holds 7 bits a byte, least significant first, with the high bit set on all but the last byte:
//! 1 byte below 128, 10 bytes at most. Zigzag maps 0, -1, 1, -2 … to 0, 1, 2, 3 …, so small magnitudes stay small.

use super::DecodeError;

/// The longest varint of a `u64`, in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `value` as a varint.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` as a zigzag varint.
#[inline]
pub fn write_zigzag(out: &mut Vec<u8>, value: i64) {
    write_varint(out, zigzag(value));
}

/// Maps a signed number to an unsigned one, small magnitudes to small numbers.
#[must_use]
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[must_use]
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The number of bytes that [`write_varint`] appends for `value`.
#[must_use]
#[inline]
pub const fn varint_len(value: u64) -> usize {
    // One byte for each started group of 7 bits; `| 1` because zero takes a byte, too.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A cursor over bytes from disk or network. Every method either takes exactly what it returns, or fails and
/// leaves the cursor where it was.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first of `bytes`.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes taken so far.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Everything that is not yet taken.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    /// Whether everything is taken.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.offset == self.bytes.len()
    }

    /// An error at the current offset.
    #[must_use]
    #[cold]
    pub const fn error(&self, reason: &'static str) -> DecodeError {
        DecodeError { offset: self.offset, reason }
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some(taken) = self.remaining().get(..count) else {
            return Err(self.error("bytes end too early"));
        };
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(&taken) = self.remaining().first_chunk::<N>() else {
            return Err(self.error("bytes end too early"));
        };
        self.offset += N;
        Ok(taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16_le(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32_le(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64_le(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint: 1 to 10 bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.remaining() {
            [first, ..] if *first < 0x80 => {
                self.offset += 1;
                Ok(u64::from(*first))
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for (index, &byte) in self.remaining().iter().take(VARINT_BYTES_MAX).enumerate() {
            if index == VARINT_BYTES_MAX - 1 && byte > 1 {
                return Err(self.error("varint does not fit 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.offset += index + 1;
                return Ok(value);
            }
        }
        Err(self.error("varint ends too early"))
    }

    /// A zigzag varint: 1 to 10 bytes.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        Ok(unzigzag(self.varint()?))
    }

    /// A varint that counts or measures something in memory: more than `max` is an error with `reason`.
    #[inline]
    pub fn varint_at_most(&mut self, max: usize, reason: &'static str) -> Result<usize, DecodeError> {
        let start = self.clone();
        let value = self.varint()?;
        if value > max as u64 {
            *self = start;
            return Err(self.error(reason));
        }
        Ok(value as usize)
    }

    /// A varint length and as many bytes.
    #[inline]
    pub fn prefixed_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.clone();
        let length = self.varint()?;
        let taken = usize::try_from(length).ok().and_then(|length| self.remaining().get(..length));
        let Some(taken) = taken else {
            *self = start;
            return Err(self.error("length is larger than the bytes that follow"));
        };
        self.offset += taken.len();
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varint_bytes_are_leb128() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            write_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(varint_len(value), bytes.len());
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
    }

    #[test]
    fn zigzag_orders_by_magnitude() {
        for (value, mapped) in
            [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)]
        {
            assert_eq!(zigzag(value), mapped);
            assert_eq!(unzigzag(mapped), value);
        }
    }

    #[test]
    fn a_failed_read_names_its_offset_and_takes_nothing() {
        let bytes = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.varint(), Err(DecodeError { offset: 1, reason: "varint does not fit 64 bits" }));
        assert_eq!(reader.bytes(11), Err(DecodeError { offset: 1, reason: "bytes end too early" }));
        assert_eq!(
            reader.prefixed_bytes().map_err(|error| error.to_string()),
            Err("at byte 1: varint does not fit 64 bits".to_owned())
        );
        assert_eq!(reader.remaining().len(), 10);

        let mut reader = Reader::new(&[0x80]);
        assert_eq!(reader.varint(), Err(DecodeError { offset: 0, reason: "varint ends too early" }));
        let mut reader = Reader::new(&[3, 1, 2]);
        assert!(reader.prefixed_bytes().is_err());
        assert_eq!(reader.varint_at_most(2, "too many"), Err(DecodeError { offset: 0, reason: "too many" }));
        assert_eq!(reader.u16_le(), Ok(0x103));
    }

    proptest! {
        #[test]
        fn numbers_come_back(values in prop::collection::vec(any::<i64>().prop_map(|v| v >> (v & 63)), 0..50)) {
            let mut out = Vec::new();
            for &value in &values {
                write_zigzag(&mut out, value);
                out.extend_from_slice(&value.to_le_bytes());
            }
            let mut reader = Reader::new(&out);
            for &value in &values {
                let before = reader.offset();
                prop_assert_eq!(reader.zigzag()?, value);
                prop_assert_eq!(reader.offset() - before, varint_len(zigzag(value)));
                prop_assert_eq!(reader.u64_le()? as i64, value);
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && reader.varint().is_ok() && reader.prefixed_bytes().is_ok() {}
        }
    }
}
