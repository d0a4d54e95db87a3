//! Field values that are numbers: the grammar's exact rules, and a scanner that reads the common ones in place.

use super::syntax::is_value_byte;

/// Powers of ten that an `f64` holds exactly.
const EXACT_POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Integers up to here are exact in an `f64`.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// This many decimal digits always fit in 64 bits.
const DIGITS_MAX: usize = 19;

/// A field value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `1.5`; always finite.
    Float(f64),
    /// `1i`.
    Integer(i64),
    /// `1u`.
    Unsigned(u64),
    /// `t`, `True`, ….
    Boolean(bool),
    /// What stands between the quotes, escapes not undone: see [`unescape_string`](super::unescape_string).
    String(&'a [u8]),
}

impl Value<'_> {
    /// The value as a sample, and whether it had to be rounded; `None` for a string.
    pub(super) fn to_sample(self) -> Option<(f64, bool)> {
        match self {
            Self::Float(value) => Some((value, false)),
            Self::Integer(value) => Some((value as f64, rounds(value.unsigned_abs()))),
            Self::Unsigned(value) => Some((value as f64, rounds(value))),
            Self::Boolean(value) => Some((f64::from(u8::from(value)), false)),
            Self::String(_) => None,
        }
    }
}

/// Whether `f64` cannot hold this integer.
fn rounds(magnitude: u64) -> bool {
    magnitude > EXACT_INTEGER_MAX && (magnitude as f64) as u128 != u128::from(magnitude)
}

/// Parses a value that is not a string: the whole token.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_value(token: &[u8]) -> Result<Value<'static>, String> {
    match token {
        [b't' | b'T' | b'f' | b'F', ..] => match parse_boolean(token) {
            Some(value) => Ok(Value::Boolean(value)),
            None => Err(format!("invalid boolean value {}", super::super::error::quote(token))),
        },
        [digits @ .., b'i'] => match parse_decimal(digits) {
            Ok(value) => Ok(Value::Integer(value)),
            Err(reason) => Err(format!("{reason} integer value")),
        },
        [digits @ .., b'u'] => match parse_decimal(digits) {
            Ok(value) => Ok(Value::Unsigned(value)),
            Err(reason) => Err(format!("{reason} unsigned integer value")),
        },
        _ => parse_float(token).map(Value::Float),
    }
}

fn parse_boolean(token: &[u8]) -> Option<bool> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Parses decimal digits with an optional minus sign.
///
/// # Errors
/// An adjective: `invalid` or `out of range`.
pub(super) fn parse_decimal<T>(token: &[u8]) -> Result<T, &'static str>
where
    T: std::str::FromStr<Err = std::num::ParseIntError>,
{
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let text = std::str::from_utf8(token).map_err(|_| "invalid")?;
    if text.starts_with('+') {
        return Err("invalid");
    }
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        PosOverflow | NegOverflow => "out of range",
        _ => "invalid",
    })
}

fn parse_float(token: &[u8]) -> Result<f64, String> {
    // Only digits, so that neither `inf` nor `nan` pass, whatever their case and sign.
    let is_numeric = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    let is_plausible = token.first() != Some(&b'+') && token.iter().all(is_numeric);
    let text = std::str::from_utf8(token).ok().filter(|_| is_plausible);
    match text.and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value.is_finite() => Ok(value),
        Some(_) => Err("float value out of range".to_owned()),
        None => Err("invalid float value".to_owned()),
    }
}

/// A value read in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanned {
    /// The sample's value.
    pub(super) value: f64,
    /// Whether an integer was rounded.
    pub(super) rounded: bool,
    /// The offset behind the value.
    pub(super) end: usize,
}

/// Reads a number or boolean at `start`; `None` where the strict grammar has to look.
#[inline]
pub(super) fn scan_value(body: &[u8], start: usize) -> Option<Scanned> {
    let negative = byte_at(body, start) == b'-';
    let first = start + usize::from(negative);
    let (mantissa, mut end) = scan_digits(body, first, 0);
    let digits = end - first;
    let fits = digits > 0 && digits < DIGITS_MAX;
    match byte_at(body, end) {
        b'i' if fits => return Some(integer(mantissa, negative, end + 1)),
        b'u' if fits && !negative => return Some(integer(mantissa, false, end + 1)),
        b',' | b' ' | b'\n' | b'\r' if fits && mantissa <= EXACT_INTEGER_MAX => {
            return Some(Scanned { value: with_sign(mantissa as f64, negative), rounded: false, end });
        }
        b'.' => {
            let fraction = end + 1;
            let (mantissa, fraction_end) = scan_digits(body, fraction, mantissa);
            let scale = fraction_end - fraction;
            let digits = digits + scale;
            end = fraction_end;
            let exact = digits > 0 && digits <= DIGITS_MAX && mantissa <= EXACT_INTEGER_MAX;
            if exact && matches!(byte_at(body, end), b',' | b' ' | b'\n' | b'\r') {
                // Both operands are exact, so the one division rounds correctly (Clinger's fast path).
                let value = mantissa as f64 / EXACT_POWERS_OF_TEN[scale];
                return Some(Scanned { value: with_sign(value, negative), rounded: false, end });
            }
        }
        _ => {}
    }
    scan_token(body, start)
}

/// Reads the value at `start` by the strict rules.
#[cold]
fn scan_token(body: &[u8], start: usize) -> Option<Scanned> {
    let rest = body.get(start..)?;
    let token = &rest[..rest.iter().position(|&b| !is_value_byte(b)).unwrap_or(rest.len())];
    let (value, rounded) = parse_value(token).ok()?.to_sample()?;
    Some(Scanned { value, rounded, end: start + token.len() })
}

