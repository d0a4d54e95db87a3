//! Random trees print to text that parses to the same tree; random texts never make the parser panic.

use proptest::prelude::*;
use timberline_engine::{METRIC_NAME, MatchOp, Matcher};

use super::shape;
use crate::ast::*;
use crate::parser::{parse, parse_selector};
use crate::signature::{SIGNATURES, Signature};

const NO_SPAN: Span = Span { start: 0, end: 0 };

/// Words of every kind, and texts that only fit between quotes.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_][a-z0-9_]{0,6}",
        1 => "[a-z:][a-z0-9_:]{0,6}",
        2 => prop::sample::select(vec![
            "sum", "by", "on", "offset", "bool", "start", "end", "inf", "NaN", "and", "atan2", "ignoring", "fill",
            "group_left", "anchored", "count_values", "rate", "TOPK", "http.requests", "la bel", "0a", "é",
        ]).prop_map(str::to_owned),
        1 => text().prop_filter("names are not empty", |name| !name.is_empty()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x7f]{0,8}", "[a-z]{0,5}"]
}

fn labels() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(name(), 0..4)
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => -100_000_000_i64..100_000_000, 1 => -9_000_000_000_000_i64..9_000_000_000_000]
}

fn at() -> impl Strategy<Value = Option<At>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(At::Start)),
        1 => Just(Some(At::End)),
        1 => (-(1_i64 << 50)..1 << 50).prop_map(|ms| Some(At::Time(ms))),
    ]
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    (name(), op, text()).prop_map(|(name, op, value)| match op {
        MatchOp::Regex | MatchOp::NotRegex => Matcher::new(name, op, regex::escape(&value)).unwrap(),
        _ => Matcher::new(name, op, value).unwrap(),
    })
}

fn selector() -> BoxedStrategy<VectorSelector> {
    (prop::option::of(name()), prop::collection::vec(matcher(), 0..3), offset(), at())
        .prop_map(|(name, mut matchers, offset_ms, at)| {
            matchers.retain(|matcher| matcher.name() != METRIC_NAME);
            matchers.push(Matcher::equal(METRIC_NAME, name.as_deref().unwrap_or("some")));
            VectorSelector { name, matchers, offset_ms, at, span: NO_SPAN }
        })
        .boxed()
}

fn number() -> BoxedStrategy<Expr> {
    let literal = |value, is_duration| Expr::Number(NumberLiteral { value, is_duration, span: NO_SPAN });
    prop_oneof![
        any::<f64>().prop_map(move |value| literal(if value.is_nan() { f64::NAN } else { value }, false)),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 8.0, 1e300])
            .prop_map(move |value| literal(value, false)),
        (-9_000_000_000_000_i64..9_000_000_000_000).prop_map(move |ms| literal(ms as f64 / 1000.0, true)),
    ]
    .boxed()
}

fn paren(expr: Expr) -> Expr {
    Expr::Paren(Paren { expr: Box::new(expr), span: NO_SPAN })
}

/// How tightly the expression's own operator binds; operands bind tightest.
fn precedence(expr: &Expr) -> u8 {
    match expr {
        Expr::Binary(binary) => binary.op.precedence(),
        Expr::Unary(_) => BinaryOp::Mul.precedence(),
        // The text begins with a sign.
        Expr::Number(number) if number.value.is_sign_negative() => BinaryOp::Mul.precedence(),
        _ => 7,
    }
}

fn at_least(expr: Expr, min: u8) -> Expr {
    if precedence(&expr) < min { paren(expr) } else { expr }
}

fn binary(op: BinaryOp, return_bool: bool, matching: Option<VectorMatching>, lhs: Expr, rhs: Expr) -> Expr {
    let own = op.precedence();
    let (left, right) = if op == BinaryOp::Pow { (own + 1, own) } else { (own, own + 1) };
    let lhs = Box::new(at_least(lhs, left));
    // A sign needs no parentheses on the right.
    let signed = matches!(rhs, Expr::Unary(_) | Expr::Number(_));
    let rhs = Box::new(if signed { rhs } else { at_least(rhs, right) });
    Expr::Binary(Binary {
        op,
        return_bool: return_bool && op.is_comparison(),
        matching,
        lhs,
        rhs,
        span: NO_SPAN,
    })
}

fn operator() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![
        Add, Sub, Mul, Div, Mod, Pow, Atan2, Eql, Neq, Gtr, Lss, Gte, Lte, TrimUpper, TrimLower, And, Or,
        Unless,
    ])
}

fn matching(op: BinaryOp) -> impl Strategy<Value = VectorMatching> {
    use Cardinality::*;
    (any::<bool>(), labels(), labels(), prop::sample::select(vec![OneToOne, ManyToOne, OneToMany])).prop_map(
        move |(on, labels, mut include, cardinality)| {
            let cardinality = if op.is_set() { ManyToMany } else { cardinality };
            if matches!(cardinality, OneToOne | ManyToMany) {
                include.clear();
            }
            include.retain(|label| !labels.contains(label));
            VectorMatching { cardinality, on, labels, include }
        },
    )
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let function: &'static Signature = SIGNATURES.iter().find(|signature| signature.name == name).unwrap();
    Expr::Call(Call { function, args, span: NO_SPAN })
}

