//! Which queries are parsed in a microsecond or few: their length says so, unless a regular expression in them is larger than it looks.

use crate::parser::lexer::Lexer;
use crate::parser::token::TokenKind;

/// Longer texts may say much to do, and are not asked often.
const TEXT_BYTES_MAX: usize = 2048;

/// Whether a query is parsed, and its regular expressions compiled, in far less than a millisecond and in little memory: a thread
/// that has other work may do it. Says nothing about whether the query is right.
#[must_use]
pub fn is_cheap_to_parse(query: &str) -> bool {
    if query.len() > TEXT_BYTES_MAX {
        return false;
    }
    let mut lexer = Lexer::new(query);
    loop {
        match lexer.token().kind {
            // It does not matter which strings are patterns: `label_replace` has one among others.
            TokenKind::String(text) if !is_small_pattern(&text) => return false,
            TokenKind::EndOfInput | TokenKind::Error(_) => return true,
            _ => {}
        }
    }
}

/// Whether the automaton of a regular expression is about as large as its text. Repetitions with a number, classes of Unicode
/// and flags (which make classes Unicode's) may multiply it. `${1}` is none of these: it is a label_replace's replacement.
fn is_small_pattern(pattern: &str) -> bool {
    let multiplies = |rest: &str, before: Option<char>| {
        (rest.starts_with('{') && before != Some('$'))
            || rest.starts_with("\\p")
            || rest.starts_with("\\P")
            || (rest.starts_with("(?") && !rest.starts_with("(?:"))
    };
    let mut before = None;
    for (at, c) in pattern.char_indices() {
        if multiplies(&pattern[at..], before) {
            return false;
        }
        before = Some(c);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_multiply_are_not_cheap() {
        for text in [
            r#"sum by (job) (rate(up{job=~"a|b.*"}[5m])) > 1"#,
            r#"label_replace(up, "a", "$1", "b", "(.*):[0-9]+")"#,
            r#"label_replace(up, "a", "${1}x", "b", "(?:a|b)(.*)")"#,
            "info(up)",
            "up{",
            "",
        ] {
            assert!(is_cheap_to_parse(text), "{text}");
        }
        for text in [
            r#"up{job=~".*[0-9]{1,400}x"}"#,
            r#"up{job=~".*[0-9]\x7b1,400}x"}"#,
            r#"rate(up{job!~'a\1733}'}[5m])"#,
            "up{job=~`\\pL`}",
            r#"up # "
               {job=~"(?i)[a-z]"}"#,
            r#"-(1 + max_over_time((sum(label_replace(up, "a", "", "b", "\\pL")))[5m:1m]))"#,
        ] {
            assert!(!is_cheap_to_parse(text), "{text}");
        }
        assert!(!is_cheap_to_parse(&format!("up{}", " ".repeat(TEXT_BYTES_MAX))));
    }
}
