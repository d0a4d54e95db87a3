//! Common sub-expressions: vectors that a query names several times are planned as [`SharedPlan`]s, and evaluated once.

use hashbrown::HashMap;

use super::VectorPlan;
use crate::ast::{Binary, Expr, Span, ValueType};
use crate::deep::on_enough_stack;
use crate::print::{short_beginnings, short_text};

/// Longer expressions are not compared, so that the time this takes grows with the query's length only.
const TEXT_MAX: usize = 1 << 10;
/// Nor are those whose source is as long as this, which mostly says that their text is long.
const SOURCE_MAX: usize = 4 << 10;

/// An expression that stands in the query more than once.
#[derive(Debug)]
pub(crate) struct SharedPlan {
    /// Which one it is.
    pub(crate) number: usize,
    pub(crate) plan: VectorPlan,
}

/// The expressions of a query that stand in it more than once; not those inside of such a one.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    numbers: HashMap<String, usize>,
}

impl Repeated {
    pub(super) fn find(expr: &Expr) -> Self {
        let mut counts = HashMap::new();
        count(expr, &mut counts);
        let repeated = counts.into_iter().filter(|&(_, count)| count > 1).map(|(text, _)| text);
        Self { numbers: repeated.zip(0..).collect() }
    }

    /// The number of `expr`, if it is one of them.
    pub(super) fn number(&self, expr: &Expr) -> Option<usize> {
        if self.numbers.is_empty() {
            return None;
        }
        self.numbers.get(&text(expr)?).copied()
    }
}

/// Counts the vectors in `expr` by their text. Subqueries are evaluated at times of their own, so what is in them is not counted.
fn count(expr: &Expr, counts: &mut HashMap<String, usize>) {
    on_enough_stack(|| count_inside(expr, counts));
}

fn count_inside(expr: &Expr, counts: &mut HashMap<String, usize>) {
    if expr.value_type() == ValueType::Vector
        && !matches!(expr, Expr::Paren(_) | Expr::Binary(_))
        && let Some(text) = text(expr)
        && is_known(text, counts)
    {
        return;
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) | Expr::Subquery(_) => {}
        Expr::Paren(paren) => count(&paren.expr, counts),
        Expr::Unary(unary) => count(&unary.expr, counts),
        Expr::Binary(binary) => count_chain(binary, counts),
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| count(param, counts));
            count(&aggregate.expr, counts);
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| count(arg, counts)),
    }
}

/// Counts the beginnings of a chain of operators, the longest one first, and the operands.
fn count_chain(binary: &Binary, counts: &mut HashMap<String, usize>) {
    let (first, chain) = binary.chain();
    let is_short = chain.first().is_some_and(|link| is_short(link.span));
    let mut texts = if is_short { short_beginnings(binary, TEXT_MAX) } else { Vec::new() };
    for (at, link) in chain.into_iter().enumerate().rev() {
        if at < texts.len()
            && let Some(text) = texts.pop()
            && link.value_type == ValueType::Vector
            && is_known(text, counts)
        {
            return;
        }
        count(&link.rhs, counts);
    }
    count(first, counts);
}

/// Counts a text; whether it was counted before.
fn is_known(text: String, counts: &mut HashMap<String, usize>) -> bool {
    let count = counts.entry(text).or_default();
    *count += 1;
    *count > 1
}

/// The canonical text of an expression, unless it is long.
fn text(expr: &Expr) -> Option<String> {
    if is_short(expr.span()) { short_text(expr, TEXT_MAX) } else { None }
}

fn is_short(Span { start, end }: Span) -> bool {
    end.saturating_sub(start) <= SOURCE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse;

    fn repeated(query: &str) -> Vec<String> {
        let mut texts: Vec<String> = Repeated::find(&parse(query).unwrap()).numbers.into_keys().collect();
        texts.sort();
        texts
    }

    #[test]
    fn the_largest_repeated_expressions_are_found() {
        assert_eq!(repeated("sum(rate(a[5m])) / count(rate( a[300s] ))"), ["rate(a[5m])"]);
        assert_eq!(repeated("sum(rate(a[5m])) / sum((rate(a[5m])))"), ["rate(a[5m])"]);
        assert_eq!(repeated("sum(rate(a[5m])) / (sum(rate(a[5m])))"), ["sum(rate(a[5m]))"]);
        assert_eq!(repeated("a / b + a / b + b"), ["a / b", "b"]);
        assert_eq!(repeated("a > 1 and a < 2"), ["a"]);
    }

    #[test]
    fn other_times_and_other_labels_are_other_expressions() {
        for query in ["a - a offset 5m", "a @ 1 + a", r#"a{x="1"} / a{x="2"}"#, "a + max_over_time(a[5m:])"] {
            assert_eq!(repeated(query), Vec::<String>::new(), "{query}");
        }
    }

    #[test]
    fn long_expressions_are_not_compared() {
        let long = format!("{}a_long_name", "a_long_name + ".repeat(100));
        assert_eq!(repeated(&long), ["a_long_name"]);
        let short = "a_long_name + a_long_name";
        assert_eq!(repeated(&format!("({short}) / ({short})")), ["a_long_name", short]);
    }
}
