//! Decimals as integers: 12.34 is 1234 × 10^-2. Most of what people measure has few decimal digits, and the integers
//! pack far better than the bits of the doubles.
//!
//! A value is stored so only if dividing the integer by the power of ten gives its very bits back; the encoder checks each.
//! Values that fail (NaN, infinities, -0.0, full-precision outliers) are exceptions with all their bits.
//! Powers of ten up to 10^22 are doubles without rounding, and division rounds correctly, so what was read from a
//! decimal text of up to 15 digits always comes back.

use std::fmt;

use super::super::{DecodeError, integers, positions};
use crate::encoding::Reader;

const FLAG_EXCEPTIONS: u8 = 1 << 7;

/// Exponents are at most this: the last power of ten that is exact in a double.
const EXPONENT_MAX: usize = 22;

/// 10 to the power of each exponent.
pub(in crate::chunk) const POWERS_OF_TEN: [f64; EXPONENT_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Scaled integers stay below this, about 15 digits: with more, a double of full precision would pass for a decimal.
const SCALED_MAX: f64 = (1_u64 << 50) as f64;

/// Adding and subtracting this rounds a number below `SCALED_MAX` to an integer, and leaves that integer in the low bits of
/// the sum: 1.5 × 2^52. Unlike a conversion it works on several numbers at once on every x86-64.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// One exception in so many values is still a column of decimals; more are not.
const EXCEPTIONS_SHARE: usize = 8;

/// How often a value with more digits may raise the exponent.
const RAISES_MAX: usize = 3;

/// A column as decimals.
#[derive(Debug)]
pub(super) struct Decimals {
    exponent: usize,
    integers: Vec<i64>,
    /// How many of `integers` do not give their value back.
    failed: usize,
    exceptions: Vec<(usize, f64)>,
}

impl Decimals {
    /// The decimals that `values` are; none when too many are not decimals.
    pub(super) fn find(values: &[f64]) -> Option<Self> {
        let mut decimals = Self::scaled(values, exponent_of_sample(values)?);
        for _ in 0..RAISES_MAX {
            let failed = values.iter().filter(|&&value| scale(value, decimals.exponent).is_none());
            let Some(exponent) =
                failed.take(RAISES_MAX).find_map(|&value| exponent_of(value, decimals.exponent + 1))
            else {
                break;
            };
            let raised = Self::scaled(values, exponent);
            if raised.failed >= decimals.failed {
                break;
            }
            decimals = raised;
        }
        if decimals.failed > values.len() / EXCEPTIONS_SHARE + 1 {
            return None;
        }
        if decimals.failed > 0 {
            decimals.set_exceptions_apart(values);
        }
        Some(decimals)
    }

    fn scaled(values: &[f64], exponent: usize) -> Self {
        let power = POWERS_OF_TEN[exponent];
        let mut failed = 0;
        let integers = if exponent == 0 {
            let integer_of = |value: f64| (value as i64, (value as i64) as f64);
            values.iter().map(|&value| count_failed(value, integer_of(value), &mut failed)).collect()
        } else {
            let integer_of = |value: f64| {
                let scaled = value * power;
                let (integer, rounded) = round(scaled);
                let fits = scaled.abs() < SCALED_MAX && (rounded / power).to_bits() == value.to_bits();
                failed += usize::from(!fits);
                integer
            };
            values.iter().copied().map(integer_of).collect()
        };
        Self { exponent, integers, failed, exceptions: Vec::new() }
    }

    fn set_exceptions_apart(&mut self, values: &[f64]) {
        let mut previous = 0;
        for (position, (integer, &value)) in self.integers.iter_mut().zip(values).enumerate() {
            if scale(value, self.exponent).is_none() {
                // The integer before it makes the least of a residual.
                *integer = previous;
                self.exceptions.push((position, value));
            }
            previous = *integer;
        }
    }

    /// The integers and their exponent, when they give all values back.
    pub(super) fn all(&self) -> Option<(&[i64], usize)> {
        self.exceptions.is_empty().then_some((&self.integers, self.exponent))
    }

    /// Appends the column behind its tag.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if self.exceptions.is_empty() {
            out.push(self.exponent as u8);
        } else {
            out.push(self.exponent as u8 | FLAG_EXCEPTIONS);
            let positions: Vec<usize> = self.exceptions.iter().map(|&(position, _)| position).collect();
            positions::write(&positions, out);
            out.extend(self.exceptions.iter().flat_map(|(_, value)| value.to_le_bytes()));
        }
        integers::encode(&self.integers, out);
    }
}

#[inline]
fn count_failed(value: f64, (integer, decoded): (i64, f64), failed: &mut usize) -> i64 {
    *failed += usize::from(decoded.to_bits() != value.to_bits());
    integer
}

