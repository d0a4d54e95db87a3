//! Common sub-expressions: vectors that a query names several times are planned as [`SharedPlan`]s, and evaluated once.

use std::fmt::{self, Write};

use hashbrown::HashMap;

use super::VectorPlan;
use crate::ast::{Expr, ValueType};

/// Longer expressions are not compared, so that the time this takes grows with the query's length only.
const TEXT_MAX: usize = 1 << 10;

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
    if expr.value_type() == ValueType::Vector
        && !matches!(expr, Expr::Paren(_))
        && let Some(text) = text(expr)
    {
        let count = counts.entry(text).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) | Expr::Subquery(_) => {}
        Expr::Paren(paren) => count(&paren.expr, counts),
        Expr::Unary(unary) => count(&unary.expr, counts),
        Expr::Binary(binary) => {
            count(&binary.lhs, counts);
            count(&binary.rhs, counts);
        }
        Expr::Aggregate(aggregate) => {
            aggregate.param.iter().for_each(|param| count(param, counts));
            count(&aggregate.expr, counts);
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| count(arg, counts)),
    }
}

/// The canonical text of an expression, unless it is long.
fn text(expr: &Expr) -> Option<String> {
    let mut text = Short(String::new());
    write!(text, "{expr}").is_ok().then_some(text.0)
}

/// Text that ends with an error when it becomes long.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > TEXT_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
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
