//! The engine's batches that a body is cut into: a body is answered as a whole, but a large one is committed piece by
//! piece, so that neither the memory of a batch nor the time for which it holds locks grows with the body.

use std::sync::Arc;

use timberline_engine::{Appender, Db, Error, Histogram, HistogramRow, Labels, Row};

use crate::ingest::{HistogramSink, RowSink, SeriesSink};

/// A batch with so many samples is committed, and another one begun: fewer where the memory for writes is small.
const BATCH_SAMPLES_MAX: usize = 500_000;
/// What a sample of a batch takes at most, which is in a row of its own.
const SAMPLE_BYTES: usize = 64;

/// Takes rows and series into one batch after the other. What is not committed when it is dropped is forgotten.
#[derive(Debug)]
pub(super) struct Batches<'db> {
    db: &'db Db,
    open: Option<Appender<'db>>,
    /// Samples in the open batch, and how many it may have.
    samples: usize,
    samples_max: usize,
    /// What the histograms among them hold, each number of which counts as much as a sample.
    buckets: usize,
    committed: u64,
}

impl<'db> Batches<'db> {
    /// Batches of up to `bytes_max` bytes each, roughly.
    pub(super) fn new(db: &'db Db, bytes_max: usize) -> Self {
        let samples_max = (bytes_max / SAMPLE_BYTES).clamp(1, BATCH_SAMPLES_MAX);
        Self { db, open: None, samples: 0, samples_max, buckets: 0, committed: 0 }
    }

    /// Samples of the batches that were committed.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// Commits the open batch.
    ///
    /// # Errors
    /// As [`Appender::commit`].
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        let samples = std::mem::take(&mut self.samples);
        self.buckets = 0;
        if let Some(batch) = self.open.take()
            && samples > 0
        {
            batch.commit()?;
            self.committed += samples as u64;
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<&mut Appender<'db>, Error> {
        match &mut self.open {
            Some(batch) => Ok(batch),
            none => Ok(none.insert(self.db.appender()?)),
        }
    }

    fn added(&mut self, samples: usize) -> Result<(), Error> {
        self.samples += samples;
        if self.samples + self.buckets >= self.samples_max { self.commit() } else { Ok(()) }
    }
}

impl RowSink for Batches<'_> {
    #[inline]
    fn row(
        &mut self,
        row: Row<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        self.batch()?.row(row, resolve)?;
        self.added(row.fields.len())
    }
}

impl HistogramSink for Batches<'_> {
    fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        let parts = row.histogram.parts();
        self.batch()?.histogram(row, resolve)?;
        self.added_histogram(parts)
    }
}

impl Batches<'_> {
    /// Counts a histogram with so many buckets, spans and bounds.
    fn added_histogram(&mut self, parts: usize) -> Result<(), Error> {
        self.buckets += parts;
        self.added(1)
    }
}

impl SeriesSink for Batches<'_> {
    fn histograms(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) -> Result<u64, Error> {
        let mut beyond = 0;
        for (timestamp, histogram) in samples {
            let parts = histogram.parts();
            match self.batch()?.histogram_series(labels, [(timestamp, histogram)])? {
                0 => self.added_histogram(parts)?,
                left_out => beyond += left_out,
            }
        }
        Ok(beyond)
    }

    fn series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<u64, Error> {
        let mut samples = samples.into_iter();
        let mut beyond = 0;
        loop {
            let room = self.samples_max - self.samples - self.buckets;
            let mut taken = 0;
            let part = samples.by_ref().take(room).inspect(|_| taken += 1);
            let left_out = self.batch()?.series(labels, part)?;
            beyond += left_out;
            self.added(taken - left_out as usize)?;
            if taken < room {
                return Ok(beyond);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use timberline_engine::{Field, Matcher, Options, Samples, TimeRange};

    use super::*;

    fn open(directory: &tempfile::TempDir) -> Db {
        Db::open(directory.path(), Options::default()).unwrap()
    }

    /// Timestamps that a reader sees.
    fn timestamps(db: &Db) -> Vec<i64> {
        let all = [Matcher::equal("x", "1")];
        let mut samples = Samples::default();
        let found = db.snapshot().select(&all, TimeRange::ALL).unwrap();
        if let Some(series) = found.first() {
            series.read(&mut samples).unwrap();
        }
        samples.timestamps
    }

    fn labels() -> Labels {
        Labels::from_pairs([("x", "1")]).unwrap()
    }

    #[test]
    fn a_body_is_committed_piece_by_piece() {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        let mut batches = Batches::new(&db, 10 * SAMPLE_BYTES);
        let fields = [Field { name: b"f", value: 1.0 }];
        for timestamp in 0..25 {
            let row = Row { key: b"k", timestamp, fields: &fields };
            batches.row(row, |_| Ok(labels())).unwrap();
        }
        assert_eq!((batches.committed(), timestamps(&db)), (20, (0..20).collect()));
        batches.series(&labels(), (25..58).map(|timestamp| (timestamp, 2.0))).unwrap();
        assert_eq!((batches.committed(), timestamps(&db)), (50, (0..50).collect()));
        batches.commit().unwrap();
        assert_eq!((batches.committed(), timestamps(&db)), (58, (0..58).collect()));
    }

    #[test]
    fn histograms_count_by_their_size() {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        let mut batches = Batches::new(&db, 10 * SAMPLE_BYTES);
        let histogram = Arc::new(Histogram { custom_values: [1.0, 2.0].into(), ..Histogram::default() });
        for timestamp in 0..5 {
            let histogram = Arc::clone(&histogram);
            let row = HistogramRow { key: b"k", name: b"", timestamp, histogram };
            batches.histogram(row, |_| Ok(labels())).unwrap();
        }
        assert_eq!((batches.committed(), timestamps(&db)), (4, (0..4).collect()));
        batches.series(&labels(), (5..12).map(|timestamp| (timestamp, 2.0))).unwrap();
        assert_eq!(batches.committed(), 12);
    }

    #[test]
    fn what_was_committed_before_an_error_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let db = open(&directory);
        let mut batches = Batches::new(&db, 10 * SAMPLE_BYTES);
        batches.series(&labels(), (0..10).map(|timestamp| (timestamp, 1.0))).unwrap();
        drop(batches.open.take());
        db.close().unwrap();
        let error = batches.series(&labels(), [(10, 1.0)]).unwrap_err();
        assert!(matches!(error, Error::Closed));
        assert_eq!(batches.committed(), 10);
    }
}
