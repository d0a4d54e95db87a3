//! `histogram_quantile` and `histogram_fraction` over classic histograms: series with the label `le`, whose values count
//! what is at most that. Native histograms in the same vector are answered beside them.

use hashbrown::HashMap;
use timberline_engine::histogram::cell;
use timberline_engine::{Labels, METRIC_NAME};

use super::annotations::MonotonicityFix;
use super::eval::Evaluator;
use super::finish;
use super::native::{self, Finding, is_float};
use super::pipeline::annotate_invalid_quantiles;
use super::row::{ABSENT, Row, write_key};
use crate::ast::Span;
use crate::error::Result;
use crate::histogram::{NanObservations, fraction as fraction_of_native, quantile as quantile_of_native};

const BUCKET_LABEL: &str = "le";
/// Counts that differ by less than this, relatively, differ by a rounding error.
const ROUNDING_TOLERANCE: f64 = 1e-12;

/// A bucket: how many observations are at most `bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// One histogram: the rows of its buckets.
struct Histogram {
    labels: Labels,
    /// Upper bound and row.
    buckets: Vec<(f64, usize)>,
    /// A row of native histograms with the same labels. Where both have a sample, neither counts.
    native: Option<usize>,
}

impl Histogram {
    /// One cell per step: what `cell` makes of the step and the buckets that have a sample at it, which ascend by bound. Absent
    /// where there is none.
    fn cells(
        &self,
        rows: &[Row],
        steps: usize,
        mut cell: impl FnMut(usize, &mut [Bucket]) -> f64,
    ) -> Vec<f64> {
        let mut buckets: Vec<Bucket> = Vec::with_capacity(self.buckets.len());
        let cell = |step| {
            fill_buckets(&mut buckets, self, rows, step);
            let is_native = self.native.is_some_and(|at| cell::is_histogram(rows[at].values[step]));
            if buckets.is_empty() || is_native { ABSENT } else { cell(step, &mut buckets) }
        };
        (0..steps).map(cell).collect()
    }
}

/// `histogram_quantile`, with the quantile of each step.
pub(super) fn quantile(
    evaluator: &Evaluator<'_>,
    quantiles: &[f64],
    quantile_span: Span,
    rows: &[Row],
    input_span: Span,
) -> Result<Vec<Row>> {
    let context = evaluator.context;
    annotate_invalid_quantiles(context, quantiles, quantile_span)?;
    let native = |step: usize, histogram: &native::Histogram, labels: &Labels| {
        let (value, nan) = quantile_of_native(quantiles[step], histogram);
        match nan {
            Some(NanObservations::Result) => context.found(Finding::NanIsQuantile, labels, input_span),
            Some(NanObservations::Skew) => context.found(Finding::NanSkewsQuantile, labels, input_span),
            None => {}
        }
        value
    };
    evaluate(evaluator, rows, input_span, native, |histogram| {
        let mut fix: Option<MonotonicityFix> = None;
        let values = histogram.cells(rows, quantiles.len(), |step, buckets| {
            let (value, raised) = bucket_quantile(quantiles[step], buckets);
            if let Some(raised) = raised {
                let here = raised.to_fix(evaluator.grid.time_ms(step));
                fix = Some(fix.map_or(here, |fix| fix.merge(here)));
            }
            value
        });
        if let Some(fix) = fix {
            let name = histogram.labels.get(METRIC_NAME).unwrap_or_default();
            context.annotate(input_span, |annotations, position| {
                annotations.forced_monotonicity(name, position, fix);
            });
        }
        values
    })
}

/// `histogram_fraction`, with the bounds of each step.
pub(super) fn fraction(
    evaluator: &Evaluator<'_>,
    lower: &[f64],
    upper: &[f64],
    rows: &[Row],
    input_span: Span,
) -> Result<Vec<Row>> {
    let context = evaluator.context;
    let native = |step: usize, histogram: &native::Histogram, labels: &Labels| {
        let (lower, upper) = (lower[step], upper[step]);
        if histogram.sum.is_nan() && histogram.count != 0.0 && lower < upper {
            context.found(Finding::NanInFraction, labels, input_span);
        }
        fraction_of_native(lower, upper, histogram)
    };
    evaluate(evaluator, rows, input_span, native, |histogram| {
        histogram.cells(rows, lower.len(), |step, buckets| bucket_fraction(lower[step], upper[step], buckets))
    })
}

