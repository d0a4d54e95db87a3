//! From the syntax tree to the plan.

use std::sync::Arc;

use timberline_engine::{Budget, Matcher};

use super::shared::{Repeated, SharedPlan};
use super::{
    AggregateKind, AggregatePlan, BinaryPlan, FoldOp, MapOp, Plan, RangeInput, RangePlan, ScalarPlan, SetOp,
    Shift, SmoothedPlan, VectorPlan,
};
use crate::ast::{Aggregate, AggregateOp, At, Binary, BinaryOp, Duration, Edges, Expr, ValueType};
use crate::deep::{Deep, on_enough_stack};
use crate::error::{QueryError, Result};
use crate::exec::scalar_binary;
use crate::print::quoted_literal;

/// What a plan needs to know of the query besides its expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The first step: `@ start()`.
    pub(crate) start_ms: i64,
    /// The last step: `@ end()`.
    pub(crate) end_ms: i64,
    /// The distance between steps; 0 for an instant query.
    pub(crate) step_ms: i64,
    /// The step of a subquery that does not name one.
    pub(crate) subquery_step_ms: i64,
}

/// Plans `expr`; regular expressions that are compiled for it count against `budget` as long as the plan is there.
pub(crate) fn build(expr: &Expr, bounds: Bounds, budget: &Arc<Budget>) -> Result<Plan> {
    let repeated = Repeated::find(expr);
    let builder = Builder { bounds, budget, repeated: &repeated, without_buckets: false, in_subquery: false };
    Ok(match expr.value_type() {
        ValueType::Scalar => Plan::Scalar(builder.scalar(expr)?.spread()),
        ValueType::Vector => Plan::Vector(builder.vector(expr)?.spread()),
        ValueType::Matrix => Plan::Range(builder.range(expr)?.plan),
        ValueType::String => Plan::String(string(expr)?),
    })
}

/// A plan, and whether it gives the same at each step.
pub(super) struct Built<P> {
    pub(super) plan: P,
    pub(super) invariant: bool,
}

impl<P> Built<P> {
    pub(super) fn new(plan: P, invariant: bool) -> Self {
        Self { plan, invariant }
    }
}

/// `P` inside a plan that differs from step to step.
pub(super) trait Spread<P> {
    fn spread(self) -> P;
}

impl Spread<ScalarPlan> for Built<ScalarPlan> {
    fn spread(self) -> ScalarPlan {
        match self.plan {
            constant @ ScalarPlan::Constant(_) => constant,
            plan if self.invariant => ScalarPlan::Invariant(Deep::new(plan)),
            plan => plan,
        }
    }
}

impl Spread<VectorPlan> for Built<VectorPlan> {
    fn spread(self) -> VectorPlan {
        if self.invariant { VectorPlan::Invariant(Deep::new(self.plan)) } else { self.plan }
    }
}

/// `plan`, marked as evaluated once unless everything around it is invariant too.
pub(super) fn within<P>(built: Built<P>, parent_invariant: bool) -> P
where
    Built<P>: Spread<P>,
{
    if parent_invariant { built.plan } else { built.spread() }
}

#[derive(Clone, Copy)]
pub(super) struct Builder<'a> {
    pub(super) bounds: Bounds,
    pub(super) budget: &'a Arc<Budget>,
    repeated: &'a Repeated,
    /// Whether only the counts and sums of native histograms matter for what is around.
    pub(super) without_buckets: bool,
    in_subquery: bool,
}

