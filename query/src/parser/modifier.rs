//! What follows an operand: ranges, subqueries, `offset` and `@`; and the modifiers of operators and aggregations.

use crate::ast::{
    At, BinaryOp, Cardinality, Duration, Edges, Expr, FillValues, Grouping, MatrixSelector, Span, Subquery,
    VectorMatching,
};
use crate::deep::Deep;
use crate::parser::Parser;
use crate::parser::duration::parse_duration;
use crate::parser::error::{Failure, Result};
use crate::parser::expression::Node;
use crate::parser::literal;
use crate::parser::token::TokenKind;
use crate::print::Quoted;

const GROUPING: &str = "grouping opts";
const DURATION: &str = "number, duration, step(), or range()";
const SUBQUERY_STEP: &str = "number, duration, step(), range(), or \"]\"";
const FILL: &str = "fill modifier";

/// The parts of a selector or subquery that `offset` and `@` set.
struct Modified<'a> {
    offset: &'a mut Duration,
    at: &'a mut Option<At>,
}

impl Parser<'_> {
    /// Ranges and modifiers behind an operand; they bind tighter than any operator.
    pub(super) fn postfix(&mut self, mut node: Node) -> Result<Node> {
        loop {
            match self.peek() {
                TokenKind::LeftBracket => node = self.range(node)?,
                TokenKind::Offset => self.offset(&mut node.expr)?,
                TokenKind::At => self.at(&mut node.expr)?,
                TokenKind::Extended => self.extended(&mut node.expr)?,
                _ => return Ok(node),
            }
        }
    }

    /// `[5m]` or `[1h:5m]`.
    fn range(&mut self, node: Node) -> Result<Node> {
        let open = self.current.start;
        self.bump();
        let range = self.positive_duration("subquery or range selector", DURATION)?;
        if self.accept(&TokenKind::Colon) {
            return self.subquery(node, range);
        }
        self.close_bracket("subquery or range", "\":\" or \"]\"")?;
        let end = self.last_end;
        let height = node.height;
        let Expr::Selector(selector) = node.expr else {
            return Err(Failure::new(open, "ranges only allowed for vector selectors"));
        };
        if selector.offset != Duration::ZERO {
            return Err(Failure::new(open, "no offset modifiers allowed before range"));
        }
        if selector.at.is_some() {
            return Err(Failure::new(open, "no @ modifiers allowed before range"));
        }
        if selector.edges != Edges::Exact {
            let message = format!("no {} modifiers allowed before range", selector.edges);
            return Err(Failure::new(open, message));
        }
        let span = Span { start: selector.span.start, end };
        Ok(Node { expr: Expr::Matrix(MatrixSelector { selector, range, span }), height })
    }

    /// The step of a subquery, after its colon.
    fn subquery(&mut self, node: Node, range: Duration) -> Result<Node> {
        let step = match self.peek() {
            TokenKind::RightBracket => None,
            _ => Some(self.positive_duration("subquery selector", SUBQUERY_STEP)?),
        };
        self.close_bracket("subquery selector", "\"]\"")?;
        let span = Span { start: node.expr.span().start, end: self.last_end };
        let expr = Deep::new(node.expr);
        let subquery = Subquery { expr, range, step, offset: Duration::ZERO, at: None, span };
        self.node(Expr::Subquery(subquery), node.height)
    }

    fn close_bracket(&mut self, context: &str, expected: &str) -> Result<()> {
        if self.accept(&TokenKind::RightBracket) {
            return Ok(());
        }
        Err(self.unexpected(context, expected))
    }

    /// The value of a number or duration token, and whether it is a duration.
    pub(super) fn number(&mut self) -> Result<(f64, bool)> {
        let token = &self.current;
        let fail = |message: String| Failure::new(token.start, message);
        let is_duration = token.kind == TokenKind::Duration;
        let value = if is_duration {
            parse_duration(token.text).map_err(|error| fail(error.to_string()))? as f64 / 1000.0
        } else {
            literal::number_value(token.text).map_err(fail)?
        };
        self.bump();
        Ok((value, is_duration))
    }

    /// An optional sign: 1 or -1.
    fn sign(&mut self) -> f64 {
        if self.accept(&TokenKind::Operator(BinaryOp::Sub)) {
            return -1.0;
        }
        self.accept(&TokenKind::Operator(BinaryOp::Add));
        1.0
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let offset = self.offset_duration(DURATION)?;
        let modified = self.modified(expr, "offset")?;
        if *modified.offset != Duration::ZERO {
            return Err(Failure::new(expr.span().start, "offset may not be set multiple times"));
        }
        *modified.offset = offset;
        Ok(())
    }

    /// `anchored` or `smoothed`.
    fn extended(&mut self, expr: &mut Expr) -> Result<()> {
        let edges = if self.current.text.eq_ignore_ascii_case("anchored") {
            Edges::Anchored
        } else {
            Edges::Smoothed
        };
        let fail = |expr: &Expr, message: String| Err(Failure::new(expr.span().start, message));
        self.bump();
        let end = self.last_end;
        let selector = match expr {
            Expr::Selector(selector) => selector,
            Expr::Matrix(matrix) => {
                matrix.span.end = end;
                &mut matrix.selector
            }
            Expr::Subquery(_) => {
                return fail(expr, format!("{edges} modifier is not supported for subqueries"));
            }
            _ => return fail(expr, format!("{edges} modifier not implemented")),
        };
        if selector.edges != Edges::Exact && selector.edges != edges {
            return fail(expr, "anchored and smoothed modifiers cannot be used together".to_owned());
        }
        selector.edges = edges;
        selector.span.end = selector.span.end.max(end);
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<()> {
        self.bump();
        let at = match self.peek() {
            TokenKind::Start | TokenKind::End => self.at_bound()?,
            _ => self.at_time(expr.span().start)?,
        };
        let modified = self.modified(expr, "@")?;
        if modified.at.is_some() {
            return Err(Failure::new(expr.span().start, "@ <timestamp> may not be set multiple times"));
        }
        *modified.at = Some(at);
        Ok(())
    }

    /// `start()` or `end()`.
    fn at_bound(&mut self) -> Result<At> {
        let at = if self.peek() == &TokenKind::Start { At::Start } else { At::End };
        self.bump();
        if self.accept(&TokenKind::LeftParen) && self.accept(&TokenKind::RightParen) {
            return Ok(at);
        }
        Err(self.unexpected("@", "timestamp"))
    }

    /// A number of seconds since the epoch.
    fn at_time(&mut self, expr_start: usize) -> Result<At> {
        let sign = self.sign();
        if !matches!(self.peek(), TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let seconds = sign * self.number()?.0;
        let ms = (seconds * 1000.0).round();
        // The comparison is false for NaN; 2^63 as a float is one more than the greatest i64.
        if ms.abs() < i64::MAX as f64 {
            Ok(At::Time(ms as i64))
        } else {
            let seconds = if seconds == f64::INFINITY { "+Inf".to_owned() } else { format!("{seconds:.6}") };
            Err(Failure::new(expr_start, format!("timestamp out of bounds for @ modifier: {seconds}")))
        }
    }

    /// What the modifier `name` sets in `expr`, whose span grows to the modifier's end.
    fn modified<'e>(&self, expr: &'e mut Expr, name: &str) -> Result<Modified<'e>> {
        let end = self.last_end;
        let start = expr.span().start;
        match expr {
            Expr::Selector(e) => {
                e.span.end = end;
                Ok(Modified { offset: &mut e.offset, at: &mut e.at })
            }
            Expr::Matrix(e) => {
                e.span.end = end;
                Ok(Modified { offset: &mut e.selector.offset, at: &mut e.selector.at })
            }
            Expr::Subquery(e) => {
                e.span.end = end;
                Ok(Modified { offset: &mut e.offset, at: &mut e.at })
            }
            _ => {
                let message = format!(
                    "{name} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
                );
                Err(Failure::new(start, message))
            }
        }
    }

    /// `bool`, `on`, `ignoring`, `group_left` and `group_right` behind an operator: whether `bool` is there, and the rest.
    pub(super) fn binary_modifiers(&mut self) -> Result<(bool, VectorMatching)> {
        let return_bool = self.accept(&TokenKind::Bool);
        let mut matching = VectorMatching::default();
        if matches!(self.peek(), TokenKind::On | TokenKind::Ignoring) {
            matching.on = self.peek() == &TokenKind::On;
            self.bump();
            matching.labels = self.grouping_labels()?;
            matching.cardinality = match self.peek() {
                TokenKind::GroupLeft => Cardinality::ManyToOne,
                TokenKind::GroupRight => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if matching.cardinality != Cardinality::OneToOne {
                self.bump();
                if self.peek() == &TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        matching.fill = self.fill_values()?;
        Ok((return_bool, matching))
    }

    /// `fill(...)`, or `fill_left(...)` and `fill_right(...)` in any order. All of them can also be names of metrics.
    fn fill_values(&mut self) -> Result<FillValues> {
        let mut fill = FillValues::default();
        if self.current_is("fill") && self.second.kind == TokenKind::LeftParen {
            let value = self.fill_value()?;
            return Ok(FillValues { left: Some(value), right: Some(value) });
        }
        while self.second.kind == TokenKind::LeftParen {
            let side = if fill.left.is_none() && self.current_is("fill_left") {
                &mut fill.left
            } else if fill.right.is_none() && self.current_is("fill_right") {
                &mut fill.right
            } else {
                break;
            };
            *side = Some(self.fill_value()?);
        }
        Ok(fill)
    }

    /// A number in parentheses, after the modifier's name.
    fn fill_value(&mut self) -> Result<f64> {
        self.bump();
        self.bump();
        let sign = self.sign();
        if !matches!(self.peek(), TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected(FILL, "number"));
        }
        let value = sign * self.number()?.0;
        if self.accept(&TokenKind::RightParen) { Ok(value) } else { Err(self.unexpected(FILL, "\")\"")) }
    }

    pub(super) fn current_is(&self, word: &str) -> bool {
        self.current.text.eq_ignore_ascii_case(word)
    }

    /// `by (...)` or `without (...)`, if there is one.
    pub(super) fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = match self.peek() {
            TokenKind::By => false,
            TokenKind::Without => true,
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(Grouping { without, labels: self.grouping_labels()? }))
    }

    /// Labels in parentheses, quoted or not.
    fn grouping_labels(&mut self) -> Result<Vec<String>> {
        if !self.accept(&TokenKind::LeftParen) {
            return Err(self.unexpected(GROUPING, "\"(\""));
        }
        let mut labels = Vec::new();
        while !self.accept(&TokenKind::RightParen) {
            let token = &self.current;
            match &token.kind {
                TokenKind::String(label) if label.is_empty() => {
                    return Err(Failure::new(token.start, format!("invalid label name {}", Quoted(label))));
                }
                TokenKind::String(label) => labels.push(label.clone()),
                kind if kind.is_label() => labels.push(token.text.to_owned()),
                _ => return Err(self.unexpected(GROUPING, "label")),
            }
            self.bump();
            if !self.accept(&TokenKind::Comma) && self.peek() != &TokenKind::RightParen {
                return Err(self.unexpected(GROUPING, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }
}