/// One row per histogram: of native ones with the cells that `native` computes, of classic ones with those of `cells_of`.
fn evaluate(
    evaluator: &Evaluator<'_>,
    rows: &[Row],
    input_span: Span,
    native: impl Fn(usize, &native::Histogram, &Labels) -> f64 + Sync,
    cells_of: impl Fn(&Histogram) -> Vec<f64> + Sync,
) -> Result<Vec<Row>> {
    let context = evaluator.context;
    let histograms = histograms(evaluator, rows, input_span);
    if context.has_histograms() {
        let mut results = evaluate_native(evaluator, rows, &histograms, input_span, native)?;
        if !results.is_empty() {
            results.extend(evaluate_classic(evaluator, &histograms, cells_of)?);
            // Labels may be those of a native histogram at some steps, and of a classic one at others.
            return finish::merge(context.cancel(), results);
        }
    }
    evaluate_classic(evaluator, &histograms, cells_of)
}

fn evaluate_native(
    evaluator: &Evaluator<'_>,
    rows: &[Row],
    classic: &[Histogram],
    input_span: Span,
    native: impl Fn(usize, &native::Histogram, &Labels) -> f64 + Sync,
) -> Result<Vec<Row>> {
    let context = evaluator.context;
    let twins: HashMap<usize, &Histogram, foldhash::fast::RandomState> =
        classic.iter().filter_map(|histogram| Some((histogram.native?, histogram))).collect();
    let evaluate_one = |(at, row): (usize, &Row)| {
        context.check()?;
        context.charge_points(1, row.values.len())?;
        let mut buckets = Vec::new();
        let mut cell = |step: usize| {
            let Some(histogram) = context.histogram(row.values[step]) else { return ABSENT };
            if let Some(twin) = twins.get(&at) {
                fill_buckets(&mut buckets, twin, rows, step);
                if !buckets.is_empty() {
                    context.found(Finding::MixedWithClassic, &row.labels, input_span);
                    return ABSENT;
                }
            }
            native(step, histogram, &row.labels)
        };
        let values: Vec<f64> = (0..row.values.len()).map(&mut cell).collect();
        Ok(Row { labels: row.labels.clone(), drop_name: true, values })
    };
    let results = context.threads.map(
        rows.len(),
        || (),
        |(), at| context.any_histogram(&rows[at].values).then(|| evaluate_one((at, &rows[at]))).transpose(),
    );
    Ok(results?.into_iter().flatten().filter(|row| !row.is_empty()).collect())
}

fn evaluate_classic(
    evaluator: &Evaluator<'_>,
    histograms: &[Histogram],
    cells_of: impl Fn(&Histogram) -> Vec<f64> + Sync,
) -> Result<Vec<Row>> {
    let context = evaluator.context;
    context.charge_points(histograms.len(), evaluator.grid.steps)?;
    let evaluate_one = |histogram: &Histogram| {
        context.check()?;
        Ok(Row { labels: histogram.labels.clone(), drop_name: true, values: cells_of(histogram) })
    };
    let results = context.threads.map(histograms.len(), || (), |(), at| evaluate_one(&histograms[at]));
    Ok(results?.into_iter().filter(|row| !row.is_empty()).collect())
}

/// Collects the rows of each histogram; a row whose bound is not a number is left out with a warning.
fn histograms(evaluator: &Evaluator<'_>, rows: &[Row], input_span: Span) -> Vec<Histogram> {
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut key = Vec::new();
    let any_histogram = evaluator.context.has_histograms();
    for (at, row) in rows.iter().enumerate() {
        if any_histogram && !row.values.iter().any(|&value| is_float(value)) {
            continue;
        }
        let text = row.labels.get(BUCKET_LABEL).unwrap_or_default();
        let Ok(bound) = text.parse::<f64>() else {
            let name = row.labels.get(METRIC_NAME).unwrap_or_default();
            evaluator.context.annotate(input_span, |annotations, position| {
                annotations.bad_bucket_label(text, name, position);
            });
            continue;
        };
        key.clear();
        write_key(&row.labels, &mut key, |name| name != BUCKET_LABEL);
        let histogram = match known.get(&key) {
            Some(&histogram) => histogram,
            None => {
                let labels = row.labels.retain(|name| name != BUCKET_LABEL);
                histograms.push(Histogram { labels, buckets: Vec::new(), native: None });
                known.insert(key.clone(), histograms.len() - 1);
                histograms.len() - 1
            }
        };
        histograms[histogram].buckets.push((bound, at));
    }
    if any_histogram {
        for (at, row) in
            rows.iter().enumerate().filter(|(_, row)| evaluator.context.any_histogram(&row.values))
        {
            key.clear();
            write_key(&row.labels, &mut key, |_| true);
            if let Some(&histogram) = known.get(&key) {
                histograms[histogram].native = Some(at);
            }
        }
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    }
    histograms
}

