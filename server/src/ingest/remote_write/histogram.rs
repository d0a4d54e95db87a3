//! `prometheus.Histogram`: a native histogram, read from the wire, and checked as Prometheus checks it.
//! Sources: <https://github.com/prometheus/prometheus/blob/main/prompb/types.proto>; `Validate` and `ReduceResolution` in
//! Prometheus's `model/histogram`, whose wording the reasons have.

use timberline_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN};
use timberline_engine::{BucketSpan, Buckets, Histogram, ResetHint};

use super::wire::{Fields, Value, WireError};

/// The finest schema that a sender may use. Those above [`EXPONENTIAL_SCHEMA_MAX`] are stored as that one.
const SCHEMA_SENT_MAX: i32 = 52;

/// The message as it stands; its memory is used again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message {
    count: Number,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: Number,
    negative: Side,
    positive: Side,
    reset_hint: i32,
    /// Milliseconds since the epoch.
    pub(super) timestamp_ms: i64,
    custom_values: Vec<f64>,
}

/// A number that is an integer or a float: which of them the count is says what the whole histogram is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Integer(u64),
    Float(f64),
}

impl Default for Number {
    fn default() -> Self {
        Self::Integer(0)
    }
}

/// The buckets of one side.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    spans: Vec<BucketSpan>,
    /// Of an integer histogram: by how much each bucket's count differs from the one before.
    deltas: Vec<i64>,
    /// Of a float histogram.
    counts: Vec<f64>,
}

impl Side {
    fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.counts.clear();
    }
}

impl Message {
    /// Replaces all of it by the message `bytes`.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let [mut negative, mut positive] =
            [std::mem::take(&mut self.negative), std::mem::take(&mut self.positive)];
        let mut custom_values = std::mem::take(&mut self.custom_values);
        negative.clear();
        positive.clear();
        custom_values.clear();
        *self = Self { negative, positive, custom_values, ..Self::default() };
        for field in Fields::new(bytes) {
            let field = field?;
            self.field(field.number, field.value)?;
        }
        Ok(())
    }

    fn field(&mut self, number: u32, value: Value<'_>) -> Result<(), WireError> {
        match number {
            1 => self.count = Number::Integer(value.uint64("Histogram.count_int")?),
            2 => self.count = Number::Float(value.double("Histogram.count_float")?),
            3 => self.sum = value.double("Histogram.sum")?,
            4 => self.schema = value.sint32("Histogram.schema")?,
            5 => self.zero_threshold = value.double("Histogram.zero_threshold")?,
            6 => self.zero_count = Number::Integer(value.uint64("Histogram.zero_count_int")?),
            7 => self.zero_count = Number::Float(value.double("Histogram.zero_count_float")?),
            8 => self.negative.spans.push(span(value, "Histogram.negative_spans")?),
            9 => value.sint64s("Histogram.negative_deltas", &mut self.negative.deltas)?,
            10 => value.doubles("Histogram.negative_counts", &mut self.negative.counts)?,
            11 => self.positive.spans.push(span(value, "Histogram.positive_spans")?),
            12 => value.sint64s("Histogram.positive_deltas", &mut self.positive.deltas)?,
            13 => value.doubles("Histogram.positive_counts", &mut self.positive.counts)?,
            14 => self.reset_hint = value.int64("Histogram.reset_hint")? as i32,
            15 => self.timestamp_ms = value.int64("Histogram.timestamp")?,
            16 => value.doubles("Histogram.custom_values", &mut self.custom_values)?,
            _ => {}
        }
        Ok(())
    }

    /// The sum of the observations; of a staleness marker, the marker's bits.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// The histogram.
    ///
    /// # Errors
    /// Why Prometheus would refuse it.
    pub(super) fn histogram(&self) -> Result<Histogram, String> {
        let is_custom = self.schema == CUSTOM_BUCKETS_SCHEMA;
        if is_custom {
            self.check_custom().map_err(|reason| format!("custom buckets: {reason}"))?;
        } else if !(EXPONENTIAL_SCHEMA_MIN..=SCHEMA_SENT_MAX).contains(&self.schema) {
            return Err(format!("invalid histogram schema {}", self.schema));
        } else if !self.custom_values.is_empty() {
            return Err("histogram with exponential schema must not have custom bounds".to_owned());
        }
        let positive = self.side(&self.positive).map_err(|reason| format!("positive side: {reason}"))?;
        let negative = self.side(&self.negative).map_err(|reason| format!("negative side: {reason}"))?;
        if let Number::Integer(count) = self.count {
            self.check_total(count)?;
        }
        let reduce = |buckets| reduce(buckets, self.schema.saturating_sub(EXPONENTIAL_SCHEMA_MAX));
        Ok(Histogram {
            schema: self.schema.min(EXPONENTIAL_SCHEMA_MAX),
            reset_hint: match self.reset_hint {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            count: self.number(self.count),
            sum: self.sum,
            zero_threshold: self.zero_threshold,
            zero_count: self.number(self.zero_count),
            positive: reduce(positive),
            negative: reduce(negative),
            custom_values: self.custom_values.as_slice().into(),
        })
    }

    fn is_float(&self) -> bool {
        matches!(self.count, Number::Float(_))
    }

    /// A number of the kind that the histogram is of; one of the other kind is as good as absent.
    fn number(&self, number: Number) -> f64 {
        match number {
            Number::Integer(number) if !self.is_float() => number as f64,
            Number::Float(number) if self.is_float() => number,
            _ => 0.0,
        }
    }

    fn check_custom(&self) -> Result<(), String> {
        let mut previous = f64::NEG_INFINITY;
        for bound in &self.custom_values {
            if bound.is_nan() {
                return Err("histogram custom bounds must not be NaN".to_owned());
            }
            if *bound <= previous {
                return Err(format!(
                    "previous bound is {previous} and current is {bound}: histogram custom bounds must be in strictly increasing order"
                ));
            }
            previous = *bound;
        }
        if previous == f64::INFINITY {
            let what = "last +Inf bound must not be explicitly defined";
            return Err(format!("{what}: histogram custom bounds must be finite"));
        }
        let spans = &self.positive.spans;
        if let Some(at) = spans.iter().position(|span| span.offset < 0) {
            return Err(negative_offset(at, spans[at].offset));
        }
        let length: i64 = spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
        let bounds = self.custom_values.len();
        if (bounds as i64) + 1 < length {
            return Err(format!(
                "only {bounds} custom bounds defined which is insufficient to cover total span length of {length}: histogram custom bounds are too few"
            ));
        }
        let Side { spans, deltas, counts } = &self.negative;
        let wrong = [
            (self.number(self.zero_count) != 0.0, "must have zero count of 0"),
            (self.zero_threshold != 0.0, "must have zero threshold of 0"),
            (!spans.is_empty(), "must not have negative spans"),
            (!(deltas.is_empty() && counts.is_empty()), "must not have negative buckets"),
        ];
        wrong.iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, reason)| Err((*reason).to_owned()))
    }

    /// The buckets of a side.
    fn side(&self, side: &Side) -> Result<Buckets, String> {
        let buckets = if self.is_float() { side.counts.len() } else { side.deltas.len() };
        let mut next_index = 0_i64;
        let mut needed = 0_u64;
        for (at, span) in side.spans.iter().enumerate() {
            if at > 0 && span.offset < 0 {
                return Err(negative_offset(at, span.offset));
            }
            needed += u64::from(span.length);
            next_index += i64::from(span.offset) + i64::from(span.length);
        }
        if needed != buckets as u64 {
            return Err(format!(
                "spans need {needed} buckets, have {buckets} buckets: histogram spans specify different number of buckets than provided"
            ));
        }
        if i32::try_from(next_index).is_err() {
            return Err(format!("the index {next_index} of a bucket is out of range"));
        }
        let counts = if self.is_float() { side.counts.clone() } else { absolute(&side.deltas)? };
        if let Some(at) = counts.iter().position(|count| *count < 0.0) {
            return Err(format!(
                "bucket number {} has observation count of {}: histogram has a bucket whose observation count is negative",
                at + 1,
                counts[at]
            ));
        }
        Ok(Buckets { spans: side.spans.clone(), counts })
    }

    /// Checks that an integer histogram counted what its buckets say; with NaN among the observations, at least that.
    fn check_total(&self, count: u64) -> Result<(), String> {
        let zero = if let Number::Integer(zero) = self.zero_count { zero } else { 0 };
        let sides = [&self.positive, &self.negative].map(|side| total(&side.deltas));
        let found = sides[0] + sides[1] + i128::from(zero);
        let rule = match found.cmp(&i128::from(count)) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less if self.sum.is_nan() => return Ok(()),
            _ if self.sum.is_nan() => "be at least the number of observations found in the buckets",
            _ => "equal the number of observations found in the buckets (in absence of NaN)",
        };
        Err(format!(
            "{found} observations found in buckets, but the Count field is {count}: histogram's observation count should {rule}"
        ))
    }
}

