//! Vector matching: which series of the two sides meet, and what comes of it.
//!
//! Rows are grouped by their match labels once. Inside a group, each row of the "many" side meets each row of the "one"
//! side, cell by cell; that at most one of them has a sample at a step is checked where a side has several rows.

use hashbrown::HashMap;
use timberline_engine::{Labels, METRIC_NAME};

use super::{Operator, operator, zero_or_one};
use crate::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::error::{QueryError, Result};
use crate::exec::context::{Cancel, Context};
use crate::exec::finish::RowMerger;
use crate::exec::native::{self, Operand};
use crate::exec::row::{ABSENT, Row, any_present, format_labels, is_metadata_label, is_present, write_key};
use crate::plan::BinaryPlan;

/// The rows of both sides that have the same match labels.
#[derive(Default)]
pub(super) struct MatchGroup {
    pub(super) many: Vec<usize>,
    pub(super) one: Vec<usize>,
}

pub(super) fn keeps(matching: &VectorMatching, name: &str) -> bool {
    let listed = matching.labels.iter().any(|label| label == name);
    if matching.on { listed } else { !listed && name != METRIC_NAME }
}

/// Groups the rows of both sides by their match labels, in the order in which the groups first appear.
pub(super) fn match_groups(
    cancel: &Cancel,
    matching: &VectorMatching,
    many: &[Row],
    one: &[Row],
) -> Result<Vec<MatchGroup>> {
    let mut groups: Vec<MatchGroup> = Vec::new();
    let mut known: HashMap<Vec<u8>, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut key = Vec::new();
    let mut group_of = |labels: &Labels, groups: &mut Vec<MatchGroup>| {
        key.clear();
        write_key(labels, &mut key, |name| keeps(matching, name));
        if let Some(&group) = known.get(&key) {
            return group;
        }
        groups.push(MatchGroup::default());
        known.insert(key.clone(), groups.len() - 1);
        groups.len() - 1
    };
    for (at, row) in many.iter().enumerate() {
        cancel.look(at)?;
        let group = group_of(&row.labels, &mut groups);
        groups[group].many.push(at);
    }
    for (at, row) in one.iter().enumerate() {
        cancel.look(at)?;
        let group = group_of(&row.labels, &mut groups);
        groups[group].one.push(at);
    }
    Ok(groups)
}

/// One operation, with its sides named by their part in the matching: with `group_right`, the left side is the "one".
struct Operation<'a> {
    /// The query, if a cell may be a native histogram, or if only those have a result.
    native: Option<&'a Context<'a>>,
    plan: &'a BinaryPlan,
    operator: Operator,
    many: &'a [Row],
    one: &'a [Row],
}

/// What comes of a row of each side.
struct Pair {
    many: usize,
    one: usize,
    row: Row,
}

pub(super) fn evaluate(
    context: &Context<'_>,
    plan: &BinaryPlan,
    lhs: &[Row],
    rhs: &[Row],
) -> Result<Vec<Row>> {
    // As in Prometheus, a side without series means that nothing is looked at, not even whether the other side is ambiguous, unless
    // samples are filled in.
    if (lhs.is_empty() || rhs.is_empty()) && !plan.matching.fill.any() {
        return Ok(Vec::new());
    }
    let swapped = plan.matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    let native = (context.has_histograms() || plan.op.is_trim()).then_some(context);
    let operation = Operation { native, plan, operator: operator(plan.op), many, one };
    let groups = match_groups(context.cancel(), &plan.matching, many, one)?;
    let evaluate_group = |(): &mut (), at: usize| {
        let group = &groups[at];
        context.check()?;
        operation.check_one_side(group)?;
        let pairs = group.many.len() * group.one.len();
        if pairs == 0 {
            return Ok(Vec::new());
        }
        context.charge_points(pairs, many[0].values.len())?;
        operation.pairs(group, context.cancel())
    };
    let pairs = context.threads.map(groups.len(), || (), evaluate_group);
    let mut pairs: Vec<Pair> = pairs?.into_iter().flatten().collect();
    pairs.sort_by_key(|pair| pair.many);
    let mut merger = RowMerger::with_capacity(context.cancel(), pairs.len());
    for pair in pairs {
        merger.add(pair.row)?;
    }
    Ok(merger.into_rows())
}

