//! A column of integers: timestamps, and decimals scaled to integers.
//!
//! 1. The first number is set apart, and the distances of the others from it are divided by their greatest common
//!    divisor.
//! 2. Of three orders the one with the smallest residuals is taken: the distances themselves (frame of reference), their
//!    deltas, or the deltas of the deltas.
//! 3. The residuals are packed ([`residuals`]).
//!
//! All arithmetic wraps: the numbers come back whatever they are.

use std::fmt;

use super::DecodeError;
use super::residuals::{self, Residuals};
use crate::encoding::bitpack::width_of;
use crate::encoding::{Reader, write_varint, write_zigzag, zigzag};

const FLAG_DIVISOR: u8 = 1 << 7;

/// How residuals arise from numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Plain = 0,
    Delta = 1,
    DeltaOfDelta = 2,
}

impl Order {
    /// Numbers without a residual of their own: they are in the header.
    const fn header_numbers(self) -> usize {
        match self {
            Self::Plain | Self::Delta => 1,
            Self::DeltaOfDelta => 2,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "frame of reference",
            Self::Delta => "delta",
            Self::DeltaOfDelta => "delta of delta",
        })
    }
}

/// Appends the column of `numbers`.
pub(super) fn encode(numbers: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = numbers.split_first() else { return };
    if let Some(delta) = constant_delta(numbers) {
        out.push(Order::Delta as u8);
        write_zigzag(out, first);
        residuals::encode_equal(delta, out);
        return;
    }
    let divisor = common_divisor(first, rest);
    let distances: Vec<i64> = if divisor == 1 {
        rest.iter().map(|number| number.wrapping_sub(first)).collect()
    } else {
        rest.iter().map(|number| exact_quotient(number.wrapping_sub(first), divisor)).collect()
    };
    let order = cheapest_order(&distances);

    out.push(order as u8 | if divisor == 1 { 0 } else { FLAG_DIVISOR });
    write_zigzag(out, first);
    if divisor != 1 {
        write_varint(out, divisor);
    }
    match order {
        Order::Plain => residuals::encode(&distances, out),
        Order::Delta => residuals::encode(&deltas(0, &distances), out),
        Order::DeltaOfDelta => {
            let deltas_ = deltas(0, &distances);
            write_zigzag(out, deltas_[0]);
            residuals::encode(&deltas(deltas_[0], &deltas_[1..]), out);
        }
    }
}

fn deltas(mut previous: i64, numbers: &[i64]) -> Vec<i64> {
    numbers
        .iter()
        .map(|&number| {
            let delta = number.wrapping_sub(previous);
            previous = number;
            delta
        })
        .collect()
}

/// The delta that all neighbours have; zero when there are no neighbours.
fn constant_delta(numbers: &[i64]) -> Option<i64> {
    let delta = match numbers {
        [first, second, ..] => second.wrapping_sub(*first),
        _ => 0,
    };
    numbers.array_windows().all(|[a, b]| b.wrapping_sub(*a) == delta).then_some(delta)
}

fn common_divisor(first: i64, rest: &[i64]) -> u64 {
    let mut divisor = 0;
    for number in rest {
        let distance = number.wrapping_sub(first).unsigned_abs();
        if distance != divisor {
            divisor = greatest_common_divisor(distance, divisor);
            if divisor == 1 {
                break;
            }
        }
    }
    divisor.max(1)
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Divides without a remainder, also by 2^63.
const fn exact_quotient(number: i64, divisor: u64) -> i64 {
    let quotient = (number.unsigned_abs() / divisor) as i64;
    if number < 0 { quotient.wrapping_neg() } else { quotient }
}

/// The order whose residuals have the fewest bits in all, each without those of a typical one, which packing takes
/// as its base. Long columns are judged by a few runs of neighbours.
fn cheapest_order(distances: &[i64]) -> Order {
    const RUN: usize = 34;
    const RUNS: usize = 4;
    let stride = (distances.len() / RUNS).max(RUN);
    let runs = distances.chunks(stride).map(|run| &run[..run.len().min(RUN)]);
    let (mut plain, mut delta, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for [a, b, c] in runs.flat_map(|run| run.array_windows()) {
        let (before, after) = (b.wrapping_sub(*a), c.wrapping_sub(*b));
        plain.push(*c);
        delta.push(after);
        second.push(after.wrapping_sub(before));
    }
    let [plain, delta, second] = [plain, delta, second].map(|residuals| {
        let typical = residuals::typical(&residuals);
        residuals.iter().map(|residual| width_of(zigzag(residual.wrapping_sub(typical)))).sum::<u32>()
    });
    if delta <= plain && delta <= second {
        Order::Delta
    } else if plain <= second {
        Order::Plain
    } else {
        Order::DeltaOfDelta
    }
}

/// A column taken apart, but not decoded.
#[derive(Debug)]
pub(super) struct Integers<'a> {
    order: Order,
    divisor: u64,
    first: i64,
    first_delta: i64,
    residuals: Option<Residuals<'a>>,
}

/// Takes apart the column of `count` numbers that `reader` is at. It reaches to the end of the bytes.
pub(super) fn read<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Integers<'a>, DecodeError> {
    if count == 0 {
        return Ok(Integers { order: Order::Delta, divisor: 1, first: 0, first_delta: 0, residuals: None });
    }
    let start = reader.clone();
    let form = reader.u8()?;
    let order = match form & !FLAG_DIVISOR {
        0 => Order::Plain,
        1 => Order::Delta,
        2 => Order::DeltaOfDelta,
        _ => return Err(start.error("unknown order of integers")),
    };
    let Some(packed) = count.checked_sub(order.header_numbers()) else {
        return Err(start.error("order of integers needs more samples"));
    };
    let first = reader.zigzag()?;
    let divisor = if form & FLAG_DIVISOR == 0 { 1 } else { reader.varint()? };
    let first_delta = if order == Order::DeltaOfDelta { reader.zigzag()? } else { 0 };
    let residuals = Some(residuals::read(reader, packed)?);
    Ok(Integers { order, divisor, first, first_delta, residuals })
}

