//! Whether an answer is the expected one, by promqltest's rules.

use std::collections::HashMap;

use regex::Regex;
use timberline_engine::Labels;
use timberline_query::{MatrixSeries, Outcome, Value};

use super::script::{At, Eval, Expected, Point, Text};

const TOLERANCE: f64 = 1e-6;

/// Relatively close, or both NaN; zero only equals zero.
fn almost_equal(a: f64, b: f64) -> bool {
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    if !a.is_finite() || !b.is_finite() {
        return false;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

pub(crate) fn text_matches(expected: &Text, text: &str) -> bool {
    match expected {
        Text::Any => true,
        Text::Exactly(wanted) => wanted == text,
        Text::Regex(pattern) => Regex::new(pattern).unwrap().is_match(text),
    }
}

/// Compares the value and the annotations.
pub(crate) fn outcome(eval: &Eval, outcome: &Outcome) -> Result<(), String> {
    value(eval, &outcome.value)?;
    annotations("warning", &eval.warnings, &outcome.warnings)?;
    annotations("info", &eval.infos, &outcome.infos)
}

fn annotations(kind: &str, expected: &Expected, got: &[String]) -> Result<(), String> {
    if expected.none && !got.is_empty() {
        return Err(format!("unexpected {kind} {got:?}"));
    }
    for text in &expected.texts {
        if !got.iter().any(|got| text_matches(text, got)) {
            return Err(format!("no {kind} like {text:?} in {got:?}"));
        }
    }
    for got in got.iter().filter(|_| !expected.texts.is_empty()) {
        if !expected.texts.iter().any(|text| text_matches(text, got)) {
            return Err(format!("unexpected {kind} {got:?}"));
        }
    }
    Ok(())
}

fn value(eval: &Eval, value: &Value) -> Result<(), String> {
    match (value, &eval.string, eval.scalar) {
        (Value::String { value, .. }, Some(expected), _) if value == expected => Ok(()),
        (Value::Scalar { value, .. }, None, Some(expected)) if almost_equal(*value, expected) => Ok(()),
        (Value::Vector(samples), None, None) if eval.range_vector.is_none() => {
            let got: Vec<(&Labels, f64)> = samples.iter().map(|s| (&s.labels, s.value)).collect();
            vector(eval, &got, eval.ordered)
        }
        (Value::Matrix(series), None, None) => matrix(eval, series),
        _ => Err(format!("got {value:?}, expected {:?} {:?} {:?}", eval.string, eval.scalar, eval.series)),
    }
}

fn vector(eval: &Eval, got: &[(&Labels, f64)], ordered: bool) -> Result<(), String> {
    let expected: HashMap<&Labels, (usize, &Vec<Point>)> =
        eval.series.iter().enumerate().map(|(i, (labels, points))| (labels, (i, points))).collect();
    for (i, (labels, value)) in got.iter().enumerate() {
        let Some((at, points)) = expected.get(labels) else {
            return Err(format!("unexpected series {labels} {value}"));
        };
        if ordered && *at != i {
            return Err(format!("{labels} is at position {i} instead of {at}"));
        }
        let wanted = match points.first() {
            Some(Point::Float(wanted)) => *wanted,
            _ => 0.0,
        };
        if !almost_equal(wanted, *value) {
            return Err(format!("{labels} is {value} instead of {wanted}"));
        }
    }
    let distinct: std::collections::HashSet<&Labels> = got.iter().map(|(labels, _)| *labels).collect();
    if distinct.len() != got.len() {
        return Err("the same series twice".to_owned());
    }
    let missing = eval.series.iter().find(|(labels, _)| !distinct.contains(labels));
    missing.map_or(Ok(()), |(labels, points)| Err(format!("missing series {labels} {points:?}")))
}

fn matrix(eval: &Eval, got: &[MatrixSeries]) -> Result<(), String> {
    let Some(At::Range { start_ms, step_ms, .. }) = eval.range_vector.or(Some(eval.at)) else {
        return Err("a matrix instead of a vector".to_owned());
    };
    let mut got: HashMap<&Labels, &MatrixSeries> =
        got.iter().map(|series| (&series.labels, series)).collect();
    for (labels, points) in &eval.series {
        let wanted: Vec<(i64, f64)> = points
            .iter()
            .enumerate()
            .filter_map(|(i, point)| match point {
                Point::Float(value) => Some((start_ms + i as i64 * step_ms, *value)),
                _ => None,
            })
            .collect();
        let Some(series) = got.remove(labels) else {
            if wanted.is_empty() {
                continue;
            }
            return Err(format!("missing series {labels} {wanted:?}"));
        };
        let have: Vec<(i64, f64)> =
            series.timestamps_ms.iter().copied().zip(series.values.iter().copied()).collect();
        let same = wanted.len() == have.len()
            && wanted.iter().zip(&have).all(|(a, b)| a.0 == b.0 && almost_equal(a.1, b.1));
        if !same {
            return Err(format!("{labels} is {have:?} instead of {wanted:?}"));
        }
    }
    match got.into_values().next() {
        Some(series) => Err(format!("unexpected series {} {:?}", series.labels, series.values)),
        None => Ok(()),
    }
}

/// Compares the step at `time_ms` of a range query with what an instant query at that time should answer.
pub(crate) fn middle_step(eval: &Eval, value: &Value, time_ms: i64) -> Result<(), String> {
    let Value::Matrix(series) = value else { return Err(format!("got {value:?} from a range query")) };
    let at_time = |series: &'_ MatrixSeries| {
        let at = series.timestamps_ms.iter().position(|&t| t == time_ms)?;
        Some(series.values[at])
    };
    let got: Vec<(&Labels, f64)> =
        series.iter().filter_map(|series| Some((&series.labels, at_time(series)?))).collect();
    match eval.scalar {
        Some(expected) => match got.as_slice() {
            [(labels, value)] if labels.is_empty() && almost_equal(*value, expected) => Ok(()),
            _ => Err(format!("as a range query: {got:?} instead of {expected}")),
        },
        None => vector(eval, &got, false).map_err(|error| format!("as a range query: {error}")),
    }
}
