//! Aggregations, operators between vectors, and functions that change labels.

use regex::Regex;
use timberline_engine::Labels;
use timberline_query::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Grouping, ValueType, VectorMatching,
};

use crate::functions::Operated;
use crate::model::{Failure, Model, Result, Sample, Step, without_name};
use crate::native::{Native, Value};
use crate::windows::native_sum;

/// The labels by which samples match.
fn match_labels(matching: &VectorMatching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    labels.retain(|name| if matching.on { listed(name) } else { !listed(name) && name != "__name__" })
}

fn group_labels(grouping: &Grouping, labels: &Labels) -> Labels {
    let listed = |name: &str| grouping.labels.iter().any(|label| label == name);
    labels.retain(|name| if grouping.without { !listed(name) && name != "__name__" } else { listed(name) })
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    labels.to_builder().set(name, value).build().expect("a label set")
}

/// The order of a ranking; NaN is last in both directions.
fn ranks_before(a: f64, b: f64, bottom: bool) -> bool {
    match (a.is_nan(), b.is_nan()) {
        (_, true) => !a.is_nan(),
        (true, false) => false,
        _ if bottom => a < b,
        _ => a > b,
    }
}

impl Model<'_> {
    pub(crate) fn binary(&self, binary: &Binary, step: Step) -> Result<Vec<Sample>> {
        let is_scalar = |expr: &Expr| expr.value_type() == ValueType::Scalar;
        if !is_scalar(&binary.lhs) && !is_scalar(&binary.rhs) {
            let (lhs, rhs) = (self.vector(&binary.lhs, step)?, self.vector(&binary.rhs, step)?);
            let matching = binary.matching.clone().unwrap_or_default();
            return if binary.op.is_set() {
                set_operation(binary.op, &matching, lhs, rhs)
            } else {
                self.matched(binary, &matching, lhs, rhs)
            };
        }
        let scalar_first = is_scalar(&binary.lhs);
        let (scalar, vector) =
            if scalar_first { (&binary.lhs, &binary.rhs) } else { (&binary.rhs, &binary.lhs) };
        let scalar = Value::Float(self.scalar(scalar, step)?);
        let mut results = Vec::new();
        for mut sample in self.vector(vector, step)? {
            let (l, r) = if scalar_first { (&scalar, &sample.value) } else { (&sample.value, &scalar) };
            match self.operate_values(binary.op, l, r) {
                Some(Operated::Number(value)) => (sample.value, sample.drop_name) = (value, true),
                Some(Operated::Holds(holds)) if binary.return_bool => {
                    (sample.value, sample.drop_name) = (Value::Float(f64::from(u8::from(holds))), true);
                }
                Some(Operated::Holds(true)) => {}
                Some(Operated::Holds(false)) | None => continue,
            }
            results.push(sample);
        }
        Ok(results)
    }

    /// What an operator makes of numbers and histograms; nothing, if it is not there for them.
    fn operate_values(&self, op: BinaryOp, l: &Value, r: &Value) -> Option<Operated<Value>> {
        use BinaryOp::{Add, Div, Eql, Mul, Neq, Sub};
        use Operated::{Holds, Number};
        let native = |native: Native| Number(Value::histogram(self.rough_native(native)));
        Some(match (l, r) {
            (Value::Float(l), Value::Float(r)) => match self.operate(op, *l, *r) {
                Number(value) => Number(Value::Float(value)),
                Holds(holds) => Holds(holds),
            },
            (Value::Float(l), Value::Histogram(r)) if op == Mul => native(r.times(*l)),
            (Value::Float(_), Value::Histogram(_)) => return None,
            (Value::Histogram(l), Value::Float(r)) => match op {
                Mul => native(l.times(*r)),
                Div => native(l.over(*r)),
                _ => return None,
            },
            (Value::Histogram(l), Value::Histogram(r)) => match op {
                Add => native(self.compatible(l.plus(r, 1.0))?),
                Sub => native(Native { gauge: true, ..self.compatible(l.plus(r, -1.0))? }),
                Eql => Holds(l.same(r)),
                Neq => Holds(!l.same(r)),
                _ => return None,
            },
        })
    }

    fn matched(
        &self,
        binary: &Binary,
        matching: &VectorMatching,
        mut lhs: Vec<Sample>,
        mut rhs: Vec<Sample>,
    ) -> Result<Vec<Sample>> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        // The left modifier is for the many side.
        let fill = matching.fill;
        let (left, right) = if swapped { (fill.right, fill.left) } else { (fill.left, fill.right) };
        let left_fills = filled(matching, left, &rhs, &lhs);
        let right_fills = filled(matching, right, &lhs, &rhs);
        lhs.extend(left_fills);
        rhs.extend(right_fills);
        if (lhs.is_empty() || rhs.is_empty()) && !fill.any() {
            return Ok(Vec::new());
        }
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        for (i, sample) in one.iter().enumerate() {
            let key = match_labels(matching, &sample.labels);
            if one[..i].iter().any(|other| match_labels(matching, &other.labels) == key) {
                return Err(Failure::Error);
            }
        }
        let mut results: Vec<Sample> = Vec::new();
        let mut met: Vec<(Labels, Labels)> = Vec::new();
        for sample in many {
            let key = match_labels(matching, &sample.labels);
            let Some(other) = one.iter().find(|other| match_labels(matching, &other.labels) == key) else {
                continue;
            };
            let (l, r) = if swapped { (&other.value, &sample.value) } else { (&sample.value, &other.value) };
            let value = match self.operate_values(binary.op, l, r) {
                Some(Operated::Number(value)) => Some(value),
                Some(Operated::Holds(holds)) if binary.return_bool => {
                    Some(Value::Float(f64::from(u8::from(holds))))
                }
                Some(Operated::Holds(holds)) => holds.then(|| l.clone()),
                None => continue,
            };
            let labels = result_labels(binary, matching, &sample.labels, &other.labels);
            let one_to_one = matching.cardinality == Cardinality::OneToOne;
            // Also a pair that a comparison takes away.
            if met.iter().any(|(known, result)| *known == key && (one_to_one || *result == labels)) {
                return Err(Failure::Error);
            }
            met.push((key, labels.clone()));
            let drop_name = binary.return_bool || sample.drop_name;
            results.extend(value.map(|value| Sample { labels, drop_name, value }));
        }
        unique(results)
    }

    pub(crate) fn aggregate(&self, aggregate: &Aggregate, step: Step) -> Result<Vec<Sample>> {
        let mut input = self.vector(&aggregate.expr, step)?;
        let param = match aggregate.param.as_deref() {
            Some(Expr::String(label)) => {
                for sample in &mut input {
                    // What a histogram is as text is for the scripts.
                    let value = sample.value.float().ok_or(Failure::Unknown)?;
                    sample.labels = with_label(&sample.labels, &label.value, &text_of(value));
                }
                f64::NAN
            }
            Some(param) => self.scalar(param, step)?,
            None => f64::NAN,
        };
        let picks = matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk);
        // Whether what is no `int64` fails depends on the other steps.
        if picks && (param.is_nan() || param.abs() > 9e18) {
            return Err(Failure::Unknown);
        }
        let mut grouping = aggregate.grouping.clone();
        if let (Some(Expr::String(label)), false) = (aggregate.param.as_deref(), grouping.without) {
            grouping.labels.push(label.value.clone());
        }
        let mut groups: Vec<(Labels, Vec<Sample>)> = Vec::new();
        for sample in input {
            let labels = group_labels(&grouping, &sample.labels);
            match groups.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, members)) => members.push(sample),
                None => groups.push((labels, vec![sample])),
            }
        }
        let mut results = Vec::new();
        for (labels, members) in groups {
            if picks {
                results.extend(picked(aggregate.op, param, members)?);
                continue;
            }
            let drop_name = members.iter().any(|sample| sample.drop_name);
            if let Some(value) = self.aggregated_values(aggregate.op, param, &members) {
                results.push(Sample { labels, drop_name, value });
            }
        }
        Ok(results)
    }

    /// Only `sum` and `avg` are there for histograms, if all are, and others count them or leave them out.
    fn aggregated_values(&self, op: AggregateOp, param: f64, members: &[Sample]) -> Option<Value> {
        use AggregateOp::{Avg, Count, CountValues, Group, Sum};
        let floats: Vec<f64> = members.iter().filter_map(|sample| sample.value.float()).collect();
        let natives: Vec<&Native> = members.iter().filter_map(|sample| sample.value.native()).collect();
        if matches!(op, Count | CountValues | Group) {
            return Some(Value::Float(if op == Group { 1.0 } else { members.len() as f64 }));
        }
        if natives.is_empty() || !matches!(op, Sum | Avg) {
            return (!floats.is_empty()).then(|| Value::Float(self.aggregated(op, param, floats)));
        }
        if !floats.is_empty() {
            return None;
        }
        let sum = self.rough_native(self.compatible(native_sum(&natives))?);
        Some(Value::histogram(if op == Avg {
            self.rough_native(sum.over(natives.len() as f64))
        } else {
            sum
        }))
    }

    fn aggregated(&self, op: AggregateOp, param: f64, values: Vec<f64>) -> f64 {
        let extreme = |beats: fn(f64, f64) -> bool| {
            let better =
                |best: f64, &next: &f64| if beats(next, best) || best.is_nan() { next } else { best };
            values.iter().fold(f64::NAN, better)
        };
        match op {
            AggregateOp::Sum => self.sum(&values),
            AggregateOp::Avg => self.average(&values),
            AggregateOp::Min => extreme(|a, b| a < b),
            AggregateOp::Max => extreme(|a, b| a > b),
            AggregateOp::Stdvar => self.variance(&values),
            AggregateOp::Stddev => self.variance(&values).sqrt(),
            AggregateOp::Quantile => self.quantile(param, values),
            op => panic!("the model has no {op:?}"),
        }
    }

    pub(crate) fn relabeled(&self, call: &Call, input: Vec<Sample>) -> Result<Vec<Sample>> {
        let text = |at: usize| match &call.args[at] {
            Expr::String(text) => text.value.as_str(),
            other => panic!("{other} is not a string"),
        };
        let target = text(1);
        let joined = |labels: &Labels| {
            let value = |at| labels.get(text(at)).unwrap_or_default();
            (3..call.args.len()).map(value).collect::<Vec<_>>().join(text(2))
        };
        let replaced = |labels: &Labels| {
            let regex = Regex::new(&format!("^(?s:{})$", text(4))).expect("a pattern");
            let captures = regex.captures(labels.get(text(3)).unwrap_or_default())?;
            let mut value = String::new();
            captures.expand(text(2), &mut value);
            Some(value)
        };
        let is_join = call.function.name == "label_join";
        let value = |labels: &Labels| if is_join { Some(joined(labels)) } else { replaced(labels) };
        let relabel = |sample: Sample| match value(&sample.labels) {
            None => sample,
            Some(value) => Sample {
                labels: with_label(&sample.labels, target, &value),
                drop_name: sample.drop_name && target != "__name__",
                ..sample
            },
        };
        unique(input.into_iter().map(relabel).collect())
    }
}

