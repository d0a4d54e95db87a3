//! Entropy-coded residuals: the bin of each residual ([`super::bins`]) is a symbol for the entropy coder
//! ([`crate::encoding::tans`]), and its offset in the bin follows as plain bits. Frequent residuals take a fraction of a bit or few,
//! and outliers no more than their magnitude.

use std::fmt;

use super::super::DecodeError;
use super::bins::{BINS, Bin, Histogram, PLACES};
use crate::encoding::bitpack::{BitReader, BitWriter, bits_at, mask};
use crate::encoding::tans::{EncodeTable, Frequencies};
use crate::encoding::{Reader, write_zigzag};

const LANES: usize = 4;
/// Fewer residuals do not pay for the frequencies.
const RESIDUALS_MIN: usize = 16;
/// The part of the bits that has to be saved: a sixteenth.
const SHARE: usize = 16;
/// The same for wide residuals: a tenth.
const WIDE_SHARE: usize = 10;
/// Residuals of so many bits on average are wide.
const WIDE_BITS: usize = 32;
/// Tag and center.
const HEADER_BITS: usize = 16;
/// Bits of a state and an offset that one load of a word is sure to have.
const WORD_BITS: u32 = 57;

/// The frequencies to code with, if that makes residuals smaller than `bits` by so much that the slower decoding pays: a
/// sixteenth, or a tenth if they are wide. Those have many bins, which makes decoding slower still, and little to save.
pub(super) fn plan(bits: usize, histogram: &Histogram) -> Option<Frequencies> {
    let is_wide = bits >= WIDE_BITS * histogram.len();
    let share = if is_wide { WIDE_SHARE } else { SHARE };
    let limit = (bits - bits / share) as f32;
    if histogram.len() < RESIDUALS_MIN || least_bits(histogram) > limit {
        return None;
    }
    let frequencies = Frequencies::scaled(&histogram.counts);
    let header = HEADER_BITS + frequencies.written_bits() + LANES * frequencies.table_log() as usize;
    let body: f32 = histogram
        .used()
        .map(|(bin, count)| count as f32 * (frequencies.cost(bin) + PLACES[bin].offset_bits as f32))
        .sum();
    (header as f32 + body <= limit).then_some(frequencies)
}

/// The entropy of the bins and the bits of the offsets: what no header can improve.
fn least_bits(histogram: &Histogram) -> f32 {
    let log = (histogram.len() as f32).log2();
    histogram
        .used()
        .map(|(bin, count)| count as f32 * (log - (count as f32).log2() + PLACES[bin].offset_bits as f32))
        .sum()
}

/// Appends `residuals`, those of the histogram, behind their tag.
pub(super) fn encode(residuals: &[i64], histogram: &Histogram, frequencies: &Frequencies, out: &mut Vec<u8>) {
    let table = EncodeTable::new(frequencies);
    let bins = &histogram.bins;
    let (before, last) = bins.split_at(bins.len() - LANES);
    let mut states = [0; LANES];
    for (index, &bin) in last.iter().enumerate() {
        states[(before.len() + index) % LANES] = table.initial(usize::from(bin));
    }
    // From last to first: the bits that each state gives off, and their number.
    let mut given_off = vec![(0, 0); bins.len()];
    let (groups, rest) = before.as_chunks::<LANES>();
    let (groups_off, rest_off) = given_off[..before.len()].as_chunks_mut::<LANES>();
    for ((state, &bin), off) in states.iter_mut().zip(rest).zip(rest_off) {
        *off = table.step(state, usize::from(bin));
    }
    for (bins, off) in groups.iter().zip(groups_off).rev() {
        for lane in 0..LANES {
            off[lane] = table.step(&mut states[lane], usize::from(bins[lane]));
        }
    }

    write_zigzag(out, histogram.center);
    let mut writer = BitWriter::new(out);
    frequencies.write(&mut writer);
    let table_log = frequencies.table_log();
    for state in states {
        writer.write(u64::from(state) & mask(table_log), table_log);
    }
    for ((&(state, state_bits), &bin), residual) in given_off.iter().zip(bins).zip(residuals) {
        let Bin { lowest, offset_bits } = PLACES[usize::from(bin)];
        let offset = residual.wrapping_sub(histogram.center).wrapping_sub(lowest) as u64;
        let (state, state_bits) = (u64::from(state), u32::from(state_bits));
        if state_bits + offset_bits <= u64::BITS {
            writer.write(offset << state_bits | state, state_bits + offset_bits);
        } else {
            writer.write(state, state_bits);
            writer.write(offset, offset_bits);
        }
    }
    writer.finish();
}

