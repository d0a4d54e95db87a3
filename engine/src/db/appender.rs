//! Writing: one batch of rows, which is committed as a whole.

use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use super::Core;
use crate::error::{Error, Result};
use crate::head::{Batch, Head};
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::rows::{Field, HistogramRow, Row};

/// Keys of [`Appender::series`] start with this byte, which protocols leave alone.
const SERIES_KEY: u8 = 0;

/// One batch. Nothing of it is visible before [`commit`](Self::commit), and after it all of it survives a crash.
///
/// Readers may see the lines of a batch appear one after the other; each row appears as a whole.
#[derive(Debug)]
pub struct Appender<'db> {
    core: &'db Core,
    head: Arc<Head>,
    batch: Batch,
    /// Samples before this are older than the retention.
    oldest: i64,
    _switch: RwLockReadGuard<'db, ()>,
}

impl<'db> Appender<'db> {
    pub(super) fn new(core: &'db Core) -> Result<Self> {
        let switch = core.switch.read();
        // Not before: a close waits for those who have got here, and for nobody else.
        core.check_open()?;
        core.resume()?;
        core.check_room()?;
        let head = Arc::clone(&core.view.read().active);
        let oldest = core.oldest_ns();
        Ok(Self { core, head, batch: Batch::default(), oldest, _switch: switch })
    }

    /// Adds a row. `resolve` is asked for the labels of each (key, field name) that the head does not know yet.
    /// Keys must not start with a zero byte.
    ///
    /// # Errors
    /// What `resolve` returns, [`BeyondRetention`](crate::Error::BeyondRetention) for a row that is too old, and
    /// [`Limit`](crate::Error::Limit) for a series too many or a batch too large: then nothing of the row is added, and the batch
    /// goes on. [`WritesRefused`](crate::Error::WritesRefused).
    #[inline]
    pub fn row(&mut self, row: Row<'_>, resolve: impl FnMut(&[u8]) -> Result<Labels>) -> Result<()> {
        debug_assert_ne!(row.key.first(), Some(&SERIES_KEY), "the key is reserved");
        self.check_age(row.timestamp)?;
        self.head.place(&self.core.wal, &self.core.admission, row, resolve, &mut self.batch)
    }

    /// Adds samples of one series, without those that are older than the retention; says how many those are.
    ///
    /// # Errors
    /// As [`row`](Self::row), but for the samples that are too old.
    pub fn series(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) -> Result<u64> {
        let key = series_key(labels);
        let mut beyond = 0;
        for (timestamp, value) in samples {
            if self.check_age(timestamp).is_err() {
                beyond += 1;
                continue;
            }
            let row = Row { key: &key, timestamp, fields: &[Field { name: b"", value }] };
            let resolve = |_: &[u8]| Ok(labels.clone());
            self.head.place(&self.core.wal, &self.core.admission, row, resolve, &mut self.batch)?;
        }
        Ok(beyond)
    }

    /// As [`row`](Self::row), for a histogram.
    ///
    /// # Errors
    /// As [`row`](Self::row); also [`InvalidHistogram`](crate::Error::InvalidHistogram).
    pub fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels>,
    ) -> Result<()> {
        debug_assert_ne!(row.key.first(), Some(&SERIES_KEY), "the key is reserved");
        self.check_age(row.timestamp)?;
        self.head.place_histogram(&self.core.wal, &self.core.admission, row, resolve, &mut self.batch)
    }

    /// As [`series`](Self::series), for histograms. A series may have both.
    ///
    /// # Errors
    /// As [`histogram`](Self::histogram), but for the samples that are too old.
    pub fn histogram_series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, impl Into<Arc<Histogram>>)>,
    ) -> Result<u64> {
        let key = series_key(labels);
        let mut beyond = 0;
        for (timestamp, histogram) in samples {
            if self.check_age(timestamp).is_err() {
                beyond += 1;
                continue;
            }
            let row = HistogramRow { key: &key, name: b"", timestamp, histogram: histogram.into() };
            let resolve = |_: &[u8]| Ok(labels.clone());
            self.head.place_histogram(&self.core.wal, &self.core.admission, row, resolve, &mut self.batch)?;
        }
        Ok(beyond)
    }

    #[inline]
    fn check_age(&self, timestamp: i64) -> Result<()> {
        let oldest = self.oldest;
        if timestamp < oldest { Err(Error::BeyondRetention { timestamp, oldest }) } else { Ok(()) }
    }

    /// How many samples the batch holds so far.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.batch.samples()
    }

    /// Logs, syncs, and makes visible; returns the number of samples. Dropping the appender instead forgets the batch.
    ///
    /// # Errors
    /// [`WritesRefused`](crate::Error::WritesRefused) when the log cannot be written or synced. The batch is not visible then; whether it
    /// comes back after a restart is open, as with any write that got no answer.
    pub fn commit(self) -> Result<usize> {
        let samples = self.batch.samples();
        self.head.commit(&self.core.wal, &self.batch)?;
        self.core.counters.appended(samples as u64);
        Ok(samples)
    }
}

fn series_key(labels: &Labels) -> Vec<u8> {
    let mut key = Vec::with_capacity(labels.as_packed().len() + 1);
    key.push(SERIES_KEY);
    key.extend_from_slice(labels.as_packed());
    key
}
