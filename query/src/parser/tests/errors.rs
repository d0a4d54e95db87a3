//! Rejected queries: position and message.

use crate::parser::parse;

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, display) in cases {
        let (position, message) = display.split_once(' ').unwrap();
        match parse(text) {
            Ok(expr) => panic!("{text} parsed as {expr}"),
            Err(error) => {
                assert_eq!(error.to_string(), format!("{position} parse error: {message}"), "{text}");
            }
        }
    }
}

#[test]
fn lexical() {
    check(&[
        ("foo $", "1:5: unexpected character: '$'"),
        ("foo.bar", "1:4: unexpected character: '.'"),
        ("1 \u{a0}+ 2", "1:3: unexpected character: '\\u00a0'"),
        ("1 =~ 1", "1:3: unexpected character after '=': '~'"),
        ("1 !~ 1", "1:3: unexpected character after '!': '~'"),
        ("1 !", "1:3: unexpected end of input after '!'"),
        ("foo{a !b}", "1:7: unexpected character after '!' inside braces: 'b'"),
        ("foo{a:b}", "1:6: unexpected character inside braces: ':'"),
        ("foo{a=1}", "1:7: unexpected character inside braces: '1'"),
        ("foo{{", "1:5: unexpected left brace '{'"),
        ("foo{a=\"b\"", "1:10: unexpected end of input inside braces"),
        ("(1 + 2", "1:7: unclosed left parenthesis"),
        ("rate(foo[5m]", "1:13: unclosed left parenthesis"),
        ("foo[5m", "1:7: unclosed left bracket"),
        ("1)", "1:2: unexpected right parenthesis ')'"),
        ("foo]", "1:4: unexpected right bracket ']'"),
        ("foo[5m[", "1:7: unexpected left bracket '['"),
        ("foo[5m::]", "1:8: unexpected colon ':'"),
        ("foo + \"bar", "1:7: unterminated quoted string"),
        ("\"a\nb\"", "1:1: unterminated quoted string"),
        ("`abc", "1:1: unterminated raw string"),
        ("\"\\q\"", "1:1: unknown escape sequence U+0071 'q'"),
        ("'\\\"'", "1:1: unknown escape sequence U+0022 '\"'"),
        ("\"\\xZ0\"", "1:1: illegal character U+005A 'Z' in escape sequence"),
        ("\"\\400\"", "1:1: escape sequence is an invalid Unicode code point"),
        ("\"\\ud800\"", "1:1: escape sequence is an invalid Unicode code point"),
        ("\"\\U00110000\"", "1:1: escape sequence is an invalid Unicode code point"),
        ("\"\\x4", "1:1: escape sequence not terminated"),
        ("{a=\"a\\xc5z\"}", "1:4: string is not valid UTF-8: \"a\\xc5z\""),
        ("1mm", "1:1: bad number or duration syntax: \"1mm\""),
        ("1foo", "1:1: bad number or duration syntax: \"1foo\""),
        ("1..2", "1:1: bad number or duration syntax: \"1..2\""),
        ("1__0", "1:1: bad number or duration syntax: \"1__0\""),
        ("1_", "1:1: bad number or duration syntax: \"1_\""),
        ("0x", "1:1: bad number or duration syntax: \"0x\""),
        ("0o17", "1:1: bad number or duration syntax: \"0o17\""),
        ("1.5h", "1:1: bad number or duration syntax: \"1.5h\""),
        ("1e400", "1:1: error parsing number: \"1e400\": value out of range"),
        ("1h1y", "1:1: not a valid duration string: \"1h1y\""),
        ("1s1s", "1:1: not a valid duration string: \"1s1s\""),
        ("300y", "1:1: duration out of range"),
    ]);
}

