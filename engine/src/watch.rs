//! A look now and then at whether a long selection is to go on.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};

use crate::budget::{Budget, Pieces};
use crate::error::{Error, Result};

/// So many series are found in less than a millisecond.
const SERIES_BETWEEN: usize = 1024;
/// So many values are looked at between two looks at the time.
pub(crate) const VALUES_BETWEEN: usize = 64;
/// So many values are looked at, and so many series selected, in a few tenths of a millisecond.
const VALUES_MAX: u64 = 4096;
const CANDIDATES_MAX: u64 = 512;
/// A short selection waits for a lock so long.
const LOCK_WAIT: Duration = Duration::from_micros(200);

/// Watches a selection: gets the number of series found so far in one head or block, or joined so far of all of them, and says whether
/// to go on.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a> {
    goes_on: Option<&'a (dyn Fn(u64) -> bool + Sync)>,
    budget: Option<&'a Arc<Budget>>,
    is_short: bool,
}

impl<'a> Watch<'a> {
    /// Asks `goes_on`, about once a millisecond.
    #[must_use]
    pub fn new(goes_on: &'a (dyn Fn(u64) -> bool + Sync)) -> Self {
        Self { goes_on: Some(goes_on), ..Self::default() }
    }

    /// The same with a budget for the memory that the selection takes.
    #[must_use]
    pub fn within(self, budget: &'a Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// What the memory of the selection, or of a part of it, is charged to.
    pub(crate) fn pieces(self) -> Pieces {
        self.budget.map(Pieces::of).unwrap_or_default()
    }

    /// The same for a selection that is only wanted if it is short: it breaks off where an index has more than
    /// [`VALUES_MAX`] values to look at or [`CANDIDATES_MAX`] series that satisfy the matchers, or is locked for longer than
    /// [`LOCK_WAIT`].
    #[must_use]
    pub fn if_short(self) -> Self {
        Self { is_short: true, ..self }
    }

    /// Locks what is to be searched.
    pub(crate) fn read<T>(self, lock: &RwLock<T>) -> Result<RwLockReadGuard<'_, T>> {
        if self.is_short {
            return lock.try_read_for(LOCK_WAIT).ok_or(Error::BrokenOff { found: 0 });
        }
        Ok(lock.read())
    }

    /// To be called before an index is searched, with what gives the number of label values that have to be looked at one by one.
    pub(crate) fn expect_values(self, values: impl FnOnce() -> u64) -> Result<()> {
        if self.is_short {
            self.ask(0)?;
            return within(VALUES_MAX, values());
        }
        Ok(())
    }

    /// To be called with the number of series that an index has for the matchers, before they are looked at.
    pub(crate) fn expect_series(self, candidates: u64) -> Result<()> {
        if self.is_short { within(CANDIDATES_MAX, candidates) } else { Ok(()) }
    }

    /// To be called for each series: asks now and then, or each time if the selection is to be short.
    pub(crate) fn look(self, found: usize) -> Result<()> {
        if found.is_multiple_of(SERIES_BETWEEN) || self.is_short { self.ask(found) } else { Ok(()) }
    }

    /// To be called for each label value that is looked at: asks now and then. A value takes a few dozen nanoseconds; with a large
    /// expression thousands of times as long.
    pub(crate) fn look_value(self, at: usize) -> Result<()> {
        if at.is_multiple_of(VALUES_BETWEEN) { self.ask(0) } else { Ok(()) }
    }

    pub(crate) fn ask(self, found: usize) -> Result<()> {
        match self.goes_on {
            Some(goes_on) if !goes_on(found as u64) => Err(Error::BrokenOff { found: found as u64 }),
            _ => Ok(()),
        }
    }
}

fn within(max: u64, count: u64) -> Result<()> {
    if count > max { Err(Error::BrokenOff { found: 0 }) } else { Ok(()) }
}

impl Debug for Watch<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let asks = if self.goes_on.is_some() { "asks" } else { "never asks" };
        write!(f, "Watch({asks}{})", if self.is_short { ", only if short" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_selection_breaks_off_before_it_gets_long() {
        let any = Watch::default();
        assert!(any.expect_values(|| unreachable!("nobody wants to know")).is_ok());
        assert!(any.expect_series(u64::MAX).is_ok());
        let short = any.if_short();
        assert!(
            short.expect_values(|| VALUES_MAX).is_ok() && short.expect_values(|| VALUES_MAX + 1).is_err()
        );
        assert!(
            short.expect_series(CANDIDATES_MAX).is_ok() && short.expect_series(CANDIDATES_MAX + 1).is_err()
        );
        assert!(Watch::new(&|_| false).if_short().expect_values(|| 0).is_err());

        let lock = RwLock::new(());
        assert!(short.read(&lock).is_ok());
        let _writing = lock.write();
        assert!(short.read(&lock).is_err());
    }
}
