//! Planning of what Prometheus calls experimental: anchored and smoothed windows, `info`, smoothing, start and end of the
//! query as numbers.

use timberline_engine::{METRIC_NAME, MatchOp, Matcher};

use super::build::{Builder, Built, label_name, string, unparen, within};
use super::call::argument;
use super::{ExtendedPlan, InfoPlan, MapOp, Rollup, ScalarPlan, Shift, Smoothing, SmoothingPlan, VectorPlan};
use crate::ast::{At, Call, Duration, Edges, Expr, ValueType};
use crate::deep::{Deep, on_enough_stack};
use crate::error::{QueryError, Result};

/// The info metric when none is named.
const TARGET_INFO: &str = "target_info";
/// What info metrics are called when the matchers of the name only exclude some.
const INFO_NAMES: &str = ".+_info";

impl Builder<'_> {
    pub(super) fn constant_seconds(&self, ms: i64) -> Built<ScalarPlan> {
        Built::new(ScalarPlan::Constant(ms as f64 / 1000.0), true)
    }

    /// `min_of(a, b)` and `max_of(a, b)`.
    pub(super) fn extreme(&self, call: &Call) -> Result<Built<ScalarPlan>> {
        let (a, b) = (self.scalar(argument(call, 0)?)?, self.scalar(argument(call, 1)?)?);
        let largest = call.function.name == "max_of";
        let invariant = a.invariant && b.invariant;
        let (lhs, rhs) = (Deep::new(within(a, invariant)), Deep::new(within(b, invariant)));
        Ok(Built::new(ScalarPlan::Extreme { largest, lhs, rhs }, invariant))
    }

    /// The function of a selector with `anchored` or `smoothed`; none for other arguments.
    pub(super) fn extended(
        &self,
        function: Rollup,
        range: &Expr,
        call: &Call,
    ) -> Result<Option<Built<VectorPlan>>> {
        check_edges(range, call)?;
        let Expr::Matrix(matrix) = unparen(range) else { return Ok(None) };
        let edges = matrix.selector.edges;
        if edges == Edges::Exact {
            return Ok(None);
        }
        let shift = self.shift(&matrix.selector.offset, matrix.selector.at)?;
        let plan = ExtendedPlan {
            function,
            edges,
            matchers: matrix.selector.matchers.clone(),
            range_ms: self.bounds.positive(&matrix.range)?,
            shift,
            without_buckets: self.without_buckets,
            span: matrix.span,
        };
        Ok(Some(Built::new(VectorPlan::Extended(plan), shift.at_ms.is_some())))
    }

    /// `double_exponential_smoothing` and `ema_over_time`.
    pub(super) fn smoothing(&self, call: &Call) -> Result<Built<VectorPlan>> {
        check_edges(argument(call, 0)?, call)?;
        let range = self.range(argument(call, 0)?)?;
        let first_expr = argument(call, 1)?;
        let first = self.scalar(first_expr)?;
        let (method, invariant) = if call.function.name == "ema_over_time" {
            let invariant = range.invariant && first.invariant;
            (Smoothing::Average { alpha: within(first, invariant), span: first_expr.span() }, invariant)
        } else {
            let trend = self.scalar(argument(call, 2)?)?;
            let invariant = range.invariant && first.invariant && trend.invariant;
            let (level, trend) = (within(first, invariant), within(trend, invariant));
            (Smoothing::Double { level, trend }, invariant)
        };
        let plan = SmoothingPlan { range: range.plan, method };
        Ok(Built::new(VectorPlan::Smoothing(plan), invariant))
    }

    pub(super) fn sort_by_label(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input = self.vector(argument(call, 0)?)?;
        let labels = call.args[1..].iter().map(string).collect::<Result<Vec<_>>>()?;
        let descending = call.function.name == "sort_by_label_desc";
        let input_plan = Deep::new(input.plan);
        let plan = VectorPlan::SortByLabel { input: input_plan, labels, descending, span: call.span };
        Ok(Built::new(plan, input.invariant))
    }

    pub(super) fn start_timestamp(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let expr = argument(call, 0)?;
        let input = self.vector(expr)?;
        let op = MapOp::StartTime { known: matches!(unparen(expr), Expr::Selector(_)) };
        Ok(Built::new(VectorPlan::Map { input: Deep::new(input.plan), op }, input.invariant))
    }

    pub(super) fn histogram_quantiles(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input_expr = argument(call, 0)?;
        let (input, label) = (self.vector(input_expr)?, label_name(argument(call, 1)?)?);
        let mut scalars = Vec::new();
        for expr in &call.args[2..] {
            scalars.push((self.scalar(expr)?, expr.span()));
        }
        let invariant = input.invariant && scalars.iter().all(|(scalar, _)| scalar.invariant);
        let quantiles = scalars.into_iter().map(|(scalar, span)| (within(scalar, invariant), span)).collect();
        let input = Deep::new(within(input, invariant));
        let plan = VectorPlan::HistogramQuantiles { label, quantiles, input, input_span: input_expr.span() };
        Ok(Built::new(plan, invariant))
    }

    pub(super) fn info(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input_expr = argument(call, 0)?;
        let input = self.vector(input_expr)?;
        let matchers = match call.args.get(1).map(unparen) {
            Some(Expr::Selector(selector)) => selector.matchers.as_slice(),
            _ => &[],
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if !names.iter().any(|name| matches!(name.op(), MatchOp::Equal | MatchOp::Regex)) {
            let matcher = Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_NAMES);
            names.push(matcher.map_err(|error| QueryError::execution(error.to_string()))?);
        }
        let shift = match self.looks_at(input_expr, None)? {
            LooksAt::Selector(shift) => shift,
            LooksAt::Nothing | LooksAt::Several => Shift { offset_ms: 0, at_ms: None },
        };
        let plan = InfoPlan { input: Deep::new(within(input, false)), names, data, shift };
        Ok(Built::new(VectorPlan::Info(plan), false))
    }

    /// When the selectors that the samples of `expr` come from look at the data. `around` is the shift of the subqueries around it.
    fn looks_at(&self, expr: &Expr, around: Option<Shift>) -> Result<LooksAt> {
        on_enough_stack(|| self.looks_at_inside(expr, around))
    }

    fn looks_at_inside(&self, expr: &Expr, around: Option<Shift>) -> Result<LooksAt> {
        let of_selector = |offset: &Duration, at: Option<At>| {
            Ok(LooksAt::Selector(nested(self.shift(offset, at)?, around)))
        };
        match expr {
            Expr::Selector(selector) => of_selector(&selector.offset, selector.at),
            Expr::Matrix(matrix) => of_selector(&matrix.selector.offset, matrix.selector.at),
            Expr::Subquery(subquery) => {
                let around = nested(self.shift(&subquery.offset, subquery.at)?, around);
                self.looks_at(&subquery.expr, Some(around))
            }
            Expr::Unary(unary) => self.looks_at(&unary.expr, around),
            Expr::Paren(paren) => self.looks_at(&paren.expr, around),
            Expr::Aggregate(aggregate) => self.looks_at(&aggregate.expr, around),
            Expr::Binary(binary) => self.all_look_at([&*binary.lhs, &*binary.rhs], around),
            Expr::Call(call) if call.function.name == "info" => self.looks_at(&call.args[0], around),
            Expr::Call(call) => self.all_look_at(call.args.iter(), around),
            Expr::Number(_) | Expr::String(_) => Ok(LooksAt::Nothing),
        }
    }

    /// When all of `exprs` look at the data; those that are numbers or strings do not matter.
    fn all_look_at<'e>(
        &self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        around: Option<Shift>,
    ) -> Result<LooksAt> {
        let mut found: Option<LooksAt> = None;
        let is_vector = |expr: &&Expr| matches!(expr.value_type(), ValueType::Vector | ValueType::Matrix);
        for expr in exprs.into_iter().filter(is_vector) {
            let one = self.looks_at(expr, around)?;
            found = Some(match found {
                Some(other) if other != one => LooksAt::Several,
                _ => one,
            });
        }
        Ok(found.unwrap_or(LooksAt::Nothing))
    }
}

