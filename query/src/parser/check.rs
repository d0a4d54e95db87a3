//! The type check: arguments, operands and operators fit together, selectors select something.

use timberline_engine::METRIC_NAME;

use crate::ast::ValueType::{self, Matrix, Scalar, Vector};
use crate::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, Unary, VectorSelector};
use crate::deep::on_enough_stack;
use crate::parser::error::{Failure, Result};
use crate::parser::lexer::skip_blank;
use crate::print::Quoted;

/// Checks `expr` and everything below it. Clears the vector matching of operators that have a scalar operand.
pub(super) fn check(source: &str, expr: &mut Expr) -> Result<()> {
    on_enough_stack(|| check_inside(source, expr))
}

fn check_inside(source: &str, expr: &mut Expr) -> Result<()> {
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(()),
        Expr::Selector(selector) => check_selector(selector),
        Expr::Matrix(matrix) => check_selector(&matrix.selector),
        Expr::Paren(paren) => check(source, &mut paren.expr),
        Expr::Unary(unary) => check_unary(source, unary),
        Expr::Binary(binary) => check_binary(source, binary),
        Expr::Aggregate(aggregate) => check_aggregate(source, aggregate),
        Expr::Call(call) => check_call(source, call),
        Expr::Subquery(subquery) => {
            check(source, &mut subquery.expr)?;
            let got = subquery.expr.value_type();
            if got != Vector {
                let message =
                    format!("subquery is only allowed on instant vector, got {} instead", internal_name(got));
                return Err(Failure::new(subquery.span.start, message));
            }
            Ok(())
        }
    }
}

/// Checks that the selector cannot select everything and has at most one name.
pub(super) fn check_selector(selector: &VectorSelector) -> Result<()> {
    let fail = |message: String| Err(Failure::new(selector.span.start, message));
    let Some(name) = &selector.name else {
        if selector.matchers.iter().all(timberline_engine::Matcher::matches_empty) {
            return fail("vector selector must contain at least one non-empty matcher".to_owned());
        }
        return Ok(());
    };
    let mut names = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
    match (names.next(), names.next()) {
        // The matcher of the selector's own name is the last one.
        (Some(other), Some(_)) => {
            fail(format!("metric name must not be set twice: {} or {}", Quoted(name), Quoted(other.value())))
        }
        _ => Ok(()),
    }
}

fn check_unary(source: &str, unary: &mut Unary) -> Result<()> {
    check(source, &mut unary.expr)?;
    let got = unary.expr.value_type();
    if got == Scalar || got == Vector {
        return Ok(());
    }
    let message = format!(
        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
        Quoted(documented_name(got))
    );
    Err(Failure::new(unary.span.start, message))
}

fn check_aggregate(source: &str, aggregate: &mut Aggregate) -> Result<()> {
    expect(source, &mut aggregate.expr, Vector, || "aggregation expression".to_owned())?;
    let Some(param) = &mut aggregate.param else {
        return Ok(());
    };
    let want = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { Scalar };
    expect(source, param, want, || "aggregation parameter".to_owned())
}

fn check_call(source: &str, call: &mut Call) -> Result<()> {
    let function = call.function;
    let (declared, got) = (function.args.len(), call.args.len());
    let wrong_count = |bound: &str, count: usize| {
        let message =
            format!("expected {bound}{count} argument(s) in call to {}, got {got}", Quoted(function.name));
        Err(Failure::new(call.span.start, message))
    };
    if function.variadic == 0 {
        if got != declared {
            return wrong_count("", declared);
        }
    } else {
        let least = declared - 1;
        if got < least {
            return wrong_count("at least ", least);
        }
        if let Ok(repeats) = usize::try_from(function.variadic)
            && got > least + repeats
        {
            return wrong_count("at most ", least + repeats);
        }
    }
    for (index, arg) in call.args.iter_mut().enumerate() {
        if function.name == "info" && index == 1 && arg.value_type() == Vector {
            check_label_selector(arg)?;
            continue;
        }
        let want = function.args[index.min(declared - 1)];
        expect(source, arg, want, || format!("call to function {}", Quoted(function.name)))?;
    }
    Ok(())
}

