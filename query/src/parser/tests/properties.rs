//! Random trees print to text that parses to the same tree; random texts never make the parser panic.

use proptest::prelude::*;
use timberline_engine::{METRIC_NAME, MatchOp, Matcher};

use super::shape;
use crate::ast::*;
use crate::deep::Deep;
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

/// A literal of a duration expression; its sign is part of it.
fn duration_number() -> impl Strategy<Value = DurationExpr> {
    let literal =
        |value, is_duration| DurationExpr::Number(NumberLiteral { value, is_duration, span: NO_SPAN });
    prop_oneof![
        (-1_000_000_i64..1_000_000).prop_map(move |ms| literal(ms as f64 / 1000.0, true)),
        (-1000_i32..1000).prop_map(move |number| literal(f64::from(number) / 8.0, false)),
    ]
}

fn duration_paren(expr: DurationExpr) -> DurationExpr {
    match expr {
        // Parentheses around a literal are not kept.
        DurationExpr::Number(_) => expr,
        expr => DurationExpr::Paren { expr: Box::new(expr), span: NO_SPAN },
    }
}

fn duration_precedence(expr: &DurationExpr) -> u8 {
    match expr {
        DurationExpr::Binary { op, .. } => op.precedence(),
        DurationExpr::Unary { .. } => BinaryOp::Mul.precedence(),
        _ => 7,
    }
}

fn duration_binary(op: BinaryOp, lhs: DurationExpr, rhs: DurationExpr) -> DurationExpr {
    let own = op.precedence();
    let (left, right) = if op == BinaryOp::Pow { (own + 1, own) } else { (own, own + 1) };
    let fit = |expr: DurationExpr, min| {
        if duration_precedence(&expr) < min { duration_paren(expr) } else { expr }
    };
    let is_zero = matches!(&rhs, DurationExpr::Number(number) if number.value == 0.0);
    let op = if is_zero && matches!(op, BinaryOp::Div | BinaryOp::Mod) { BinaryOp::Mul } else { op };
    let (lhs, rhs) = (Box::new(fit(lhs, left)), Box::new(fit(rhs, right)));
    DurationExpr::Binary { op, lhs, rhs, span: NO_SPAN }
}

/// An expression that is no literal.
fn duration_expr() -> BoxedStrategy<DurationExpr> {
    use BinaryOp::*;
    let leaf = prop_oneof![Just(DurationExpr::Step(NO_SPAN)), Just(DurationExpr::Range(NO_SPAN))].boxed();
    leaf.prop_recursive(3, 10, 2, |inner| {
        let either = prop_oneof![inner.clone(), duration_number()].boxed();
        let op = prop::sample::select(vec![Add, Sub, Mul, Div, Mod, Pow]);
        let extreme = |(largest, lhs, rhs)| DurationExpr::Extreme {
            largest,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            span: NO_SPAN,
        };
        let unary = |(negative, expr)| {
            let expr: DurationExpr = expr;
            let expr = if duration_precedence(&expr) < 6 { duration_paren(expr) } else { expr };
            DurationExpr::Unary { negative, expr: Box::new(expr), span: NO_SPAN }
        };
        prop_oneof![
            (op, either.clone(), either.clone()).prop_map(|(op, a, b)| duration_binary(op, a, b)),
            (any::<bool>(), either.clone(), either).prop_map(extreme),
            (any::<bool>(), inner.clone()).prop_map(unary),
            inner.prop_map(duration_paren),
        ]
        .boxed()
    })
    .boxed()
}

fn to_duration(expr: DurationExpr) -> Duration {
    Duration::Expr(Box::new(expr))
}

/// What may stand in brackets.
fn range(longest_ms: i64) -> impl Strategy<Value = Duration> {
    prop_oneof![3 => (1..longest_ms).prop_map(Duration::Millis), 1 => duration_expr().prop_map(to_duration)]
}

fn offset() -> impl Strategy<Value = Duration> {
    let computed = duration_expr().prop_map(|expr| {
        // Operators outside parentheses would belong to the expression around.
        to_duration(if duration_precedence(&expr) < 7 { duration_paren(expr) } else { expr })
    });
    prop_oneof![
        3 => Just(Duration::ZERO),
        2 => (-100_000_000_i64..100_000_000).prop_map(Duration::Millis),
        1 => (-9_000_000_000_000_i64..9_000_000_000_000).prop_map(Duration::Millis),
        1 => computed,
    ]
}

