//! What the parser accepts and how it prints, and what it rejects, where and with which words.

mod errors;
mod properties;

use timberline_engine::METRIC_NAME;

use crate::ast::*;
use crate::parser::{MAX_HEIGHT, format_duration, parse, parse_duration, parse_selector};

/// Removes all spans and sorts matchers, so that trees from different texts compare.
fn strip(expr: &mut Expr) {
    let none = Span::default();
    match expr {
        Expr::Number(e) => e.span = none,
        Expr::String(e) => e.span = none,
        Expr::Selector(e) => strip_selector(e),
        Expr::Matrix(e) => {
            e.span = none;
            strip_duration(&mut e.range);
            strip_selector(&mut e.selector);
        }
        Expr::Subquery(e) => {
            e.span = none;
            strip_duration(&mut e.range);
            strip_duration(&mut e.offset);
            e.step.iter_mut().for_each(strip_duration);
            strip(&mut e.expr);
        }
        Expr::Unary(e) => {
            e.span = none;
            strip(&mut e.expr);
        }
        Expr::Paren(e) => {
            e.span = none;
            strip(&mut e.expr);
        }
        Expr::Binary(e) => {
            e.span = none;
            strip(&mut e.lhs);
            strip(&mut e.rhs);
        }
        Expr::Aggregate(e) => {
            e.span = none;
            strip(&mut e.expr);
            if let Some(param) = &mut e.param {
                strip(param);
            }
        }
        Expr::Call(e) => {
            e.span = none;
            e.args.iter_mut().for_each(strip);
        }
    }
}

fn strip_selector(selector: &mut VectorSelector) {
    selector.span = Span::default();
    strip_duration(&mut selector.offset);
    selector.matchers.sort_by_cached_key(|matcher| format!("{matcher:?}"));
}

fn strip_duration(duration: &mut Duration) {
    if let Duration::Expr(expr) = duration {
        strip_duration_expr(expr);
    }
}

fn strip_duration_expr(expr: &mut DurationExpr) {
    match expr {
        DurationExpr::Number(number) => number.span = Span::default(),
        DurationExpr::Step(span) | DurationExpr::Range(span) => *span = Span::default(),
        DurationExpr::Unary { expr, span, .. } | DurationExpr::Paren { expr, span } => {
            *span = Span::default();
            strip_duration_expr(expr);
        }
        DurationExpr::Binary { lhs, rhs, span, .. } | DurationExpr::Extreme { lhs, rhs, span, .. } => {
            *span = Span::default();
            strip_duration_expr(lhs);
            strip_duration_expr(rhs);
        }
    }
}

/// The tree without spans, in a form in which NaN equals itself.
fn shape(expr: &Expr) -> String {
    let mut expr = expr.clone();
    strip(&mut expr);
    format!("{expr:?}")
}

/// Parses each text, compares its canonical text, and checks that this parses to the same tree.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, canonical) in cases {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), *canonical, "from {text}");
        assert_eq!(expr.span(), Span { start: 0, end: text.len() }, "span of {text}");
        let again = parse(canonical).unwrap_or_else(|error| panic!("{canonical}: {error}"));
        assert_eq!(shape(&again), shape(&expr), "{text} and {canonical}");
    }
}

/// Texts that are canonical already.
#[track_caller]
fn check_canonical(texts: &[&str]) {
    let cases: Vec<_> = texts.iter().map(|text| (*text, *text)).collect();
    check(&cases);
}

#[test]
fn numbers() {
    check(&[
        ("1", "1"),
        ("+Inf", "+Inf"),
        ("-iNF", "-Inf"),
        ("nAn", "NaN"),
        (".5", "0.5"),
        ("5.", "5"),
        ("123.4567", "123.4567"),
        ("5e-3", "0.005"),
        ("5e3", "5000"),
        ("1E+5", "100000"),
        ("0xc", "12"),
        ("0X1F", "31"),
        ("0x_1f_ff", "8191"),
        ("0xee", "238"),
        ("0755", "493"),
        ("08", "8"),
        ("+5.5e-3", "0.0055"),
        ("-0755", "-493"),
        ("1_000_000", "1000000"),
        ("1_23.50_0_0e+1_2", "123500000000000"),
        ("18446744073709551616", "18446744073709552000"),
        ("--1", "1"),
        ("-0", "-0"),
    ]);
}

