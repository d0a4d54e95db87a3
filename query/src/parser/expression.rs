//! Expressions: operators by precedence climbing, and the operands between them.

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, NumberLiteral, Paren, Span,
    StringLiteral, Unary,
};
use crate::deep::{Deep, on_enough_stack};
use crate::parser::error::{Failure, Result};
use crate::parser::token::TokenKind;
use crate::parser::{MAX_HEIGHT, Parser};
use crate::print::Quoted;
use crate::signature;

/// An expression and the height of its tree; a leaf has height 1.
pub(super) struct Node {
    pub(super) expr: Expr,
    pub(super) height: usize,
}

impl BinaryOp {
    /// How tightly the operator binds, from 1. A unary operator binds like `*`.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eql | Self::Neq | Self::Gtr | Self::Lss | Self::Gte | Self::Lte => 3,
            Self::TrimUpper | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

impl Parser<'_> {
    /// An expression.
    pub(super) fn expression(&mut self) -> Result<Node> {
        self.operators(0)
    }

    /// An expression whose operators outside parentheses all bind at least as tightly as `min_precedence`.
    fn operators(&mut self, min_precedence: u8) -> Result<Node> {
        self.nesting += 1;
        if self.nesting > MAX_HEIGHT {
            return Err(self.too_complex("nested too deeply", MAX_HEIGHT));
        }
        let parsed = on_enough_stack(|| self.operators_inside(min_precedence))?;
        self.nesting -= 1;
        Ok(parsed)
    }

