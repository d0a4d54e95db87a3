//! What must hold of answers that are right in several ways: orders, and samples that any choice may leave out.

use std::cmp::Ordering;

use timberline_engine::{Labels, Snapshot};
use timberline_query::ast::Expr;
use timberline_query::{Cancel, Executor, ExecutorOptions, Query, Value};

use crate::common::{Random, for_each_seed};
use crate::data;
use crate::model::{Answer, Bounds};
use crate::queries::Maker;
use crate::{answer, same};

const DATABASES: u64 = 40;
const QUERIES_PER_DATABASE: u64 = 10;

/// `sort`, `sort_desc`, `sort_by_label` and `sort_by_label_desc` order the samples of an instant query; NaN comes last.
pub(crate) fn check_order(expr: &Expr, value: &Value) -> Result<(), String> {
    let (Expr::Call(call), Value::Vector(samples)) = (expr, value) else { return Ok(()) };
    let name = call.function.name;
    let is_ordered = if name.starts_with("sort_by_label") {
        let names = call.args[1..].iter().filter_map(|arg| match arg {
            Expr::String(text) => Some(text.value.as_str()),
            _ => None,
        });
        let names: Vec<&str> = names.collect();
        let order = |a: &Labels, b: &Labels| {
            let by_name = names.iter().map(|name| natural_order(a.get(name), b.get(name)));
            by_name
                .collect::<Option<Vec<_>>>()
                .map(|orders| orders.into_iter().fold(Ordering::Equal, Ordering::then))
        };
        let wrong = if name.ends_with("_desc") { Ordering::Less } else { Ordering::Greater };
        samples.windows(2).all(|pair| order(&pair[0].labels, &pair[1].labels) != Some(wrong))
    } else if name == "sort" || name == "sort_desc" {
        let descends = name == "sort_desc";
        let is_ordered = |a: f64, b: f64| b.is_nan() || if descends { a >= b } else { a <= b };
        samples.windows(2).all(|pair| is_ordered(pair[0].value, pair[1].value))
    } else {
        true
    };
    let labels = || samples.iter().map(|sample| format!("\n    {} {}", sample.labels, sample.value));
    if is_ordered { Ok(()) } else { Err(format!("not in order: {}", labels().collect::<String>())) }
}

/// Numbers by their value, before words; nothing is before all. Of other texts no order is known.
fn natural_order(a: Option<&str>, b: Option<&str>) -> Option<Ordering> {
    let is_word = |text: &str| text.chars().all(char::is_alphabetic);
    let key = |text: Option<&str>| match text.unwrap_or_default() {
        "" => Some((0, 0, String::new())),
        text => match text.parse::<u64>() {
            Ok(number) => Some((1, number, text.to_owned())),
            Err(_) => is_word(text).then(|| (2, 0, text.to_owned())),
        },
    };
    Some(key(a)?.cmp(&key(b)?))
}

fn evaluated(executor: &Executor, snapshot: &Snapshot, text: &str, bounds: Bounds) -> Option<Answer> {
    let expr = timberline_query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let query = Query::range(text, expr, bounds.start_ms, bounds.end_ms, bounds.step_ms);
    executor.execute(snapshot, &query, &Cancel::new()).ok().map(|outcome| answer(outcome.value))
}

/// The samples of both, of which none is in both.
fn united(a: Answer, b: Answer) -> Answer {
    let mut all = a;
    for (labels, samples) in b {
        match all.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, known)) => {
                known.extend(samples);
                known.sort_by_key(|(time, _)| *time);
            }
            None => all.push((labels, samples)),
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A ratio and its complement choose everything, once; and the samples of `limitk` are samples of its input.
#[test]
fn limits_choose_among_what_is_there() {
    let options = ExecutorOptions { threads: 1, ..ExecutorOptions::default() };
    let executor = Executor::new(options).unwrap();
    for_each_seed(DATABASES, |seed| {
        let mut random = Random(seed);
        let (data, db) = data::random(&mut random);
        let snapshot = db.snapshot();
        for _ in 0..QUERIES_PER_DATABASE {
            let (text, bounds) = Maker { random: &mut random, data: &data }.limited();
            let evaluate = |text: &str| evaluated(&executor, &snapshot, text, bounds);
            let Some(all) = evaluate(&text) else { continue };
            let ratio = random.pick(&["0.1", "0.5", "0.75", "1", "0"]);
            let chosen = evaluate(&format!("limit_ratio({ratio}, {text})")).unwrap();
            let rest = evaluate(&format!("limit_ratio({ratio} - 1, {text})")).unwrap();
            assert!(same(&united(chosen, rest), &all), "limit_ratio({ratio}, {text}) {bounds:?}");
            let some = evaluate(&format!("limitk(2, {text})")).unwrap();
            let lost = evaluate(&format!("({text}) unless limitk(2, {text})")).unwrap();
            assert!(same(&united(some, lost), &all), "limitk(2, {text}) {bounds:?}");
        }
    });
}