/// Entropy-coded residuals taken apart, but not decoded.
#[derive(Debug)]
pub(in crate::chunk) struct Entropy<'a> {
    center: i64,
    count: usize,
    frequencies: Frequencies,
    states: [usize; LANES],
    stream: &'a [u8],
    /// Where the residuals begin in the stream.
    bit: usize,
    /// Where the stream begins in what the reader was given.
    offset: usize,
}

/// Takes apart the `count` residuals that `reader` is at, behind their tag, to the end of the bytes.
pub(super) fn read<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Entropy<'a>, DecodeError> {
    if count < LANES {
        return Err(reader.error("entropy-coded residuals need more samples"));
    }
    let center = reader.zigzag()?;
    let offset = reader.offset();
    let stream = reader.bytes(reader.remaining().len())?;
    let mut bits = BitReader::new(stream);
    let frequencies = Frequencies::read(&mut bits)
        .map_err(|error| DecodeError { offset: offset + error.offset, reason: error.reason })?;
    if frequencies.symbols_end() > BINS {
        return Err(DecodeError { offset, reason: "unknown bin of residuals" });
    }
    let states = [0; LANES].map(|_: usize| bits.read(frequencies.table_log()) as usize);
    Ok(Entropy { center, count, frequencies, states, stream, bit: bits.bit(), offset })
}

/// What a state says.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    lowest: i64,
    next: u16,
    state_mask: u16,
    /// The low bits of the offset's mask; what is cut off matters for wide offsets alone.
    offset_mask: u16,
    state_bits: u8,
    /// Of the state and the offset.
    bits: u8,
}

impl Entry {
    /// The state that follows, whose bits begin the word.
    #[inline]
    fn next_state(&self, word: u64) -> usize {
        usize::from(self.next) + (word as usize & usize::from(self.state_mask))
    }

    /// The residual whose state and offset begin the word and fit it.
    #[inline]
    fn value(&self, word: u64) -> i64 {
        let offset = (word & !(u64::MAX << self.bits)) >> self.state_bits;
        self.lowest.wrapping_add(offset as i64)
    }

    /// The offset of any width that begins at bit `bit`.
    #[inline]
    fn wide_offset(&self, stream: &[u8], bit: usize) -> i64 {
        let width = u32::from(self.bits - self.state_bits);
        let mut offset = bits_at(stream, bit) & mask(width.min(WORD_BITS));
        if width > WORD_BITS {
            offset |= (bits_at(stream, bit + WORD_BITS as usize) & mask(width - WORD_BITS)) << WORD_BITS;
        }
        offset as i64
    }

    /// [`value`](Self::value) for an offset of 16 bits at most.
    #[inline]
    fn narrow_value(&self, word: u64) -> i64 {
        self.lowest.wrapping_add((word >> self.state_bits & u64::from(self.offset_mask)) as i64)
    }
}

impl Entropy<'_> {
    /// Fills `out`, which has as many places as [`read`] was told or fewer, with the first residuals.
    pub(super) fn decode(&self, out: &mut [i64]) -> Result<(), DecodeError> {
        let mut bits_max = 0;
        let of_symbol = |bin: usize, state_bits_max| {
            let Bin { lowest, offset_bits } = PLACES[bin];
            bits_max = bits_max.max(state_bits_max + offset_bits);
            let (lowest, offset_mask) = (lowest.wrapping_add(self.center), mask(offset_bits) as u16);
            Entry { lowest, offset_mask, bits: offset_bits as u8, ..Entry::default() }
        };
        let table = self.frequencies.decode_table(of_symbol, |symbol, next, state_bits| {
            let state_mask = (1_u16 << state_bits) - 1;
            Entry { next, state_mask, state_bits, bits: symbol.bits + state_bits, ..symbol }
        });
        let mut cursor = Cursor { stream: self.stream, bit: self.bit, table: &table, states: self.states };
        let is_whole = out.len() == self.count;
        let (before, last) = out.split_at_mut(out.len().min(self.count - LANES));
        let rest_len = before.len() % LANES;
        let (groups, rest) = before.as_chunks_mut::<LANES>();
        // The fewest loads that are sure to have all bits: one for a group of four, one for each residual, or two and more.
        if bits_max * LANES as u32 <= WORD_BITS {
            cursor = cursor.decode_groups(groups);
        } else if bits_max <= WORD_BITS {
            cursor = cursor.decode_singly(groups);
        } else {
            cursor = cursor.decode_widely(groups);
        }
        for (lane, out) in rest.iter_mut().enumerate() {
            cursor.decode_wide(lane, out, true);
        }
        for (index, out) in last.iter_mut().enumerate() {
            cursor.decode_wide((rest_len + index) % LANES, out, false);
        }
        if !is_whole || cursor.bit.div_ceil(8) == self.stream.len() {
            return Ok(());
        }
        let reason = "entropy-coded residuals and the end of the column do not meet";
        Err(DecodeError { offset: self.offset + (cursor.bit / 8).min(self.stream.len()), reason })
    }
}