impl Builder<'_> {
    /// For the input of something that does without the buckets of native histograms. Inside a subquery they are read all the same: the
    /// functions of its windows look for counter resets in them.
    pub(super) fn without_buckets(self) -> Self {
        Self { without_buckets: !self.in_subquery, ..self }
    }

    /// For the input of something that needs the buckets of native histograms.
    pub(super) fn with_buckets(self) -> Self {
        Self { without_buckets: false, ..self }
    }

    pub(super) fn vector(&self, expr: &Expr) -> Result<Built<VectorPlan>> {
        on_enough_stack(|| self.vector_inside(expr))
    }

    fn vector_inside(&self, expr: &Expr) -> Result<Built<VectorPlan>> {
        match self.repeated.number(expr).filter(|_| !self.in_subquery) {
            // Where it stands elsewhere, the buckets may be needed.
            Some(number) => {
                let Built { plan, invariant } = self.with_buckets().unshared_vector(expr)?;
                Ok(Built::new(VectorPlan::Shared(Box::new(SharedPlan { number, plan })), invariant))
            }
            None => self.unshared_vector(expr),
        }
    }

    fn unshared_vector(&self, expr: &Expr) -> Result<Built<VectorPlan>> {
        match expr {
            Expr::Paren(paren) => self.vector(&paren.expr),
            Expr::Selector(selector) => {
                let shift = self.shift(&selector.offset, selector.at)?;
                let (matchers, without_buckets) = (selector.matchers.clone(), self.without_buckets);
                let plan = match selector.edges {
                    Edges::Smoothed => {
                        let span = selector.span;
                        VectorPlan::SelectSmoothed(SmoothedPlan { matchers, shift, without_buckets, span })
                    }
                    Edges::Exact | Edges::Anchored => VectorPlan::Select { matchers, shift, without_buckets },
                };
                Ok(Built::new(plan, shift.at_ms.is_some()))
            }
            Expr::Unary(unary) => {
                let input = self.vector(&unary.expr)?;
                if !unary.negative {
                    return Ok(input);
                }
                let plan = VectorPlan::Map { input: Deep::new(input.plan), op: MapOp::Negate };
                Ok(Built::new(plan, input.invariant))
            }
            Expr::Binary(binary) => self.vector_binary(binary),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Call(call) => self.vector_call(call),
            Expr::Number(_) | Expr::String(_) | Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(mistyped("instant vector"))
            }
        }
    }

    pub(super) fn scalar(&self, expr: &Expr) -> Result<Built<ScalarPlan>> {
        on_enough_stack(|| self.scalar_inside(expr))
    }

    fn scalar_inside(&self, expr: &Expr) -> Result<Built<ScalarPlan>> {
        match expr {
            Expr::Paren(paren) => self.scalar(&paren.expr),
            Expr::Number(number) => Ok(Built::new(ScalarPlan::Constant(number.value), true)),
            Expr::Unary(unary) => {
                let input = self.scalar(&unary.expr)?;
                let plan = match input.plan {
                    plan if !unary.negative => plan,
                    ScalarPlan::Constant(value) => ScalarPlan::Constant(-value),
                    plan => ScalarPlan::Negate(Deep::new(plan)),
                };
                Ok(Built::new(plan, input.invariant))
            }
            Expr::Binary(binary) => {
                let (lhs, rhs) = (self.scalar(&binary.lhs)?, self.scalar(&binary.rhs)?);
                if let (ScalarPlan::Constant(l), ScalarPlan::Constant(r)) = (&lhs.plan, &rhs.plan) {
                    return Ok(Built::new(ScalarPlan::Constant(scalar_binary(binary.op, *l, *r)), true));
                }
                let invariant = lhs.invariant && rhs.invariant;
                let (lhs, rhs) = (Deep::new(within(lhs, invariant)), Deep::new(within(rhs, invariant)));
                Ok(Built::new(ScalarPlan::Binary { op: binary.op, lhs, rhs }, invariant))
            }
            Expr::Call(call) => self.scalar_call(call),
            _ => Err(mistyped("scalar")),
        }
    }

    pub(super) fn range(&self, expr: &Expr) -> Result<Built<RangePlan>> {
        match unparen(expr) {
            Expr::Matrix(matrix) => {
                let shift = self.shift(&matrix.selector.offset, matrix.selector.at)?;
                let input = RangeInput::Series(matrix.selector.matchers.clone());
                let range_ms = self.bounds.positive(&matrix.range)?;
                let (without_buckets, span) = (self.without_buckets, matrix.span);
                let plan = RangePlan { input, range_ms, shift, without_buckets, span };
                Ok(Built::new(plan, shift.at_ms.is_some()))
            }
            Expr::Subquery(subquery) => {
                let shift = self.shift(&subquery.offset, subquery.at)?;
                let inner = Self { without_buckets: false, in_subquery: true, ..*self };
                let plan = Deep::new(inner.vector(&subquery.expr)?.spread());
                let range_ms = self.bounds.positive(&subquery.range)?;
                let step = subquery.step.as_ref().map(|step| self.bounds.positive(step)).transpose()?;
                let step_ms = step.unwrap_or(self.bounds.subquery_step_ms).max(1);
                let input = RangeInput::Subquery { plan, step_ms };
                let plan = RangePlan { input, range_ms, shift, without_buckets: false, span: subquery.span };
                Ok(Built::new(plan, shift.at_ms.is_some()))
            }
            _ => Err(mistyped("range vector")),
        }
    }

    pub(super) fn shift(&self, offset: &Duration, at: Option<At>) -> Result<Shift> {
        let at_ms = at.map(|at| match at {
            At::Time(time_ms) => time_ms,
            At::Start => self.bounds.start_ms,
            At::End => self.bounds.end_ms,
        });
        Ok(Shift { offset_ms: self.bounds.signed(offset)?, at_ms })
    }

    fn vector_binary(&self, binary: &Binary) -> Result<Built<VectorPlan>> {
        if (binary.op.is_comparison() || binary.op.is_trim()) && self.without_buckets {
            return self.with_buckets().vector_binary(binary);
        }
        let span = binary.span;
        let scalar_on_left = binary.lhs.value_type() == ValueType::Scalar;
        if scalar_on_left || binary.rhs.value_type() == ValueType::Scalar {
            let (scalar, vector) =
                if scalar_on_left { (&binary.lhs, &binary.rhs) } else { (&binary.rhs, &binary.lhs) };
            let (scalar, vector) = (self.scalar(scalar)?, self.vector(vector)?);
            let invariant = scalar.invariant && vector.invariant;
            let (scalar, input) = (within(scalar, invariant), Deep::new(within(vector, invariant)));
            let return_bool = binary.return_bool;
            let op = MapOp::Binary { op: binary.op, scalar, scalar_on_left, return_bool, span };
            return Ok(Built::new(VectorPlan::Map { input, op }, invariant));
        }
        let (lhs, rhs) = (self.vector(&binary.lhs)?, self.vector(&binary.rhs)?);
        let invariant = lhs.invariant && rhs.invariant;
        let (lhs, rhs) = (Deep::new(within(lhs, invariant)), Deep::new(within(rhs, invariant)));
        let matching = binary.matching.clone().unwrap_or_default();
        let plan = match set_op(binary.op) {
            Some(op) => VectorPlan::Set { op, matching, lhs, rhs },
            None => {
                let return_bool = binary.return_bool;
                VectorPlan::Binary(BinaryPlan { op: binary.op, return_bool, span, matching, lhs, rhs })
            }
        };
        Ok(Built::new(plan, invariant))
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Built<VectorPlan>> {
        let input = self.vector(&aggregate.expr)?;
        let param = || {
            aggregate
                .param
                .as_deref()
                .ok_or_else(|| QueryError::execution("an aggregation lacks its parameter"))
        };
        let fold = |op| Ok::<_, QueryError>((AggregateKind::Fold(op), input.invariant));
        let (kind, invariant) = match aggregate.op {
            AggregateOp::Sum => fold(FoldOp::Sum),
            AggregateOp::Avg => fold(FoldOp::Avg),
            AggregateOp::Count => fold(FoldOp::Count),
            AggregateOp::Min => fold(FoldOp::Min),
            AggregateOp::Max => fold(FoldOp::Max),
            AggregateOp::Group => fold(FoldOp::Group),
            AggregateOp::Stddev => fold(FoldOp::Stddev),
            AggregateOp::Stdvar => fold(FoldOp::Stdvar),
            AggregateOp::Topk | AggregateOp::Bottomk => {
                let k = self.scalar(param()?)?;
                let invariant = input.invariant && k.invariant;
                let bottom = aggregate.op == AggregateOp::Bottomk;
                Ok((AggregateKind::Rank { bottom, k: within(k, invariant) }, invariant))
            }
            AggregateOp::Quantile => {
                let quantile = self.scalar(param()?)?;
                let (span, invariant) = (param()?.span(), input.invariant && quantile.invariant);
                Ok((AggregateKind::Quantile { quantile: within(quantile, invariant), span }, invariant))
            }
            AggregateOp::CountValues => {
                let label = label_name(param()?)?;
                Ok((AggregateKind::CountValues { label }, input.invariant))
            }
            AggregateOp::Limitk => {
                let k = self.scalar(param()?)?;
                let invariant = input.invariant && k.invariant;
                Ok((AggregateKind::Limit { k: within(k, invariant) }, invariant))
            }
            AggregateOp::LimitRatio => {
                let ratio = self.scalar(param()?)?;
                let (span, invariant) = (param()?.span(), input.invariant && ratio.invariant);
                Ok((AggregateKind::LimitRatio { ratio: within(ratio, invariant), span }, invariant))
            }
        }?;
        let input = Deep::new(within(input, invariant));
        let (grouping, input_span) = (aggregate.grouping.clone(), aggregate.expr.span());
        let plan = AggregatePlan { kind, grouping, input, input_span };
        Ok(Built::new(VectorPlan::Aggregate(plan), invariant))
    }
}