fn span(value: Value<'_>, name: &'static str) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    for field in Fields::new(value.bytes(name)?) {
        let field = field?;
        match field.number {
            1 => span.offset = field.value.sint32("BucketSpan.offset")?,
            2 => span.length = field.value.uint64("BucketSpan.length")? as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn negative_offset(at: usize, offset: i32) -> String {
    format!("span number {} with offset {offset}: histogram has a span whose offset is negative", at + 1)
}

/// The counts whose deltas are given.
fn absolute(deltas: &[i64]) -> Result<Vec<f64>, String> {
    let mut count = 0_i64;
    deltas
        .iter()
        .map(|delta| {
            count = count.checked_add(*delta).ok_or("the count of a bucket is out of range")?;
            Ok(count as f64)
        })
        .collect()
}

/// The sum of the counts whose deltas are given, which [`absolute`] has found in range.
fn total(deltas: &[i64]) -> i128 {
    let mut count = 0_i128;
    deltas
        .iter()
        .map(|delta| {
            count += i128::from(*delta);
            count
        })
        .sum()
}

/// Merges buckets until they are those of a schema that is `steps` coarser: each step joins two neighbours.
fn reduce(buckets: Buckets, steps: i32) -> Buckets {
    if steps <= 0 {
        return buckets;
    }
    let mut reduced = Buckets::default();
    let mut counts = buckets.counts.into_iter();
    let mut index = 0_i64;
    let mut last: Option<i64> = None;
    for span in buckets.spans {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> steps) + 1;
            index += 1;
            match (last, reduced.counts.last_mut(), reduced.spans.last_mut()) {
                (Some(last), Some(sum), _) if last == target => *sum += count,
                (Some(last), _, Some(open)) if last + 1 == target => {
                    open.length += 1;
                    reduced.counts.push(count);
                }
                _ => {
                    let offset = last.map_or(target, |last| target - last - 1) as i32;
                    reduced.spans.push(BucketSpan { offset, length: 1 });
                    reduced.counts.push(count);
                }
            }
            last = Some(target);
        }
    }
    reduced
}
