//! Tokens: their kinds, the words that are keywords, and how errors call them.

use std::fmt;

use crate::ast::{AggregateOp, BinaryOp};
use crate::print::Quoted;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    EndOfInput,
    /// A lexical error, with its message. Nothing comes after it.
    Error(String),
    Identifier,
    /// An identifier with colons in it: only a metric can be called that.
    MetricIdentifier,
    Number,
    Duration,
    /// A string, unescaped.
    String(String),
    /// A string whose escapes spell bytes that are not UTF-8.
    InvalidString(Vec<u8>),
    Aggregate(AggregateOp),
    Operator(BinaryOp),
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    /// `@`
    At,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Bool,
    Offset,
    Start,
    End,
    /// `anchored` and `smoothed`, the experimental modifiers of range selectors.
    Extended,
}

/// A token and the text it was read from.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// The byte offset of the text in the query.
    pub(super) start: usize,
}

impl Token<'_> {
    /// One past the last byte.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

impl TokenKind {
    /// What a word means. Keywords and aggregations are recognised in any case.
    pub(super) fn of_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "inf" | "nan" => Self::Number,
            "and" => Self::Operator(BinaryOp::And),
            "or" => Self::Operator(BinaryOp::Or),
            "unless" => Self::Operator(BinaryOp::Unless),
            "atan2" => Self::Operator(BinaryOp::Atan2),
            "by" => Self::By,
            "without" => Self::Without,
            "on" => Self::On,
            "ignoring" => Self::Ignoring,
            "group_left" => Self::GroupLeft,
            "group_right" => Self::GroupRight,
            "bool" => Self::Bool,
            "offset" => Self::Offset,
            "start" => Self::Start,
            "end" => Self::End,
            "anchored" | "smoothed" => Self::Extended,
            lower => match AggregateOp::ALL.iter().find(|op| op.as_str() == lower) {
                Some(op) => Self::Aggregate(*op),
                None if word.contains(':') => Self::MetricIdentifier,
                None => Self::Identifier,
            },
        }
    }

    /// Whether the word can stand unquoted in a list of labels: all keywords can.
    pub(super) fn is_label(&self) -> bool {
        match self {
            Self::Identifier
            | Self::Aggregate(_)
            | Self::By
            | Self::Without
            | Self::On
            | Self::Ignoring
            | Self::GroupLeft
            | Self::GroupRight
            | Self::Bool
            | Self::Offset
            | Self::Start
            | Self::End
            | Self::Extended => true,
            Self::Operator(op) => is_word_operator(*op),
            _ => false,
        }
    }

    /// Whether the word can stand unquoted as a metric name.
    pub(super) fn is_metric_name(&self) -> bool {
        match self {
            Self::Identifier
            | Self::MetricIdentifier
            | Self::Aggregate(_)
            | Self::By
            | Self::Without
            | Self::Offset
            | Self::Start
            | Self::End
            | Self::Extended => true,
            Self::Operator(op) => op.is_set(),
            _ => false,
        }
    }
}

fn is_word_operator(op: BinaryOp) -> bool {
    op.is_set() || op == BinaryOp::Atan2
}

/// A letter that may begin an identifier.
pub(super) fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

/// A character that may stand inside an identifier.
pub(super) fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// Whether a selector can name this metric without quotes.
pub(crate) fn is_bare_metric_name(name: &str) -> bool {
    name.starts_with(|c| is_alpha(c) || c == ':')
        && name.chars().all(|c| is_alphanumeric(c) || c == ':')
        && TokenKind::of_word(name).is_metric_name()
}

/// Whether a matcher can name this label without quotes.
pub(crate) fn is_bare_matcher_label(name: &str) -> bool {
    name.starts_with(is_alpha) && name.chars().all(is_alphanumeric)
}

/// Whether a list of labels can name this label without quotes.
pub(crate) fn is_bare_grouping_label(name: &str) -> bool {
    is_bare_matcher_label(name) && TokenKind::of_word(name).is_label()
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text;
        match &self.kind {
            TokenKind::EndOfInput => f.write_str("end of input"),
            TokenKind::Error(message) => f.write_str(message),
            TokenKind::Identifier => write!(f, "identifier {}", Quoted(text)),
            TokenKind::MetricIdentifier => write!(f, "metric identifier {}", Quoted(text)),
            TokenKind::Number => write!(f, "number {}", Excerpt(text)),
            TokenKind::Duration => write!(f, "duration {}", Excerpt(text)),
            TokenKind::String(_) | TokenKind::InvalidString(_) => write!(f, "string {}", Excerpt(text)),
            TokenKind::Aggregate(_) => write!(f, "<aggr:{text}>"),
            TokenKind::Operator(_) | TokenKind::EqualRegex | TokenKind::NotEqualRegex | TokenKind::At => {
                write!(f, "<op:{text}>")
            }
            TokenKind::By
            | TokenKind::Without
            | TokenKind::On
            | TokenKind::Ignoring
            | TokenKind::GroupLeft
            | TokenKind::GroupRight
            | TokenKind::Bool
            | TokenKind::Offset
            | TokenKind::Extended => write!(f, "<{text}>"),
            TokenKind::Equal
            | TokenKind::LeftParen
            | TokenKind::RightParen
            | TokenKind::LeftBrace
            | TokenKind::RightBrace
            | TokenKind::LeftBracket
            | TokenKind::RightBracket
            | TokenKind::Comma
            | TokenKind::Colon
            | TokenKind::Start
            | TokenKind::End => write!(f, "{}", Quoted(text)),
        }
    }
}

/// The first ten characters of a literal, quoted.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(10) {
            Some((end, _)) => write!(f, "{}...", Quoted(&self.0[..end])),
            None => write!(f, "{}", Quoted(self.0)),
        }
    }
}
