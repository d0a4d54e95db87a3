//! A tabled asymmetric numeral system: entropy coding at the speed of a table lookup, within a few percent of the
//! entropy. Source: J. Duda, "Asymmetric numeral systems" (2013); the spread of the symbols is that of FSE (Y. Collet).
//!
//! 1. The histogram of the symbols is scaled to [`Frequencies`] that add up to the table's size, a power of two.
//! 2. [`EncodeTable`] takes the symbols from last to first. A state is a number below the table's size; a symbol
//!    turns one state into another and gives off the bits that do not fit.
//! 3. The table of [`Frequencies::decode_table`] goes through the same states from first to last: each names a symbol, and
//!    where to go with how many of the next bits.
//!
//! Several states may take turns (one for each lane), so that a processor follows them at once.

use super::DecodeError;
use super::bitpack::{BitReader, BitWriter, mask};

/// Symbols are the numbers below this.
pub const SYMBOLS_MAX: usize = 256;
/// Tables have at least `2^TABLE_LOG_MIN` states: the least for which the spread reaches every state.
pub const TABLE_LOG_MIN: u32 = 5;
/// Tables have at most `2^TABLE_LOG_MAX` states: there is room for every symbol, and they fit the first-level cache.
pub const TABLE_LOG_MAX: u32 = 10;

/// Tables have no more states than this for each symbol that occurs.
const STATES_PER_SYMBOL: u64 = 16;
/// Room for as many symbols is made at once.
const SYMBOLS_USUAL: usize = 64;

const _: () = assert!(SYMBOLS_MAX * 2 <= 1 << TABLE_LOG_MAX);

/// How often each symbol occurs, scaled to a sum of `2^table_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies {
    table_log: u32,
    /// The lowest symbol that occurs; `counts` begins there and ends with the highest.
    first: usize,
    counts: Vec<u16>,
}

impl Frequencies {
    /// Scales a histogram that is not empty and has at most [`SYMBOLS_MAX`] entries.
    #[must_use]
    pub fn scaled(histogram: &[u32]) -> Self {
        let first = histogram.iter().position(|&count| count > 0).unwrap_or(0);
        let end = histogram.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        let used = &histogram[first..end];
        let total: u64 = used.iter().map(|&count| u64::from(count)).sum();
        assert!(total > 0 && histogram.len() <= SYMBOLS_MAX, "only what occurs can be coded");

        let symbols = used.iter().filter(|&&count| count > 0).count() as u64;
        // Finer frequencies would take more than they save, and more time to build the tables.
        let states = (total / 8).max(1).min(symbols * STATES_PER_SYMBOL);
        let table_log = states.ilog2().max((symbols * 2).next_power_of_two().ilog2());
        let table_log = table_log.clamp(TABLE_LOG_MIN, TABLE_LOG_MAX);
        let size = 1_u64 << table_log;
        let mut counts: Vec<u16> = used
            .iter()
            .map(|&count| match u64::from(count) {
                0 => 0,
                count => ((count * size + total / 2) / total).max(1) as u16,
            })
            .collect();
        balance(&mut counts, size as i64);
        Self { table_log, first, counts }
    }

    /// The base-2 logarithm of the table's size.
    #[must_use]
    pub const fn table_log(&self) -> u32 {
        self.table_log
    }

