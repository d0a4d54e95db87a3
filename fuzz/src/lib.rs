//! What several targets share: a sink that remembers rows, and damage.

use std::sync::Arc;

use timberline::ingest::{HistogramSink, RowSink, SeriesSink};
use timberline_engine::{Error, Histogram, HistogramRow, Labels, Row};

/// One sample as a sink got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The labels that the parser resolved.
    pub labels: Labels,
    /// The raw field name.
    pub field: Vec<u8>,
    /// Nanoseconds since the epoch.
    pub timestamp: i64,
    /// The value's bits.
    pub bits: u64,
}

/// Remembers all samples, and how many histograms there were. As the engine does with names that are new to it, it resolves
/// each.
#[derive(Debug, Default)]
pub struct Memory(pub Vec<Sample>, pub u64);

impl RowSink for Memory {
    fn row(
        &mut self,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        let mut samples = Vec::with_capacity(row.fields.len());
        for field in row.fields {
            let (labels, bits) = (resolve(field.name)?, field.value.to_bits());
            samples.push(Sample { labels, field: field.name.to_vec(), timestamp: row.timestamp, bits });
        }
        self.0.append(&mut samples);
        Ok(())
    }
}

impl HistogramSink for Memory {
    fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        resolve(row.name)?;
        row.histogram.check().map_err(|reason| Error::InvalidHistogram { reason })?;
        self.1 += 1;
        Ok(())
    }
}

impl SeriesSink for Memory {
    fn histograms(
        &mut self,
        _: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) -> Result<u64, Error> {
        for (_, histogram) in samples {
            histogram.check().map_err(|reason| Error::InvalidHistogram { reason })?;
            self.1 += 1;
        }
        Ok(0)
    }

    fn series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<u64, Error> {
        self.0.extend(samples.into_iter().map(|(timestamp, value)| Sample {
            labels: labels.clone(),
            field: Vec::new(),
            timestamp,
            bits: value.to_bits(),
        }));
        Ok(0)
    }
}

/// Changes bytes: for each (position, change) the byte there, modulo the length.
pub fn damage(bytes: &mut [u8], changes: &[(u16, u8)]) {
    for (position, change) in changes {
        if !bytes.is_empty() {
            let at = usize::from(*position) % bytes.len();
            bytes[at] ^= change;
        }
    }
}