impl Operation<'_> {
    fn swapped(&self) -> bool {
        self.plan.matching.cardinality == Cardinality::OneToMany
    }

    /// Fails when two series of the "one" side have a sample at the same step. Steps at which the "many" side has no series
    /// at all are not looked at, unless samples are filled in.
    fn check_one_side(&self, group: &MatchGroup) -> Result<()> {
        if group.one.len() < 2 {
            return Ok(());
        }
        for step in 0..self.one[0].values.len() {
            let mut present = group.one.iter().filter(|&&at| is_present(self.one[at].values[step]));
            let (Some(&first), Some(&second)) = (present.next(), present.next()) else { continue };
            if self.plan.matching.fill.any() || self.many.iter().any(|row| is_present(row.values[step])) {
                return Err(self.duplicate(&self.one[first].labels, &self.one[second].labels));
            }
        }
        Ok(())
    }

    fn duplicate(&self, first: &Labels, second: &Labels) -> QueryError {
        let side = if self.swapped() { "left" } else { "right" };
        let matching = &self.plan.matching;
        let group = format_labels(&first.retain(|name| keeps(matching, name)));
        let mut series = [format_labels(first), format_labels(second)];
        series.sort();
        QueryError::execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            series.join(", ")
        ))
    }

    /// The results of a group.
    fn pairs(&self, group: &MatchGroup, cancel: &Cancel) -> Result<Vec<Pair>> {
        let mut results = Vec::new();
        let is_checked = group.many.len() > 1;
        for &many in &group.many {
            cancel.check()?;
            for &one in &group.one {
                let (many_row, one_row) = (&self.many[many], &self.one[one]);
                let values = self.combine(&many_row.values, &one_row.values)?;
                if any_present(&values) || (is_checked && self.any_filtered(many_row, one_row)) {
                    results.push(Pair { many, one, row: self.result_row(many_row, one_row, values)? });
                }
            }
        }
        if is_checked {
            self.check_many_side(&results, cancel)?;
            results.retain(|pair| !pair.row.is_empty());
        }
        Ok(results)
    }

    /// Whether two samples are compared, and the result is that there is none.
    fn is_filtered(&self, many: f64, one: f64) -> bool {
        let BinaryPlan { op, return_bool, .. } = *self.plan;
        if return_bool || !op.is_comparison() || !is_present(many) || !is_present(one) {
            return false;
        }
        let is_histogram = |value| self.native.is_some_and(|context| context.histogram(value).is_some());
        let compares_histograms = matches!(op, BinaryOp::Eql | BinaryOp::Neq);
        match (is_histogram(many), is_histogram(one)) {
            (false, false) => true,
            (true, true) => compares_histograms,
            _ => false,
        }
    }

    fn any_filtered(&self, many: &Row, one: &Row) -> bool {
        many.values.iter().zip(&one.values).any(|(&many, &one)| self.is_filtered(many, one))
    }

    /// Whether the rows of a pair met at a step. A pair that a comparison takes away has met all the same.
    fn met(&self, pair: &Pair, step: usize) -> bool {
        is_present(pair.row.values[step])
            || self.is_filtered(self.many[pair.many].values[step], self.one[pair.one].values[step])
    }

    /// Fails when two results of one group would be the same series, or, one-to-one, are there at the same step at all.
    fn check_many_side(&self, results: &[Pair], cancel: &Cancel) -> Result<()> {
        if self.plan.matching.cardinality != Cardinality::OneToOne {
            return self.check_unique(results, cancel);
        }
        let Some(first) = results.first() else { return Ok(()) };
        for step in 0..first.row.values.len() {
            cancel.look(step)?;
            if results.iter().filter(|pair| self.met(pair, step)).nth(1).is_some() {
                return Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
        }
        Ok(())
    }

    /// Fails when two results with the same labels are there at the same step.
    fn check_unique(&self, results: &[Pair], cancel: &Cancel) -> Result<()> {
        let mut by_labels: HashMap<&Labels, Vec<&Pair>, foldhash::fast::RandomState> = HashMap::default();
        for (at, pair) in results.iter().enumerate() {
            cancel.look(at)?;
            let known = by_labels.entry(&pair.row.labels).or_default();
            let overlaps = |known: &&Pair| {
                (0..pair.row.values.len()).any(|step| self.met(known, step) && self.met(pair, step))
            };
            if known.iter().any(overlaps) {
                return Err(QueryError::execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
            known.push(pair);
        }
        Ok(())
    }

    fn combine(&self, many: &[f64], one: &[f64]) -> Result<Vec<f64>> {
        let swapped = self.swapped();
        if let Some(context) = self.native
            && (self.plan.op.is_trim() || [many, one].iter().any(|cells| context.any_histogram(cells)))
        {
            let (l, r) = if swapped { (one, many) } else { (many, one) };
            return l.iter().zip(r).map(|(&l, &r)| self.native_cell(context, l, r)).collect();
        }
        let cell = |(&many, &one): (&f64, &f64)| {
            if !is_present(many) || !is_present(one) {
                return ABSENT;
            }
            let (l, r) = if swapped { (one, many) } else { (many, one) };
            self.float_cell(l, r)
        };
        Ok(many.iter().zip(one).map(cell).collect())
    }

    #[inline]
    fn float_cell(&self, l: f64, r: f64) -> f64 {
        match self.operator {
            Operator::Arithmetic(f) => f(l, r),
            Operator::Comparison(f) if self.plan.return_bool => zero_or_one(f(l, r)),
            Operator::Comparison(f) if f(l, r) => l,
            Operator::Comparison(_) => ABSENT,
        }
    }

    /// Cells of which one may be a histogram.
    fn native_cell(&self, context: &Context<'_>, l: f64, r: f64) -> Result<f64> {
        if !is_present(l) || !is_present(r) {
            return Ok(ABSENT);
        }
        let operand = |value| context.histogram(value).map_or(Operand::Float(value), Operand::Histogram);
        let BinaryPlan { op, return_bool, span, .. } = *self.plan;
        match (operand(l), operand(r)) {
            (Operand::Float(l), Operand::Float(r)) if !op.is_trim() => Ok(self.float_cell(l, r)),
            (l, r) => native::operate(context, native::Operation { op, return_bool, span }, l, r),
        }
    }

    fn result_row(&self, many: &Row, one: &Row, values: Vec<f64>) -> Result<Row> {
        let BinaryPlan { op, return_bool, matching, .. } = self.plan;
        let labels = result_labels(&many.labels, &one.labels, *op, matching)?;
        let keeps_name = op.keeps_name() && !return_bool;
        Ok(Row { labels, drop_name: *return_bool || (keeps_name && many.drop_name), values })
    }
}

fn result_labels(many: &Labels, one: &Labels, op: BinaryOp, matching: &VectorMatching) -> Result<Labels> {
    let one_to_one = matching.cardinality == Cardinality::OneToOne;
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    let keep = |name: &str| {
        (op.keeps_name() || !is_metadata_label(name)) && (!one_to_one || listed(name) == matching.on)
    };
    if matching.include.is_empty() {
        let unchanged = many.iter().all(|(name, _)| keep(name));
        return Ok(if unchanged { many.clone() } else { many.retain(keep) });
    }
    let mut builder = many.to_builder();
    builder.retain(keep);
    for name in &matching.include {
        builder.set(name, one.get(name).unwrap_or_default());
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests;
