//! Notices timestamps that are in another unit than they are read in, and warns of them once.

use jiff::Timestamp;

use crate::ingest::Precision;

/// Watches the timestamps of a file.
#[derive(Clone, Debug)]
pub(super) struct Units {
    /// The unit that they are read in.
    unit: Precision,
    /// How to say that they are in another one; `None` when the format leaves no choice.
    advice: fn(Precision) -> Option<String>,
    found: Option<Found>,
    told: bool,
}

/// The first timestamp that looks like another unit.
#[derive(Clone, Debug)]
struct Found {
    line: Option<u64>,
    timestamp: i64,
    likely: Precision,
}

impl Units {
    /// For a format whose unit the user chooses.
    pub(super) fn new(unit: Precision) -> Self {
        Self::with_advice(unit, |likely| Some(format!("--precision {}", likely.name())))
    }

    /// For Prometheus text.
    pub(super) fn of_text(is_openmetrics: bool) -> Self {
        if is_openmetrics {
            return Self::with_advice(Precision::Seconds, |likely| {
                (likely == Precision::Milliseconds).then(|| "--format prometheus".to_owned())
            });
        }
        Self::with_advice(Precision::Milliseconds, |likely| {
            (likely == Precision::Seconds)
                .then(|| "--format openmetrics (whose last line is `# EOF`)".to_owned())
        })
    }

    fn with_advice(unit: Precision, advice: fn(Precision) -> Option<String>) -> Self {
        Self { unit, advice, found: None, told: false }
    }

    /// The unit that timestamps are read in.
    pub(super) fn unit(&self) -> Precision {
        self.unit
    }

    /// Whether a timestamp was found that fits another unit: no other is looked at then.
    pub(super) fn is_decided(&self) -> bool {
        self.found.is_some()
    }

    /// Looks at a timestamp, which stands in that line.
    pub(super) fn observe(&mut self, timestamp: i64, line: impl FnOnce() -> Option<u64>) {
        if self.found.is_none()
            && let Some(likely) = self.unit.mistaken_for(timestamp)
        {
            self.found = Some(Found { line: line(), timestamp, likely });
        }
    }

    /// What to say of what was found; once.
    pub(super) fn take_warning(&mut self, name: &str) -> Option<String> {
        let Found { line, timestamp, likely } = self.found.as_ref().filter(|_| !self.told)?;
        self.told = true;
        let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
        let nanoseconds = i128::from(*timestamp) * i128::from(self.unit.nanoseconds());
        let read = match Timestamp::from_nanosecond(nanoseconds) {
            Ok(time) if i64::try_from(nanoseconds).is_ok() => format!("{time:.0}"),
            _ => "past all times that can be stored".to_owned(),
        };
        let advice = (self.advice)(*likely).map(|option| format!("; if they are, import with {option}"));
        Some(format!(
            "{place}: warning: timestamps look like {}, and are read as {}: {timestamp} is {read}{}",
            likely.name(),
            self.unit.name(),
            advice.unwrap_or_default()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_says_what_the_time_would_be_and_which_unit_fits() {
        for (mut units, timestamp, expected) in [
            (
                Units::new(Precision::Nanoseconds),
                1_700_000_000,
                "f:7: warning: timestamps look like s, and are read as ns: 1700000000 is 1970-01-01T00:00:01Z; if they are, \
                 import with --precision s",
            ),
            (
                Units::new(Precision::Seconds),
                1_700_000_000_000_000_000,
                "f:7: warning: timestamps look like ns, and are read as s: 1700000000000000000 is past all times that can \
                 be stored; if they are, import with --precision ns",
            ),
            (
                Units::of_text(false),
                1_700_000_000,
                "f:7: warning: timestamps look like s, and are read as ms: 1700000000 is 1970-01-20T16:13:20Z; if they are, \
                 import with --format openmetrics (whose last line is `# EOF`)",
            ),
        ] {
            units.observe(0, || Some(6));
            units.observe(timestamp, || Some(7));
            units.observe(timestamp, || Some(8));
            assert_eq!(units.take_warning("f").as_deref(), Some(expected));
            units.observe(timestamp, || Some(9));
            assert_eq!(units.take_warning("f"), None, "once");
        }
    }
}
