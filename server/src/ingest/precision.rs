//! The unit of the timestamps in a body.

use std::str::FromStr;

/// The unit of the timestamps in a body; Timberline itself keeps nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Nanoseconds: `ns`, `n`.
    #[default]
    Nanoseconds,
    /// Microseconds: `us`, `u`, `µs`, `µ`.
    Microseconds,
    /// Milliseconds: `ms`.
    Milliseconds,
    /// Seconds: `s`.
    Seconds,
    /// Minutes: `m`.
    Minutes,
    /// Hours: `h`.
    Hours,
}

impl Precision {
    /// How many nanoseconds one unit is.
    #[must_use]
    pub const fn nanoseconds(self) -> i64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
        }
    }

    /// A timestamp of this unit in nanoseconds; `None` when it is past what 64 bits hold.
    #[must_use]
    #[inline]
    pub const fn to_nanoseconds(self, timestamp: i64) -> Option<i64> {
        timestamp.checked_mul(self.nanoseconds())
    }

    /// The last timestamp of this unit that is not after `nanoseconds`, in this unit.
    #[must_use]
    pub const fn from_nanoseconds(self, nanoseconds: i64) -> i64 {
        nanoseconds.div_euclid(self.nanoseconds())
    }

    /// `nanoseconds`, rounded down to this unit; left alone where rounding leaves 64 bits.
    #[must_use]
    pub const fn truncate(self, nanoseconds: i64) -> i64 {
        match self.to_nanoseconds(self.from_nanoseconds(nanoseconds)) {
            Some(truncated) => truncated,
            None => nanoseconds,
        }
    }
}

/// A `precision` that no client of the protocols sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision {0:?}: use ns, us, ms, s, m or h")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownPrecision> {
        // The micro sign exists twice in Unicode: U+00B5, and the Greek letter U+03BC.
        Ok(match text {
            "ns" | "n" => Self::Nanoseconds,
            "us" | "u" | "\u{b5}s" | "\u{b5}" | "\u{3bc}s" | "\u{3bc}" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return Err(UnknownPrecision(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known() {
        for (names, nanoseconds) in [
            (&["ns", "n"][..], 1),
            (&["us", "u", "µs", "µ", "μs"], 1_000),
            (&["ms"], 1_000_000),
            (&["s"], 1_000_000_000),
            (&["m"], 60_000_000_000),
            (&["h"], 3_600_000_000_000),
        ] {
            for name in names {
                assert_eq!(name.parse::<Precision>().unwrap().nanoseconds(), nanoseconds, "{name}");
            }
        }
        assert!("d".parse::<Precision>().is_err());
    }

    #[test]
    fn conversions_round_down_and_check_overflow() {
        assert_eq!(Precision::Seconds.truncate(-1), -1_000_000_000);
        assert_eq!(Precision::Seconds.truncate(1_999_999_999), 1_000_000_000);
        assert_eq!(Precision::Seconds.truncate(i64::MIN), i64::MIN);
        assert_eq!(Precision::Hours.to_nanoseconds(i64::MAX / 1000), None);
        assert_eq!(Precision::Milliseconds.from_nanoseconds(-1), -1);
    }
}
