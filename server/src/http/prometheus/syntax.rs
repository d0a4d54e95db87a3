//! `format_query` and `parse_query`: a query as text and as a tree, without evaluating it.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value, json};
use timberline_engine::Matcher;
use timberline_query::ast::{
    Aggregate, At, Binary, Call, Cardinality, Duration, Edges, Expr, Subquery, ValueType, VectorSelector,
};

use super::ApiError;
use super::query::expression;
use super::tree::{Children, Children::One, write_node};
use crate::http::JSON;
use crate::http::params::Known;
use crate::http::turn::{Queue, Read};
use crate::state::SharedState;

const KNOWN: Known = &["query", "timeout"];

/// What a byte of a query takes once it is described, at most: an operator of one byte is a node with all its names.
pub(super) const DESCRIBED_BYTES: usize = 256;

/// `GET|POST /api/v1/format_query`
pub(in crate::http) async fn format(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Queries).await?;
    describe(read, |text, expr| text.push_str(&Value::from(expr.pretty()).to_string())).await
}

/// `GET|POST /api/v1/parse_query`
pub(in crate::http) async fn parse(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Response, ApiError> {
    describe(Read::receive(state, request, KNOWN, Queue::Queries).await?, write_tree).await
}

/// Answers what `write` appends about the query.
async fn describe(read: Read, write: fn(&mut String, &Expr)) -> Result<Response, ApiError> {
    read.answer(JSON, move |turn, writer| {
        let (query, expr, _held) = expression(&turn.params, &turn.budget)?;
        let _described = turn.budget.take(query.len().saturating_mul(DESCRIBED_BYTES))?;
        let mut text = String::from(r#"{"status":"success","data":"#);
        write(&mut text, &expr);
        text.push('}');
        Ok(writer.write(text.as_bytes())?)
    })
    .await
}

/// Appends the tree in the form that Prometheus's own user interface reads.
fn write_tree(text: &mut String, expr: &Expr) {
    let (own, children) = match expr {
        Expr::Number(number) => {
            (json!({"type": "numberLiteral", "val": number_text(number.value)}), Vec::new())
        }
        Expr::String(string) => (json!({"type": "stringLiteral", "val": string.value}), Vec::new()),
        Expr::Selector(selector) => {
            let mut node = selector_node(selector);
            node.insert("type".to_owned(), "vectorSelector".into());
            (node.into(), Vec::new())
        }
        Expr::Matrix(matrix) => {
            let mut node = selector_node(&matrix.selector);
            node.insert("type".to_owned(), "matrixSelector".into());
            insert_duration(&mut node, "range", Some(&matrix.range));
            (node.into(), Vec::new())
        }
        Expr::Subquery(subquery) => (subquery_node(subquery), vec![("expr", One(&*subquery.expr))]),
        Expr::Unary(unary) => {
            let op = if unary.negative { "-" } else { "+" };
            (json!({"type": "unaryExpr", "op": op}), vec![("expr", One(&*unary.expr))])
        }
        Expr::Paren(paren) => (json!({"type": "parenExpr"}), vec![("expr", One(&*paren.expr))]),
        Expr::Binary(binary) => {
            (binary_node(binary), vec![("lhs", One(&*binary.lhs)), ("rhs", One(&*binary.rhs))])
        }
        Expr::Aggregate(aggregate) => {
            let mut node = aggregate_node(aggregate);
            let mut children = vec![("expr", One(&*aggregate.expr))];
            match aggregate.param.as_deref() {
                Some(param) => children.push(("param", One(param))),
                None => node["param"] = Value::Null,
            }
            (node, children)
        }
        Expr::Call(call) => (call_node(call), vec![("args", Children::List(&call.args))]),
    };
    write_node(text, &own, &children, write_tree);
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
