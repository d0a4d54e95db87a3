//! Durations become numbers: `step()` and `range()` are known once the query is.

use super::build::Bounds;
use crate::ast::{BinaryOp, Duration, DurationExpr};
use crate::error::{QueryError, Result};

impl Bounds {
    /// From the first to the last time of the query, milliseconds.
    pub(super) fn range_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms)
    }

    /// The milliseconds of a range or of a subquery's step.
    pub(super) fn positive(&self, duration: &Duration) -> Result<i64> {
        let expr = match duration {
            Duration::Millis(ms) => return Ok(*ms),
            Duration::Expr(expr) => expr,
        };
        let seconds = self.seconds(expr)?;
        if seconds > 0.0 { to_millis(expr, seconds) } else { fail(expr, "duration must be greater than 0") }
    }

    /// The milliseconds of an offset.
    pub(super) fn signed(&self, duration: &Duration) -> Result<i64> {
        match duration {
            Duration::Millis(ms) => Ok(*ms),
            Duration::Expr(expr) => to_millis(expr, self.seconds(expr)?),
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64> {
        Ok(match expr {
            DurationExpr::Number(number) => number.value,
            DurationExpr::Step(_) => self.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => self.range_ms() as f64 / 1000.0,
            DurationExpr::Paren { expr, .. } => self.seconds(expr)?,
            DurationExpr::Unary { negative, expr, .. } => {
                let value = self.seconds(expr)?;
                if *negative { -value } else { value }
            }
            DurationExpr::Extreme { largest, lhs, rhs, .. } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                if *largest { lhs.max(rhs) } else { lhs.min(rhs) }
            }
            DurationExpr::Binary { op, lhs, rhs, .. } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Div if rhs == 0.0 => return fail(expr, "division by zero"),
                    BinaryOp::Mod if rhs == 0.0 => return fail(expr, "modulo by zero"),
                    op => crate::exec::scalar_binary(*op, lhs, rhs),
                }
            }
        })
    }
}

fn to_millis(expr: &DurationExpr, seconds: f64) -> Result<i64> {
    // More nanoseconds than an i64 holds. The comparison is false for NaN.
    const SECONDS_END: f64 = i64::MAX as f64 / 1e9;
    if seconds.abs() < SECONDS_END {
        return Ok((seconds * 1000.0) as i64);
    }
    fail(expr, "duration is out of range")
}

fn fail<T>(expr: &DurationExpr, reason: &str) -> Result<T> {
    let span = expr.span();
    Err(QueryError::Query(format!("{}:{}: {reason}", span.start, span.end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;

    fn millis(text: &str) -> std::result::Result<i64, String> {
        let bounds = Bounds { start_ms: 1000, end_ms: 61_000, step_ms: 5000, subquery_step_ms: 60_000 };
        let Expr::Matrix(matrix) = crate::parse(&format!("x[{text}]")).unwrap() else { panic!("no range") };
        bounds.positive(&matrix.range).map_err(|error| error.to_string())
    }

    #[test]
    fn arithmetic_of_steps_and_ranges() {
        assert_eq!(millis("step()"), Ok(5000));
        assert_eq!(millis("range() / 2 + 1ms"), Ok(30_001));
        assert_eq!(millis("2 + 3 * 2 ^ 2"), Ok(14_000));
        assert_eq!(millis("-(-5m % 7)"), Ok(6000));
        assert_eq!(millis("MAX_OF(min(step(), 7s), 1)"), Ok(5000));
    }

    #[test]
    fn what_is_no_range_is_refused_where_it_stands() {
        assert_eq!(millis("step() - 5"), Err("2:12: duration must be greater than 0".to_owned()));
        assert_eq!(millis("1 / (step() - 5)"), Err("2:18: division by zero".to_owned()));
        assert_eq!(millis("1 % (step() - 5)"), Err("2:18: modulo by zero".to_owned()));
        assert_eq!(millis("10 ^ 10 * 1"), Err("2:13: duration is out of range".to_owned()));
    }
}