#[test]
fn durations_are_numbers_and_numbers_are_durations() {
    check(&[
        ("5m", "5m"),
        ("-1h30m", "-1h30m"),
        ("0s", "0s"),
        ("5ms", "5ms"),
        ("1y2w", "379d"),
        ("foo * 1m30s", "foo * 1m30s"),
        ("foo[300]", "foo[5m]"),
        ("foo[0x10]", "foo[16s]"),
        ("foo[1.5]", "foo[1s500ms]"),
        ("foo[5m:30]", "foo[5m:30s]"),
        ("foo[ 5m : 30s ]", "foo[5m:30s]"),
        ("foo offset 60", "foo offset 1m"),
        ("foo offset -1.5", "foo offset -1s500ms"),
        ("foo offset 0", "foo"),
    ]);
    let Expr::Number(number) = parse("1h30m").unwrap() else { panic!() };
    assert_eq!((number.value, number.is_duration), (5400.0, true));
}

#[test]
fn duration_texts() {
    let accepted = [
        ("0", 0, "0s"),
        ("0w", 0, "0s"),
        ("0s", 0, "0s"),
        ("324ms", 324, "324ms"),
        ("3s", 3_000, "3s"),
        ("5m", 300_000, "5m"),
        ("1h", 3_600_000, "1h"),
        ("4d", 4 * 86_400_000, "4d"),
        ("4d1h", 4 * 86_400_000 + 3_600_000, "4d1h"),
        ("14d", 14 * 86_400_000, "2w"),
        ("90d", 90 * 86_400_000, "90d"),
        ("3w", 21 * 86_400_000, "3w"),
        ("3w2d1h", 23 * 86_400_000 + 3_600_000, "23d1h"),
        ("10y", 3_650 * 86_400_000, "10y"),
        ("1y2w3d4h5m6s7ms", 382 * 86_400_000 + 14_706_007, "382d4h5m6s7ms"),
    ];
    for (text, ms, canonical) in accepted {
        assert_eq!(parse_duration(text), Ok(ms), "{text}");
        assert_eq!(format_duration(ms), canonical);
    }
    assert_eq!(format_duration(-90_000), "-1m30s");
    let rejected = [
        ("", "empty duration string"),
        ("1", "not a valid duration string: \"1\""),
        ("-1w", "not a valid duration string: \"-1w\""),
        ("1.5d", "unknown unit \".\" in duration \"1.5d\""),
        ("d", "not a valid duration string: \"d\""),
        ("1m1h", "not a valid duration string: \"1m1h\""),
        ("1s1s", "not a valid duration string: \"1s1s\""),
        ("1mm", "unknown unit \"mm\" in duration \"1mm\""),
        ("294y", "duration out of range"),
        ("200y10400w", "duration out of range"),
        ("99999999999999999999s", "duration out of range"),
    ];
    for (text, message) in rejected {
        assert_eq!(parse_duration(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn strings() {
    for (text, value) in [
        (r#""a\a\b\f\n\r\t\v\\\"b'""#, "a\x07\x08\x0c\n\r\t\x0b\\\"b'"),
        (r#"'it\'s "x"'"#, "it's \"x\""),
        (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
        (r#""\xc3\xa9 \303\251""#, "é é"),
        ("`raw \\n \" ' \n line`", "raw \\n \" ' \n line"),
        ("\"\"", ""),
        ("\"#no comment\"", "#no comment"),
    ] {
        let Expr::String(literal) = parse(text).unwrap() else { panic!("{text}") };
        assert_eq!(literal.value, value);
    }
    check(&[(r#"'é\'"\u00a0\x7f\U000e0001\u0301'"#, r#""é'\"\u00a0\x7f\U000e0001́""#)]);
    check(&[(r#"'a\xc5z\n'"#, r#""a\xc5z\n""#), (r#""é\377\xfe""#, r#""é\xff\xfe""#)]);
}

#[test]
fn precedence() {
    check_canonical(&[
        "1 + 2 * 3 ^ 2",
        "2 ^ 3 ^ 2",
        "-2 ^ 2",
        "2 ^ -1",
        "Inf ^ 2",
        "2 ^ +Inf",
        "-foo * 2",
        "--foo",
        "+foo - -bar",
    ]);
    for (text, grouped) in [
        ("a or b and c", "a or (b and c)"),
        ("a and b unless c", "(a and b) unless c"),
        ("a unless b and c", "(a unless b) and c"),
        ("a and b == c", "a and (b == c)"),
        ("a == b + c", "a == (b + c)"),
        ("a < b > c", "(a < b) > c"),
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a * b atan2 c % d / e", "(((a * b) atan2 c) % d) / e"),
        ("a * b ^ c", "a * (b ^ c)"),
        ("a ^ b ^ c", "a ^ (b ^ c)"),
        ("-a ^ b", "-(a ^ b)"),
        ("-a * b", "(-a) * b"),
        ("-2 ^ 2", "-(2 ^ 2)"),
        ("a ^ -b * c", "(a ^ (-b)) * c"),
        ("a ^ -b ^ c", "a ^ (-(b ^ c))"),
        ("-a + b", "(-a) + b"),
    ] {
        assert_eq!(without_parens(text), without_parens(grouped), "{text}");
    }
    let Expr::Unary(unary) = parse("-2^2").unwrap() else { panic!("the sign is not part of the base") };
    assert!(matches!(*unary.expr, Expr::Binary(_)));
}

/// The tree's shape with parentheses taken out.
fn without_parens(text: &str) -> String {
    fn open(expr: &mut Expr) {
        while let Expr::Paren(paren) = expr {
            *expr = (*paren.expr).clone();
        }
        match expr {
            Expr::Unary(e) => open(&mut e.expr),
            Expr::Binary(e) => {
                open(&mut e.lhs);
                open(&mut e.rhs);
            }
            _ => {}
        }
    }
    let mut expr = parse(text).unwrap();
    open(&mut expr);
    shape(&expr)
}

#[test]
fn selectors() {
    check_canonical(&[
        "foo",
        "min",
        "job:http_requests:rate5m",
        ":colon",
        "foo offset 5m",
        "foo offset -5m",
        "foo @ 1609746000.000",
        "foo @ -1.500 offset 1h",
        "foo @ start()",
        "foo @ end() offset -1w",
        "{a=\"b\"}",
        "{__name__=\"foo\"}",
        "{__name__=~\"foo.*\",a!=\"b\"}",
        "foo{a=\"b\",c!=\"d\",e=~\"f|g\",h!~\"i\"}",
        "{\"http.requests\"}",
        "{\"http.requests\",\"la bel\"=\"x\",c=\"d\"}",
        "{\"on\"}",
        "foo[5m]",
        "foo{a=\"b\"}[1h30m] @ 20.000 offset 3d",
        "{\"a b\"}[5m]",
    ]);
    check(&[
        ("foo{}", "foo"),
        ("{'foo'}", "foo"),
        ("{\"foo\", a='b',}", "foo{a=\"b\"}"),
        ("{a=`b`, \"foo\"}", "foo{a=\"b\"}"),
        ("{'NaN',}", "{\"NaN\"}"),
        ("foo{on='x',by='y',sum='z',nan='w'}", "foo{by=\"y\",nan=\"w\",on=\"x\",sum=\"z\"}"),
        ("foo offset 1h @ 1.2345", "foo @ 1.235 offset 1h"),
        ("foo OFFSET +1h @ +1e3", "foo @ 1000.000 offset 1h"),
        ("foo @ 1m", "foo @ 60.000"),
        ("foo @ START ( )", "foo @ start()"),
        ("foo[5m] @ End()", "foo[5m] @ end()"),
        ("foo # the metric\n{ # matchers\n a = 'b' # one\n , }", "foo{a=\"b\"}"),
        ("{a='', b!=\"\"}", "{a=\"\",b!=\"\"}"),
    ]);
    let Expr::Selector(selector) = parse("foo{a='b'}").unwrap() else { panic!() };
    assert_eq!(selector.name.as_deref(), Some("foo"));
    assert_eq!(selector.matchers.last().map(|matcher| matcher.name()), Some(METRIC_NAME));
}

#[test]
fn keywords_are_names_too() {
    check_canonical(&[
        "sum",
        "sum + by",
        "offset offset 5m",
        "start @ start()",
        "end",
        "count_values{a=\"b\"}",
        "and and and",
        "without[5m]",
        "anchored + smoothed",
        "fill + step + range",
        "a + fill",
        "rate",
        "sum by (by, on, bool) (offset)",
        "sum by (and, atan2, group_left, ignoring, start, sum, anchored) (x)",
    ]);
    check(&[("{\"by\"}", "by"), ("SUM BY (By) (OFFSET)", "sum by (By) (OFFSET)")]);
}

#[test]
fn durations_compute() {
    check(&[
        ("foo[5m*2]", "foo[5m * 2]"),
        ("foo[STEP()]", "foo[step()]"),
        ("foo[-(1 - step()) ^ 2]", "foo[-(1 - step()) ^ 2]"),
        ("foo[(-2) ^ step()]", "foo[(-2) ^ step()]"),
        ("foo[(5m)]", "foo[5m]"),
        ("foo[max(step(), (range()))]", "foo[max_of(step(), (range()))]"),
        ("foo[1h:min_of(5m,step())+1]", "foo[1h:min_of(5m, step()) + 1]"),
        ("foo offset step() * 2", "foo offset step() * 2"),
        ("foo offset (step() * 2)", "foo offset (step() * 2)"),
        ("foo offset -(step())", "foo offset -(step())"),
        ("foo offset (5m)", "foo offset 5m"),
        ("foo offset -(5m)", "foo offset -5m"),
        ("foo offset +min_of(1s, range()) @ 5", "foo @ 5.000 offset +min_of(1s, range())"),
        ("sum_over_time(foo[range() % 7:])", "sum_over_time(foo[range() % 7:])"),
    ]);
    let Expr::Binary(binary) = parse("foo offset step() ^ 2").unwrap() else { panic!("no operator") };
    assert_eq!(binary.op, BinaryOp::Pow);
}

#[test]
fn extended_selectors() {
    check(&[
        ("foo[5m] ANCHORED", "foo[5m] anchored"),
        ("foo[5m] offset 1m smoothed @ 7", "foo[5m] smoothed @ 7.000 offset 1m"),
        ("foo smoothed offset 1m", "foo smoothed offset 1m"),
        (
            "anchored smoothed + rate(smoothed[1m] anchored)",
            "anchored smoothed + rate(smoothed[1m] anchored)",
        ),
        ("rate(foo[5m] anchored anchored)", "rate(foo[5m] anchored)"),
    ]);
}

#[test]
fn fill_modifiers() {
    check(&[
        ("a + FILL(0) b", "a + fill (0) b"),
        ("a + fill_left(-1) b", "a + fill_left (-1) b"),
        (
            "a == bool on (x) group_left fill_right(+Inf) b",
            "a == bool on (x) group_left () fill_right (+Inf) b",
        ),
        ("a + fill_right(1m) fill_left(NaN) b", "a + fill_left (NaN) fill_right (60) b"),
        ("fill + fill(0) fill_left", "fill + fill (0) fill_left"),
        ("fill_right{a=\"b\"} - fill", "fill_right{a=\"b\"} - fill"),
    ]);
}

#[test]
fn start_and_end_are_functions_in_any_case() {
    check(&[("START()", "start()"), ("vector(End()) + Step()", "vector(end()) + step()")]);
    check_canonical(&["info(foo, {a=~\".*\"})", "info(foo, {__name__=\"a\",b!=\"\"})", "info(foo)"]);
}

#[test]
fn binary_modifiers() {
    check_canonical(&[
        "1 == bool 2",
        "foo > bool 1",
        "foo * bar",
        "foo * on () bar",
        "foo </ 5",
        "foo >/ on (a) group_left () bar",
        "foo * on (a, b) bar",
        "foo / ignoring (a) bar",
        "foo / ignoring (a) group_left (b, c) bar",
        "foo / ignoring () group_left () bar",
        "foo < bool on (a) group_right () bar",
        "foo and on (a) bar",
        "foo or bar",
        "foo unless ignoring (a) bar",
        "foo * on (\"la bel\") group_left (\"ü\", x) bar",
        "foo + on (a) (bar)",
    ]);
    check(&[
        ("foo*ON(a,)GROUP_LEFT(b,)bar", "foo * on (a) group_left (b) bar"),
        ("foo * on(a) group_left bar", "foo * on (a) group_left () bar"),
        ("foo * ignoring() bar", "foo * bar"),
        ("foo AND ON(a) bar", "foo and on (a) bar"),
        ("1 + on() foo", "1 + foo"),
        ("1 >= BOOL 2", "1 >= bool 2"),
        ("foo * on('a') bar", "foo * on (a) bar"),
    ]);
    let Expr::Binary(binary) = parse("foo and bar").unwrap() else { panic!() };
    assert_eq!(binary.matching.unwrap().cardinality, Cardinality::ManyToMany);
    let Expr::Binary(binary) = parse("foo + 1").unwrap() else { panic!() };
    assert_eq!(binary.matching, None);
}

#[test]
fn aggregations() {
    check_canonical(&[
        "sum(foo)",
        "sum by (a, b) (foo)",
        "sum without () (foo)",
        "avg without (a) (foo)",
        "topk(5, foo)",
        "topk by (a) (scalar(b), foo)",
        "count_values(\"x\", foo)",
        "quantile(0.9, foo)",
        "limitk(2, foo)",
        "limit_ratio(-0.5, foo)",
        "sum by (\"la bel\", \"inf\") (x)",
        "group(sum(sum))",
        "sum(foo)[5m:]",
    ]);
    check(&[
        ("sum by () (foo)", "sum(foo)"),
        ("SUM(foo) BY (a,)", "sum by (a) (foo)"),
        ("sum(foo) without(a)", "sum without (a) (foo)"),
        ("sum by (\"foo\") (x)", "sum by (foo) (x)"),
        ("Count_Values('x', foo)", "count_values(\"x\", foo)"),
        ("topk(5, foo) by (a)", "topk by (a) (5, foo)"),
    ]);
}

#[test]
fn calls_and_subqueries() {
    check_canonical(&[
        "time()",
        "abs(foo)",
        "round(foo)",
        "round(foo, 5)",
        "day_of_week()",
        "rate(foo[5m])",
        "label_replace(foo, \"a\", \"$1\", \"b\", \"(.*)\")",
        "label_join(foo, \"a\", \"-\")",
        "label_join(foo, \"a\", \"-\", \"b\", \"c\", \"d\")",
        "histogram_quantile(0.9, sum by (le) (rate(foo_bucket[10m])))",
        "max_over_time(rate(foo[5m])[1h:1m] @ end() offset -1h)",
        "foo[5m:]",
        "foo offset 1m[5m:10s] offset 1d",
        "(foo + bar)[5m:30s] @ 10.000",
        "foo @ 1.000[5m:] @ 2.000",
    ]);
    check(&[("rate ( foo [ 5m ] )", "rate(foo[5m])"), ("abs(-foo)", "abs(-foo)")]);
}

#[test]
fn spans_cover_what_was_written() {
    let text = " sum( rate(foo[5m] offset 1m) ) by (a) / (1 + bär) ";
    let error = parse(text).unwrap_err();
    assert_eq!((error.line, error.column, error.offset), (1, 48, 47));
    let text = "\n sum( rate(foo[5m] offset 1m) ) by (a) / (1 + {'bär'}) ";
    let Expr::Binary(binary) = parse(text).unwrap() else { panic!() };
    let slice = |span: Span| &text[span.start..span.end];
    assert_eq!(slice(binary.span), text.trim());
    assert_eq!(slice(binary.rhs.span()), "(1 + {'bär'})");
    let Expr::Aggregate(sum) = &*binary.lhs else { panic!() };
    assert_eq!(slice(sum.span), "sum( rate(foo[5m] offset 1m) ) by (a)");
    let Expr::Call(rate) = &*sum.expr else { panic!() };
    assert_eq!(slice(rate.args[0].span()), "foo[5m] offset 1m");
}

#[test]
fn selectors_of_match_parameters() {
    let matchers = parse_selector(" foo{a=~'b.*'} ").unwrap();
    let texts: Vec<_> =
        matchers.iter().map(|m| format!("{}{}{}", m.name(), m.op().as_str(), m.value())).collect();
    assert_eq!(texts, ["a=~b.*", "__name__=foo"]);
    for (text, message) in [
        ("", "1:1: parse error: unexpected end of input"),
        ("foo[5m]", "1:4: parse error: unexpected \"[\""),
        ("foo offset 5m", "1:5: parse error: unexpected <offset>"),
        ("rate(foo)", "1:5: parse error: unexpected \"(\""),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("5", "1:1: parse error: unexpected number \"5\""),
    ] {
        assert_eq!(parse_selector(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn depth_is_bounded() {
    let deep = |open: &str, core: &str, close: &str, count| {
        parse(&format!("{}{core}{}", open.repeat(count), close.repeat(count)))
    };
    for (open, core, close) in [
        ("(", "1", ")"),
        ("-", "foo", ""),
        ("abs(", "foo", ")"),
        ("sum by (a) (", "foo", ")"),
        ("1 + ", "1", ""),
        ("", "1", " + 1"),
        ("", "foo", " or foo"),
        ("2 ^ ", "2", ""),
        ("", "foo", "[5m:]"),
        ("max_over_time(", "foo", "[5m:])"),
        ("foo * (", "foo", " or bar)"),
    ] {
        let error = deep(open, core, close, 100_000).unwrap_err();
        assert!(error.message.ends_with("levels"), "{open}{core}{close}: {error}");
    }
    let error = deep("(", "1", ")", 11_000).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:10001: parse error: expression is nested too deeply, the limit is 10000 levels"
    );
    let error = deep("", "1", " + 1", 11_000).unwrap_err();
    assert_eq!(error.message, "expression is too long a chain of operators, the limit is 10000 levels");
    let error = parse(&format!("foo[1m{}]", " + 1m".repeat(300))).unwrap_err();
    assert_eq!(error.message, "expression is too complex a duration, the limit is 256 levels");
}

#[test]
fn the_deepest_expressions_need_no_large_stack() {
    let run = || {
        for (open, core, close, count) in [
            ("(", "1", ")", MAX_HEIGHT - 1),
            ("-", "foo", "", MAX_HEIGHT - 1),
            ("abs(", "foo", ")", MAX_HEIGHT - 1),
            ("1 + sum by (a) (", "foo", ")", MAX_HEIGHT / 2 - 1),
            ("", "foo", " + 1", MAX_HEIGHT - 1),
            ("2 ^ ", "foo", "", MAX_HEIGHT - 1),
            ("", "foo", " or foo", 5_000),
        ] {
            let expr = parse(&format!("{}{core}{}", open.repeat(count), close.repeat(count))).unwrap();
            let text = expr.to_string();
            assert_eq!(parse(&text).unwrap().to_string(), text);
            assert_eq!(parse(&expr.pretty()).unwrap().to_string(), text);
            assert!(expr.clone() == expr);
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}
