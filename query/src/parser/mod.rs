//! The PromQL parser: query text → tokens → syntax tree → type check.
//!
//! 1. `lexer` cuts the text into tokens with nom parsers; a lexical error becomes a token, so that the first error in
//!    reading order is the one reported.
//! 2. `expression`, `selector` and `modifier` build the tree by recursive descent with precedence climbing.
//! 3. `check` verifies the types, once the syntax is known to be right.
//!
//! The grammar, the order of the checks and the messages are those of Prometheus 3. Positions count characters, not bytes.

mod arithmetic;
mod cheap;
mod check;
mod duration;
mod error;
mod expression;
mod lexer;
mod literal;
mod modifier;
mod selector;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use timberline_engine::{Budget, Matcher};

pub use cheap::is_cheap_to_parse;
pub use duration::{DurationError, format_duration, parse_duration};
pub use error::ParseError;

use crate::ast::Expr;
use crate::parser::error::{Failure, Result};
use crate::parser::lexer::Lexer;
use crate::parser::token::{Token, TokenKind};

pub(crate) use token::{is_bare_grouping_label, is_bare_matcher_label, is_bare_metric_name};

/// The greatest height of a syntax tree: how deep parentheses, calls, aggregations, signs and right operands may nest, and how many
/// operators may follow each other, as in `a + b + c + …`. It bounds the stack that walking a tree takes ([`crate::deep`]).
pub const MAX_HEIGHT: usize = 10_000;

/// The same for the duration in brackets or after `offset`, where operators and parentheses count together.
const MAX_DURATION_HEIGHT: usize = 256;

/// What an expression may hold that no request asks for: one of a rule, or of a program that embeds this.
const DEFAULT_BUDGET_BYTES: usize = 1 << 30;

/// Parses a PromQL expression and checks its types. What it holds counts against a budget of its own, of the default size.
///
/// # Errors
/// The first error in the query, with its position.
pub fn parse(query: &str) -> std::result::Result<Expr, ParseError> {
    parse_within(query, &default_budget())
}

/// The same; the regular expressions count against `budget` as long as the expression, or a clone of it, is there.
///
/// # Errors
/// As [`parse`]; with [`limit`](ParseError::limit) if the budget has no room.
pub fn parse_within(query: &str, budget: &Arc<Budget>) -> std::result::Result<Expr, ParseError> {
    let parsed = Parser::new(query, budget).query().and_then(|mut expr| {
        check::check(query, &mut expr)?;
        Ok(expr)
    });
    parsed.map_err(|failure| failure.locate(query))
}

/// Parses an instant vector selector without modifiers, as in the parameter `match[]`, into its matchers.
/// The metric name's matcher, if there is one, comes last.
///
/// # Errors
/// The first error in the query, with its position; a selector that would match a series without any label is one.
pub fn parse_selector(query: &str) -> std::result::Result<Vec<Matcher>, ParseError> {
    parse_selector_within(query, &default_budget())
}

/// The same; the regular expressions count against `budget` as long as the matchers, or clones of them, are there.
///
/// # Errors
/// As [`parse_selector`]; with [`limit`](ParseError::limit) if the budget has no room.
pub fn parse_selector_within(
    query: &str,
    budget: &Arc<Budget>,
) -> std::result::Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(query, budget);
    let parsed = parser.selector().and_then(|selector| {
        parser.expect_end()?;
        check::check_selector(&selector)?;
        Ok(selector.matchers)
    });
    parsed.map_err(|failure| failure.locate(query))
}

/// The budget of an expression that no request asks for.
pub(crate) fn default_budget() -> Arc<Budget> {
    Budget::new("query_memory_bytes_max", DEFAULT_BUDGET_BYTES)
}

/// The place reached in a query: two tokens, the lexer behind them, and what surrounds them.
struct Parser<'a> {
    /// What regular expressions count against.
    budget: &'a Arc<Budget>,
    lexer: Lexer<'a>,
    current: Token<'a>,
    /// The token after the current one. `EndOfInput` and `Error` repeat for ever.
    second: Token<'a>,
    /// Where the last passed token ends.
    last_end: usize,
    /// How many expressions are open around the current token.
    nesting: usize,
    /// How many of them are arguments of aggregations: errors say so, as in Prometheus.
    aggregations: usize,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str, budget: &'a Arc<Budget>) -> Self {
        let mut lexer = Lexer::new(source);
        let (current, second) = (lexer.token(), lexer.token());
        Self { budget, lexer, current, second, last_end: 0, nesting: 0, aggregations: 0 }
    }

    /// A whole query: one expression and nothing behind it.
    fn query(&mut self) -> Result<Expr> {
        if self.peek() == &TokenKind::EndOfInput {
            return Err(Failure::new(0, "no expression found in input"));
        }
        let node = self.expression()?;
        self.expect_end()?;
        Ok(node.expr)
    }

    fn peek(&self) -> &TokenKind {
        &self.current.kind
    }

    /// Passes the current token.
    fn bump(&mut self) {
        self.last_end = self.current.end();
        self.current = std::mem::replace(&mut self.second, self.lexer.token());
    }

    /// Passes the current token if it is a `kind`.
    fn accept(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.bump();
        }
        found
    }

    fn expect_end(&self) -> Result<()> {
        if self.peek() == &TokenKind::EndOfInput { Ok(()) } else { Err(self.unexpected("", "")) }
    }

    /// The error that the current token cannot stand where it stands. `context` and `expected` may be empty.
    fn unexpected(&self, context: &str, expected: &str) -> Failure {
        let token = &self.current;
        if let TokenKind::Error(message) = &token.kind {
            return Failure::new(token.start, message.clone());
        }
        if let TokenKind::InvalidString(_) = &token.kind {
            return Failure::new(token.start, format!("string is not valid UTF-8: {}", token.text));
        }
        let mut message = format!("unexpected {token}");
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Failure::new(token.start, message)
    }
}