    /// How many symbols occur.
    #[must_use]
    pub fn symbols(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// One more than the highest symbol that occurs.
    #[must_use]
    pub const fn symbols_end(&self) -> usize {
        self.first + self.counts.len()
    }

    /// The bits that a symbol takes on average. It must occur.
    #[must_use]
    pub fn cost(&self, symbol: usize) -> f32 {
        self.table_log as f32 - f32::from(self.counts[symbol - self.first]).log2()
    }

    /// Bits that [`Frequencies::write`] takes.
    #[must_use]
    pub fn written_bits(&self) -> usize {
        let counts: u32 = self.counts.iter().map(|&count| 2 * (u32::from(count) + 1).ilog2() + 1).sum();
        4 + 8 + counts as usize
    }

    /// Writes the table's size (4 bits), the first symbol (8 bits), and the count of each symbol from there on, plus
    /// one, in the Elias gamma code, until they add up to the table's size.
    pub fn write(&self, writer: &mut BitWriter<'_>) {
        writer.write(u64::from(self.table_log), 4);
        writer.write(self.first as u64, 8);
        for &count in &self.counts {
            let number = u64::from(count) + 1;
            let more_bits = number.ilog2();
            writer.write(1 << more_bits, more_bits + 1);
            writer.write(number & mask(more_bits), more_bits);
        }
    }

    /// Reads what [`Frequencies::write`] wrote.
    pub fn read(reader: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let start = reader.bit();
        let corrupt = |reason| Err(DecodeError { offset: start / 8, reason });
        let table_log = reader.read(4) as u32;
        let first = reader.read(8) as usize;
        if !(TABLE_LOG_MIN..=TABLE_LOG_MAX).contains(&table_log) {
            return corrupt("size of the entropy table is out of range");
        }
        let mut counts = Vec::with_capacity(SYMBOLS_USUAL);
        let mut missing = 1_u64 << table_log;
        while missing > 0 {
            let word = reader.peek();
            let more_bits = word.trailing_zeros();
            if more_bits > TABLE_LOG_MAX {
                return corrupt("frequency of a symbol is out of range");
            }
            reader.skip(2 * more_bits + 1);
            let count = (1 << more_bits | (word >> (more_bits + 1) & mask(more_bits))) - 1;
            if count > missing || first + counts.len() >= SYMBOLS_MAX {
                return corrupt("frequencies do not add up to the size of the entropy table");
            }
            missing -= count;
            counts.push(count as u16);
        }
        Ok(Self { table_log, first, counts })
    }

    /// The table to decode with: for each state, what `entry` makes of what `of_symbol` made of its symbol, of the lowest next
    /// state, and of the number of bits to add to that. `of_symbol` gets a symbol and the most bits that follow one of its states.
    pub fn decode_table<S: Copy + Default, T>(
        &self,
        mut of_symbol: impl FnMut(usize, u32) -> S,
        entry: impl Fn(S, u16, u8) -> T,
    ) -> Vec<T> {
        let size = 1_usize << self.table_log;
        let mut next = [0_u16; SYMBOLS_MAX];
        next[..self.counts.len()].copy_from_slice(&self.counts);
        let made = |(symbol, count): (usize, &u16)| match count.checked_ilog2() {
            Some(log) => of_symbol(self.first + symbol, self.table_log - log),
            None => S::default(),
        };
        let made: Vec<S> = self.counts.iter().enumerate().map(made).collect();
        let mut symbols = [0; 1 << TABLE_LOG_MAX];
        self.spread(&mut symbols[..size]);
        let of_state = |&symbol: &u8| {
            let symbol = usize::from(symbol);
            let state = next[symbol];
            next[symbol] += 1;
            let bits = self.table_log - ilog2(state);
            let lowest = (usize::from(state) << bits) - size;
            entry(made[symbol], lowest as u16, bits as u8)
        };
        symbols[..size].iter().map(of_state).collect()
    }

    /// Fills in the symbol of each state, counted from `first`. Each symbol's states lie far apart, which keeps the cost of a
    /// symbol near its entropy in every state.
    fn spread(&self, symbols: &mut [u8]) {
        let size = symbols.len();
        let step = (size >> 1) + (size >> 3) + 3;
        let mut state = 0;
        for (symbol, &count) in self.counts.iter().enumerate() {
            for _ in 0..count {
                symbols[state] = symbol as u8;
                state = (state + step) & (size - 1);
            }
        }
    }
}

/// The base-2 logarithm of a number that is not 0: the exponent of the number as a float, which takes no branch.
#[inline]
fn ilog2(number: u16) -> u32 {
    (f32::from(number).to_bits() >> 23).wrapping_sub(127)
}

/// Moves the sum of `counts` to `size`, at the cost of the most frequent symbols, which feel it least.
fn balance(counts: &mut [u16], size: i64) {
    let mut missing = size - counts.iter().map(|&count| i64::from(count)).sum::<i64>();
    while missing != 0 {
        let Some(largest) = counts.iter_mut().max() else { return };
        let change = missing.max(-i64::from(*largest / 4).max(1));
        *largest = (i64::from(*largest) + change) as u16;
        missing -= change;
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct EncodeSymbol {
    /// `state + bits_offset` has the number of bits to give off in its upper half.
    bits_offset: u32,
    /// What to add to the remaining state for the place of the next one in `states`.
    states_offset: i32,
    /// A state that stands for this symbol.
    initial: u16,
}

/// The table to encode with. States are kept plus the table's size here.
#[derive(Debug)]
pub struct EncodeTable {
    states: Vec<u16>,
    first: usize,
    symbols: Vec<EncodeSymbol>,
}

impl EncodeTable {
    /// The table for symbols that occur with these frequencies.
    #[must_use]
    pub fn new(frequencies: &Frequencies) -> Self {
        let size = 1_u32 << frequencies.table_log;
        let mut places = Vec::with_capacity(frequencies.counts.len());
        let mut symbols = Vec::with_capacity(frequencies.counts.len());
        let mut place = 0_u32;
        for &count in &frequencies.counts {
            let count = u32::from(count);
            places.push(place as usize);
            let bits_max = match count {
                0 | 1 => frequencies.table_log,
                _ => frequencies.table_log - (count - 1).ilog2(),
            };
            symbols.push(EncodeSymbol {
                bits_offset: (bits_max << 16).wrapping_sub(count << bits_max),
                states_offset: place as i32 - count as i32,
                initial: 0,
            });
            place += count;
        }
        let mut states = vec![0; size as usize];
        let mut spread = vec![0; size as usize];
        frequencies.spread(&mut spread);
        for (state, symbol) in spread.into_iter().enumerate() {
            let place = &mut places[usize::from(symbol)];
            states[*place] = (size + state as u32) as u16;
            *place += 1;
        }
        for (symbol, &count) in symbols.iter_mut().zip(&frequencies.counts) {
            if count > 0 {
                symbol.initial = states[(symbol.states_offset + i32::from(count)) as usize];
            }
        }
        Self { states, first: frequencies.first, symbols }
    }

    /// A state whose symbol is `symbol`: where encoding begins, with the last symbol.
    #[must_use]
    #[inline]
    pub fn initial(&self, symbol: usize) -> u16 {
        self.symbols[symbol - self.first].initial
    }

    /// Puts `symbol` before what `state` stands for, and returns the bits given off and their number.
    #[inline]
    pub fn step(&self, state: &mut u16, symbol: usize) -> (u16, u8) {
        let step = self.symbols[symbol - self.first];
        let bits = u32::from(*state).wrapping_add(step.bits_offset) >> 16;
        let given_off = *state & mask(bits) as u16;
        *state = self.states[(i32::from(*state >> bits) + step.states_offset) as usize];
        (given_off, bits as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(symbols: &[u8]) -> [u32; SYMBOLS_MAX] {
        let mut histogram = [0; SYMBOLS_MAX];
        for &symbol in symbols {
            histogram[usize::from(symbol)] += 1;
        }
        histogram
    }

    /// Encodes with one lane; returns the state to begin with, the bits in order of decoding, and their number.
    fn encode(frequencies: &Frequencies, symbols: &[u8]) -> (u16, Vec<(u16, u8)>) {
        let table = EncodeTable::new(frequencies);
        let (&last, before) = symbols.split_last().unwrap();
        let mut state = table.initial(usize::from(last));
        let mut bits: Vec<_> =
            before.iter().rev().map(|&symbol| table.step(&mut state, usize::from(symbol))).collect();
        bits.reverse();
        (state - (1 << frequencies.table_log()), bits)
    }

    #[test]
    fn skewed_symbols_cost_about_their_entropy() {
        // Every 16th symbol differs: 0.337 bits a symbol.
        let symbols: Vec<u8> = (0..4096).map(|index| u8::from(index * 7 % 16 == 3)).collect();
        let frequencies = Frequencies::scaled(&histogram(&symbols));
        let bits: usize = encode(&frequencies, &symbols).1.iter().map(|&(_, bits)| usize::from(bits)).sum();
        assert!((1375..1450).contains(&bits), "{bits} bits");
    }

    proptest! {
        #[test]
        fn symbols_come_back(
            symbols in prop::collection::vec(prop_oneof![3 => 100_u8..104, 1 => any::<u8>()], 1..600)
        ) {
            let frequencies = Frequencies::scaled(&histogram(&symbols));
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            frequencies.write(&mut writer);
            writer.finish();
            let mut reader = BitReader::new(&bytes);
            prop_assert_eq!(&Frequencies::read(&mut reader)?, &frequencies);
            prop_assert_eq!(reader.bit(), frequencies.written_bits());

            let (mut state, bits) = encode(&frequencies, &symbols);
            let table = frequencies.decode_table(|symbol, _| symbol, |symbol, lowest, bits| (symbol, lowest, bits));
            for (index, &expected) in symbols.iter().enumerate() {
                let (symbol, lowest, width) = table[usize::from(state)];
                prop_assert_eq!(symbol, usize::from(expected));
                if let Some(&(value, bits)) = bits.get(index) {
                    prop_assert_eq!(width, bits);
                    state = lowest + value;
                }
            }
        }

        #[test]
        fn arbitrary_frequencies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frequencies) = Frequencies::read(&mut BitReader::new(&bytes)) {
                let table = frequencies.decode_table(|_, _| (), |(), lowest, bits| (lowest, bits));
                for (lowest, bits) in table {
                    let size = 1_u64 << frequencies.table_log();
                    prop_assert!(u64::from(lowest) + mask(u32::from(bits)) < size);
                }
            }
        }
    }
}