/// Two samples with the same labels are none.
fn unique(samples: Vec<Sample>) -> Result<Vec<Sample>> {
    let is_twice = |(i, sample): (usize, &Sample)| samples[..i].iter().any(|s| s.labels == sample.labels);
    if samples.iter().enumerate().any(is_twice) { Err(Failure::Error) } else { Ok(samples) }
}

/// What stands for samples that a side lacks: one for each match of the other side.
fn filled(
    matching: &VectorMatching,
    value: Option<f64>,
    present: &[Sample],
    lacking: &[Sample],
) -> Vec<Sample> {
    let Some(value) = value else { return Vec::new() };
    let mut fills: Vec<Sample> = Vec::new();
    for sample in present {
        let labels = match_labels(matching, &sample.labels);
        let known = lacking.iter().any(|other| match_labels(matching, &other.labels) == labels);
        if !known && !fills.iter().any(|fill| fill.labels == labels) {
            fills.push(Sample { labels, drop_name: false, value: Value::Float(value) });
        }
    }
    fills
}

fn result_labels(binary: &Binary, matching: &VectorMatching, many: &Labels, one: &Labels) -> Labels {
    let mut labels = if binary.op.is_comparison() { many.clone() } else { without_name(many) };
    if matching.cardinality == Cardinality::OneToOne {
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        labels = labels.retain(|name| listed(name) == matching.on);
    }
    for name in &matching.include {
        labels = with_label(&labels, name, one.get(name).unwrap_or_default());
    }
    labels
}

