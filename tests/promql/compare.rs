//! Whether an answer is the expected one, by promqltest's rules.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use timberline_engine::histogram::cell;
use timberline_engine::{Histogram, Labels};
use timberline_query::{MatrixSeries, Outcome, Value};

use super::histogram::visible;
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

/// A sample as it is compared.
fn point(value: f64, histogram: Option<&Arc<Histogram>>) -> Point {
    histogram.map_or(Point::Float(value), |histogram| Point::Histogram(Arc::clone(histogram)))
}

/// The samples of a series.
fn points(series: &MatrixSeries) -> Vec<(i64, Point)> {
    let point = |value: f64| {
        let place = cell::histogram_place(value).map(|place| place as usize);
        point(value, place.and_then(|place| series.histograms.get(place)))
    };
    series.timestamps_ms.iter().copied().zip(series.values.iter().map(|&value| point(value))).collect()
}

fn same_point(a: &Point, b: &Point) -> bool {
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => almost_equal(*a, *b),
        (Point::Histogram(a), Point::Histogram(b)) => {
            let (a, b) = (visible(a), visible(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| almost_equal(*a, *b))
        }
        _ => false,
    }
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
            let got: Vec<(&Labels, Point)> =
                samples.iter().map(|s| (&s.labels, point(s.value, s.histogram.as_ref()))).collect();
            vector(eval, &got, eval.ordered)
        }
        (Value::Matrix(series), None, None) => matrix(eval, series),
        _ => Err(format!("got {value:?}, expected {:?} {:?} {:?}", eval.string, eval.scalar, eval.series)),
    }
}

fn vector(eval: &Eval, got: &[(&Labels, Point)], ordered: bool) -> Result<(), String> {
    let expected: HashMap<&Labels, (usize, &Vec<Point>)> =
        eval.series.iter().enumerate().map(|(i, (labels, points))| (labels, (i, points))).collect();
    for (i, (labels, value)) in got.iter().enumerate() {
        let Some((at, points)) = expected.get(labels) else {
            return Err(format!("unexpected series {labels} {value:?}"));
        };
        if ordered && *at != i {
            return Err(format!("{labels} is at position {i} instead of {at}"));
        }
        let wanted = points.first().unwrap_or(&Point::Float(0.0));
        if !same_point(wanted, value) {
            return Err(format!("{labels} is {value:?} instead of {wanted:?}"));
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
        let wanted: Vec<(i64, &Point)> = points
            .iter()
            .enumerate()
            .filter(|(_, point)| **point != Point::Gap)
            .map(|(i, point)| (start_ms + i as i64 * step_ms, point))
            .collect();
        let Some(series) = got.remove(labels) else {
            if wanted.is_empty() {
                continue;
            }
            return Err(format!("missing series {labels} {wanted:?}"));
        };
        let have = self::points(series);
        let same = wanted.len() == have.len()
            && wanted.iter().zip(&have).all(|(a, b)| a.0 == b.0 && same_point(a.1, &b.1));
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
        points(series).into_iter().find(|(time, _)| *time == time_ms).map(|(_, point)| point)
    };
    let got: Vec<(&Labels, Point)> =
        series.iter().filter_map(|series| Some((&series.labels, at_time(series)?))).collect();
    match eval.scalar {
        Some(expected) => match got.as_slice() {
            [(labels, value)] if labels.is_empty() && same_point(&Point::Float(expected), value) => Ok(()),
            _ => Err(format!("as a range query: {got:?} instead of {expected}")),
        },
        None => vector(eval, &got, false).map_err(|error| format!("as a range query: {error}")),
    }
}