/// The integer next to `scaled`, if that is small enough; and as a double.
#[inline]
fn round(scaled: f64) -> (i64, f64) {
    let shifted = scaled + ROUNDER;
    (shifted.to_bits().wrapping_sub(ROUNDER.to_bits()) as i64, shifted - ROUNDER)
}

/// The inverse of [`round`], for integers that it makes.
#[inline]
fn to_double(integer: i64) -> f64 {
    f64::from_bits((integer as u64).wrapping_add(ROUNDER.to_bits())) - ROUNDER
}

/// `integer` × 10^-`exponent`.
pub(in crate::chunk) fn value(integer: i64, exponent: usize) -> f64 {
    integer as f64 / POWERS_OF_TEN[exponent]
}

/// The integer that stands for `value` exactly.
fn scale(value: f64, exponent: usize) -> Option<i64> {
    let (integer, decoded) = if exponent == 0 {
        (value as i64, (value as i64) as f64)
    } else {
        let scaled = value * POWERS_OF_TEN[exponent];
        // The bits of larger numbers would pass, but not as integers.
        if scaled.is_nan() || scaled.abs() >= SCALED_MAX {
            return None;
        }
        let (integer, rounded) = round(scaled);
        (integer, rounded / POWERS_OF_TEN[exponent])
    };
    (decoded.to_bits() == value.to_bits()).then_some(integer)
}

/// The least exponent from `least` on that makes an integer of `value`.
fn exponent_of(value: f64, least: usize) -> Option<usize> {
    if !value.is_finite() {
        return None;
    }
    (least..=EXPONENT_MAX)
        .take_while(|&exponent| exponent == 0 || (value * POWERS_OF_TEN[exponent]).abs() < SCALED_MAX)
        .find(|&exponent| scale(value, exponent).is_some())
}

/// The exponent that a few values need; none when more than half of them are no decimals.
fn exponent_of_sample(values: &[f64]) -> Option<usize> {
    const SAMPLES: usize = 16;
    let last = values.len().checked_sub(1)?;
    let mut exponent = 0;
    let mut failed = 0;
    for index in 0..SAMPLES {
        let value = values[index * last / (SAMPLES - 1)];
        if scale(value, exponent).is_none() {
            match exponent_of(value, 0) {
                Some(needed) => exponent = exponent.max(needed),
                None => failed += 1,
            }
        }
    }
    (failed <= SAMPLES / 2).then_some(exponent)
}

/// A column taken apart, but not decoded.
#[derive(Debug)]
pub(super) struct DecimalColumn<'a> {
    exponent: usize,
    exceptions: Vec<usize>,
    exception_bits: &'a [[u8; 8]],
    integers: integers::Integers<'a>,
}

/// Takes apart the column of `count` decimals that `reader` is at, behind its tag.
pub(super) fn read<'a>(reader: &mut Reader<'a>, count: usize) -> Result<DecimalColumn<'a>, DecodeError> {
    let start = reader.clone();
    let form = reader.u8()?;
    let exponent = usize::from(form & !FLAG_EXCEPTIONS);
    if exponent > EXPONENT_MAX {
        return Err(start.error("exponent of decimals is out of range"));
    }
    let exceptions = if form & FLAG_EXCEPTIONS == 0 { Vec::new() } else { positions::read(reader, count)? };
    let (exception_bits, _) = reader.bytes(exceptions.len() * 8)?.as_chunks::<8>();
    let integers = integers::read(reader, count)?;
    Ok(DecimalColumn { exponent, exceptions, exception_bits, integers })
}

impl DecimalColumn<'_> {
    /// Fills `places` with the bits of the first values, but those before position `from` with anything.
    pub(super) fn decode(&self, from: usize, places: &mut [i64]) -> Result<(), DecodeError> {
        if self.exponent == 0 {
            self.integers.decode_as(from, places, |integer| (integer as f64).to_bits() as i64)?;
        } else {
            let power = POWERS_OF_TEN[self.exponent];
            self.integers.decode_as(from, places, |integer| (to_double(integer) / power).to_bits() as i64)?;
        }
        for (&position, bits) in self.exceptions.iter().zip(self.exception_bits) {
            let Some(place) = places.get_mut(position) else { break };
            *place = i64::from_le_bytes(*bits);
        }
        Ok(())
    }
}

impl fmt::Display for DecimalColumn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exponent {
            0 => f.write_str("integer")?,
            exponent => write!(f, "decimal × 10^-{exponent}")?,
        }
        if !self.exceptions.is_empty() {
            write!(f, " but {}", self.exceptions.len())?;
        }
        write!(f, ", {}", self.integers.describe(|divisor| divisor.to_string()))
    }
}