    fn operators_inside(&mut self, min_precedence: u8) -> Result<Node> {
        let mut lhs = match self.peek() {
            TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub) => self.unary()?,
            _ => self.operand()?,
        };
        while let TokenKind::Operator(op) = *self.peek() {
            if op.precedence() < min_precedence {
                break;
            }
            lhs = self.binary(lhs, op)?;
        }
        Ok(lhs)
    }

    /// The operator and the right side of a binary expression.
    fn binary(&mut self, lhs: Node, op: BinaryOp) -> Result<Node> {
        self.bump();
        let (return_bool, mut matching) = self.binary_modifiers()?;
        let rhs = self.operators(op.precedence() + u8::from(op != BinaryOp::Pow))?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let height = lhs.height.max(rhs.height);
        let span = Span { start: lhs.expr.span().start, end: rhs.expr.span().end };
        let binary = Binary::new(op, return_bool, Some(matching), [lhs.expr, rhs.expr], span);
        self.node(Expr::Binary(binary), height)
    }

    /// A sign and its operand. The sign of a number literal becomes part of the literal.
    fn unary(&mut self) -> Result<Node> {
        let start = self.current.start;
        let negative = self.peek() == &TokenKind::Operator(BinaryOp::Sub);
        self.bump();
        let operand = self.operators(BinaryOp::Pow.precedence())?;
        let span = Span { start, end: operand.expr.span().end };
        if let Expr::Number(number) = operand.expr {
            let value = if negative { -number.value } else { number.value };
            let expr = Expr::Number(NumberLiteral { value, span, ..number });
            return Ok(Node { expr, height: 1 });
        }
        let expr = Deep::new(operand.expr);
        self.node(Expr::Unary(Unary { negative, expr, span }), operand.height)
    }

    /// An operand with the ranges and modifiers behind it.
    fn operand(&mut self) -> Result<Node> {
        let node = match self.peek() {
            TokenKind::LeftParen => self.paren()?,
            TokenKind::Identifier | TokenKind::Start | TokenKind::End
                if self.second.kind == TokenKind::LeftParen =>
            {
                self.call()?
            }
            TokenKind::Aggregate(op)
                if matches!(self.second.kind, TokenKind::LeftParen | TokenKind::By | TokenKind::Without) =>
            {
                self.aggregate(*op)?
            }
            _ => self.leaf()?,
        };
        self.postfix(node)
    }

    /// A literal or a selector. A function of its own: the temporaries of the arms here are not on the stack
    /// of a deep expression.
    fn leaf(&mut self) -> Result<Node> {
        let start = self.current.start;
        let expr = match self.peek() {
            TokenKind::Number | TokenKind::Duration => {
                let (value, is_duration) = self.number()?;
                Expr::Number(NumberLiteral { value, is_duration, span: Span { start, end: self.last_end } })
            }
            TokenKind::String(text) => {
                let (value, invalid) = (text.clone(), None);
                self.bump();
                Expr::String(StringLiteral { value, invalid, span: Span { start, end: self.last_end } })
            }
            TokenKind::InvalidString(bytes) => {
                let value = String::from_utf8_lossy(bytes).into_owned();
                let invalid = Some(bytes.clone());
                self.bump();
                Expr::String(StringLiteral { value, invalid, span: Span { start, end: self.last_end } })
            }
            _ => Expr::Selector(self.selector()?),
        };
        Ok(Node { expr, height: 1 })
    }

    fn paren(&mut self) -> Result<Node> {
        let start = self.current.start;
        self.bump();
        let inner = self.expression()?;
        if !self.accept(&TokenKind::RightParen) {
            return Err(self.unexpected("", ""));
        }
        let span = Span { start, end: self.last_end };
        self.node(Expr::Paren(Paren { expr: Deep::new(inner.expr), span }), inner.height)
    }

    fn call(&mut self) -> Result<Node> {
        let start = self.current.start;
        let name = self.current.text;
        self.bump();
        let (args, height) = self.arguments()?;
        // `start()` and `end()` are keywords, in any case.
        let is_keyword = matches!(name.to_ascii_lowercase().as_str(), "start" | "end" | "step" | "range");
        let lower = name.to_ascii_lowercase();
        let Some(function) = signature::lookup(if is_keyword { &lower } else { name }) else {
            let message = format!("unknown function with name {}", Quoted(name));
            return Err(Failure::new(start, message));
        };
        let span = Span { start, end: self.last_end };
        self.node(Expr::Call(Call { function, args: Deep::new(args), span }), height)
    }

    /// Arguments in parentheses, and the height of the highest.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize)> {
        if !self.accept(&TokenKind::LeftParen) {
            return Err(self.unexpected("aggregation", ""));
        }
        let mut args = Vec::new();
        let mut height = 0;
        if self.accept(&TokenKind::RightParen) {
            return Ok((args, height));
        }
        loop {
            let arg = self.expression()?;
            height = height.max(arg.height);
            args.push(arg.expr);
            if self.accept(&TokenKind::RightParen) {
                return Ok((args, height));
            }
            let comma = self.current.start;
            if !self.accept(&TokenKind::Comma) {
                return Err(self.unexpected("", ""));
            }
            if self.peek() == &TokenKind::RightParen {
                return Err(Failure::new(comma, "trailing commas not allowed in function call args"));
            }
        }
    }

    /// An aggregation, its grouping before or after the arguments.
    fn aggregate(&mut self, op: AggregateOp) -> Result<Node> {
        let start = self.current.start;
        self.bump();
        let before = self.grouping()?;
        self.aggregations += 1;
        let (mut args, height) = self.arguments()?;
        self.aggregations -= 1;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or_default(),
        };
        let (expected, got) = (if op.has_param() { 2 } else { 1 }, args.len());
        let (Some(expr), true) = (args.pop(), got == expected) else {
            let message = if got == 0 {
                "no arguments for aggregate expression provided".to_owned()
            } else {
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {got}"
                )
            };
            return Err(Failure::new(start, message));
        };
        let span = Span { start, end: self.last_end };
        let param = args.pop().map(Deep::new);
        let aggregate = Aggregate { op, param, expr: Deep::new(expr), grouping, span };
        self.node(Expr::Aggregate(aggregate), height)
    }

    /// A node above children of at most `height`. Chains of operators grow trees that the parser's own recursion
    /// does not see.
    pub(super) fn node(&self, expr: Expr, height: usize) -> Result<Node> {
        if height >= MAX_HEIGHT {
            return Err(self.too_complex("too long a chain of operators", MAX_HEIGHT));
        }
        Ok(Node { expr, height: height + 1 })
    }

    pub(super) fn too_complex(&self, what: &str, limit: usize) -> Failure {
        Failure::new(self.current.start, format!("expression is {what}, the limit is {limit} levels"))
    }
}