/// A place in the stream, and the states there.
struct Cursor<'a> {
    stream: &'a [u8],
    bit: usize,
    table: &'a [Entry],
    states: [usize; LANES],
}

impl Cursor<'_> {
    /// Decodes groups, each from one word. States and place stay in registers.
    fn decode_groups(self, groups: &mut [[i64; LANES]]) -> Self {
        let Self { stream, mut bit, table, states: [mut a, mut b, mut c, mut d] } = self;
        for group in groups {
            let mut word = bits_at(stream, bit);
            let mut decode = |state: &mut usize, out: &mut i64| {
                let entry = &table[*state];
                *out = entry.narrow_value(word);
                *state = entry.next_state(word);
                word >>= entry.bits;
                bit += usize::from(entry.bits);
            };
            let [out_a, out_b, out_c, out_d] = group;
            decode(&mut a, out_a);
            decode(&mut b, out_b);
            decode(&mut c, out_c);
            decode(&mut d, out_d);
        }
        Self { stream, bit, table, states: [a, b, c, d] }
    }

    /// Decodes groups, each residual from a word of its own.
    fn decode_singly(self, groups: &mut [[i64; LANES]]) -> Self {
        let Self { stream, mut bit, table, states: [mut a, mut b, mut c, mut d] } = self;
        for group in groups {
            let mut decode = |state: &mut usize, out: &mut i64| {
                let word = bits_at(stream, bit);
                let entry = &table[*state];
                *out = entry.value(word);
                *state = entry.next_state(word);
                bit += usize::from(entry.bits);
            };
            let [out_a, out_b, out_c, out_d] = group;
            decode(&mut a, out_a);
            decode(&mut b, out_b);
            decode(&mut c, out_c);
            decode(&mut d, out_d);
        }
        Self { stream, bit, table, states: [a, b, c, d] }
    }

    /// Decodes groups, each state and each offset from a word of its own.
    fn decode_widely(self, groups: &mut [[i64; LANES]]) -> Self {
        let Self { stream, mut bit, table, states: [mut a, mut b, mut c, mut d] } = self;
        for group in groups {
            let mut decode = |state: &mut usize, out: &mut i64| {
                let entry = &table[*state];
                *state = entry.next_state(bits_at(stream, bit));
                *out =
                    entry.lowest.wrapping_add(entry.wide_offset(stream, bit + usize::from(entry.state_bits)));
                bit += usize::from(entry.bits);
            };
            let [out_a, out_b, out_c, out_d] = group;
            decode(&mut a, out_a);
            decode(&mut b, out_b);
            decode(&mut c, out_c);
            decode(&mut d, out_d);
        }
        Self { stream, bit, table, states: [a, b, c, d] }
    }

    /// Decodes one residual of any width. The last ones have no next state.
    #[inline]
    fn decode_wide(&mut self, lane: usize, out: &mut i64, has_next: bool) {
        let entry = &self.table[self.states[lane]];
        if has_next {
            self.states[lane] = entry.next_state(bits_at(self.stream, self.bit));
            self.bit += usize::from(entry.state_bits);
        }
        *out = entry.lowest.wrapping_add(entry.wide_offset(self.stream, self.bit));
        self.bit += usize::from(entry.bits - entry.state_bits);
    }
}

impl fmt::Display for Entropy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entropy-coded, {} bins, {} bytes", self.frequencies.symbols(), self.stream.len())
    }
}
