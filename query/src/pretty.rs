//! An expression over several lines, as Prometheus's `Prettify` breaks it: what fits into a line stays in one.

use crate::ast::{Aggregate, Binary, Call, Expr, Subquery};
use crate::deep::on_enough_stack;
use crate::print::{AggregateHead, Operator, SubquerySuffix, is_infinite_base, short_beginnings, short_text};

/// What is longer, in bytes, is broken.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";
/// What is deeper is indented no further, or a chain of thousands of operators would be all blanks.
const INDENT_LEVELS_MAX: usize = 100;

impl Expr {
    /// The expression as text for people, broken into lines of at most 100 bytes where operators, arguments and parentheses
    /// allow it. Parsing it gives the same tree, spans apart.
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut text = Text::default();
        write_pretty(&mut text, self, 0);
        text.text
    }
}

#[derive(Default)]
struct Text {
    text: String,
    /// Whether what comes next goes on in the line that has begun, so that it is not indented.
    goes_on: bool,
}

impl Text {
    fn push_str(&mut self, text: &str) {
        self.goes_on = false;
        self.text.push_str(text);
    }

    fn push(&mut self, char: char) {
        self.goes_on = false;
        self.text.push(char);
    }
}

fn indent(text: &mut Text, level: usize) {
    if !text.goes_on {
        (0..level.min(INDENT_LEVELS_MAX)).for_each(|_| text.push_str(INDENT));
    }
}

fn write_pretty(text: &mut Text, expr: &Expr, level: usize) {
    on_enough_stack(|| write_lines(text, expr, level));
}

fn write_lines(text: &mut Text, expr: &Expr, level: usize) {
    if let Some(line) = short_text(expr, LINE_BYTES_MAX) {
        // Prometheus does not indent a subquery that fits.
        if !matches!(expr, Expr::Subquery(_)) {
            indent(text, level);
        }
        text.push_str(&line);
        return;
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => {
            indent(text, level);
            text.push_str(&expr.to_string());
        }
        Expr::Subquery(subquery) => write_subquery(text, subquery, level),
        Expr::Unary(unary) => {
            indent(text, level);
            text.push(if unary.negative { '-' } else { '+' });
            text.goes_on = true;
            write_pretty(text, &unary.expr, level);
        }
        Expr::Paren(paren) => {
            indent(text, level);
            text.push('(');
            write_inside(text, std::slice::from_ref(&*paren.expr), level);
        }
        Expr::Binary(binary) => write_binary(text, binary, level),
        Expr::Aggregate(aggregate) => write_aggregate(text, aggregate, level),
        Expr::Call(call) => write_call(text, call, level),
    }
}

/// Expressions on lines of their own, and the closing parenthesis.
fn write_inside(text: &mut Text, exprs: &[Expr], level: usize) {
    for (i, expr) in exprs.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        write_pretty(text, expr, level + 1);
    }
    text.push('\n');
    indent(text, level);
    text.push(')');
}

fn write_subquery(text: &mut Text, subquery: &Subquery, level: usize) {
    write_pretty(text, &subquery.expr, level);
    text.push_str(&SubquerySuffix(subquery).to_string());
}

/// Each operator of a chain is a level deeper than the one after it. The longest beginning that fits into a line stays in one.
fn write_binary(text: &mut Text, binary: &Binary, level: usize) {
    let (first, chain) = binary.chain();
    let beginnings = short_beginnings(binary, LINE_BYTES_MAX);
    let level_after = |operators: usize| level + chain.len() - operators;
    match beginnings.last() {
        Some(line) => {
            indent(text, level_after(beginnings.len()));
            text.push_str(line);
        }
        None if chain.first().is_some_and(|link| is_infinite_base(link)) => {
            indent(text, level_after(0));
            text.push_str("Inf");
        }
        None => write_pretty(text, first, level_after(0)),
    }
    for (at, link) in chain.iter().enumerate().skip(beginnings.len()) {
        let level = level_after(at + 1);
        text.push('\n');
        indent(text, level);
        text.push_str(&Operator(link).to_string());
        text.push('\n');
        write_pretty(text, &link.rhs, level + 1);
    }
}

fn write_aggregate(text: &mut Text, aggregate: &Aggregate, level: usize) {
    indent(text, level);
    text.push_str(&AggregateHead(aggregate).to_string());
    text.push('(');
    if let Some(param) = &aggregate.param {
        text.push('\n');
        write_pretty(text, param, level + 1);
        text.push(',');
    }
    write_inside(text, std::slice::from_ref(&*aggregate.expr), level);
}

fn write_call(text: &mut Text, call: &Call, level: usize) {
    indent(text, level);
    text.push_str(call.function.name);
    text.push('(');
    write_inside(text, &call.args, level);
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let pretty = parse(text).unwrap().pretty();
        assert_eq!(pretty, expected);
        let again = parse(&pretty).unwrap();
        assert_eq!(again.to_string(), parse(text).unwrap().to_string());
        assert_eq!(again.pretty(), pretty);
    }

    const LONG: &str = "a_metric_with_a_name_that_is_quite_long_for_a_line{label=\"some value\"}";

    #[test]
    fn what_fits_stays_in_one_line() {
        check("sum  by(a)( foo )  / 2", "sum by (a) (foo) / 2");
        check("foo[5m:]", "foo[5m:]");
    }

    #[test]
    fn operators_stand_between_their_operands() {
        check(
            &format!("{LONG} + on(a) group_left(b) {LONG}"),
            &format!("  {LONG}\n+ on (a) group_left (b)\n  {LONG}"),
        );
        check(&format!("-({LONG} > bool {LONG})"), &format!("-(\n    {LONG}\n  > bool\n    {LONG}\n)"));
    }

    #[test]
    fn arguments_have_lines_of_their_own() {
        check(
            &format!("topk by(x) (2, rate({LONG}[5m]) * {LONG})"),
            &format!("topk by (x) (\n  2,\n    rate({LONG}[5m])\n  *\n    {LONG}\n)"),
        );
        check(
            &format!("label_join({LONG}, \"a\", \"{LONG}\")").replace("label=\"some value\"}\")", "x\")"),
            &format!(
                "label_join(\n  {LONG},\n  \"a\",\n  \"a_metric_with_a_name_that_is_quite_long_for_a_line{{x\"\n)"
            ),
        );
        check(
            &format!("max_over_time((sum({LONG}) + sum({LONG}))[1h:5m] @ end() offset 1m)"),
            &format!(
                "max_over_time(\n  (\n      sum({LONG})\n    +\n      sum({LONG})\n  )[1h:5m] @ end() offset 1m\n)"
            ),
        );
    }
}
