//! Binary operators.

mod fill;
mod matching;
mod set;

use super::eval::Evaluator;
use super::row::{ABSENT, Row, is_present};
use crate::ast::BinaryOp;
use crate::error::Result;
use crate::plan::BinaryPlan;

pub(super) use set::{evaluate_or, evaluate_set};

/// An arithmetic operator or a comparison.
#[derive(Clone, Copy)]
enum Operator {
    Arithmetic(fn(f64, f64) -> f64),
    Comparison(fn(f64, f64) -> bool),
}

fn operator(op: BinaryOp) -> Operator {
    use Operator::{Arithmetic, Comparison};
    match op {
        BinaryOp::Add => Arithmetic(|l, r| l + r),
        BinaryOp::Sub => Arithmetic(|l, r| l - r),
        BinaryOp::Mul => Arithmetic(|l, r| l * r),
        BinaryOp::Div => Arithmetic(|l, r| l / r),
        BinaryOp::Mod => Arithmetic(|l, r| l % r),
        BinaryOp::Pow => Arithmetic(f64::powf),
        BinaryOp::Atan2 => Arithmetic(f64::atan2),
        BinaryOp::Eql => Comparison(|l, r| l == r),
        BinaryOp::Neq => Comparison(|l, r| l != r),
        BinaryOp::Gtr => Comparison(|l, r| l > r),
        BinaryOp::Lss => Comparison(|l, r| l < r),
        BinaryOp::Gte => Comparison(|l, r| l >= r),
        BinaryOp::Lte => Comparison(|l, r| l <= r),
        // The set operators work on whole series: the parser refuses them for scalars, the planner keeps them apart.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => Comparison(|_, _| false),
        // Only histograms can be trimmed: no result for numbers.
        BinaryOp::TrimUpper | BinaryOp::TrimLower => Comparison(|_, _| false),
    }
}

fn zero_or_one(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

/// `l op r` for scalars; comparisons give 0 or 1.
pub(crate) fn scalar_binary(op: BinaryOp, l: f64, r: f64) -> f64 {
    match operator(op) {
        Operator::Arithmetic(f) => f(l, r),
        Operator::Comparison(f) => zero_or_one(f(l, r)),
    }
}

/// Applies an operator with a scalar to the cells of a row. A filtering comparison keeps the vector's value, whichever side it is on.
pub(super) fn vector_scalar(
    op: BinaryOp,
    cells: &mut [f64],
    scalar: &[f64],
    scalar_on_left: bool,
    return_bool: bool,
) {
    let present = cells.iter_mut().zip(scalar).filter(|(cell, _)| is_present(**cell));
    match (operator(op), scalar_on_left) {
        (Operator::Arithmetic(f), false) => present.for_each(|(cell, &s)| *cell = f(*cell, s)),
        (Operator::Arithmetic(f), true) => present.for_each(|(cell, &s)| *cell = f(s, *cell)),
        (Operator::Comparison(f), scalar_on_left) => present.for_each(|(cell, &s)| {
            let holds = if scalar_on_left { f(s, *cell) } else { f(*cell, s) };
            if return_bool {
                *cell = zero_or_one(holds);
            } else if !holds {
                *cell = ABSENT;
            }
        }),
    }
}

/// An arithmetic operator or comparison between two vectors.
pub(super) fn evaluate<'q>(evaluator: &Evaluator<'q>, plan: &'q BinaryPlan) -> Result<Vec<Row>> {
    let (mut lhs, mut rhs) = (evaluator.rows(&plan.lhs)?, evaluator.rows(&plan.rhs)?);
    fill::fill(evaluator.context, &plan.matching, &mut lhs, &mut rhs)?;
    matching::evaluate(evaluator.context, plan, &lhs, &rhs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_keeps_the_vectors_value() {
        let mut cells = [1.0, 5.0, ABSENT];
        vector_scalar(BinaryOp::Lss, &mut cells, &[3.0; 3], true, false);
        assert!(!is_present(cells[0]) && !is_present(cells[2]));
        assert_eq!(cells[1], 5.0);
        let mut cells = [1.0, 5.0, ABSENT];
        vector_scalar(BinaryOp::Lss, &mut cells, &[3.0; 3], true, true);
        assert_eq!(cells[..2], [0.0, 1.0]);
    }

    #[test]
    fn remainder_has_the_sign_of_the_dividend() {
        assert_eq!(scalar_binary(BinaryOp::Mod, -5.0, 3.0), -2.0);
        assert!(scalar_binary(BinaryOp::Mod, 1.0, 0.0).is_nan());
        assert_eq!(scalar_binary(BinaryOp::Gte, 1.0, 1.0), 1.0);
    }
}
