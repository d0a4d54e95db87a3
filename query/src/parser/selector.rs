//! Vector selectors: `metric{label="value"}`, `{"quoted metric", "quoted label"=~"regex"}`.

use timberline_engine::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{BinaryOp, Duration, Edges, Span, VectorSelector};
use crate::parser::Parser;
use crate::parser::error::{Failure, Result};
use crate::parser::token::TokenKind;

const CONTEXT: &str = "label matching";

impl Parser<'_> {
    /// An instant vector selector, without modifiers.
    pub(super) fn selector(&mut self) -> Result<VectorSelector> {
        let start = self.current.start;
        let mut name = None;
        if self.peek().is_metric_name() {
            name = Some(self.current.text.to_owned());
            self.bump();
        } else if self.peek() != &TokenKind::LeftBrace {
            return Err(self.unexpected("", ""));
        }
        let mut matchers = Vec::new();
        if self.accept(&TokenKind::LeftBrace) {
            self.matchers(&mut name, &mut matchers)?;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let span = Span { start, end: self.last_end };
        Ok(VectorSelector { name, matchers, offset: Duration::ZERO, at: None, edges: Edges::Exact, span })
    }

    /// What stands inside braces, and the closing brace.
    fn matchers(&mut self, name: &mut Option<String>, matchers: &mut Vec<Matcher>) -> Result<()> {
        while !self.accept(&TokenKind::RightBrace) {
            if let Some(matcher) = self.matcher(name)? {
                matchers.push(matcher);
            }
            if !self.accept(&TokenKind::Comma) && self.peek() != &TokenKind::RightBrace {
                return Err(self.unexpected(CONTEXT, "\",\" or \"}\""));
            }
        }
        Ok(())
    }

    /// A matcher; or a quoted metric name, which becomes the selector's name if that has none yet.
    fn matcher(&mut self, name: &mut Option<String>) -> Result<Option<Matcher>> {
        let start = self.current.start;
        let (label, quoted) = match self.peek() {
            TokenKind::Identifier => (self.current.text.to_owned(), false),
            TokenKind::String(text) => (text.clone(), true),
            _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
        };
        self.bump();
        let op = match self.peek() {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::Neq) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            // An empty name selects what has no name: it is a matcher like any other.
            TokenKind::Comma | TokenKind::RightBrace if quoted && name.is_none() && !label.is_empty() => {
                *name = Some(label);
                return Ok(None);
            }
            TokenKind::Comma | TokenKind::RightBrace if quoted => {
                return Ok(Some(Matcher::equal(METRIC_NAME, label)));
            }
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.bump();
        let TokenKind::String(value) = self.peek() else {
            return Err(self.unexpected(CONTEXT, "string"));
        };
        let matcher = Matcher::new_within(label, op, value.clone(), self.budget)
            .map_err(|error| Failure::pattern(start, &error))?;
        self.bump();
        Ok(Some(matcher))
    }
}
