//! JSON of the Prometheus API, written byte by byte: a generic serializer would cost more than the query.

use std::ops::Range;

use timberline_engine::{Histogram, Labels};

/// Numbers of this magnitude have no exponent, however they are written.
const PLAIN_DIGITS: Range<f64> = 1e-5..1e15;

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    // Without an early end, so that the bytes are looked at several at a time.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut plain_from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if is_plain(byte) {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain_from..i]);
        plain_from = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
    out.push(b'"');
}

/// Appends a label set as an object.
pub fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
    out.push(b'}');
}

/// Appends an array of strings.
pub fn write_strings<'a>(out: &mut Vec<u8>, strings: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (i, text) in strings.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// Appends a time given in milliseconds as seconds, as Prometheus's `jsonutil.MarshalTimestamp` does:
/// three decimals, or none.
pub fn write_seconds(out: &mut Vec<u8>, milliseconds: i64) {
    if milliseconds < 0 {
        out.push(b'-');
    }
    let milliseconds = milliseconds.unsigned_abs();
    write_unsigned(out, milliseconds / 1000);
    let fraction = milliseconds % 1000;
    if fraction > 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Appends an integer.
pub fn write_integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a float in the fewest digits that read back as the same value, laid out as Prometheus's
/// `jsonutil.MarshalFloat` does: plain digits from 1e-6 up to 1e21, else an exponent of at least two digits.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;
    let integer = value as i64;
    let is_negative_zero = integer == 0 && value.is_sign_negative();
    if integer as f64 == value && value.abs() < EXACT_INTEGER_MAX && !is_negative_zero {
        write_integer(out, integer);
    } else if value.is_finite() {
        write_shortest(out, value);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// Appends a native histogram as Prometheus does: its buckets that have observations, ascending, each as
/// `[bounds, lower, upper, count]`. Bounds are 0 when only the upper one belongs to the bucket, 1 for only the lower one, 2 for none, 3 for
/// both.
pub fn write_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(br#"{"count":"#);
    write_quoted_float(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    write_quoted_float(out, histogram.sum);
    let buckets = timberline_query::histogram::buckets(histogram);
    for (i, bucket) in buckets.iter().filter(|bucket| bucket.count != 0.0).enumerate() {
        out.extend_from_slice(if i == 0 { br#","buckets":["# } else { b"," });
        let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.extend_from_slice(&[b'[', bounds]);
        for value in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            write_quoted_float(out, value);
        }
        out.push(b']');
    }
    if buckets.iter().any(|bucket| bucket.count != 0.0) {
        out.push(b']');
    }
    out.push(b'}');
}

fn write_quoted_float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    write_float(out, value);
    out.push(b'"');
}

fn write_shortest(out: &mut Vec<u8>, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let plain = |text: &str| text.strip_suffix(".0").unwrap_or(text).len();
    if PLAIN_DIGITS.contains(&value.abs()) {
        out.extend_from_slice(&text.as_bytes()[..plain(text)]);
        return;
    }
    let Some((mantissa, exponent)) = text.split_once('e') else {
        out.extend_from_slice(&text.as_bytes()[..plain(text)]);
        return;
    };
    // `zmij` leaves plain digits earlier than Prometheus does.
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let mantissa = match mantissa.strip_prefix('-') {
        Some(digits) => {
            out.push(b'-');
            digits
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = if fraction == "0" { "" } else { fraction };
    match exponent {
        -6..0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(whole.as_bytes());
            out.extend_from_slice(fraction.as_bytes());
        }
        0..21 => {
            out.extend_from_slice(whole.as_bytes());
            out.extend_from_slice(fraction.as_bytes());
            out.extend(std::iter::repeat_n(b'0', (exponent as usize).saturating_sub(fraction.len())));
        }
        _ => {
            out.extend_from_slice(&mantissa.as_bytes()[..plain(mantissa)]);
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            write_unsigned(out, u64::from(exponent.unsigned_abs()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use timberline_engine::METRIC_NAME;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_as_in_prometheus() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e6, "1000000"),
            (123456789012.25, "123456789012.25"),
            (1e16, "10000000000000000"),
            (1.2345e18, "1234500000000000000"),
            (12345678901234567890.0, "12345678901234567000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e300, "-1.25e+300"),
            (0.000001, "0.000001"),
            (0.00001234, "0.00001234"),
            (-0.00001234, "-0.00001234"),
            (0.0000001, "1e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(|out| write_float(out, value)), expected, "{value:e}");
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (milliseconds, expected) in [
            (0, "0"),
            (1_435_781_451_781, "1435781451.781"),
            (1_500, "1.500"),
            (-1, "-0.001"),
            (60_000, "60"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(text(|out| write_seconds(out, milliseconds)), expected);
        }
    }

    #[test]
    fn labels_are_objects_with_escaped_strings() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("a", "\"\\\n\u{1}é")]).unwrap();
        let expected = r#"{"__name__":"up","a":"\"\\\n\u0001é"}"#;
        assert_eq!(text(|out| write_labels(out, &labels)), expected);
        assert_eq!(text(|out| write_strings(out, ["x", "y"])), r#"["x","y"]"#);
    }

    #[test]
    fn histograms_list_their_buckets_with_observations() {
        use timberline_engine::{BucketSpan, Buckets};
        let side =
            || Buckets { spans: vec![BucketSpan { offset: 0, length: 3 }], counts: vec![1.0, 0.0, 2.5] };
        let histogram = Histogram {
            count: 9.0,
            sum: f64::NAN,
            zero_threshold: 0.001,
            zero_count: 2.0,
            positive: side(),
            negative: side(),
            ..Histogram::default()
        };
        let expected = concat!(
            r#"{"count":"9","sum":"NaN","buckets":[[1,"-4","-2","2.5"],[1,"-1","-0.5","1"],"#,
            r#"[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"2","4","2.5"]]}"#
        );
        assert_eq!(text(|out| write_histogram(out, &histogram)), expected);
        let empty = Histogram::default();
        assert_eq!(text(|out| write_histogram(out, &empty)), r#"{"count":"0","sum":"0"}"#);
    }

    proptest! {
        #[test]
        fn floats_read_back_bit_for_bit(bits: u64) {
            let value = f64::from_bits(bits);
            let read: f64 = text(|out| write_float(out, value)).parse().unwrap();
            prop_assert!(read.to_bits() == bits || value.is_nan());
        }

        #[test]
        fn strings_are_json(string: String) {
            let read: String = serde_json::from_str(&text(|out| write_string(out, &string))).unwrap();
            prop_assert_eq!(read, string);
        }
    }
}
