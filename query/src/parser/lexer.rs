//! Cuts a query into tokens. Inside braces `=~` and `!~` are tokens and words are plain identifiers; inside brackets a colon
//! separates a subquery's range from its step.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{recognize, value};
use nom::multi::{many0_count, many1_count};
use nom::sequence::pair;
use nom::{IResult, Parser};

use crate::ast::BinaryOp;
use crate::parser::literal;
use crate::parser::token::{Token, TokenKind, is_alpha, is_alphanumeric};
use crate::print::Quoted;

/// How many bytes of blanks and comments `input` begins with.
pub(super) fn skip_blank(input: &str) -> usize {
    let blank = recognize(many1_count(one_of(" \t\n\r")));
    let comment = recognize(pair(char('#'), take_till(|c| c == '\n')));
    let blanks: IResult<&str, &str> = recognize(many0_count(alt((blank, comment)))).parse(input);
    blanks.map_or(0, |(_, skipped)| skipped.len())
}

/// The place reached in a query's text, and the brackets open there.
#[derive(Default)]
pub(super) struct Lexer<'a> {
    source: &'a str,
    position: usize,
    paren_depth: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Whether the open bracket already had its colon.
    had_colon: bool,
}

/// What follows the token, and the token; or the message of a lexical error.
type Lexed<'a> = Result<(&'a str, TokenKind), String>;

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self { source, ..Self::default() }
    }

    /// The next token. After the last one this is `EndOfInput` for ever, and after an error the same error.
    pub(super) fn token(&mut self) -> Token<'a> {
        let source = self.source;
        self.position += skip_blank(&source[self.position..]);
        let start = self.position;
        let input = &source[start..];
        let lexed = if self.in_braces { self.inside_braces(input) } else { self.statement(input) };
        let (rest, kind) = lexed.unwrap_or_else(|message| (input, TokenKind::Error(message)));
        self.position = source.len() - rest.len();
        Token { kind, text: &source[start..self.position], start }
    }

    fn statement(&mut self, input: &'a str) -> Lexed<'a> {
        let Some(first) = input.chars().next() else {
            return self.end_of_input(input);
        };
        match first {
            '"' | '\'' | '`' => string(input),
            '0'..='9' => number(input),
            '.' if input[1..].starts_with(|c: char| c.is_ascii_digit()) => number(input),
            ':' if self.in_brackets => self.colon(input),
            _ if is_alpha(first) || first == ':' => word(input),
            '(' | ')' | '[' | ']' | '{' => self.bracket(&input[1..], first),
            _ => symbol(input).map_err(|_| unexpected_symbol(input, first)),
        }
    }

    fn end_of_input(&self, input: &'a str) -> Lexed<'a> {
        if self.paren_depth > 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.in_brackets {
            return Err("unclosed left bracket".to_owned());
        }
        Ok((input, TokenKind::EndOfInput))
    }

    fn colon(&mut self, input: &'a str) -> Lexed<'a> {
        if self.had_colon {
            return Err("unexpected colon ':'".to_owned());
        }
        self.had_colon = true;
        Ok((&input[1..], TokenKind::Colon))
    }

    fn bracket(&mut self, rest: &'a str, bracket: char) -> Lexed<'a> {
        let kind = match bracket {
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => {
                self.paren_depth =
                    self.paren_depth.checked_sub(1).ok_or("unexpected right parenthesis ')'")?;
                TokenKind::RightParen
            }
            '[' if self.in_brackets => return Err("unexpected left bracket '['".to_owned()),
            '[' => {
                self.in_brackets = true;
                self.had_colon = false;
                TokenKind::LeftBracket
            }
            ']' if !self.in_brackets => return Err("unexpected right bracket ']'".to_owned()),
            ']' => {
                self.in_brackets = false;
                TokenKind::RightBracket
            }
            _ => {
                self.in_braces = true;
                TokenKind::LeftBrace
            }
        };
        Ok((rest, kind))
    }

    fn inside_braces(&mut self, input: &'a str) -> Lexed<'a> {
        let Some(first) = input.chars().next() else {
            return Err("unexpected end of input inside braces".to_owned());
        };
        match first {
            '"' | '\'' | '`' => string(input),
            '{' => Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.in_braces = false;
                Ok((&input[1..], TokenKind::RightBrace))
            }
            _ if is_alpha(first) => label(input),
            _ => matcher_symbol(input).map_err(|_| match (first, input[first.len_utf8()..].chars().next()) {
                ('!', Some(next)) => {
                    format!("unexpected character after '!' inside braces: {}", quote_char(next))
                }
                _ => format!("unexpected character inside braces: {}", quote_char(first)),
            }),
        }
    }
}

fn string(input: &str) -> Lexed<'_> {
    let (rest, bytes) = literal::string(input)?;
    // Escapes can spell any byte, so only the whole string can be checked for being UTF-8.
    let kind = String::from_utf8(bytes)
        .map_or_else(|error| TokenKind::InvalidString(error.into_bytes()), TokenKind::String);
    Ok((rest, kind))
}

fn number(input: &str) -> Lexed<'_> {
    literal::number_or_duration(input)
        .map_err(|_| format!("bad number or duration syntax: {}", Quoted(literal::malformed_number(input))))
}

/// A keyword or an identifier. Recording rules have colons in their names.
fn word(input: &str) -> Lexed<'_> {
    let word: IResult<&str, &str> = take_while1(|c| is_alphanumeric(c) || c == ':')(input);
    let (rest, word) = word.map_err(|error| error.to_string())?;
    Ok((rest, TokenKind::of_word(word)))
}