impl Integers<'_> {
    /// The encoding in words, with the divisor as `number` writes it.
    pub(super) fn describe(&self, number: fn(u64) -> String) -> String {
        let divisor = match self.divisor {
            1 => String::new(),
            divisor => format!("divisor {}, ", number(divisor)),
        };
        match &self.residuals {
            Some(residuals) => format!("{}, {divisor}{residuals}", self.order),
            None => "empty".to_owned(),
        }
    }

    /// Fills `out`, which has as many places as [`read`] was told or fewer, with the first numbers, but the places before `from`
    /// with anything.
    pub(super) fn decode(&self, from: usize, out: &mut [i64]) -> Result<(), DecodeError> {
        self.decode_as(from, out, |number| number)
    }

    /// The same with what `of` makes of the numbers.
    #[inline]
    pub(super) fn decode_as(
        &self,
        from: usize,
        out: &mut [i64],
        of: impl Fn(i64) -> i64,
    ) -> Result<(), DecodeError> {
        let Some(residuals) = &self.residuals else { return Ok(()) };
        if let (Order::Delta, Residuals::Equal(delta)) = (self.order, residuals) {
            let delta = delta.wrapping_mul(self.divisor as i64);
            let mut number = self.first.wrapping_add(delta.wrapping_mul(from as i64));
            for place in out.iter_mut().skip(from) {
                *place = of(number);
                number = number.wrapping_add(delta);
            }
            return Ok(());
        }
        let Some((header, rest)) = out.split_at_mut_checked(self.order.header_numbers()) else {
            let second = self.first.wrapping_add(self.first_delta.wrapping_mul(self.divisor as i64));
            out.iter_mut().zip([self.first, second]).for_each(|(place, number)| *place = of(number));
            return Ok(());
        };
        residuals.decode(rest)?;
        let (before, rest) = rest.split_at_mut(from.saturating_sub(header.len()).min(rest.len()));
        header[0] = of(self.first);
        let divisor = self.divisor as i64;
        if divisor != 1 {
            rest.iter_mut().for_each(|place| *place = place.wrapping_mul(divisor));
        }
        let mut number = self.first;
        match self.order {
            Order::Plain => {
                for place in rest {
                    *place = of(self.first.wrapping_add(*place));
                }
            }
            Order::Delta => {
                let sum = before.iter().fold(0, |sum: i64, delta| sum.wrapping_add(*delta));
                number = number.wrapping_add(sum.wrapping_mul(divisor));
                for place in rest {
                    number = number.wrapping_add(*place);
                    *place = of(number);
                }
            }
            Order::DeltaOfDelta => {
                let mut delta = self.first_delta.wrapping_mul(divisor);
                number = number.wrapping_add(delta);
                header[1] = of(number);
                for place in before {
                    delta = delta.wrapping_add(place.wrapping_mul(divisor));
                    number = number.wrapping_add(delta);
                }
                for place in rest {
                    delta = delta.wrapping_add(*place);
                    number = number.wrapping_add(delta);
                    *place = of(number);
                }
            }
        }
        Ok(())
    }
}
