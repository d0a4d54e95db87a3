//! Binary operators of which one side at least is a histogram.

use std::sync::Arc;

use timberline_engine::{Histogram, ResetHint};

use super::notes::Doing;
use crate::ast::{BinaryOp, Span};
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::row::ABSENT;
use crate::histogram::{Incompatible, Sum, same, trim};

/// An operator, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) struct Operation {
    pub(in crate::exec) op: BinaryOp,
    /// Whether a comparison gives 0 or 1.
    pub(in crate::exec) return_bool: bool,
    pub(in crate::exec) span: Span,
}

/// `histogram × factor`, without the buckets that this empties.
pub(in crate::exec) fn scale(histogram: &Histogram, factor: f64) -> Histogram {
    Sum::of(histogram, 1.0).times(factor)
}

/// One side.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// `l op r`. An operator that is not there for what the sides are gives no sample, and an annotation.
pub(in crate::exec) fn operate(
    context: &Context<'_>,
    operation: Operation,
    l: Operand<'_>,
    r: Operand<'_>,
) -> Result<f64> {
    use Operand::{Float, Histogram};
    let Operation { op, span, .. } = operation;
    match (l, r) {
        (Float(l), Histogram(histogram)) if op == BinaryOp::Mul => context.keep(scale(histogram, l)),
        (Histogram(histogram), Float(r)) => match op {
            BinaryOp::Mul => context.keep(scale(histogram, r)),
            BinaryOp::Div => context.keep(Sum::of(histogram, 1.0).over(r)),
            BinaryOp::TrimUpper => context.keep(trim(histogram, r, true)),
            BinaryOp::TrimLower => context.keep(trim(histogram, r, false)),
            _ => Ok(incompatible(context, op, ["histogram", "float"], span)),
        },
        (Histogram(left), Histogram(right)) => match op {
            BinaryOp::Add | BinaryOp::Sub => add(context, op, left, right, span),
            BinaryOp::Eql => compared(context, operation, same(left, right), left),
            BinaryOp::Neq => compared(context, operation, !same(left, right), left),
            _ => Ok(incompatible(context, op, ["histogram", "histogram"], span)),
        },
        (Float(_), Histogram(_)) => Ok(incompatible(context, op, ["float", "histogram"], span)),
        (Float(_), Float(_)) => Ok(incompatible(context, op, ["float", "float"], span)),
    }
}

fn incompatible(context: &Context<'_>, op: BinaryOp, [lhs, rhs]: [&str; 2], span: Span) -> f64 {
    context.incompatible_types(op, lhs, rhs, span);
    ABSENT
}

fn compared(context: &Context<'_>, operation: Operation, holds: bool, kept: &Arc<Histogram>) -> Result<f64> {
    match holds {
        _ if operation.return_bool => Ok(f64::from(u8::from(holds))),
        true => context.keep_shared(kept),
        false => Ok(ABSENT),
    }
}

fn add(context: &Context<'_>, op: BinaryOp, l: &Histogram, r: &Histogram, span: Span) -> Result<f64> {
    let (factor, doing) =
        if op == BinaryOp::Sub { (-1.0, Doing::Subtraction) } else { (1.0, Doing::Addition) };
    let mut sum = Sum::of(l, 1.0);
    let notes = match sum.add(r, factor) {
        Ok(notes) => notes,
        Err(Incompatible) => {
            context.incompatible_buckets(op, span);
            return Ok(ABSENT);
        }
    };
    if notes.conflicting_resets {
        context.conflicting_resets(doing, span);
    }
    if notes.bounds_reconciled {
        context.bounds_reconciled(doing, span);
    }
    let mut result = sum.times(1.0);
    if op == BinaryOp::Sub {
        // A difference of counters may go down.
        result.reset_hint = ResetHint::Gauge;
    }
    context.keep(result)
}
