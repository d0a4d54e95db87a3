//! Bounds on how many series there are and how fast new ones come: a broken client that puts a request id into a label must
//! not take the memory of all others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::options::Options;

/// The configuration names of the limits.
const HEAD_SERIES_MAX: &str = "head_series_max";
const NEW_SERIES_PER_SECOND_MAX: &str = "new_series_per_second_max";

/// Lets new series in, or says which limit keeps them out.
#[derive(Debug)]
pub struct Admission {
    head_series_max: u64,
    rate: Option<Mutex<Bucket>>,
    start: Instant,
    created: AtomicU64,
}

impl Admission {
    /// With the limits of `options`.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let bucket = |max: u64| Mutex::new(Bucket { max, used: 0.0, at: Duration::ZERO });
        Self {
            head_series_max: options.head_series_max.unwrap_or(u64::MAX),
            rate: options.new_series_per_second_max.map(bucket),
            start: Instant::now(),
            created: AtomicU64::new(0),
        }
    }

    /// Series that were let in.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Adds `new` series to the number of those in a head.
    ///
    /// # Errors
    /// [`Error::Limit`]; the number is then as it was.
    pub(super) fn admit(&self, head_series: &AtomicU64, new: u64) -> Result<()> {
        let (name, limit) = (HEAD_SERIES_MAX, self.head_series_max);
        let add = |series: u64| Some(series + new).filter(|sum| *sum <= limit);
        head_series
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map_err(|series| Error::Limit { name, limit, got: series + new })?;
        let taken = self.rate.as_ref().map_or(Ok(()), |rate| rate.lock().take(self.start.elapsed(), new));
        if taken.is_err() {
            head_series.fetch_sub(new, Ordering::Relaxed);
        } else {
            self.created.fetch_add(new, Ordering::Relaxed);
        }
        taken
    }
}

/// A bucket that leaks `max` series a second and holds as many.
#[derive(Debug)]
struct Bucket {
    max: u64,
    used: f64,
    /// When `used` was right, since the start.
    at: Duration,
}

impl Bucket {
    /// Takes `new` series at a time since the start. A group larger than the bucket passes when the bucket is empty, and keeps
    /// the next ones waiting for longer.
    fn take(&mut self, now: Duration, new: u64) -> Result<()> {
        let leaked = now.saturating_sub(self.at).as_secs_f64() * self.max as f64;
        self.used = (self.used - leaked).max(0.0);
        self.at = self.at.max(now);
        let got = self.used + new as f64;
        if got > self.max as f64 && self.used > 0.0 {
            let (name, limit) = (NEW_SERIES_PER_SECOND_MAX, self.max);
            return Err(Error::Limit { name, limit, got: got.ceil() as u64 });
        }
        self.used = got;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_pass_and_groups_that_are_larger_one_at_a_time() {
        let mut bucket = Bucket { max: 100, used: 0.0, at: Duration::ZERO };
        let at = Duration::from_millis;
        assert!(bucket.take(at(0), 60).is_ok());
        assert!(bucket.take(at(0), 40).is_ok());
        let error = bucket.take(at(0), 10).unwrap_err().to_string();
        assert_eq!(error, "limit new_series_per_second_max reached: 110 is more than 100");
        assert!(bucket.take(at(99), 10).is_err());
        assert!(bucket.take(at(100), 10).is_ok());
        assert!(bucket.take(at(100), 1).is_err(), "the clock stands still");
        assert!(bucket.take(at(2_000), 250).is_ok(), "the bucket is empty");
        assert!(bucket.take(at(3_600), 100).is_err());
        assert!(bucket.take(at(4_500), 100).is_ok());
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let options = Options {
            head_series_max: Some(100),
            new_series_per_second_max: Some(1_000_000),
            ..Options::default()
        };
        let (admission, series) = (Admission::new(&options), AtomicU64::new(0));
        admission.admit(&series, 90).unwrap();
        let error = admission.admit(&series, 20).unwrap_err().to_string();
        assert_eq!(error, "limit head_series_max reached: 110 is more than 100");
        admission.admit(&series, 10).unwrap();
        assert_eq!((series.load(Ordering::Relaxed), admission.created()), (100, 100));
    }
}
