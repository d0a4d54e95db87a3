//! Functions of a window of samples, each from the words of its documentation.

use crate::model::Model;
use crate::native::{Native, Value};

/// A window: the samples in it, and its ends, nanoseconds.
pub(crate) struct Window<'a, V = f64> {
    pub(crate) samples: &'a [(i64, V)],
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The step's time, which differs from the window's end where there is an offset.
    pub(crate) now: i64,
}

impl<V> Window<'_, V> {
    /// The same window with other samples.
    pub(crate) fn with<'b, W>(&self, samples: &'b [(i64, W)]) -> Window<'b, W> {
        Window { samples, start: self.start, end: self.end, now: self.now }
    }
}

pub(crate) fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// How far apart the magnitudes are that take part.
fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|v| v.is_finite()).fold(0.0, |a, b| a.max(b.abs()))
}

/// Whether two samples in a row are of a counter that was reset between them.
pub(crate) fn is_reset(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Float(before), Value::Float(after)) => after < before,
        (Value::Histogram(before), Value::Histogram(after)) => after.is_reset_since(before),
        _ => true,
    }
}

/// Whether two samples in a row differ.
pub(crate) fn is_change(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Float(before), Value::Float(after)) => {
            before != after && !(before.is_nan() && after.is_nan())
        }
        (Value::Histogram(before), Value::Histogram(after)) => !after.same(before),
        _ => true,
    }
}

pub(crate) fn transitions(samples: &[(i64, Value)], counts: fn(&Value, &Value) -> bool) -> f64 {
    samples.windows(2).filter(|pair| counts(&pair[0].1, &pair[1].1)).count() as f64
}

pub(crate) fn native_sum(natives: &[&Native]) -> Option<Native> {
    let mut sum = natives[0].clone();
    for native in &natives[1..] {
        sum = sum.plus(native, 1.0)?;
    }
    Some(sum)
}

/// The change from the first to the last; of a counter, what was counted. All must have the same kind of buckets; but nothing
/// of the first is needed when a reset follows, and nothing between the first and the last of what is no counter.
fn native_change(is_counter: bool, natives: &[&Native]) -> Option<Native> {
    let (first, last) = (natives[0], natives[natives.len() - 1]);
    if !is_counter {
        return last.plus(first, -1.0);
    }
    let starts_anew = natives[1].is_reset_since(first);
    let relevant = if starts_anew { &natives[1..] } else { natives };
    if relevant.iter().any(|native| native.is_custom() != last.is_custom()) {
        return None;
    }
    let schema = relevant.iter().map(|native| native.schema).min()?;
    let mut change = last.coarser(schema);
    if !starts_anew {
        change = change.plus(first, -1.0)?;
    }
    for pair in relevant.windows(2).filter(|pair| pair[1].is_reset_since(pair[0])) {
        change = change.plus(pair[0], 1.0)?;
    }
    Some(change)
}

/// By how much `rate`, `increase` and `delta` multiply the change between the first and the last sample, so that it covers the window;
/// not to before a counter, which was `first`, was zero.
fn extrapolation<V>(name: &str, window: &Window<'_, V>, first: f64, change: f64) -> f64 {
    let last = window.samples.len() - 1;
    // Where the threshold is met exactly, what decides is that Prometheus counts in seconds.
    let (first_time, last_time) = (window.samples[0].0, window.samples[last].0);
    let sampled = seconds(last_time - first_time);
    let interval = sampled / last as f64;
    let threshold = interval * 1.1;
    let mut before = seconds(first_time - window.start);
    if before >= threshold {
        before = interval / 2.0;
    }
    if name != "delta" && change > 0.0 && first >= 0.0 {
        before = before.min(sampled * (first / change));
    }
    let mut after = seconds(window.end - last_time);
    if after >= threshold {
        after = interval / 2.0;
    }
    let span = if name == "rate" { seconds(window.end - window.start) } else { 1.0 };
    (sampled + before + after) / sampled / span
}