/// The buckets that have a sample at `step`. Bounds that are written differently may be the same number.
fn fill_buckets(buckets: &mut Vec<Bucket>, histogram: &Histogram, rows: &[Row], step: usize) {
    buckets.clear();
    for &(bound, at) in &histogram.buckets {
        let count = rows[at].values[step];
        if !is_float(count) {
            continue;
        }
        match buckets.last_mut() {
            Some(last) if last.bound == bound => last.count += count,
            _ => buckets.push(Bucket { bound, count }),
        }
    }
}

/// The quantile of a histogram, linear inside a bucket, and whether counts had to be raised for it. `buckets` ascend by bound and
/// are not empty.
fn bucket_quantile(quantile: f64, buckets: &mut [Bucket]) -> (f64, Option<Raised>) {
    if quantile.is_nan() {
        return (f64::NAN, None);
    }
    if quantile < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if quantile > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets[buckets.len() - 1].bound != f64::INFINITY {
        return (f64::NAN, None);
    }
    let raised = make_monotonic(buckets);
    (interpolate(quantile, buckets), raised)
}

fn interpolate(quantile: f64, buckets: &[Bucket]) -> f64 {
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return f64::NAN;
    }
    let rank = quantile * observations;
    let reaches = |bucket: &Bucket| bucket.count >= rank;
    let at = buckets[..last].partition_point(|bucket| !reaches(bucket));
    if at == last {
        return buckets[last - 1].bound;
    }
    let Bucket { bound: end, count } = buckets[at];
    if at == 0 {
        return if end <= 0.0 { end } else { end * (rank / count) };
    }
    let Bucket { bound: start, count: below } = buckets[at - 1];
    start + (end - start) * ((rank - below) / (count - below))
}

/// The fraction of the observations between the bounds, linear inside a bucket. NaN without observations, without the bucket
/// that counts all of them, or when a bound is NaN. `buckets` ascend by bound and are not empty.
fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Bucket { bound, count: observations } = buckets[buckets.len() - 1];
    if bound != f64::INFINITY || observations == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / observations
}

/// How many observations are at most `value`. A bucket of infinite width cannot be interpolated: its observations are taken to be
/// at its infinite end.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let observations = buckets[buckets.len() - 1].count;
    // Counts that are not monotonic may exceed the last one.
    let at_most_all = |rank: f64| if rank > observations { observations } else { rank };
    // A histogram whose first bound is positive is taken to have no negative observations.
    let mut start = if buckets[0].bound <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut below = 0.0;
    for &Bucket { bound: end, count } in buckets {
        if value <= start {
            return at_most_all(below);
        }
        if value < end {
            let is_unbounded = start == f64::NEG_INFINITY;
            let rank =
                if is_unbounded { count } else { below + (count - below) * (value - start) / (end - start) };
            return at_most_all(rank);
        }
        (start, below) = (end, count);
    }
    observations
}

/// The buckets whose counts were raised.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Raised {
    first_bound: f64,
    last_bound: f64,
    difference_max: f64,
}

impl Raised {
    fn to_fix(self, time_ms: i64) -> MonotonicityFix {
        MonotonicityFix {
            bucket_min: self.first_bound,
            bucket_max: self.last_bound,
            difference_max: self.difference_max,
            first_ms: time_ms,
            last_ms: time_ms,
            samples: 1,
        }
    }
}

/// Raises counts that are smaller than the one before. Scrapes are not atomic, and sums of rates carry rounding errors; what
/// may be a rounding error is not reported.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Raised> {
    let mut previous = buckets[0].count;
    let mut raised: Option<Raised> = None;
    for bucket in &mut buckets[1..] {
        if bucket.count == previous {
            continue;
        }
        if nearly_equal(previous, bucket.count) {
            bucket.count = previous;
            continue;
        }
        if bucket.count < previous {
            let first = Raised { first_bound: bucket.bound, last_bound: bucket.bound, difference_max: 0.0 };
            let raised = raised.get_or_insert(first);
            raised.last_bound = bucket.bound;
            raised.difference_max = raised.difference_max.max(previous - bucket.count);
            bucket.count = previous;
            continue;
        }
        previous = bucket.count;
    }
    raised
}

