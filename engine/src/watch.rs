//! A look now and then at whether a long selection is to go on.

use std::fmt::{self, Debug, Formatter};

use crate::error::{Error, Result};

/// So many series are found in less than a millisecond.
const SERIES_BETWEEN: usize = 1024;

/// Watches a selection: gets the number of series found so far in one head or block, or joined so far of all of them, and says whether
/// to go on.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a>(Option<&'a (dyn Fn(u64) -> bool + Sync)>);

impl<'a> Watch<'a> {
    /// Asks `goes_on`, about once a millisecond.
    #[must_use]
    pub fn new(goes_on: &'a (dyn Fn(u64) -> bool + Sync)) -> Self {
        Self(Some(goes_on))
    }

    /// To be called for each series: asks now and then.
    pub(crate) fn look(self, found: usize) -> Result<()> {
        if found.is_multiple_of(SERIES_BETWEEN) { self.ask(found) } else { Ok(()) }
    }

    pub(crate) fn ask(self, found: usize) -> Result<()> {
        match self.0 {
            Some(goes_on) if !goes_on(found as u64) => Err(Error::BrokenOff { found: found as u64 }),
            _ => Ok(()),
        }
    }
}

impl Debug for Watch<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", if self.0.is_some() { "asks" } else { "never asks" })
    }
}
