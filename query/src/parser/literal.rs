//! Numbers and strings: their lexical form and their value.

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_till};
use nom::character::complete::{anychar, char, digit1, hex_digit1, one_of, satisfy};
use nom::combinator::{not, opt, recognize, value};
use nom::multi::{many0_count, many1_count};
use nom::sequence::terminated;
use nom::{IResult, Parser};

use crate::parser::token::{TokenKind, is_alphanumeric};
use crate::print::Quoted;

/// A number or a duration at the beginning of `input`.
pub(super) fn number_or_duration(input: &str) -> IResult<&str, TokenKind> {
    alt((
        value(TokenKind::Number, terminated(alt((hexadecimal, decimal)), literal_end)),
        value(TokenKind::Duration, terminated(duration, literal_end)),
    ))
    .parse(input)
}

/// What [`number_or_duration`] could not read, for the error message.
pub(super) fn malformed_number(input: &str) -> &str {
    let end = input.find(|c| !is_alphanumeric(c) && c != '.').unwrap_or(input.len());
    &input[..end]
}

fn literal_end(input: &str) -> IResult<&str, ()> {
    not(satisfy(|c| is_alphanumeric(c) || c == '.')).parse(input)
}

/// `1_000`: an underscore may stand between two digits.
fn digits(input: &str) -> IResult<&str, &str> {
    recognize((digit1, many0_count((char('_'), digit1)))).parse(input)
}

/// `12`, `1.5`, `5.`, `.5`, `1e-3`.
fn decimal(input: &str) -> IResult<&str, &str> {
    let mantissa = alt((recognize((digits, opt((char('.'), opt(digits))))), recognize((char('.'), digits))));
    recognize((mantissa, opt((one_of("eE"), opt(one_of("+-")), digits)))).parse(input)
}

/// `0x1f`, `0x_1f`.
fn hexadecimal(input: &str) -> IResult<&str, &str> {
    recognize((tag_no_case("0x"), opt(char('_')), hex_digit1, many0_count((char('_'), hex_digit1))))
        .parse(input)
}

/// `1h30m`; the order of the units is checked when the value is read.
fn duration(input: &str) -> IResult<&str, &str> {
    let unit = alt((tag("ms"), tag("s"), tag("m"), tag("h"), tag("d"), tag("w"), tag("y")));
    recognize(many1_count((digit1, unit))).parse(input)
}

/// The value of a number token. As in Go, a leading zero makes an integer octal: `010` is 8.
pub(super) fn number_value(text: &str) -> Result<f64, String> {
    let digits = text.replace('_', "").to_ascii_lowercase();
    if digits == "inf" {
        return Ok(f64::INFINITY);
    }
    if digits == "nan" {
        return Ok(f64::NAN);
    }
    let out_of_range = || format!("error parsing number: {}: value out of range", Quoted(text));
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).map(|integer| integer as f64).map_err(|_| out_of_range());
    }
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(integer) = i64::from_str_radix(&digits, 8)
    {
        return Ok(integer as f64);
    }
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(out_of_range()),
    }
}

/// A string in double quotes, single quotes or backticks at the beginning of `input`: its value and what follows it.
pub(super) fn string(input: &str) -> Result<(&str, Vec<u8>), String> {
    let (body, quote) = anychar::<_, ()>(input).map_err(|_| "unterminated quoted string")?;
    if quote == '`' {
        let end = body.find('`').ok_or("unterminated raw string")?;
        return Ok((&body[end + 1..], body.as_bytes()[..end].to_vec()));
    }
    let mut bytes = Vec::new();
    let mut rest = body;
    loop {
        let (tail, plain) = take_till::<_, _, ()>(|c| c == quote || c == '\\' || c == '\n')(rest)
            .map_err(|_| "unterminated quoted string")?;
        bytes.extend_from_slice(plain.as_bytes());
        match anychar::<_, ()>(tail) {
            Ok((tail, '\\')) => rest = escape(tail, quote, &mut bytes)?,
            Ok((tail, c)) if c == quote => return Ok((tail, bytes)),
            _ => return Err("unterminated quoted string".to_owned()),
        }
    }
}

/// One escape sequence, after its backslash: appends what it stands for and returns what follows it.
fn escape<'a>(input: &'a str, quote: char, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let (rest, c) = anychar::<_, ()>(input).map_err(|_| "escape sequence not terminated")?;
    let simple = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' | '\'' if c == quote => c as u8,
        'x' => return byte_escape(rest, 2, 16, bytes),
        '0'..='7' => return byte_escape(input, 3, 8, bytes),
        'u' => return char_escape(rest, 4, bytes),
        'U' => return char_escape(rest, 8, bytes),
        _ => return Err(format!("unknown escape sequence U+{:04X} '{c}'", u32::from(c))),
    };
    bytes.push(simple);
    Ok(rest)
}

const INVALID_CODE_POINT: &str = "escape sequence is an invalid Unicode code point";

fn byte_escape<'a>(input: &'a str, count: usize, base: u32, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let (rest, number) = escape_digits(input, count, base)?;
    bytes.push(u8::try_from(number).map_err(|_| INVALID_CODE_POINT)?);
    Ok(rest)
}

fn char_escape<'a>(input: &'a str, count: usize, bytes: &mut Vec<u8>) -> Result<&'a str, String> {
    let (rest, number) = escape_digits(input, count, 16)?;
    let c = char::from_u32(number).ok_or(INVALID_CODE_POINT)?;
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

/// Exactly `count` digits; eight hexadecimal ones fit a u32.
fn escape_digits(input: &str, count: usize, base: u32) -> Result<(&str, u32), String> {
    let mut rest = input;
    let mut number = 0;
    for _ in 0..count {
        let (tail, c) = anychar::<_, ()>(rest).map_err(|_| "escape sequence not terminated")?;
        let digit = c.to_digit(base).ok_or_else(|| {
            format!("illegal character U+{:04X} '{}' in escape sequence", u32::from(c), c.escape_debug())
        })?;
        number = number * base + digit;
        rest = tail;
    }
    Ok((rest, number))
}