fn nearly_equal(a: f64, b: f64) -> bool {
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < ROUNDING_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < ROUNDING_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    fn quantile(quantile: f64, pairs: &[(f64, f64)]) -> (f64, Option<Raised>) {
        bucket_quantile(quantile, &mut buckets(pairs))
    }

    fn fraction(lower: f64, upper: f64, pairs: &[(f64, f64)]) -> f64 {
        bucket_fraction(lower, upper, &buckets(pairs))
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn interpolates_inside_the_bucket() {
        let buckets = [(0.0, 0.0), (2.0, 1.0), (4.0, 2.0), (6.0, 3.0), (INF, 3.0)];
        assert_eq!(quantile(0.5, &buckets).0, 3.0);
        assert!((quantile(1.0 / 6.0, &buckets).0 - 1.0).abs() < 1e-12);
        assert_eq!(quantile(-1.0, &buckets).0, -INF);
        assert_eq!(quantile(2.0, &buckets).0, INF);
    }

    #[test]
    fn the_open_bucket_gives_its_lower_bound() {
        assert_eq!(quantile(1.0, &[(1.0, 1.0), (INF, 2.0)]).0, 1.0);
        assert!(quantile(0.5, &[(1.0, 1.0), (2.0, 2.0)]).0.is_nan());
        assert!(quantile(0.5, &[(INF, 2.0)]).0.is_nan());
        assert!(quantile(0.5, &[(1.0, 0.0), (INF, 0.0)]).0.is_nan());
    }

    #[test]
    fn counts_that_go_down_are_raised_and_reported() {
        let buckets = [(0.1, 20.0), (1.0, 10.0), (10.0, 50.0), (100.0, 40.0), (1000.0, 90.0), (INF, 80.0)];
        let (value, raised) = quantile(0.5, &buckets);
        assert!((value - 8.5).abs() < 1e-9, "{value}");
        assert_eq!(raised, Some(Raised { first_bound: 1.0, last_bound: INF, difference_max: 10.0 }));
        let rounding = [(1.0, 1.0), (2.0, 1.0 - 1e-14), (INF, 2.0)];
        assert_eq!(quantile(0.4, &rounding).1, None);
    }

    #[test]
    fn fractions_interpolate_between_finite_bounds_only() {
        let positive = [(2.0, 4.0), (6.0, 12.0), (INF, 16.0)];
        assert_eq!(fraction(1.0, 3.0, &positive), 0.25);
        assert_eq!(fraction(-1.0, 2.0, &positive), 0.25);
        assert_eq!(fraction(3.0, 3.5, &positive), 0.0625);
        assert_eq!(fraction(7.0, 1e300, &positive), 0.0);
        assert_eq!(fraction(7.0, INF, &positive), 0.25);
        assert_eq!(fraction(-INF, INF, &positive), 1.0);
        let signed = [(-2.0, 4.0), (2.0, 12.0), (INF, 16.0)];
        assert_eq!(fraction(-9.0, -8.0, &signed), 0.0);
        assert_eq!(fraction(-INF, -8.0, &signed), 0.25);
        assert_eq!(fraction(-8.0, 0.0, &signed), 0.25);
        let everything_below_zero = [(-INF, 4.0), (0.0, 8.0), (INF, 8.0)];
        assert_eq!(fraction(-INF, -1.0, &everything_below_zero), 1.0);
        assert_eq!(fraction(-1.0, 0.0, &everything_below_zero), 0.0);
    }

    #[test]
    fn a_fraction_needs_observations_bounds_and_the_open_bucket() {
        let buckets = [(1.0, 4.0), (INF, 8.0)];
        assert_eq!(fraction(1.0, 1.0, &buckets), 0.0);
        assert_eq!(fraction(INF, -INF, &buckets), 0.0);
        assert!(fraction(f64::NAN, 1.0, &buckets).is_nan());
        assert!(fraction(0.0, f64::NAN, &buckets).is_nan());
        assert!(fraction(1.0, 0.0, &[(1.0, 4.0)]).is_nan());
        assert!(fraction(1.0, 0.0, &[(1.0, 0.0), (INF, 0.0)]).is_nan());
        assert!(fraction(0.0, 1.0, &[(1.0, 4.0), (INF, f64::NAN)]).is_nan());
    }

    #[test]
    fn a_rank_is_at_most_the_count_of_all() {
        let shrinking = [(1.0, 10.0), (2.0, 4.0), (INF, 8.0)];
        assert_eq!(fraction(0.0, 1.0, &shrinking), 1.0);
        assert_eq!(fraction(1.0, 2.0, &shrinking), -0.5);
    }
}