fn scalar(vector: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    prop_oneof![
        3 => number(),
        1 => Just(call("time", Vec::new())),
        1 => vector.prop_map(|vector| call("scalar", vec![vector])),
        1 => (operator(), number(), number()).prop_map(|(op, a, b)| {
            let op = if op.is_set() || op.is_trim() { BinaryOp::Pow } else { op };
            binary(op, true, None, a, b)
        }),
    ]
    .boxed()
}

fn matrix(vector: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let range = 1..40_000_000_000_i64;
    prop_oneof![
        (selector(), range.clone()).prop_map(|(selector, range_ms)| Expr::Matrix(MatrixSelector {
            selector,
            range_ms,
            span: NO_SPAN
        })),
        (vector, range, prop::option::of(1..100_000_i64), offset(), at()).prop_map(
            |(expr, range_ms, step_ms, offset_ms, at)| {
                let expr = Box::new(at_least(expr, 7));
                Expr::Subquery(Subquery { expr, range_ms, step_ms, offset_ms, at, span: NO_SPAN })
            }
        ),
    ]
    .boxed()
}

fn string() -> impl Strategy<Value = Expr> {
    text().prop_map(|value| Expr::String(StringLiteral { value, span: NO_SPAN }))
}

fn aggregate(vector: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let op = prop::sample::select(AggregateOp::ALL.to_vec());
    (op, any::<bool>(), labels(), scalar(vector.clone()), string(), vector)
        .prop_map(|(op, without, labels, scalar, string, expr)| {
            let param = if op == AggregateOp::CountValues { string } else { scalar };
            let param = op.has_param().then(|| Box::new(param));
            let grouping = Grouping { without, labels };
            // Without labels, `by ()` is what no grouping means.
            Expr::Aggregate(Aggregate { op, param, expr: Box::new(expr), grouping, span: NO_SPAN })
        })
        .boxed()
}

fn vector() -> BoxedStrategy<Expr> {
    let leaf = selector().prop_map(Expr::Selector).boxed();
    leaf.prop_recursive(5, 24, 3, |inner| {
        let vectors = operator()
            .prop_flat_map({
                let inner = inner.clone();
                move |op| (Just(op), any::<bool>(), matching(op), inner.clone(), inner.clone())
            })
            .prop_map(|(op, return_bool, matching, a, b)| binary(op, return_bool, Some(matching), a, b))
            .boxed();
        let mixed = (operator(), any::<bool>(), any::<bool>(), inner.clone(), scalar(inner.clone()))
            .prop_map(|(op, return_bool, swap, vector, scalar)| {
                let op = if op.is_set() { BinaryOp::Sub } else { op };
                let (a, b) = if swap { (scalar, vector) } else { (vector, scalar) };
                binary(op, return_bool, None, a, b)
            })
            .boxed();
        let unary = (any::<bool>(), inner.clone())
            .prop_map(|(negative, expr)| {
                let expr = if matches!(expr, Expr::Unary(_)) { expr } else { at_least(expr, 6) };
                Expr::Unary(Unary { negative, expr: Box::new(expr), span: NO_SPAN })
            })
            .boxed();
        let replace = (inner.clone(), prop::collection::vec(string(), 4))
            .prop_map(|(vector, strings)| {
                call("label_replace", std::iter::once(vector).chain(strings).collect())
            })
            .boxed();
        prop_oneof![
            3 => vectors,
            2 => mixed,
            1 => unary,
            1 => inner.clone().prop_map(paren),
            2 => aggregate(inner.clone()),
            1 => inner.clone().prop_map(|vector| call("abs", vec![vector])),
            2 => matrix(inner).prop_map(|matrix| call("rate", vec![matrix])),
            1 => replace,
        ]
        .boxed()
    })
    .boxed()
}

fn expression() -> impl Strategy<Value = Expr> {
    let vector = vector().boxed();
    prop_oneof![4 => vector.clone(), 1 => scalar(vector.clone()), 1 => matrix(vector), 1 => string()]
}

fn token() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "@",
        "=",
        "=~",
        "!~",
        "!=",
        "==",
        "+",
        "-",
        "*",
        "^",
        "<",
        "</",
        ">/",
        "and",
        "or",
        "atan2",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "by",
        "without",
        "offset",
        "start",
        "end",
        "(a)",
        "sum",
        "topk",
        "foo",
        "a:b",
        "rate(foo[5m])",
        "1",
        "5m",
        "0x1f",
        ".5",
        "Inf",
        "\"x\"",
        "'\\n'",
        "`r`",
        "#c\n",
        "é",
        "\\",
        "[5m:]",
        "[5m]",
        "{a=\"b\"}",
        "@ end()",
        "offset 5m",
        "fill(",
        "anchored",
        "scalar(foo)",
        "\0",
    ])
    .prop_map(str::to_owned)
}

fn check_text(text: &str) {
    let _ = parse_selector(text);
    match parse(text) {
        Ok(expr) => {
            let printed = expr.to_string();
            let again =
                parse(&printed).unwrap_or_else(|error| panic!("{text} printed as {printed}: {error}"));
            assert_eq!(shape(&again), shape(&expr), "{text} printed as {printed}");
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.offset) && !error.message.is_empty());
            assert!(error.line >= 1 && error.column >= 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn trees_survive_printing(expr in expression()) {
        let text = expr.to_string();
        let parsed = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert_eq!(shape(&parsed), shape(&expr), "{}", text);
        prop_assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        check_text(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check_text(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn token_soup_never_panics(tokens in prop::collection::vec(token(), 0..24), separator in "[ \n]?") {
        check_text(&tokens.join(&separator));
    }
}
