//! The clock by which samples expire, and which no wrong clock of the machine drags away.

use std::time::Duration;

use crate::time::nanoseconds;

/// How much faster than time passes the clock moves at most.
const SPEED_MAX: i64 = 100;
/// Where nobody has looked at the machine's clock for longer than this, the rest of that time counts once.
const STEP_MAX: Duration = Duration::from_secs(10);

/// A clock that follows the machine's clock, but moves no faster than 100 times the time that passes, forwards or backwards.
///
/// So a machine's clock that is wrong for some time moves this one by a hundred times that time at most, and it is right again
/// as fast. What goes by it takes the earlier of the two ([`now`](Self::now)): what expires later than it could is not lost.
/// Time counts that passes while the database is open.
///
/// ```
/// use std::time::Duration;
/// use timberline_engine::RetentionClock;
///
/// let (second, year) = (1_000_000_000, 365 * 86_400 * 1_000_000_000);
/// let mut clock = RetentionClock::new(0);
/// for _ in 0..4 {
///     clock.advance(3 * year, Duration::from_secs(1));
/// }
/// assert!(clock.now(3 * year) < 7 * 60 * second);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionClock {
    time_ns: i64,
    /// Whether it was another time than the machine's when it was last looked at.
    is_off: bool,
}

impl RetentionClock {
    /// A clock that shows this time, nanoseconds since the epoch.
    #[must_use]
    pub fn new(time_ns: i64) -> Self {
        Self { time_ns, is_off: false }
    }

    /// What the clock shows, to be kept.
    #[must_use]
    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// The time that counts while the machine's clock says `machine_ns`.
    #[must_use]
    pub fn now(&self, machine_ns: i64) -> i64 {
        self.time_ns.min(machine_ns)
    }

    /// Moves the clock towards `machine_ns`, when so much time has passed since it was last moved.
    pub fn advance(&mut self, machine_ns: i64, passed: Duration) {
        // A difference that is new may be new since this moment: the time before does not count for catching up.
        let faster = if self.is_off { nanoseconds(passed.min(STEP_MAX)) } else { 0 };
        let way = nanoseconds(passed).saturating_add(faster.saturating_mul(SPEED_MAX - 1));
        let reach = self.time_ns.saturating_sub(way)..=self.time_ns.saturating_add(way);
        self.time_ns = machine_ns.clamp(*reach.start(), *reach.end());
        self.is_off = self.time_ns != machine_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const DAY: i64 = 86_400 * SECOND;
    /// Some time in 2026.
    const TODAY: i64 = 20_500 * DAY;

    /// Looks at the machine's clock, which is `off` from the right time, each second; returns the right time then.
    fn run(clock: &mut RetentionClock, right: i64, off: i64, seconds: i64) -> i64 {
        for second in 1..=seconds {
            clock.advance(right + second * SECOND + off, Duration::from_secs(1));
        }
        right + seconds * SECOND
    }

    /// How long it takes until the clock shows the machine's time.
    fn seconds_until_right(clock: &mut RetentionClock, mut right: i64) -> i64 {
        for second in 0.. {
            if clock.time_ns() == right {
                return second;
            }
            right = run(clock, right, 0, 1);
        }
        unreachable!("the clock never gets there")
    }

    #[test]
    fn it_shows_the_machines_time_while_that_is_right() {
        let mut clock = RetentionClock::new(TODAY);
        let right = run(&mut clock, TODAY, 0, 1_000);
        assert_eq!(clock.time_ns(), right);
        // Nobody looked for a day.
        clock.advance(right + DAY, Duration::from_secs(86_400));
        assert_eq!(clock.time_ns(), right + DAY);
    }

    #[test]
    fn a_clock_that_is_wrong_for_four_seconds_moves_it_by_seven_minutes_at_most() {
        for off in
            [-20_000 * DAY, -DAY, -400 * SECOND, 400 * SECOND, DAY, 3 * 365 * DAY, i64::MAX - TODAY - DAY]
        {
            let mut clock = RetentionClock::new(TODAY);
            let right = run(&mut clock, TODAY, 0, 5);
            // A look right after the clock went wrong, four seconds of it, and a long time that nobody looked.
            clock.advance(right + off, Duration::from_secs(1));
            let right = run(&mut clock, right, off, 4);
            let moved = clock.time_ns() - right;
            assert!(moved.abs() <= 7 * 60 * SECOND, "{off}: {moved}");
            assert!(clock.now(right) <= right, "what counts is not ahead of the right time");
            assert!(seconds_until_right(&mut clock, right) <= 10, "{off}");
        }
        let mut clock = RetentionClock::new(TODAY);
        clock.advance(TODAY + 365 * DAY, Duration::from_secs(3600));
        clock.advance(TODAY + 365 * DAY, Duration::from_secs(3600));
        assert!(clock.time_ns() < TODAY + 3 * 3600 * SECOND, "two looks in two hours prove no year");
    }

    #[test]
    fn after_a_week_without_the_server_it_is_right_again_in_two_hours() {
        let mut clock = RetentionClock::new(TODAY);
        let took = seconds_until_right(&mut clock, TODAY + 7 * DAY);
        assert!((6_000..7_200).contains(&took), "{took}");
    }

    #[test]
    fn a_backup_of_two_years_ago_takes_a_week_to_grow_old() {
        let mut clock = RetentionClock::new(TODAY - 730 * DAY);
        run(&mut clock, TODAY, 0, 7 * 86_400);
        assert!(clock.time_ns() < TODAY - 20 * DAY);
    }

    #[test]
    fn extremes_do_not_overflow() {
        for start in [i64::MIN, 0, i64::MAX] {
            for machine in [i64::MIN, 0, i64::MAX] {
                let mut clock = RetentionClock::new(start);
                for passed in [Duration::ZERO, Duration::MAX, Duration::from_secs(1)] {
                    clock.advance(machine, passed);
                }
                assert!(clock.now(machine) <= machine);
            }
        }
    }
}