#[test]
fn syntax() {
    check(&[
        ("", "1:1: no expression found in input"),
        ("# comment", "1:1: no expression found in input"),
        ("1 +", "1:4: unexpected end of input"),
        ("1 /\n\n/ 2", "3:1: unexpected <op:/>"),
        ("*1", "1:1: unexpected <op:*>"),
        ("foo bar", "1:5: unexpected identifier \"bar\""),
        ("foo a:b", "1:5: unexpected metric identifier \"a:b\""),
        ("foo 1", "1:5: unexpected number \"1\""),
        ("foo \"a long string\"", "1:5: unexpected string \"\\\"a long st\"..."),
        ("sum foo", "1:5: unexpected identifier \"foo\""),
        ("sum(1 +)", "1:8: unexpected \")\" in aggregation"),
        ("abs(1 +)", "1:8: unexpected \")\""),
        ("abs(foo,)", "1:8: trailing commas not allowed in function call args"),
        ("abs(foo bar)", "1:9: unexpected identifier \"bar\""),
        ("a:b(foo)", "1:4: unexpected \"(\""),
        ("()", "1:2: unexpected \")\""),
        ("foo = bar", "1:5: unexpected \"=\""),
        ("on", "1:1: unexpected <on>"),
        ("atan2 + 1", "1:1: unexpected <op:atan2>"),
        ("a - on(b) ignoring(c) d", "1:11: unexpected <ignoring>"),
        ("a * group_left(b) c", "1:5: unexpected <group_left>"),
        ("a on(b) c", "1:3: unexpected <on>"),
        ("a * on b", "1:8: unexpected identifier \"b\" in grouping opts, expected \"(\""),
        ("sum by (a b) (x)", "1:11: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\""),
        ("sum by (a:b) (x)", "1:9: unexpected metric identifier \"a:b\" in grouping opts, expected label"),
        ("sum by (1) (x)", "1:9: unexpected number \"1\" in grouping opts, expected label"),
        ("sum by (,) (x)", "1:9: unexpected \",\" in grouping opts, expected label"),
        ("sum by (\"\") (x)", "1:9: invalid label name \"\""),
        ("sum by (a) x", "1:12: unexpected identifier \"x\" in aggregation"),
        ("sum by (a) (x) by (b)", "1:16: unexpected <by>"),
        ("sum()", "1:1: no arguments for aggregate expression provided"),
        ("sum(a, b)", "1:1: wrong number of arguments for aggregate expression provided, expected 1, got 2"),
        ("topk(a)", "1:1: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("foo(bar)", "1:1: unknown function with name \"foo\""),
        ("ABS(bar)", "1:1: unknown function with name \"ABS\""),
        ("holt_winters(bar[5m], 1, 1)", "1:1: unknown function with name \"holt_winters\""),
    ]);
}

#[test]
fn label_matching() {
    check(&[
        ("{,}", "1:2: unexpected \",\" in label matching, expected identifier or \"}\""),
        ("{a}", "1:3: unexpected \"}\" in label matching, expected label matching operator"),
        ("{a=b}", "1:4: unexpected identifier \"b\" in label matching, expected string"),
        ("{a=\"b\" c=\"d\"}", "1:8: unexpected identifier \"c\" in label matching, expected \",\" or \"}\""),
        (
            "foo{a=~\"(\"}",
            "1:5: error parsing regexp: missing closing ): `(` at character 1, expected `)` before the end",
        ),
        ("{}", "1:1: vector selector must contain at least one non-empty matcher"),
        ("1 + {x=\"\"}", "1:5: vector selector must contain at least one non-empty matcher"),
        ("{x=~\".*\"}[5m]", "1:1: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__=\"bar\"}", "1:1: metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo{\"bar\"}", "1:1: metric name must not be set twice: \"foo\" or \"bar\""),
        ("{\"foo\", \"bar\"}", "1:1: metric name must not be set twice: \"foo\" or \"bar\""),
    ]);
}

