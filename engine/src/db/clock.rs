//! The database's clocks: the machine's, and the one by which samples expire, which follows it carefully.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::Core;
use super::quiet::Quiet;
use crate::error::Result;
use crate::retention::RetentionClock;
use crate::time::nanoseconds;

/// Clocks that are further apart than this are worth a warning.
const DIFFERENCE_MAX: Duration = Duration::from_secs(86_400);
/// The warning comes this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(3600);
/// While the retention clock moves it is stored this often.
const STORE_INTERVAL: Duration = Duration::from_secs(60);

/// What the clocks show at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The machine's clock.
    pub(super) machine_ns: i64,
    /// The retention clock itself, to be kept.
    pub(super) kept_ns: i64,
    /// What counts for expiry.
    pub(super) retention_ns: i64,
}

impl Times {
    /// How far the machine's clock is ahead of the retention clock; negative when it is behind.
    pub(super) fn ahead_ns(&self) -> i64 {
        self.machine_ns.saturating_sub(self.kept_ns)
    }

    /// What to say when they are so far apart that one of them is probably wrong.
    fn warning(&self) -> Option<String> {
        let ahead_ns = self.ahead_ns();
        if ahead_ns.unsigned_abs() <= nanoseconds(DIFFERENCE_MAX).unsigned_abs() {
            return None;
        }
        let days = ahead_ns.unsigned_abs() as f64 / nanoseconds(DIFFERENCE_MAX) as f64;
        Some(if ahead_ns > 0 {
            format!(
                "the machine's clock is {days:.1} days ahead of the retention clock, by which samples expire: if the machine's clock is \
                 wrong, set it right before they do; if it is right, the retention clock gets there 100 times as fast as time passes, \
                 and what is due expires then"
            )
        } else {
            format!(
                "the machine's clock is {days:.1} days behind the retention clock, by which samples expire: if it is wrong, set it \
                 right, since nothing expires meanwhile; if it is right, nothing needs to be done"
            )
        })
    }
}

/// The retention clock of an open database.
#[derive(Debug)]
pub(super) struct Clock {
    state: Mutex<State>,
    warning: Quiet,
}

#[derive(Debug)]
struct State {
    clock: RetentionClock,
    /// When it was moved.
    moved: Instant,
    /// What was stored, and when.
    stored_ns: Option<i64>,
    stored: Instant,
}

impl Clock {
    /// A clock that begins at this time.
    pub(super) fn new(time_ns: i64) -> Self {
        let now = Instant::now();
        let state = State { clock: RetentionClock::new(time_ns), moved: now, stored_ns: None, stored: now };
        Self { state: Mutex::new(state), warning: Quiet::new(WARNING_INTERVAL) }
    }

    /// Moves the retention clock, and says what all show.
    pub(super) fn times(&self) -> Times {
        let mut state = self.state.lock();
        let (now, machine_ns) = (Instant::now(), machine_ns());
        let passed = now.saturating_duration_since(state.moved);
        state.moved = now;
        state.clock.advance(machine_ns, passed);
        let clock = state.clock;
        Times { machine_ns, kept_ns: clock.time_ns(), retention_ns: clock.now(machine_ns) }
    }

    /// Whether what was stored last is old.
    fn is_to_be_stored(&self, times: Times) -> bool {
        let state = self.state.lock();
        state.stored_ns != Some(times.kept_ns) && state.stored.elapsed() >= STORE_INTERVAL
    }

    /// A manifest with this time is stored, or could not be: either way the next one can wait.
    pub(super) fn stored(&self, time_ns: Option<i64>) {
        let mut state = self.state.lock();
        state.stored_ns = time_ns;
        state.stored = Instant::now();
    }
}

impl Core {
    /// Samples before this are older than the retention.
    pub(super) fn oldest_ns(&self) -> i64 {
        let Some(retention) = self.options.retention else { return i64::MIN };
        self.clock.times().retention_ns.saturating_sub(nanoseconds(retention))
    }

    /// What to say while the clocks are far apart. Without a retention that does not matter.
    pub(super) fn clock_warning(&self, times: Times) -> Option<String> {
        self.options.retention.and(times.warning())
    }

    /// Moves the retention clock, stores it when that is due, and warns when it is far from the machine's.
    pub(super) fn keep_clock(&self) -> Result<()> {
        if self.options.retention.is_none() {
            return Ok(());
        }
        let times = self.clock.times();
        if let Some(warning) = self.clock_warning(times)
            && self.clock.warning.is_due()
        {
            tracing::warn!("{warning}");
        }
        if !self.clock.is_to_be_stored(times) {
            return Ok(());
        }
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        self.store(&mut next)?;
        *manifest = next;
        Ok(())
    }
}

/// What the machine's clock shows, nanoseconds since the epoch.
pub(super) fn machine_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => nanoseconds(before.duration()).saturating_neg(),
    }
}
