//! The unit of the timestamps in a body.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// From 2000 to 2100, nanoseconds.
const LIKELY_TIMES: Range<i64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;

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

    /// The short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Minutes => "m",
            Self::Hours => "h",
        }
    }

    /// The unit that `timestamp` looks like when it is not this one: there it would be a time from 2000 to 2100, which it is
    /// not as it stands. No number is such a time in two of the units that are looked at.
    #[must_use]
    pub fn mistaken_for(self, timestamp: i64) -> Option<Self> {
        let is_likely = |unit: Self| {
            unit.to_nanoseconds(timestamp).is_some_and(|nanoseconds| LIKELY_TIMES.contains(&nanoseconds))
        };
        let units = [Self::Seconds, Self::Milliseconds, Self::Microseconds, Self::Nanoseconds];
        if is_likely(self) { None } else { units.into_iter().find(|unit| is_likely(*unit)) }
    }

    /// What is wrong with a timestamp of this unit that is past what 64 bits of nanoseconds hold; `shown` is how it stands in
    /// the input.
    pub(super) fn out_of_range(self, timestamp: i64, shown: &dyn fmt::Display) -> String {
        let likely = self.mistaken_for(timestamp);
        let likely =
            likely.map(|unit| format!(": it looks like {}, and is read as {}", unit.name(), self.name()));
        format!("out of range timestamp {shown}{}", likely.unwrap_or_default())
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
    fn a_unit_is_mistaken_when_another_one_gives_a_time_of_our_days() {
        use Precision::{Hours, Microseconds, Milliseconds, Nanoseconds, Seconds};
        let now = [
            (Seconds, 1_700_000_000),
            (Milliseconds, 1_700_000_000_000),
            (Microseconds, 1_700_000_000_000_000),
            (Nanoseconds, 1_700_000_000_000_000_000),
        ];
        for (unit, timestamp) in now {
            assert_eq!(unit.mistaken_for(timestamp), None);
            for other in [Seconds, Milliseconds, Microseconds, Nanoseconds, Hours] {
                let expected = (other != unit).then_some(unit);
                assert_eq!(other.mistaken_for(timestamp), expected, "{timestamp} as {other:?}");
            }
        }
        // Small numbers are those of tests, and past 2100 are forecasts.
        for timestamp in [0, 1, -1, 1000, 4_200_000_000_000_000_000, i64::MAX, i64::MIN] {
            assert_eq!(Nanoseconds.mistaken_for(timestamp), None, "{timestamp}");
        }
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
