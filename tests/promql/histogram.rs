//! The notation of native histograms, `{{schema:0 count:3 sum:5 buckets:[1 2]}}`, and the native form of classic ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA;
use timberline_engine::{BucketSpan, Buckets, Histogram, Labels, ResetHint};
use timberline_query::histogram::buckets;

use super::script::{Load, Point, number};

type Counts = BTreeMap<i32, f64>;

/// What is between the braces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notation {
    histogram: Histogram,
    positive: Counts,
    negative: Counts,
}

impl Notation {
    /// Reads `{{…}}`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let inside = text
            .strip_prefix("{{")
            .and_then(|text| text.strip_suffix("}}"))
            .ok_or(format!("bad histogram {text:?}"))?;
        let (mut parsed, mut lists, mut offsets) = (Self::default(), [Vec::new(), Vec::new()], [0, 0]);
        let mut rest = inside.trim();
        while !rest.is_empty() {
            let (field, after) = rest.split_once(':').ok_or(format!("bad histogram {text:?}"))?;
            let end = if after.starts_with('[') { after.find(']').map(|at| at + 1) } else { after.find(' ') };
            let (value, after) = after.split_at(end.unwrap_or(after.len()));
            rest = after.trim_start();
            let list = || {
                value
                    .trim_matches(['[', ']'])
                    .split_whitespace()
                    .map(number)
                    .collect::<Result<Vec<f64>, String>>()
            };
            let integer = || value.parse::<i32>().map_err(|error| format!("{value:?}: {error}"));
            let histogram = &mut parsed.histogram;
            match field.trim() {
                "schema" => histogram.schema = integer()?,
                "sum" => histogram.sum = number(value)?,
                "count" => histogram.count = number(value)?,
                "z_bucket" => histogram.zero_count = number(value)?,
                "z_bucket_w" => histogram.zero_threshold = number(value)?,
                "custom_values" => histogram.custom_values = list()?.into(),
                "buckets" => lists[0] = list()?,
                "n_buckets" => lists[1] = list()?,
                "offset" => offsets[0] = integer()?,
                "n_offset" => offsets[1] = integer()?,
                "counter_reset_hint" => histogram.reset_hint = hint(value)?,
                other => return Err(format!("unknown field {other:?} of a histogram")),
            }
        }
        let [positive, negative] =
            [0, 1].map(|side| (offsets[side]..).zip(lists[side].iter().copied()).collect());
        Ok(Self { positive, negative, ..parsed })
    }

    /// This and `times` more, each with `step` added to the one before; or taken away, when not `plus`.
    pub(crate) fn repeat(self, step: Option<&(bool, Self)>, times: usize) -> Result<Vec<Point>, String> {
        let mut points = vec![self.point()];
        let mut last = self;
        for _ in 0..times {
            if let Some((plus, step)) = step {
                last.add(step, if *plus { 1.0 } else { -1.0 })?;
            }
            points.push(last.point());
        }
        Ok(points)
    }

    fn add(&mut self, step: &Self, sign: f64) -> Result<(), String> {
        let (this, other) = (&mut self.histogram, &step.histogram);
        let custom = this.has_custom_buckets();
        if custom != other.has_custom_buckets() || custom && this.custom_values != other.custom_values {
            return Err("the sequence mixes kinds of buckets".to_owned());
        }
        if !custom
            && (other.schema < this.schema
                || other.zero_count != 0.0 && this.zero_threshold != other.zero_threshold)
        {
            return Err("the step of the sequence has other buckets".to_owned());
        }
        this.count += sign * other.count;
        this.sum += sign * other.sum;
        this.zero_count += sign * other.zero_count;
        let shift = if custom { 0 } else { other.schema - this.schema };
        for (to, from) in [(&mut self.positive, &step.positive), (&mut self.negative, &step.negative)] {
            for (&index, count) in from {
                *to.entry(((index - 1) >> shift) + 1).or_default() += sign * count;
            }
        }
        Ok(())
    }

    fn point(&self) -> Point {
        let histogram = Histogram {
            positive: spans(&self.positive),
            negative: spans(&self.negative),
            ..self.histogram.clone()
        };
        Point::Histogram(Arc::new(histogram))
    }
}

fn hint(text: &str) -> Result<ResetHint, String> {
    Ok(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return Err(format!("unknown counter reset hint {text:?}")),
    })
}

fn spans(counts: &Counts) -> Buckets {
    let mut buckets = Buckets::default();
    let mut next = 0;
    for (&index, &count) in counts {
        match buckets.spans.last_mut() {
            Some(span) if next == index => span.length += 1,
            _ => buckets.spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        next = index + 1;
        buckets.counts.push(count);
    }
    buckets
}

/// What can be seen of a histogram: its count, its sum, and its buckets with observations.
pub(crate) fn visible(histogram: &Histogram) -> Vec<f64> {
    let mut numbers = vec![histogram.count, histogram.sum];
    for bucket in buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let closed =
            f64::from(u8::from(bucket.lower_inclusive)) + 2.0 * f64::from(u8::from(bucket.upper_inclusive));
        numbers.extend([closed, bucket.lower, bucket.upper, bucket.count]);
    }
    numbers
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    /// By the bits of the upper bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn into_native(mut self) -> Histogram {
        self.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or_default();
        if self.buckets.last().is_none_or(|(bound, _)| bound.is_finite()) {
            self.buckets.push((f64::INFINITY, count));
        }
        let (mut counts, mut before) = (Counts::new(), 0.0);
        for (index, (_, below)) in (0..).zip(&self.buckets) {
            counts.insert(index, below - before);
            before = *below;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive: spans(&counts),
            custom_values: bounds.collect(),
            ..Histogram::default()
        }
    }
}

/// The native histograms with custom buckets that the classic ones of `load` are the same as.
pub(crate) fn to_native(load: &Load) -> Vec<(Labels, Vec<Point>)> {
    let mut all: BTreeMap<String, (Labels, Vec<Option<Classic>>)> = BTreeMap::new();
    for (labels, points) in &load.series {
        let name = labels.metric_name().unwrap_or_default();
        let Some((base, kind)) = name.rsplit_once('_') else { continue };
        let bound = labels.get("le").and_then(|bound| number(bound).ok()).filter(|bound| !bound.is_nan());
        if !matches!(kind, "count" | "sum") && (kind != "bucket" || bound.is_none()) {
            continue;
        }
        let base = labels.to_builder().remove("le").set("__name__", base).build().unwrap();
        let (_, times) = all.entry(base.to_string()).or_insert_with(|| (base, Vec::new()));
        for (at, point) in points.iter().enumerate() {
            let Point::Float(value) = *point else { continue };
            if times.len() <= at {
                times.resize_with(at + 1, || None);
            }
            let classic = times[at].get_or_insert_default();
            match (kind, bound) {
                ("count", _) => classic.count = Some(value),
                ("sum", _) => classic.sum = value,
                (_, Some(bound)) if classic.buckets.iter().all(|(known, _)| *known != bound) => {
                    classic.buckets.push((bound, value));
                }
                _ => {}
            }
        }
    }
    let point = |classic: Option<Classic>| {
        classic.map_or(Point::Gap, |classic| Point::Histogram(Arc::new(classic.into_native())))
    };
    all.into_values().map(|(labels, times)| (labels, times.into_iter().map(point).collect())).collect()
}