/// When the samples of an expression were looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LooksAt {
    /// They do not come from the data.
    Nothing,
    Selector(Shift),
    /// Some at other times than others.
    Several,
}

/// The shift of something inside of a subquery with the shift `around`, as seen from outside. A fixed time is as if there were no
/// subquery; else the offsets add up. Equal times are equal shifts.
fn nested(shift: Shift, around: Option<Shift>) -> Shift {
    let shift = match (shift.at_ms, around) {
        (None, Some(around)) => {
            Shift { offset_ms: shift.offset_ms.saturating_add(around.offset_ms), at_ms: around.at_ms }
        }
        _ => shift,
    };
    match shift.at_ms {
        Some(at_ms) => Shift { offset_ms: 0, at_ms: Some(at_ms.saturating_sub(shift.offset_ms)) },
        None => shift,
    }
}

/// Whether the function knows what to do with an anchored or smoothed window.
fn check_edges(range: &Expr, call: &Call) -> Result<()> {
    let Expr::Matrix(matrix) = unparen(range) else { return Ok(()) };
    let edges = matrix.selector.edges;
    let allowed: &[&str] = match edges {
        Edges::Exact => return Ok(()),
        Edges::Anchored => &["changes", "delta", "increase", "rate", "resets"],
        Edges::Smoothed => &["delta", "increase", "rate"],
    };
    let name = call.function.name;
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::execution(format!("{edges} modifier can only be used with: {allowed} - not with {name}")))
}
