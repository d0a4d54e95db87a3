//! Where parsed input goes: an open batch of the engine, or whatever a test puts there.

use std::sync::Arc;

use timberline_engine::{Appender, Error, Histogram, HistogramRow, Labels, Row};

/// Takes rows whose key is opaque: the sink asks for labels only where it does not know (key, field name) yet.
pub trait RowSink {
    /// Adds a row. `resolve` gives the labels of one of its field names.
    ///
    /// # Errors
    /// What `resolve` said (nothing of the row is added then), or why the sink takes no more.
    fn row(&mut self, row: Row<'_>, resolve: impl FnMut(&[u8]) -> Result<Labels, Error>)
    -> Result<(), Error>;
}

/// Takes histograms, too.
pub trait HistogramSink: RowSink {
    /// Adds a row with a histogram.
    ///
    /// # Errors
    /// As [`row`](RowSink::row); [`Error::InvalidHistogram`].
    fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error>;
}

/// Takes many samples of one series at once.
pub trait SeriesSink {
    /// Adds samples (nanoseconds, value) to the series that has these labels; says how many were left out because they are
    /// older than the retention.
    ///
    /// # Errors
    /// Why the sink does not take them.
    fn series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<u64, Error>;

    /// Adds histograms to the series; says how many were left out.
    ///
    /// # Errors
    /// As [`series`](Self::series); [`Error::InvalidHistogram`].
    fn histograms(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) -> Result<u64, Error>;
}

impl RowSink for Appender<'_> {
    fn row(
        &mut self,
        row: Row<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        Appender::row(self, row, resolve)
    }
}

impl HistogramSink for Appender<'_> {
    fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        Appender::histogram(self, row, resolve)
    }
}

impl SeriesSink for Appender<'_> {
    fn series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<u64, Error> {
        Appender::series(self, labels, samples)
    }

    fn histograms(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) -> Result<u64, Error> {
        self.histogram_series(labels, samples)
    }
}

/// Whether an error of a sink is about the one row or series it was given; any other error ends the batch.
pub(super) fn is_about_one_series(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidSeries { .. }
            | Error::InvalidHistogram { .. }
            | Error::BeyondRetention { .. }
            | Error::Limit { .. }
    )
}
