//! Bit packing: numbers of one width (0 to 64 bits), laid end to end, least significant bit first.
//!
//! Number `i` of width `w` begins at bit `i × w`; bit `b` of the column is bit `b % 8` of byte `b / 8`. Eight numbers
//! fill exactly `w` bytes, so [`unpack`] works in groups of eight whose byte offsets and shifts are constants for
//! each width: loads, shifts and masks without a branch.

/// Bytes that `count` numbers of `width` bits take.
#[must_use]
#[inline]
pub const fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// The number of bits that hold `value`: 0 for 0, 64 at most.
#[must_use]
#[inline]
pub const fn width_of(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The `bits` low bits set. `bits` is at most 64.
#[must_use]
#[inline]
pub const fn mask(bits: u32) -> u64 {
    if bits >= u64::BITS { u64::MAX } else { (1 << bits) - 1 }
}

/// Appends numbers of any widths to a byte vector. What is written appears there after [`BitWriter::finish`].
#[derive(Debug)]
pub struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl<'a> BitWriter<'a> {
    /// A writer that begins at the end of `out`.
    #[must_use]
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, pending_bits: 0 }
    }

    /// Appends the low `bits` bits of `value`; the others must be zero.
    #[inline]
    pub fn write(&mut self, value: u64, bits: u32) {
        debug_assert!(bits <= u64::BITS && value & !mask(bits) == 0, "{value} has more than {bits} bits");
        self.pending |= value.unbounded_shl(self.pending_bits);
        self.pending_bits += bits;
        if self.pending_bits >= u64::BITS {
            self.out.extend_from_slice(&self.pending.to_le_bytes());
            self.pending_bits -= u64::BITS;
            self.pending = value.unbounded_shr(bits - self.pending_bits);
        }
    }

    /// Fills the last byte with zero bits.
    pub fn finish(self) {
        let bytes = self.pending_bits.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }
}

/// Appends `values`, each less than `2^width`, to `out`.
pub fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mut writer = BitWriter::new(out);
    for value in values {
        writer.write(value, width);
    }
    writer.finish();
}

/// Reads `out.len()` numbers of `width` bits from `bytes`, and adds `base` to each (wrapping).
///
/// `bytes` must hold [`packed_len`] bytes and `width` be at most 64: what the caller has checked against its input.
pub fn unpack(bytes: &[u8], width: u32, base: i64, out: &mut [i64]) {
    assert!(bytes.len() >= packed_len(out.len(), width), "the caller takes as many bytes as it unpacks");
    UNPACK[width as usize](bytes, base, out);
}

/// Takes numbers of any widths from bytes. Behind the end it finds zeros: compare [`BitReader::bit`] with the length.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    bit: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, bit: 0 }
    }

    /// Bits taken so far.
    #[must_use]
    pub const fn bit(&self) -> usize {
        self.bit
    }

    /// The next 57 bits or more, without taking them.
    #[must_use]
    pub fn peek(&self) -> u64 {
        bits_at(self.bytes, self.bit)
    }

    /// Takes `bits` bits without a look at them.
    #[inline]
    pub fn skip(&mut self, bits: u32) {
        self.bit += bits as usize;
    }

    /// The next `bits` bits, 57 at most.
    #[inline]
    pub fn read(&mut self, bits: u32) -> u64 {
        let value = self.peek() & mask(bits);
        self.bit += bits as usize;
        value
    }
}

/// The bits from bit `bit` on, at least 57 of them; zeros after the end of `bytes`.
#[must_use]
#[inline]
pub fn bits_at(bytes: &[u8], bit: usize) -> u64 {
    let at = bit / 8;
    let word = match bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, at),
    };
    word >> (bit % 8)
}

/// The word from byte `at` on, of which some are behind the end.
#[inline]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let Some(last) = bytes.last_chunk::<8>() else { return short_word(bytes, at) };
    let behind = at + 8 - bytes.len();
    if behind < 8 { u64::from_le_bytes(*last) >> (behind * 8) } else { 0 }
}

/// The same of less than a word.
#[cold]
fn short_word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

const GROUP: usize = 8;

fn unpack_width<const WIDTH: usize>(bytes: &[u8], base: i64, out: &mut [i64]) {
    if WIDTH == 0 {
        out.fill(base);
        return;
    }
    // A load reads up to 8 bytes behind its group; the last groups read from a padded copy instead.
    let whole_groups = bytes.len().saturating_sub(8) / WIDTH;
    let (fast, slow) = out.split_at_mut(out.len().min(whole_groups * GROUP) / GROUP * GROUP);
    let (fast_groups, _) = fast.as_chunks_mut::<GROUP>();
    for (index, group) in fast_groups.iter_mut().enumerate() {
        let at = index * WIDTH;
        unpack_group::<WIDTH>(&bytes[at..at + WIDTH + 8], base, group);
    }
    let rest = bytes[fast_groups.len() * WIDTH..].chunks(WIDTH);
    for (group, packed) in slow.chunks_mut(GROUP).zip(rest) {
        let mut padded = [0; 64 + 8];
        padded[..packed.len()].copy_from_slice(packed);
        let mut numbers = [0; GROUP];
        unpack_group::<WIDTH>(&padded[..WIDTH + 8], base, &mut numbers);
        group.copy_from_slice(&numbers[..group.len()]);
    }
}

#[inline(always)]
fn unpack_group<const WIDTH: usize>(bytes: &[u8], base: i64, out: &mut [i64; GROUP]) {
    for (index, out) in out.iter_mut().enumerate() {
        let (at, shift) = (index * WIDTH / 8, index * WIDTH % 8);
        let mut number = bytes[at..].first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word)) >> shift;
        if shift + WIDTH > 64 {
            number |= u64::from(bytes[at + 8]) << (64 - shift);
        }
        *out = base.wrapping_add((number & mask(WIDTH as u32)) as i64);
    }
}

type Unpack = fn(bytes: &[u8], base: i64, out: &mut [i64]);

/// [`unpack_width`] for each width.
macro_rules! unpack_widths {
    ($($width:literal)*) => { [$(unpack_width::<$width>),*] };
}
#[rustfmt::skip]
static UNPACK: [Unpack; 65] = unpack_widths!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
    33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_lie_end_to_end_from_the_least_significant() {
        let mut out = Vec::new();
        pack([1, 2, 3, 4, 5].into_iter(), 3, &mut out);
        assert_eq!(out, [0b1101_0001, 0b0101_1000]);
        let mut back = [0; 5];
        unpack(&out, 3, 100, &mut back);
        assert_eq!(back, [101, 102, 103, 104, 105]);
    }

    proptest! {
        #[test]
        fn every_width_comes_back(
            width in 0_u32..=64,
            base in any::<i64>(),
            values in prop::collection::vec(any::<u64>(), 0..70),
            behind in 0_usize..20,
        ) {
            let mut out = Vec::new();
            pack(values.iter().map(|value| value & mask(width)), width, &mut out);
            prop_assert_eq!(out.len(), packed_len(values.len(), width));
            out.resize(out.len() + behind, 0xff);
            let mut back = vec![0; values.len()];
            unpack(&out, width, base, &mut back);
            for (index, (&back, &value)) in back.iter().zip(&values).enumerate() {
                prop_assert_eq!(back, base.wrapping_add((value & mask(width)) as i64));
                let narrow = width.min(57);
                prop_assert_eq!(bits_at(&out, index * width as usize) & mask(narrow), value & mask(narrow));
            }
        }
    }
}
