//! Which queries are tried as short ones. Most of what makes a query long shows while it runs, and ends the attempt then (see
//! [`Cancel::if_short`](super::context::Cancel)). This is about what cannot be interrupted: matching with regular
//! expressions, and compiling those that are made while the query runs.

use super::Query;
use crate::ast::{Expr, MatrixSelector, VectorSelector};
use crate::deep::on_enough_stack;

/// Longer texts may say much to do, and are not asked often.
const TEXT_BYTES_MAX: usize = 2048;

/// Whether a query is worth an attempt.
pub(super) fn may_be(query: &Query) -> bool {
    query.text.len() <= TEXT_BYTES_MAX && is_quick(&query.expr)
}

fn is_quick(expr: &Expr) -> bool {
    on_enough_stack(|| is_quick_inside(expr))
}

fn is_quick_inside(expr: &Expr) -> bool {
    let is_quick_selector = |selector: &VectorSelector| {
        selector.matchers.iter().all(|m| !m.is_regex() || is_quick_pattern(m.value()))
    };
    match expr {
        Expr::Number(_) => true,
        // `label_replace` has an expression in one.
        Expr::String(literal) => is_quick_pattern(&literal.value),
        Expr::Selector(selector) | Expr::Matrix(MatrixSelector { selector, .. }) => {
            is_quick_selector(selector)
        }
        Expr::Subquery(subquery) => is_quick(&subquery.expr),
        Expr::Unary(unary) => is_quick(&unary.expr),
        Expr::Paren(paren) => is_quick(&paren.expr),
        Expr::Binary(binary) => is_quick(&binary.lhs) && is_quick(&binary.rhs),
        Expr::Aggregate(aggregate) => {
            is_quick(&aggregate.expr) && aggregate.param.as_deref().is_none_or(is_quick)
        }
        // This one makes an expression of the labels that it finds.
        Expr::Call(call) => call.function.name != "info" && call.args.iter().all(is_quick),
    }
}

/// Whether the automaton of a regular expression has about as many states as its text has bytes. Repetitions with a number and
/// classes of Unicode may multiply them.
fn is_quick_pattern(pattern: &str) -> bool {
    !pattern.contains('{') && !pattern.contains("\\p") && !pattern.contains("\\P")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_be_short(text: &str) -> bool {
        may_be(&Query::instant(text, crate::parse(text).unwrap(), 0))
    }

    #[test]
    fn expressions_that_multiply_are_not_tried() {
        assert!(may_be_short(r#"sum by (job) (rate(up{job=~"a|b.*"}[5m])) > 1"#));
        assert!(may_be_short(r#"label_replace(up, "a", "$1", "b", "(.*):[0-9]+")"#));
        for text in [
            r#"up{job=~".*[0-9]{1,400}x"}"#,
            r#"rate(up{job!~"a{3}"}[5m])"#,
            r#"-(1 + max_over_time((sum(label_replace(up, "a", "", "b", "\\pL")))[5m:1m]))"#,
            "info(up)",
        ] {
            assert!(!may_be_short(text), "{text}");
        }
        assert!(!may_be_short(&format!("up{}", " ".repeat(TEXT_BYTES_MAX))));
    }
}
