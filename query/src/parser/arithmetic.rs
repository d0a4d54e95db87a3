//! Durations of ranges, subqueries and `offset`: literals, and arithmetic of `step()` and `range()`.

use crate::ast::{AggregateOp, BinaryOp, Duration, DurationExpr, NumberLiteral, Span};
use crate::parser::duration::MAX_DURATION_MS;
use crate::parser::error::{Failure, Result};
use crate::parser::token::TokenKind;
use crate::parser::{MAX_DURATION_HEIGHT, Parser};

/// Where a duration stands, for messages, and how many nodes its tree has so far.
struct Place<'m> {
    context: &'m str,
    expected: &'m str,
    nodes: usize,
}

impl Parser<'_> {
    /// A duration between brackets. A literal is at least a millisecond; what is computed is checked later.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Result<Duration> {
        let start = self.current.start;
        let expr = self.duration_operators(0, &mut Place { context, expected, nodes: 0 })?;
        let duration = to_duration(expr);
        if matches!(duration, Duration::Millis(ms) if ms <= 0) {
            return Err(Failure::new(start, "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// The duration of `offset`: operators that are not in parentheses belong to the expression around.
    pub(super) fn offset_duration(&mut self, expected: &str) -> Result<Duration> {
        let place = &mut Place { context: "offset", expected, nodes: 0 };
        let expr = match self.peek() {
            TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                self.signed_duration(place, Self::duration_operand)?
            }
            _ => self.duration_operand(place)?,
        };
        Ok(to_duration(expr))
    }

    /// An expression whose operators outside parentheses all bind at least as tightly as `min_precedence`.
    fn duration_operators(&mut self, min_precedence: u8, place: &mut Place<'_>) -> Result<DurationExpr> {
        place.nodes += 1;
        if place.nodes > MAX_DURATION_HEIGHT {
            return Err(self.too_complex("too complex a duration", MAX_DURATION_HEIGHT));
        }
        let mut lhs = match self.peek() {
            TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => {
                let tighter = BinaryOp::Pow.precedence();
                self.signed_duration(place, |parser, place| parser.duration_operators(tighter, place))?
            }
            _ => self.duration_operand(place)?,
        };
        while let TokenKind::Operator(op) = *self.peek()
            && op.is_arithmetic()
            && op.precedence() >= min_precedence
        {
            lhs = self.duration_binary(lhs, op, place)?;
        }
        Ok(lhs)
    }

    /// The operator and the right side.
    fn duration_binary(
        &mut self,
        lhs: DurationExpr,
        op: BinaryOp,
        place: &mut Place<'_>,
    ) -> Result<DurationExpr> {
        let at = self.current.start;
        self.bump();
        let rhs = self.duration_operators(op.precedence() + u8::from(op != BinaryOp::Pow), place)?;
        if matches!(&rhs, DurationExpr::Number(number) if number.value == 0.0) {
            match op {
                BinaryOp::Div => return Err(Failure::new(at, "division by zero")),
                BinaryOp::Mod => return Err(Failure::new(at, "modulo by zero")),
                _ => {}
            }
        }
        let span = Span { start: lhs.span().start, end: rhs.span().end };
        Ok(DurationExpr::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), span })
    }

    /// A sign and what `operand` reads. The sign of a literal becomes part of it.
    fn signed_duration<'m>(
        &mut self,
        place: &mut Place<'m>,
        operand: impl FnOnce(&mut Self, &mut Place<'m>) -> Result<DurationExpr>,
    ) -> Result<DurationExpr> {
        let start = self.current.start;
        let negative = self.peek() == &TokenKind::Operator(BinaryOp::Sub);
        self.bump();
        let expr = operand(self, place)?;
        let span = Span { start, end: expr.span().end };
        if let DurationExpr::Number(number) = expr {
            let value = if negative { -number.value } else { number.value };
            return Ok(DurationExpr::Number(NumberLiteral { value, span, ..number }));
        }
        Ok(DurationExpr::Unary { negative, expr: Box::new(expr), span })
    }

    /// A literal, `step()`, `range()`, `min_of(a, b)`, `max_of(a, b)`, or an expression in parentheses.
    fn duration_operand(&mut self, place: &mut Place<'_>) -> Result<DurationExpr> {
        let start = self.current.start;
        let is_call = self.second.kind == TokenKind::LeftParen;
        match self.peek() {
            TokenKind::Number | TokenKind::Duration => self.duration_literal(),
            TokenKind::LeftParen => {
                self.bump();
                let expr = self.duration_operators(0, place)?;
                self.duration_token(&TokenKind::RightParen, place)?;
                Ok(match expr {
                    number @ DurationExpr::Number(_) => number,
                    expr => {
                        let span = Span { start, end: self.last_end };
                        DurationExpr::Paren { expr: Box::new(expr), span }
                    }
                })
            }
            TokenKind::Identifier if is_call && (self.current_is("step") || self.current_is("range")) => {
                let is_step = self.current_is("step");
                self.bump();
                self.bump();
                self.duration_token(&TokenKind::RightParen, place)?;
                let span = Span { start, end: self.last_end };
                Ok(if is_step { DurationExpr::Step(span) } else { DurationExpr::Range(span) })
            }
            // `min` and `max` are what `min_of` and `max_of` were called first.
            TokenKind::Aggregate(AggregateOp::Min) if is_call => self.duration_extreme(false, place),
            TokenKind::Aggregate(AggregateOp::Max) if is_call => self.duration_extreme(true, place),
            TokenKind::Identifier if is_call && self.current_is("min_of") => {
                self.duration_extreme(false, place)
            }
            TokenKind::Identifier if is_call && self.current_is("max_of") => {
                self.duration_extreme(true, place)
            }
            _ => Err(self.unexpected(place.context, place.expected)),
        }
    }

    fn duration_extreme(&mut self, largest: bool, place: &mut Place<'_>) -> Result<DurationExpr> {
        let start = self.current.start;
        self.bump();
        self.bump();
        let lhs = Box::new(self.duration_operators(0, place)?);
        self.duration_token(&TokenKind::Comma, place)?;
        let rhs = Box::new(self.duration_operators(0, place)?);
        self.duration_token(&TokenKind::RightParen, place)?;
        Ok(DurationExpr::Extreme { largest, lhs, rhs, span: Span { start, end: self.last_end } })
    }

    fn duration_token(&mut self, kind: &TokenKind, place: &Place<'_>) -> Result<()> {
        if self.accept(kind) { Ok(()) } else { Err(self.unexpected(place.context, place.expected)) }
    }

    fn duration_literal(&mut self) -> Result<DurationExpr> {
        let start = self.current.start;
        let (value, is_duration) = self.number()?;
        // The comparison is false for NaN.
        if (value * 1000.0).round() <= MAX_DURATION_MS as f64 {
            let span = Span { start, end: self.last_end };
            return Ok(DurationExpr::Number(NumberLiteral { value, is_duration, span }));
        }
        Err(Failure::new(start, "duration out of range"))
    }
}

fn to_duration(expr: DurationExpr) -> Duration {
    match expr {
        // The literal was checked to fit.
        DurationExpr::Number(number) => Duration::Millis((number.value * 1000.0).round() as i64),
        expr => Duration::Expr(Box::new(expr)),
    }
}
