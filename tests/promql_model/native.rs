//! Native histograms as tables from bucket index to count: what a sample may be instead of a number.

use std::collections::BTreeMap;
use std::rc::Rc;

use timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA;
use timberline_engine::{BucketSpan, Buckets, Histogram, ResetHint};

/// What a sample is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Float(f64),
    Histogram(Rc<Native>),
}

impl Value {
    pub(crate) fn histogram(native: Native) -> Self {
        Self::Histogram(Rc::new(native))
    }

    pub(crate) fn float(&self) -> Option<f64> {
        if let Self::Float(value) = self { Some(*value) } else { None }
    }

    pub(crate) fn native(&self) -> Option<&Native> {
        if let Self::Histogram(native) = self { Some(native) } else { None }
    }
}

type Counts = BTreeMap<i32, f64>;

/// A native histogram. Empty buckets are not listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Native {
    pub(crate) gauge: bool,
    pub(crate) schema: i32,
    /// The bounds of custom buckets.
    pub(crate) bounds: Vec<f64>,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: f64,
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) positive: Counts,
    pub(crate) negative: Counts,
}

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

impl Native {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        Self {
            gauge: histogram.reset_hint == ResetHint::Gauge,
            schema: histogram.schema,
            bounds: histogram.custom_values.to_vec(),
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            count: histogram.count,
            sum: histogram.sum,
            positive: counts_of(&histogram.positive),
            negative: counts_of(&histogram.negative),
        }
    }

    /// The same as it is written.
    pub(crate) fn stored(&self) -> Histogram {
        Histogram {
            schema: self.schema,
            reset_hint: if self.gauge { ResetHint::Gauge } else { ResetHint::Unknown },
            count: self.count,
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            positive: buckets_of(&self.positive),
            negative: buckets_of(&self.negative),
            custom_values: self.bounds.clone().into(),
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Where the positive bucket `index` ends.
    fn bound(&self, index: i32) -> f64 {
        if !self.is_custom() {
            return (f64::from(index) * f64::from(-self.schema).exp2()).exp2();
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => self.bounds.get(index).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// All buckets that are not empty, ascending.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let outside = |index: i32, count: f64| Bucket {
            lower: if self.is_custom() {
                self.bound(index - 1)
            } else {
                self.bound(index - 1).max(self.zero_threshold)
            },
            upper: self.bound(index),
            count,
        };
        let mirrored = |bucket: Bucket| Bucket { lower: -bucket.upper, upper: -bucket.lower, ..bucket };
        let mut all: Vec<Bucket> =
            self.negative.iter().rev().map(|(i, count)| mirrored(outside(*i, *count))).collect();
        // As in Prometheus, less than no observations around zero, in a difference, are none.
        if self.zero_count > 0.0 {
            let Self { zero_threshold, zero_count, .. } = *self;
            all.push(Bucket { lower: -zero_threshold, upper: zero_threshold, count: zero_count });
        }
        all.extend(self.positive.iter().map(|(i, count)| outside(*i, *count)));
        all
    }

    /// Whether there are less than no observations somewhere.
    pub(crate) fn is_negative(&self) -> bool {
        let counts = self.positive.values().chain(self.negative.values());
        counts.chain([&self.count, &self.zero_count]).any(|count| *count < 0.0)
    }

    /// The same with another value of each number.
    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        let each = |counts: &Counts| -> Counts {
            counts.iter().map(|(i, count)| (*i, f(*count))).filter(|(_, count)| *count != 0.0).collect()
        };
        Self {
            zero_count: f(self.zero_count),
            count: f(self.count),
            sum: f(self.sum),
            positive: each(&self.positive),
            negative: each(&self.negative),
            ..self.clone()
        }
    }

    /// Multiplied by a number. What is negative is no counter.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self { gauge: self.gauge || factor < 0.0, ..self.map(|number| number * factor) }
    }

    /// Divided by a number. Zero leaves no buckets.
    pub(crate) fn over(&self, divisor: f64) -> Self {
        let mut result = self.map(|number| number / divisor);
        if divisor == 0.0 {
            result.positive.clear();
            result.negative.clear();
        }
        result.gauge |= divisor < 0.0;
        result
    }

    /// With wider buckets.
    pub(crate) fn coarser(&self, schema: i32) -> Self {
        if self.is_custom() || schema >= self.schema {
            return self.clone();
        }
        let merged = |counts: &Counts| {
            let mut wide = Counts::new();
            for (index, count) in counts {
                // The bucket `(2^((i-1)/n), 2^(i/n)]` is in the one that ends at or above its end.
                let into = (f64::from(*index) / f64::from(self.schema - schema).exp2()).ceil() as i32;
                *wide.entry(into).or_default() += count;
            }
            wide
        };
        Self { schema, positive: merged(&self.positive), negative: merged(&self.negative), ..self.clone() }
    }

    /// With custom buckets that only have the bounds `common`, which are among its own.
    fn with_bounds(&self, common: &[f64]) -> Self {
        let mut positive = Counts::new();
        for (index, count) in &self.positive {
            let upper = self.bound(*index);
            let into = common.iter().position(|bound| *bound >= upper).unwrap_or(common.len());
            *positive.entry(into as i32).or_default() += count;
        }
        Self { bounds: common.to_vec(), positive, ..self.clone() }
    }

    /// The nearest threshold from `threshold` on that is inside no bucket with observations.
    fn free_threshold(&self, mut threshold: f64) -> f64 {
        if threshold == self.zero_threshold {
            return threshold;
        }
        loop {
            let inside = |index: &i32| self.bound(*index - 1) < threshold && threshold < self.bound(*index);
            let Some(index) = self.positive.keys().chain(self.negative.keys()).find(|index| inside(index))
            else {
                return threshold;
            };
            threshold = self.bound(*index);
        }
    }

    /// With a wider zero bucket that takes up whole buckets.
    fn with_threshold(&self, threshold: f64) -> Self {
        let mut result = self.clone();
        if threshold == self.zero_threshold {
            return result;
        }
        result.zero_threshold = threshold;
        let bound = |index: i32| self.bound(index);
        for counts in [&mut result.positive, &mut result.negative] {
            counts.retain(|index, count| {
                let is_inside = bound(*index) <= threshold;
                if is_inside {
                    result.zero_count += *count;
                }
                !is_inside
            });
        }
        result
    }

    /// `self` plus `factor` times `other`; none of exponential and custom buckets together.
    pub(crate) fn plus(&self, other: &Self, factor: f64) -> Option<Self> {
        if self.is_custom() != other.is_custom() {
            return None;
        }
        let (a, b) = if self.is_custom() {
            let common: Vec<f64> =
                self.bounds.iter().copied().filter(|bound| other.bounds.contains(bound)).collect();
            if self.bounds == other.bounds {
                (self.clone(), other.clone())
            } else {
                (self.with_bounds(&common), other.with_bounds(&common))
            }
        } else {
            let mut threshold = self.zero_threshold.max(other.zero_threshold);
            loop {
                let wider = other.free_threshold(self.free_threshold(threshold));
                if wider == threshold {
                    break;
                }
                threshold = wider;
            }
            let schema = self.schema.min(other.schema);
            let common = |side: &Self| side.with_threshold(threshold).coarser(schema);
            (common(self), common(other))
        };
        let added = |a: &Counts, b: &Counts| {
            let mut sum = a.clone();
            for (index, count) in b {
                *sum.entry(*index).or_default() += factor * count;
            }
            sum.retain(|_, count| *count != 0.0);
            sum
        };
        Some(Self {
            gauge: a.gauge || b.gauge,
            zero_count: a.zero_count + factor * b.zero_count,
            count: a.count + factor * b.count,
            sum: a.sum + factor * b.sum,
            positive: added(&a.positive, &b.positive),
            negative: added(&a.negative, &b.negative),
            ..a
        })
    }

    /// Whether a counter that is `self` now and was `before` was reset between: something in it went down, or its buckets changed
    /// in a way that only a reset allows.
    pub(crate) fn is_reset_since(&self, before: &Self) -> bool {
        if self.is_custom() != before.is_custom() || self.count < before.count {
            return true;
        }
        let (now, before) = if self.is_custom() {
            let common: Vec<f64> =
                self.bounds.iter().copied().filter(|bound| before.bounds.contains(bound)).collect();
            (self.with_bounds(&common), before.with_bounds(&common))
        } else {
            let threshold = self.zero_threshold;
            if self.schema > before.schema
                || threshold < before.zero_threshold
                || before.free_threshold(threshold) != threshold
            {
                return true;
            }
            (self.clone(), before.with_threshold(threshold).coarser(self.schema))
        };
        let fell = |now: &Counts, before: &Counts| {
            // A bucket that is gone was reset even if it had less than no observations.
            before.iter().any(|(index, count)| now.get(index).is_none_or(|now| now < count))
        };
        now.zero_count < before.zero_count
            || fell(&now.positive, &before.positive)
            || fell(&now.negative, &before.negative)
    }

    /// Whether both say the same; a NaN is the same as itself.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let bits = |native: &Self| [native.count, native.sum, native.zero_count].map(f64::to_bits);
        self.schema == other.schema
            && bits(self) == bits(other)
            && self.zero_threshold == other.zero_threshold
            && self.bounds == other.bounds
            && self.positive == other.positive
            && self.negative == other.negative
    }
}

fn counts_of(buckets: &Buckets) -> Counts {
    let (mut counts, mut index, mut values) = (Counts::new(), 0, buckets.counts.iter());
    for span in &buckets.spans {
        index += span.offset;
        for _ in 0..span.length {
            counts.insert(index, *values.next().expect("a count for each bucket"));
            index += 1;
        }
    }
    counts.retain(|_, count| *count != 0.0);
    counts
}

/// One span for each bucket.
fn buckets_of(counts: &Counts) -> Buckets {
    let mut buckets = Buckets::default();
    let mut next = 0;
    for (index, count) in counts {
        buckets.spans.push(BucketSpan { offset: index - next, length: 1 });
        buckets.counts.push(*count);
        next = index + 1;
    }
    buckets
}