/// The sample for an integer of less than [`DIGITS_MAX`] digits.
#[inline]
fn integer(magnitude: u64, negative: bool, end: usize) -> Scanned {
    let value = if negative { -(magnitude as i64) } else { magnitude as i64 };
    Scanned { value: value as f64, rounded: rounds(magnitude), end }
}

#[inline]
fn with_sign(value: f64, negative: bool) -> f64 {
    if negative { -value } else { value }
}

/// Reads digits at `at`, the number continuing `value`; wraps around past 64 bits. The offset is the one behind.
#[inline]
pub(super) fn scan_digits(body: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(digit) = body.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&d| d < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// Reads the 19 digits or less of a timestamp at `at`, eight at a time.
#[inline]
pub(super) fn scan_timestamp(body: &[u8], start: usize) -> Option<(i64, usize)> {
    let negative = byte_at(body, start) == b'-';
    let first = start + usize::from(negative);
    let (mut value, mut at) = (0_u64, first);
    while let Some(eight) = body.get(at..).and_then(<[u8]>::first_chunk).and_then(eight_digits) {
        value = value.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    let (value, end) = scan_digits(body, at, value);
    let digits = end - first;
    // 19 digits may be past i64: the strict rules decide then.
    let timestamp = i64::try_from(value).ok().filter(|_| digits > 0 && digits <= DIGITS_MAX)?;
    Some((if negative { -timestamp } else { timestamp }, end))
}

/// The value of eight decimal digits, first digit first; `None` when there is anything else among them.
/// Three multiplications add up neighbours: to pairs, to fours, to all eight.
#[inline]
fn eight_digits(bytes: &[u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(*bytes);
    let values = word.wrapping_sub(0x3030_3030_3030_3030);
    if (word.wrapping_add(0x4646_4646_4646_4646) | values) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

/// The byte at `at`; a line break behind the end, which ends a value just as the end does.
#[inline]
pub(super) fn byte_at(body: &[u8], at: usize) -> u8 {
    body.get(at).copied().unwrap_or(b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(text: &str) -> Option<f64> {
        let scanned = scan_value(text.as_bytes(), 0)?;
        assert_eq!(scanned.end, text.len(), "{text}");
        Some(scanned.value)
    }

    #[test]
    fn floats_as_the_grammar_has_them() {
        for (text, value) in [
            ("1", 1.0),
            ("1.", 1.0),
            ("-.5", -0.5),
            (".1", 0.1),
            ("1e5", 1e5),
            ("1.0E-4", 1e-4),
            ("-0e-4", -0.0),
            ("-0.", -0.0),
            ("12345678901234567", 12_345_678_901_234_567.0),
            ("0.1234567890123456789", 0.123_456_789_012_345_68),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("1.7976931348623157e308", f64::MAX),
            ("00000000000000000000001.5", 1.5),
            ("2e-326", 0.0),
            ("5e-324", 5e-324),
        ] {
            assert_eq!(scanned(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in
            ["", "-", ".", "-.", "1e", "1.1.1", "--1", "-inf", "nan", "0x10", "1_0", "1e400", "+1", "1-"]
        {
            assert!(scan_value(text.as_bytes(), 0).is_none(), "{text}");
        }
    }

    #[test]
    fn integers_up_to_their_bounds() {
        assert_eq!(parse_value(b"-9223372036854775808i"), Ok(Value::Integer(i64::MIN)));
        assert_eq!(parse_value(b"0009223372036854775807i"), Ok(Value::Integer(i64::MAX)));
        assert_eq!(parse_value(b"18446744073709551615u"), Ok(Value::Unsigned(u64::MAX)));
        assert_eq!(parse_value(b"9223372036854775808i"), Err("out of range integer value".to_owned()));
        assert_eq!(
            parse_value(b"18446744073709551616u"),
            Err("out of range unsigned integer value".to_owned())
        );
        for text in ["i", "-i", "1.0i", "1ii", "9e10i", "-1u", "--1u", "-+1i"] {
            assert!(parse_value(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(scanned("-12i"), Some(-12.0));
        assert_eq!(scanned("18446744073709551615u"), Some(18_446_744_073_709_551_615.0));
    }

    #[test]
    fn rounding_is_noticed() {
        let rounded = |text: &str| scan_value(text.as_bytes(), 0).unwrap().rounded;
        assert!(!rounded("9007199254740992i"));
        assert!(rounded("9007199254740993i"));
        assert!(rounded("-9007199254740993i"));
        assert!(!rounded("9007199254740994i"));
        assert!(!rounded("-9223372036854775808i"));
        assert!(rounded("9223372036854775807i"));
        assert!(rounded("18446744073709551615u"));
    }

    #[test]
    fn timestamps_are_read_in_eights() {
        for text in ["0", "-1", "12345678", "123456789", "1434055562000000000", "-9223372036854775807"] {
            let value = text.parse().unwrap();
            assert_eq!(scan_timestamp(text.as_bytes(), 0), Some((value, text.len())), "{text}");
        }
        for text in ["", "-", "9223372036854775808", "00000000000000000001"] {
            assert_eq!(scan_timestamp(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(eight_digits(b"1234567:"), None);
        assert_eq!(eight_digits(b"1234567/"), None);
        assert_eq!(eight_digits(b"\xff2345678"), None);
    }

    proptest! {
        #[test]
        fn every_float_is_read_exactly(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}")] {
                prop_assert_eq!(scanned(&text).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn short_decimals_are_read_exactly(mantissa: u64, scale in 0_usize..22, negative: bool) {
            let digits = format!("{mantissa:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let text = format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
            prop_assert_eq!(scanned(&text).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits));
        }
    }
}