impl Model<'_> {
    /// The value of the function `name`, if the window gives one. `params` are its scalar arguments.
    pub(crate) fn rollup(&self, name: &str, params: &[f64], window: &Window<'_, Value>) -> Option<Value> {
        let mut samples = window.samples;
        let (first, last) = (samples.first()?, samples.last()?);
        match name {
            "count_over_time" => return Some(Value::Float(samples.len() as f64)),
            "present_over_time" => return Some(Value::Float(1.0)),
            "first_over_time" => return Some(first.1.clone()),
            "last_over_time" => return Some(last.1.clone()),
            "ts_of_first_over_time" => return Some(Value::Float(seconds(first.0))),
            "ts_of_last_over_time" => return Some(Value::Float(seconds(last.0))),
            "resets" => return Some(Value::Float(transitions(samples, is_reset))),
            "changes" => return Some(Value::Float(transitions(samples, is_change))),
            "irate" | "idelta" => samples = &samples[samples.len().saturating_sub(2)..],
            _ => {}
        }
        let floats: Vec<(i64, f64)> =
            samples.iter().filter_map(|(time, value)| Some((*time, value.float()?))).collect();
        let of_both = ["sum_over_time", "avg_over_time", "rate", "increase", "delta", "irate", "idelta"]
            .contains(&name);
        if !of_both || floats.len() == samples.len() {
            return self.float_rollup(name, params, &window.with(&floats)).map(Value::Float);
        }
        if samples.len() < 2 && !name.ends_with("_over_time") {
            return None;
        }
        let natives = samples.iter().map(|(time, value)| Some((*time, value.native()?)));
        let natives: Vec<(i64, &Native)> = natives.collect::<Option<_>>()?;
        self.compatible(self.native_rollup(name, &window.with(&natives))).map(Value::histogram)
    }

    fn float_rollup(&self, name: &str, params: &[f64], window: &Window<'_>) -> Option<f64> {
        let samples = window.samples;
        let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
        let (&(first_time, first), &(last_time, last)) = (samples.first()?, samples.last()?);
        let extreme = |beats: fn(f64, f64) -> bool| {
            let better = |best: (i64, f64), &next: &(i64, f64)| {
                if beats(next.1, best.1) || best.1.is_nan() { next } else { best }
            };
            samples[1..].iter().fold(samples[0], better)
        };
        Some(match name {
            "sum_over_time" => self.sum(&values),
            "avg_over_time" => self.average(&values),
            "min_over_time" => extreme(|a, b| a < b).1,
            "max_over_time" => extreme(|a, b| a > b).1,
            "stdvar_over_time" => self.variance(&values),
            "stddev_over_time" => self.variance(&values).sqrt(),
            "quantile_over_time" => self.quantile(params[0], values),
            "mad_over_time" if values.iter().any(|value| value.is_nan()) => f64::NAN,
            "mad_over_time" => {
                let median = self.quantile(0.5, values.clone());
                self.quantile(0.5, values.iter().map(|value| (value - median).abs()).collect())
            }
            "zscore_over_time" => (last - self.average(&values)) / self.variance(&values).sqrt(),
            "ema_over_time" if params[0].is_nan() || params[0] <= 0.0 || params[0] > 1.0 => f64::NAN,
            "ema_over_time" => {
                let alpha = params[0];
                values[1..].iter().fold(first, |ema, x| self.rough(alpha * x + (1.0 - alpha) * ema))
            }
            "ts_of_max_over_time" => seconds(extreme(|a, b| a >= b).0),
            "ts_of_min_over_time" => seconds(extreme(|a, b| a <= b).0),
            _ if samples.len() < 2 => return None,
            "rate" | "increase" | "delta" => self.extrapolated(name, &values, window),
            "idelta" => last - values[values.len() - 2],
            "irate" => {
                let (before_time, before) = samples[samples.len() - 2];
                let change = if last < before { last } else { last - before };
                self.rough(change / seconds(last_time - before_time))
            }
            "deriv" => self.line(samples, first_time).0,
            "predict_linear" => {
                let (slope, now) = self.line(samples, window.now);
                self.rough(slope * params[0] + now)
            }
            "double_exponential_smoothing" => self.smoothed(&values, params[0], params[1]),
            _ => panic!("the model has no {name}"),
        })
    }

    pub(crate) fn sum(&self, values: &[f64]) -> f64 {
        let sum = values.iter().sum::<f64>();
        if values.iter().all(|value| (value * 1024.0).fract() == 0.0) {
            return self.exact(sum);
        }
        self.noisy(sum, largest(values))
    }

    pub(crate) fn average(&self, values: &[f64]) -> f64 {
        self.exact_or_rough(self.sum(values) / values.len() as f64)
    }

    pub(crate) fn variance(&self, values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        self.noisy(squares / values.len() as f64, largest(values).powi(2) * 1e-3).max(0.0)
            + if squares.is_nan() { f64::NAN } else { 0.0 }
    }

    pub(crate) fn quantile(&self, quantile: f64, mut values: Vec<f64>) -> f64 {
        if quantile.is_nan() {
            return f64::NAN;
        }
        if !(0.0..=1.0).contains(&quantile) {
            return if quantile < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
        }
        // NaN is the smallest.
        values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
        let rank = quantile * (values.len() - 1) as f64;
        let (below, above) =
            (values[rank.floor() as usize], values[(rank.floor() as usize + 1).min(values.len() - 1)]);
        let weight = rank - rank.floor();
        self.exact_or_rough(below * (1.0 - weight) + above * weight)
    }

    fn extrapolated(&self, name: &str, values: &[f64], window: &Window<'_>) -> f64 {
        let (first, last) = (values[0], values[values.len() - 1]);
        let is_counter = name != "delta";
        let mut change = last - first;
        if is_counter {
            let lost: Vec<f64> =
                values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).collect();
            change += lost.iter().sum::<f64>();
        }
        self.noisy(change * extrapolation(name, window, first, change), 0.0)
    }

    fn native_rollup(&self, name: &str, window: &Window<'_, &Native>) -> Option<Native> {
        let samples = window.samples;
        let natives: Vec<&Native> = samples.iter().map(|(_, native)| *native).collect();
        let (first, last) = (natives[0], natives[natives.len() - 1]);
        let is_counter = ["rate", "increase", "irate"].contains(&name);
        self.note_buckets(is_counter && natives.iter().any(|native| native.gauge));
        let result = match name {
            "sum_over_time" => native_sum(&natives)?,
            "avg_over_time" => self.rough_native(native_sum(&natives)?).over(natives.len() as f64),
            "idelta" => last.plus(first, -1.0)?,
            "irate" => {
                let change = if last.is_reset_since(first) { last.clone() } else { last.plus(first, -1.0)? };
                change.over(seconds(samples[1].0 - samples[0].0))
            }
            _ => {
                let change = native_change(name != "delta", &natives)?;
                change.times(extrapolation(name, window, first.count, change.count))
            }
        };
        let is_change = !matches!(name, "sum_over_time" | "avg_over_time");
        Some(Native { gauge: result.gauge || is_change, ..self.rough_native(result) })
    }

    /// The slope per second and the value at `origin` of the line through the samples, by least squares.
    fn line(&self, samples: &[(i64, f64)], origin: i64) -> (f64, f64) {
        let count = samples.len() as f64;
        if samples.iter().all(|(_, value)| *value == samples[0].1) {
            return if samples[0].1.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, samples[0].1) };
        }
        let points: Vec<(f64, f64)> =
            samples.iter().map(|(time, value)| (seconds(time - origin), *value)).collect();
        if self.is_noisy() || samples.iter().any(|(_, value)| value.is_infinite()) {
            // The textbook's way, which is as good as its rounding errors let it be. It is the definition where infinity decides.
            let noisy = |v: f64| self.noisy(v, 0.0);
            let x: f64 = points.iter().map(|p| p.0).sum();
            let y: f64 = points.iter().map(|p| noisy(p.1)).sum();
            let xy: f64 = points.iter().map(|p| noisy(p.0 * p.1)).sum();
            let xx: f64 = points.iter().map(|p| noisy(p.0 * p.0)).sum();
            let slope = (xy - x * y / count) / (xx - x * x / count);
            return (slope, y / count - slope * x / count);
        }
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
        let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
        let covariance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        let variance: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.0 - mean_x)).sum();
        let slope = covariance / variance;
        (slope, mean_y - slope * mean_x)
    }

    /// Holt's linear method: a level and a trend.
    fn smoothed(&self, values: &[f64], level_factor: f64, trend_factor: f64) -> f64 {
        let (mut level, mut trend) = (values[0], values[1] - values[0]);
        for (i, value) in values.iter().enumerate().skip(1) {
            let next = self.rough(level_factor * value + (1.0 - level_factor) * (level + trend));
            if i + 1 < values.len() {
                trend = self.rough(trend_factor * (next - level) + (1.0 - trend_factor) * trend);
            }
            level = next;
        }
        level
    }
}
