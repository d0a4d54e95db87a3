//! Queries as long and as deep as people's programs make them.

use super::*;
use crate::explain::Explanation;
use crate::value::VectorSample;

/// Evaluates on a small stack, as threads for blocking work have one.
fn evaluate(texts: Vec<String>) -> Vec<(Outcome, Explanation)> {
    let run = move || {
        let (db, _directory) = database();
        let (executor, snapshot) = (executor(Limits::default(), 1), db.snapshot());
        let each = |text: &String| {
            let query = Query::instant(text, crate::parse(text).unwrap(), 60_000);
            let outcome = executor.execute(&snapshot, &query, &Cancel::new()).unwrap();
            let explanation = executor.explain(&snapshot, &query, &Cancel::new(), false).unwrap();
            (outcome, explanation)
        };
        texts.iter().map(each).collect()
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap()
}

fn chain(operand: impl Fn(usize) -> String, operator: &str, count: usize) -> String {
    (0..count).map(operand).collect::<Vec<_>>().join(operator)
}

fn values(outcome: &Outcome) -> Vec<f64> {
    match &outcome.value {
        Value::Vector(samples) => samples.iter().map(|VectorSample { value, .. }| *value).collect(),
        Value::Scalar { value, .. } => vec![*value],
        other => panic!("{other:?}"),
    }
}

#[test]
fn chains_of_thousands_of_operators_are_evaluated() {
    const COUNT: usize = 5_000;
    let one = || r#"c_total{i="1"}"#.to_owned();
    let outcomes = evaluate(vec![
        chain(|_| "1".to_owned(), " + ", COUNT),
        chain(|i| format!(r#"c_total{{i="{}"}} > 0"#, i % 100), " or ", COUNT),
        chain(|i| if i == 0 { one() } else { "1".to_owned() }, " + ", COUNT),
        chain(|i| if i == 0 { one() } else { "time()".to_owned() }, " - ", COUNT),
        chain(|_| one(), " + ", COUNT),
        chain(|i| if i % 2 == 0 { one() } else { format!("({} > 1)", one()) }, " and ", COUNT),
        chain(|i| format!(r#"c_total{{i="{i}"}}"#), " unless ", COUNT),
        chain(|_| "1".to_owned(), " ^ ", COUNT),
        format!("{}{}", "-".repeat(COUNT), one()),
        format!("{}1", "-".repeat(COUNT)),
    ]);
    let results: Vec<Vec<f64>> = outcomes.iter().map(|(outcome, _)| values(outcome)).collect();
    // c_total{i="1"} counts by two, and had four steps of 15 s.
    let value = 8.0;
    assert_eq!(results[0], [COUNT as f64]);
    assert_eq!(results[1].len(), 100);
    assert_eq!(results[2], [value + (COUNT - 1) as f64]);
    assert_eq!(results[3], [value - 60.0 * (COUNT - 1) as f64]);
    assert_eq!(results[4], [value * COUNT as f64]);
    assert_eq!(results[5], [value]);
    assert_eq!(results[6], [4.0]);
    assert_eq!(results[7], [1.0]);
    assert_eq!(results[8], [value]);
    assert_eq!(results[9], [1.0]);
    for (_, explanation) in outcomes {
        let text = explanation.to_string();
        assert!(text.len() < 16 << 20, "{} bytes", text.len());
    }
}

#[test]
fn what_is_nested_thousands_of_times_is_evaluated() {
    const COUNT: usize = 2_000;
    let nested =
        |open: &str, core: &str, close: &str| format!("{}{core}{}", open.repeat(COUNT), close.repeat(COUNT));
    let outcomes = evaluate(vec![
        nested("(", "1", ")"),
        nested("abs(", r#"c_total{i="1"}"#, ")"),
        nested("sum(", "c_total", ")"),
        nested("1 + (", "time()", ")"),
        nested("label_replace(", r#"c_total{i="1"}"#, r#", "a", "b", "", "")"#),
        nested("scalar(vector(", "2", "))"),
    ]);
    let results: Vec<Vec<f64>> = outcomes.iter().map(|(outcome, _)| values(outcome)).collect();
    assert_eq!(results[..2], [[1.0], [8.0]]);
    assert_eq!(results[3..], [[60.0 + COUNT as f64], [8.0], [2.0]]);
}

/// Each operator of a pipeline has a number for each step.
#[test]
fn the_numbers_of_a_long_chain_are_memory() {
    let text = format!("c_total{}", " + 1".repeat(1_000));
    let limits = Limits { query_memory_bytes_max: 1 << 20, ..Limits::default() };
    let error = error(limits, &range(&text, 600_000, 1_000));
    assert!(matches!(error, QueryError::Limit { name: "query_memory_bytes_max", .. }), "{error}");
}

/// The rows of the left side are replaced operator by operator.
#[test]
fn a_chain_holds_the_rows_of_two_operands() {
    let (db, _directory) = database();
    let (executor, snapshot) = (executor(Limits::default(), 1), db.snapshot());
    let peak = |count| {
        let text = chain(|i| format!("c_total offset {i}ms"), " + ", count);
        let query = range(&text, 600_000, 1_000);
        executor.execute(&snapshot, &query, &Cancel::new()).unwrap().stats.points_peak
    };
    let (few, many) = (peak(3), peak(30));
    assert_eq!(few, many);
}