fn set_op(op: BinaryOp) -> Option<SetOp> {
    match op {
        BinaryOp::And => Some(SetOp::And),
        BinaryOp::Or => Some(SetOp::Or),
        BinaryOp::Unless => Some(SetOp::Unless),
        _ => None,
    }
}

/// The constant that a string argument is.
pub(super) fn string(expr: &Expr) -> Result<String> {
    match unparen(expr) {
        Expr::String(literal) => Ok(literal.value.clone()),
        _ => Err(mistyped("string")),
    }
}

/// The name of a label of the result.
pub(super) fn label_name(expr: &Expr) -> Result<String> {
    let fail = |quoted: &str| Err(QueryError::execution(format!("invalid label name {quoted}")));
    match unparen(expr) {
        Expr::String(literal) if literal.invalid.is_some() || literal.value.is_empty() => {
            fail(&quoted_literal(literal))
        }
        expr => string(expr),
    }
}

/// Whether the string argument cannot be the name of a label.
pub(super) fn is_no_label_name(expr: &Expr) -> bool {
    matches!(unparen(expr), Expr::String(literal) if literal.invalid.is_some() || literal.value.is_empty())
}

/// The expression inside all parentheses.
pub(super) fn unparen(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// The matchers of the selector that `expr` is, if it is one.
pub(super) fn selector_matchers(expr: &Expr) -> Option<&[Matcher]> {
    match unparen(expr) {
        Expr::Selector(selector) => Some(&selector.matchers),
        Expr::Matrix(matrix) => Some(&matrix.selector.matchers),
        _ => None,
    }
}

/// The parser checks types, so this names an expression that was put together by hand.
pub(super) fn mistyped(expected: &str) -> QueryError {
    QueryError::execution(format!("expected an expression of type {expected}"))
}