/// A label name inside braces, where no word is a keyword.
fn label(input: &str) -> Lexed<'_> {
    let label: IResult<&str, &str> = take_while1(is_alphanumeric)(input);
    let (rest, _) = label.map_err(|error| error.to_string())?;
    Ok((rest, TokenKind::Identifier))
}

fn symbol(input: &str) -> IResult<&str, TokenKind> {
    let operator = alt((
        value(BinaryOp::Eql, tag("==")),
        value(BinaryOp::Neq, tag("!=")),
        value(BinaryOp::Gte, tag(">=")),
        value(BinaryOp::Lte, tag("<=")),
        value(BinaryOp::TrimUpper, tag("</")),
        value(BinaryOp::TrimLower, tag(">/")),
        value(BinaryOp::Gtr, tag(">")),
        value(BinaryOp::Lss, tag("<")),
        value(BinaryOp::Add, tag("+")),
        value(BinaryOp::Sub, tag("-")),
        value(BinaryOp::Mul, tag("*")),
        value(BinaryOp::Div, tag("/")),
        value(BinaryOp::Mod, tag("%")),
        value(BinaryOp::Pow, tag("^")),
    ));
    // `=~` only exists inside braces: leaving it unread here makes it the error that names it.
    let equal = pair(char('='), nom::combinator::not(char('~')));
    alt((
        operator.map(TokenKind::Operator),
        value(TokenKind::Equal, equal),
        value(TokenKind::Comma, char(',')),
        value(TokenKind::At, char('@')),
    ))
    .parse(input)
}

fn matcher_symbol(input: &str) -> IResult<&str, TokenKind> {
    alt((
        value(TokenKind::EqualRegex, tag("=~")),
        value(TokenKind::NotEqualRegex, tag("!~")),
        value(TokenKind::Operator(BinaryOp::Neq), tag("!=")),
        value(TokenKind::Equal, tag("=")),
        value(TokenKind::Comma, tag(",")),
    ))
    .parse(input)
}

fn unexpected_symbol(input: &str, first: char) -> String {
    match (first, input[first.len_utf8()..].chars().next()) {
        ('=' | '!', Some(next)) => {
            format!("unexpected character after '{first}': {}", quote_char(next))
        }
        ('!', None) => "unexpected end of input after '!'".to_owned(),
        _ => format!("unexpected character: {}", quote_char(first)),
    }
}

/// A character in single quotes.
fn quote_char(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let quoted = Quoted(c.encode_utf8(&mut [0; 4])).to_string();
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}
