//! `format_query` and `parse_query`: a query as text and as a tree, without evaluating it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use timberline_engine::Matcher;
use timberline_query::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, Edges, Expr, Subquery, ValueType, VectorSelector,
};

use super::ApiError;
use super::query::expression;
use crate::http::params::Params;

/// `GET|POST /api/v1/format_query`
pub(in crate::http) async fn format(params: Params) -> Result<Response, ApiError> {
    let (_, expr) = expression(&params)?;
    Ok(success(&expr.pretty().into()))
}

/// `GET|POST /api/v1/parse_query`
pub(in crate::http) async fn parse(params: Params) -> Result<Response, ApiError> {
    let (_, expr) = expression(&params)?;
    Ok(success(&tree(&expr)))
}

fn success(data: &Value) -> Response {
    Json(json!({"status": "success", "data": data})).into_response()
}

/// The tree in the form that Prometheus's own user interface reads.
fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Number(number) => json!({"type": "numberLiteral", "val": number_text(number.value)}),
        Expr::String(string) => json!({"type": "stringLiteral", "val": string.value}),
        Expr::Selector(selector) => {
            let mut node = selector_node(selector);
            node.insert("type".to_owned(), "vectorSelector".into());
            node.into()
        }
        Expr::Matrix(matrix) => {
            let mut node = selector_node(&matrix.selector);
            node.insert("type".to_owned(), "matrixSelector".into());
            insert_duration(&mut node, "range", Some(&matrix.range));
            node.into()
        }
        Expr::Subquery(subquery) => subquery_node(subquery),
        Expr::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            json!({"type": "unaryExpr", "op": op, "expr": tree(&unary.expr)})
        }
        Expr::Paren(paren) => json!({"type": "parenExpr", "expr": tree(&paren.expr)}),
        Expr::Binary(binary) => binary_node(binary),
        Expr::Aggregate(aggregate) => aggregate_node(aggregate),
        Expr::Call(call) => call_node(call),
    }
}

/// A number as Prometheus writes it here: without an exponent.
fn number_text(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

/// Milliseconds. What is only known once the query is evaluated is 0, and its text stands beside it.
fn insert_duration(node: &mut Map<String, Value>, name: &str, duration: Option<&Duration>) {
    let millis = match duration {
        Some(Duration::Millis(ms)) => *ms,
        Some(Duration::Expr(expr)) => {
            node.insert(format!("{name}Expr"), expr.to_string().into());
            0
        }
        None => 0,
    };
    node.insert(name.to_owned(), millis.into());
}

fn insert_at(node: &mut Map<String, Value>, at: Option<At>) {
    let (timestamp, bound) = match at {
        None => (Value::Null, Value::Null),
        Some(At::Time(ms)) => (ms.into(), Value::Null),
        Some(At::Start) => (Value::Null, "start".into()),
        Some(At::End) => (Value::Null, "end".into()),
    };
    node.insert("timestamp".to_owned(), timestamp);
    node.insert("startOrEnd".to_owned(), bound);
}

fn selector_node(selector: &VectorSelector) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("name".to_owned(), selector.name.as_deref().unwrap_or_default().into());
    node.insert("matchers".to_owned(), selector.matchers.iter().map(matcher_node).collect());
    node.insert("anchored".to_owned(), (selector.edges == Edges::Anchored).into());
    node.insert("smoothed".to_owned(), (selector.edges == Edges::Smoothed).into());
    insert_duration(&mut node, "offset", Some(&selector.offset));
    insert_at(&mut node, selector.at);
    node
}

fn matcher_node(matcher: &Matcher) -> Value {
    json!({"name": matcher.name(), "value": matcher.value(), "type": matcher.op().as_str()})
}

fn subquery_node(subquery: &Subquery) -> Value {
    let mut node = Map::new();
    node.insert("type".to_owned(), "subquery".into());
    node.insert("expr".to_owned(), tree(&subquery.expr));
    insert_duration(&mut node, "range", Some(&subquery.range));
    insert_duration(&mut node, "step", subquery.step.as_ref());
    insert_duration(&mut node, "offset", Some(&subquery.offset));
    insert_at(&mut node, subquery.at);
    node.into()
}

fn binary_node(binary: &Binary) -> Value {
    let fill = |value: Option<f64>| match value {
        None => Value::Null,
        Some(value) if value.is_finite() => json!(value),
        // JSON has no such numbers.
        Some(value) => number_text(value).into(),
    };
    let matching = binary.matching.as_ref().map(|matching| {
        json!({
            "card": cardinality_text(matching.cardinality),
            "labels": matching.labels,
            "on": matching.on,
            "include": matching.include,
            "fillValues": {"lhs": fill(matching.fill.left), "rhs": fill(matching.fill.right)},
        })
    });
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": tree(&binary.lhs),
        "rhs": tree(&binary.rhs),
        "matching": matching,
        "bool": binary.return_bool,
    })
}

fn cardinality_text(cardinality: Cardinality) -> &'static str {
    match cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    }
}

fn aggregate_node(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.as_str(),
        "expr": tree(&aggregate.expr),
        "param": aggregate.param.as_deref().map(tree),
        "grouping": aggregate.grouping.labels,
        "without": aggregate.grouping.without,
    })
}

fn call_node(call: &Call) -> Value {
    let function = call.function;
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": function.args.iter().map(|&arg| type_text(arg)).collect::<Vec<_>>(),
            "variadic": function.variadic,
            "returnType": type_text(function.returns),
        },
        "args": call.args.iter().map(tree).collect::<Vec<_>>(),
    })
}

fn type_text(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}