fn edges() -> impl Strategy<Value = Edges> {
    prop_oneof![4 => Just(Edges::Exact), 1 => Just(Edges::Anchored), 1 => Just(Edges::Smoothed)]
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
    (prop::option::of(name()), prop::collection::vec(matcher(), 0..3), offset(), at(), edges())
        .prop_map(|(name, mut matchers, offset, at, edges)| {
            matchers.retain(|matcher| matcher.name() != METRIC_NAME);
            matchers.push(Matcher::equal(METRIC_NAME, name.as_deref().unwrap_or("some")));
            VectorSelector { name, matchers, offset, at, edges, span: NO_SPAN }
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
    Expr::Paren(Paren { expr: Deep::new(expr), span: NO_SPAN })
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
    let lhs = at_least(lhs, left);
    // A sign needs no parentheses on the right.
    let signed = matches!(rhs, Expr::Unary(_) | Expr::Number(_));
    let rhs = if signed { rhs } else { at_least(rhs, right) };
    Expr::Binary(Binary::new(op, return_bool && op.is_comparison(), matching, [lhs, rhs], NO_SPAN))
}

fn operator() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![
        Add, Sub, Mul, Div, Mod, Pow, Atan2, Eql, Neq, Gtr, Lss, Gte, Lte, TrimUpper, TrimLower, And, Or,
        Unless,
    ])
}

fn fill_values() -> impl Strategy<Value = FillValues> {
    let value =
        || prop::option::of(prop::sample::select(vec![0.0, -0.0, 1.5, -2.0, f64::NAN, f64::INFINITY]));
    prop_oneof![
        3 => Just(FillValues::default()),
        1 => (value(), value()).prop_map(|(left, right)| FillValues { left, right }),
    ]
}

fn matching(op: BinaryOp) -> impl Strategy<Value = VectorMatching> {
    use Cardinality::*;
    let cardinality = prop::sample::select(vec![OneToOne, ManyToOne, OneToMany]);
    (any::<bool>(), labels(), labels(), cardinality, fill_values()).prop_map(
        move |(on, labels, mut include, cardinality, fill)| {
            let cardinality = if op.is_set() { ManyToMany } else { cardinality };
            if matches!(cardinality, OneToOne | ManyToMany) {
                include.clear();
            }
            include.retain(|label| !labels.contains(label));
            let fill = if op.is_set() { FillValues::default() } else { fill };
            VectorMatching { cardinality, on, labels, include, fill }
        },
    )
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let function: &'static Signature = SIGNATURES.iter().find(|signature| signature.name == name).unwrap();
    Expr::Call(Call { function, args: Deep::new(args), span: NO_SPAN })
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
    prop_oneof![
        (selector(), range(40_000_000_000)).prop_map(|(selector, range)| Expr::Matrix(MatrixSelector {
            selector,
            range,
            span: NO_SPAN
        })),
        (vector, range(40_000_000_000), prop::option::of(range(100_000)), offset(), at()).prop_map(
            |(expr, range, step, offset, at)| {
                let expr = Deep::new(at_least(expr, 7));
                Expr::Subquery(Subquery { expr, range, step, offset, at, span: NO_SPAN })
            }
        ),
    ]
    .boxed()
}

fn string() -> impl Strategy<Value = Expr> {
    text().prop_map(|value| Expr::String(StringLiteral { value, invalid: None, span: NO_SPAN }))
}

fn aggregate(vector: BoxedStrategy<Expr>) -> BoxedStrategy<Expr> {
    let op = prop::sample::select(AggregateOp::ALL.to_vec());
    (op, any::<bool>(), labels(), scalar(vector.clone()), string(), vector)
        .prop_map(|(op, without, labels, scalar, string, expr)| {
            let param = if op == AggregateOp::CountValues { string } else { scalar };
            let param = op.has_param().then(|| Deep::new(param));
            let grouping = Grouping { without, labels };
            // Without labels, `by ()` is what no grouping means.
            Expr::Aggregate(Aggregate { op, param, expr: Deep::new(expr), grouping, span: NO_SPAN })
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
                Expr::Unary(Unary { negative, expr: Deep::new(expr), span: NO_SPAN })
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
        "fill_left (1)",
        "anchored",
        "smoothed",
        "step()",
        "range()",
        "min_of(",
        "[step()+1]",
        "offset -step()",
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
        let pretty = expr.pretty();
        let parsed = parse(&pretty).unwrap_or_else(|error| panic!("{pretty}: {error}"));
        prop_assert_eq!(shape(&parsed), shape(&expr), "{}", pretty);
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