#[test]
fn ranges_and_modifiers() {
    check(&[
        (
            "foo[]",
            "1:5: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "foo[bar]",
            "1:5: unexpected identifier \"bar\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo[5m 5m]", "1:8: unexpected duration \"5m\" in subquery or range, expected \":\" or \"]\""),
        (
            "foo[5m:x]",
            "1:8: unexpected identifier \"x\" in subquery selector, expected number, duration, step(), range(), or \"]\"",
        ),
        ("foo[5m:1m x]", "1:11: unexpected identifier \"x\" in subquery selector, expected \"]\""),
        ("foo[0s]", "1:5: duration must be greater than 0"),
        ("foo[-5m]", "1:5: duration must be greater than 0"),
        ("foo[5m:0]", "1:8: duration must be greater than 0"),
        ("foo[1e10]", "1:5: duration out of range"),
        ("foo[NaN]", "1:5: duration out of range"),
        ("1[5m]", "1:2: ranges only allowed for vector selectors"),
        ("(foo)[5m]", "1:6: ranges only allowed for vector selectors"),
        ("foo[5m][5m]", "1:8: ranges only allowed for vector selectors"),
        ("foo offset 1m[5m]", "1:14: no offset modifiers allowed before range"),
        ("foo @ 1[5m]", "1:8: no @ modifiers allowed before range"),
        (
            "foo offset",
            "1:11: unexpected end of input in offset, expected number, duration, step(), or range()",
        ),
        (
            "foo offset bar",
            "1:12: unexpected identifier \"bar\" in offset, expected number, duration, step(), or range()",
        ),
        ("foo offset 1s offset 2s", "1:1: offset may not be set multiple times"),
        (
            "1 offset 1d",
            "1:1: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "(foo) @ 1",
            "1:1: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo @ 1 @ 2", "1:1: @ <timestamp> may not be set multiple times"),
        ("foo @ bar", "1:7: unexpected identifier \"bar\" in @, expected timestamp"),
        ("foo @ start", "1:12: unexpected end of input in @, expected timestamp"),
        ("foo @ start(1)", "1:13: unexpected number \"1\" in @, expected timestamp"),
        ("foo @ Inf", "1:1: timestamp out of bounds for @ modifier: +Inf"),
        ("foo[5m / 0]", "1:8: division by zero"),
        ("foo[5m % (0)]", "1:8: modulo by zero"),
        ("foo[(0 * 1)] + foo[-(5m)]", "1:20: duration must be greater than 0"),
        ("foo[5m:(0s)]", "1:8: duration must be greater than 0"),
        (
            "foo[(5m]",
            "1:8: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("foo offset (5m", "1:15: unclosed left parenthesis"),
        (
            "foo offset step",
            "1:12: unexpected identifier \"step\" in offset, expected number, duration, step(), or range()",
        ),
        ("foo[Inf]", "1:5: duration out of range"),
        ("foo[1 + 1e300]", "1:9: duration out of range"),
        ("foo[5m:] smoothed", "1:1: smoothed modifier is not supported for subqueries"),
        ("abs(foo) anchored", "1:1: anchored modifier not implemented"),
        ("foo[5m] anchored smoothed", "1:1: anchored and smoothed modifiers cannot be used together"),
        ("foo anchored[5m]", "1:13: no anchored modifiers allowed before range"),
        ("a and fill(0) b", "1:1: filling in missing series not allowed for set operators"),
        ("a + fill_left(0) 1", "1:1: filling in missing series only allowed between instant vectors"),
        ("a + fill() b", "1:10: unexpected \")\" in fill modifier, expected number"),
        ("a + fill(1 b", "1:12: unexpected identifier \"b\" in fill modifier, expected \")\""),
        ("info(a, b)", "1:9: expected label selectors only, got vector selector instead"),
        ("info(a, 1)", "1:9: expected type instant vector in call to function \"info\", got scalar"),
        (
            "histogram_quantiles(a, \"q\")",
            "1:1: expected at least 3 argument(s) in call to \"histogram_quantiles\", got 2",
        ),
    ]);
}

#[test]
fn types() {
    check(&[
        ("abs(foo[5m])", "1:5: expected type instant vector in call to function \"abs\", got range vector"),
        ("rate(foo)", "1:6: expected type range vector in call to function \"rate\", got instant vector"),
        ("vector(\"a\")", "1:8: expected type scalar in call to function \"vector\", got string"),
        (
            "label_join(foo, \"a\", \"b\", 1)",
            "1:27: expected type string in call to function \"label_join\", got scalar",
        ),
        ("abs()", "1:1: expected 1 argument(s) in call to \"abs\", got 0"),
        ("abs(a, b)", "1:1: expected 1 argument(s) in call to \"abs\", got 2"),
        ("label_join(foo)", "1:1: expected at least 3 argument(s) in call to \"label_join\", got 1"),
        ("round(a, 1, 2)", "1:1: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("sum(1)", "1:5: expected type instant vector in aggregation expression, got scalar"),
        ("topk(foo, foo)", "1:6: expected type scalar in aggregation parameter, got instant vector"),
        ("count_values(1, foo)", "1:14: expected type string in aggregation parameter, got scalar"),
        (
            "-\"a\"",
            "1:1: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "-foo[5m]",
            "1:1: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        ("foo[5m] + 1", "1:1: binary expression must contain only scalar and instant vector types"),
        ("1 + \"a\"", "1:5: binary expression must contain only scalar and instant vector types"),
        ("1 </ 2", "1:3: operator \"</\" not allowed between scalars"),
        ("a </ bool b", "1:3: bool modifier can only be used on comparison operators"),
        ("1 == 1", "1:3: comparisons between scalars must use BOOL modifier"),
        ("1 # one\n > 1", "2:2: comparisons between scalars must use BOOL modifier"),
        ("foo + bool 1", "1:5: bool modifier can only be used on comparison operators"),
        ("1 and 1", "1:1: set operator \"and\" not allowed in binary scalar expression"),
        ("foo or 1", "1:1: set operator \"or\" not allowed in binary scalar expression"),
        ("1 + on(a) foo", "1:1: vector matching only allowed between instant vectors"),
        ("foo and on(a) group_left() bar", "1:1: no grouping allowed for \"and\" operation"),
        ("foo * on(a) group_left(a) bar", "1:5: label \"a\" must not occur in ON and GROUP clause at once"),
        ("foo[5m:][5m:]", "1:1: subquery is only allowed on instant vector, got matrix instead"),
        ("1[5m:]", "1:1: subquery is only allowed on instant vector, got scalar instead"),
        ("sum(foo[5m]) by (a) +", "1:22: unexpected end of input"),
    ]);
}
