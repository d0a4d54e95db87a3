//! Sample values: `f64`, kept bit for bit, and the one bit pattern that means something to everybody.

/// The bits of a staleness marker: a signalling NaN that says that the series ended here.
/// Source: Prometheus, `model/value`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// A staleness marker.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether `value` is a staleness marker (an ordinary NaN is not).
#[must_use]
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
