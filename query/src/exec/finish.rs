//! The end of an evaluation: metric names are removed, and rows become the answer's value.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use timberline_engine::histogram::cell;
use timberline_engine::{Histogram, Labels, Samples};

use super::context::{Cancel, Context};
use super::grid::{Grid, nanos_to_millis};
use super::row::{Row, is_metadata_label, is_present};
use super::threads::Threads;
use crate::error::{QueryError, Result};
use crate::value::{MatrixSeries, Value, VectorSample};

/// Collects rows and joins those with the same labels, which must not have a sample at the same step.
pub(super) struct RowMerger<'q> {
    cancel: &'q Cancel,
    rows: Vec<Row>,
    by_labels: HashMap<Labels, usize, foldhash::fast::RandomState>,
}

impl<'q> RowMerger<'q> {
    pub(super) fn with_capacity(cancel: &'q Cancel, capacity: usize) -> Self {
        let by_labels = HashMap::with_capacity_and_hasher(capacity, foldhash::fast::RandomState::default());
        Self { cancel, rows: Vec::with_capacity(capacity), by_labels }
    }

    /// Adds a row, or fails when another with the same labels has a sample at the same step.
    pub(super) fn add(&mut self, row: Row) -> Result<()> {
        match self.by_labels.entry(row.labels.clone()) {
            Entry::Vacant(entry) => {
                self.cancel.look(self.rows.len())?;
                entry.insert(self.rows.len());
                self.rows.push(row);
            }
            Entry::Occupied(entry) => {
                let known = &mut self.rows[*entry.get()];
                for (cell, value) in known.values.iter_mut().zip(row.values) {
                    if is_present(value) {
                        if is_present(*cell) {
                            return Err(QueryError::same_labelset());
                        }
                        *cell = value;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

/// Joins rows whose labels became equal.
pub(super) fn merge(cancel: &Cancel, rows: Vec<Row>) -> Result<Vec<Row>> {
    let mut merger = RowMerger::with_capacity(cancel, rows.len());
    for row in rows {
        merger.add(row)?;
    }
    Ok(merger.into_rows())
}

/// Removes the names of the rows whose name was dropped on the way, which only now can make series equal.
pub(super) fn remove_names(threads: Threads<'_>, cancel: &Cancel, mut rows: Vec<Row>) -> Result<Vec<Row>> {
    if !rows.iter().any(|row| row.drop_name) {
        return Ok(rows);
    }
    let renamed = threads.map_mut(&mut rows, |row| {
        cancel.check()?;
        let is_renamed =
            std::mem::take(&mut row.drop_name) && row.labels.iter().any(|(name, _)| is_metadata_label(name));
        if is_renamed {
            row.labels = row.labels.retain(|name| !is_metadata_label(name));
        }
        Ok(is_renamed)
    })?;
    if renamed.contains(&true) { merge(cancel, rows) } else { Ok(rows) }
}

/// The value of a scalar expression.
pub(super) fn scalar(context: &Context<'_>, column: Vec<f64>, grid: Grid, instant: bool) -> Result<Value> {
    context.charge_result(column.len())?;
    if instant {
        let value = column.first().copied().unwrap_or(f64::NAN);
        return Ok(Value::Scalar { timestamp_ms: grid.start_ms, value });
    }
    let timestamps_ms = (0..grid.steps).map(|step| grid.time_ms(step)).collect();
    let histograms = Vec::new();
    let labels = Labels::empty();
    Ok(Value::Matrix(vec![MatrixSeries { labels, timestamps_ms, values: column, histograms }]))
}

/// The value of an instant query: the rows have one step. Their order stays.
pub(super) fn vector(context: &Context<'_>, rows: Vec<Row>, grid: Grid) -> Result<Value> {
    context.charge_result(rows.len())?;
    let samples = rows.into_iter().filter_map(|row| {
        let value = row.values.first().copied().filter(|&value| is_present(value))?;
        let histogram = context.histogram(value).cloned();
        Some(VectorSample { labels: row.labels, timestamp_ms: grid.start_ms, value, histogram })
    });
    Ok(Value::Vector(samples.collect()))
}

/// The value of a range query.
pub(super) fn matrix(context: &Context<'_>, mut rows: Vec<Row>, grid: Grid) -> Result<Value> {
    let series = context.threads.map_mut(&mut rows, |row| {
        context.check()?;
        matrix_series(context, row, grid)
    });
    let mut series: Vec<MatrixSeries> = series?.into_iter().flatten().collect();
    context.threads.sort_by(&mut series, |a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(series))
}

/// The row's series; its cells are taken.
fn matrix_series(context: &Context<'_>, row: &mut Row, grid: Grid) -> Result<Option<MatrixSeries>> {
    let mut values = std::mem::take(&mut row.values);
    let points = values.iter().filter(|&&value| is_present(value)).count();
    context.charge_result(points)?;
    let timestamps_ms: Vec<i64> = if points < values.len() {
        let times =
            (0..grid.steps).filter(|&step| is_present(values[step])).map(|step| grid.time_ms(step)).collect();
        values.retain(|&value| is_present(value));
        times
    } else {
        (0..grid.steps).map(|step| grid.time_ms(step)).collect()
    };
    let histograms = own_histograms(context, &mut values);
    let labels = row.labels.clone();
    Ok((points > 0).then_some(MatrixSeries { labels, timestamps_ms, values, histograms }))
}

/// The histograms that `values` name. They are named by their place in this list then.
fn own_histograms(context: &Context<'_>, values: &mut [f64]) -> Vec<Arc<Histogram>> {
    let mut own = Vec::new();
    if context.has_histograms() {
        for value in values {
            if let Some(histogram) = context.histogram(*value) {
                *value = cell::histogram(own.len() as u32);
                own.push(Arc::clone(histogram));
            }
        }
    }
    own
}

/// The value of an instant query of a range vector: the samples themselves.
pub(super) fn raw_matrix(context: &Context<'_>, series: Vec<(Labels, Samples)>) -> Result<Value> {
    context.charge_result(series.iter().map(|(_, samples)| samples.values.len()).sum())?;
    let mut matrix: Vec<MatrixSeries> = series
        .into_iter()
        .filter(|(_, samples)| !samples.values.is_empty())
        .map(|(labels, samples)| MatrixSeries {
            labels,
            timestamps_ms: samples.timestamps.into_iter().map(nanos_to_millis).collect(),
            values: samples.values,
            histograms: samples.histograms,
        })
        .collect();
    matrix.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(matrix))
}

#[cfg(test)]
mod tests {
    use super::super::row::ABSENT;
    use super::super::threads::Pool;
    use super::*;

    fn row(name: &str, drop_name: bool, values: &[f64]) -> Row {
        let labels = Labels::from_pairs([("__name__", name), ("env", "1")]).unwrap();
        Row { labels, drop_name, values: values.to_vec() }
    }

    fn removed(rows: Vec<Row>) -> Result<Vec<Row>> {
        remove_names(Pool::new(1).unwrap().threads(None), &Cancel::new(), rows)
    }

    #[test]
    fn rows_are_not_joined_when_nobody_wants_them_any_more() {
        let cancel = Cancel::new();
        cancel.cancel();
        let error = merge(&cancel, vec![row("a", false, &[1.0])]).unwrap_err();
        assert!(matches!(error, QueryError::Canceled), "{error}");
    }

    #[test]
    fn names_are_removed_and_disjoint_rows_joined() {
        let rows = removed(vec![row("a", true, &[1.0, ABSENT]), row("b", true, &[ABSENT, 2.0])]).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].labels.to_string(), r#"{env="1"}"#);
        assert_eq!(rows[0].values, [1.0, 2.0]);
        let kept = removed(vec![row("a", true, &[1.0]), row("b", false, &[2.0])]).unwrap();
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn two_samples_with_equal_labels_at_one_step_are_an_error() {
        let rows = vec![row("a", true, &[1.0]), row("b", true, &[2.0])];
        let error = removed(rows).unwrap_err();
        assert_eq!(error.to_string(), "vector cannot contain metrics with the same labelset");
    }
}