/// The second argument of `info`: a selector without a name in front, which may match anything.
fn check_label_selector(arg: &Expr) -> Result<()> {
    match arg {
        Expr::Selector(selector) if selector.name.is_none() => Ok(()),
        _ => {
            let message = "expected label selectors only, got vector selector instead";
            Err(Failure::new(arg.span().start, message))
        }
    }
}

fn expect(source: &str, expr: &mut Expr, want: ValueType, context: impl FnOnce() -> String) -> Result<()> {
    check(source, expr)?;
    let got = expr.value_type();
    if got == want {
        return Ok(());
    }
    let message =
        format!("expected type {} in {}, got {}", documented_name(want), context(), documented_name(got));
    Err(Failure::new(expr.span().start, message))
}

fn check_binary(source: &str, binary: &mut Binary) -> Result<()> {
    check(source, &mut binary.lhs)?;
    check(source, &mut binary.rhs)?;
    check_operator(source, binary)?;
    let (lhs, rhs) = (binary.lhs.value_type(), binary.rhs.value_type());
    for (operand, value_type) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if value_type != Scalar && value_type != Vector {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Failure::new(operand.span().start, message));
        }
    }
    check_matching(binary, lhs == Vector && rhs == Vector)
}

/// What is wrong with the operator or its modifiers is reported where the operator stands.
fn check_operator(source: &str, binary: &Binary) -> Result<()> {
    let fail = |message: &str| {
        let lhs_end = binary.lhs.span().end;
        Err(Failure::new(lhs_end + skip_blank(&source[lhs_end..]), message))
    };
    if binary.return_bool && !binary.op.is_comparison() {
        return fail("bool modifier can only be used on comparison operators");
    }
    let both_scalar = binary.lhs.value_type() == Scalar && binary.rhs.value_type() == Scalar;
    if binary.op.is_comparison() && !binary.return_bool && both_scalar {
        return fail("comparisons between scalars must use BOOL modifier");
    }
    if binary.op.is_trim() && both_scalar {
        return fail(&format!("operator {} not allowed between scalars", Quoted(binary.op.as_str())));
    }
    if let Some(matching) = &binary.matching
        && matching.on
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        return fail(&format!("label {} must not occur in ON and GROUP clause at once", Quoted(label)));
    }
    Ok(())
}

/// Checks the vector matching, and clears it unless both operands are vectors.
fn check_matching(binary: &mut Binary, both_vectors: bool) -> Result<()> {
    let (op, start) = (binary.op, binary.span.start);
    let fail = |message: String| Err(Failure::new(start, message));
    let Some(matching) = &binary.matching else {
        return Ok(());
    };
    if both_vectors {
        if op.is_set() && matching.cardinality != Cardinality::ManyToMany {
            return fail(format!("no grouping allowed for {} operation", Quoted(op.as_str())));
        }
        if op.is_set() && matching.fill.any() {
            return fail("filling in missing series not allowed for set operators".to_owned());
        }
        return Ok(());
    }
    if !matching.labels.is_empty() {
        return fail("vector matching only allowed between instant vectors".to_owned());
    }
    if matching.fill.any() {
        return fail("filling in missing series only allowed between instant vectors".to_owned());
    }
    if op.is_set() {
        return fail(format!("set operator {} not allowed in binary scalar expression", Quoted(op.as_str())));
    }
    binary.matching = None;
    Ok(())
}

/// The type's name in messages to users.
fn documented_name(value_type: ValueType) -> &'static str {
    match value_type {
        Vector => "instant vector",
        Matrix => "range vector",
        _ => internal_name(value_type),
    }
}

/// The type's name in the API.
fn internal_name(value_type: ValueType) -> &'static str {
    match value_type {
        Scalar => "scalar",
        Vector => "vector",
        Matrix => "matrix",
        ValueType::String => "string",
    }
}