fn set_operation(
    op: BinaryOp,
    matching: &VectorMatching,
    lhs: Vec<Sample>,
    rhs: Vec<Sample>,
) -> Result<Vec<Sample>> {
    let keys = |side: &[Sample]| -> Vec<Labels> {
        side.iter().map(|sample| match_labels(matching, &sample.labels)).collect()
    };
    let has = |keys: &[Labels], sample: &Sample| keys.contains(&match_labels(matching, &sample.labels));
    let (left, right) = (keys(&lhs), keys(&rhs));
    match op {
        BinaryOp::And => Ok(lhs.into_iter().filter(|sample| has(&right, sample)).collect()),
        BinaryOp::Unless => Ok(lhs.into_iter().filter(|sample| !has(&right, sample)).collect()),
        _ => unique(lhs.into_iter().chain(rhs.into_iter().filter(|sample| !has(&left, sample))).collect()),
    }
}

/// The first `k` of a group by rank. `limitk` may take any, so only none or all of them are known.
fn picked(op: AggregateOp, k: f64, mut members: Vec<Sample>) -> Result<Vec<Sample>> {
    let count = k.max(0.0) as usize;
    if op != AggregateOp::Limitk {
        members.retain(|sample| sample.value.float().is_some());
    }
    if count == 0 || count >= members.len() {
        members.truncate(count);
        return Ok(members);
    }
    if op == AggregateOp::Limitk {
        return Err(Failure::Unknown);
    }
    let bottom = op == AggregateOp::Bottomk;
    let value = |sample: &Sample| sample.value.float().unwrap_or(f64::NAN);
    let rank = |sample: &Sample| {
        members.iter().filter(|other| ranks_before(value(other), value(sample), bottom)).count()
    };
    let first: Vec<Sample> = members.iter().filter(|sample| rank(sample) < count).cloned().collect();
    // More than k: some of equal rank have to go.
    if first.len() > count { Err(Failure::Unknown) } else { Ok(first) }
}

/// The label value that `count_values` makes of a number.
fn text_of(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{value}"),
    }
}
