//! `topk` and `bottomk`: at each step the k samples of a group with the largest or smallest values. A NaN ranks last in both.

use std::cmp::Ordering;

use super::groups::Groups;
use crate::ast::Grouping;
use crate::error::{QueryError, Result};
use crate::exec::annotations::go_number;
use crate::exec::context::Cancel;
use crate::exec::row::{ABSENT, Row, is_present};
use crate::exec::threads::Threads;

/// The order of values in a ranking, NaN last.
pub(in crate::exec) fn rank_order(a: f64, b: f64, smallest_first: bool) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) if smallest_first => order,
        Some(order) => order.reverse(),
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

/// The k of each step as a number of samples.
pub(super) fn counts(parameter: &[f64]) -> Result<Vec<usize>> {
    const INT64_END: f64 = 9_223_372_036_854_775_808.0;
    let count = |&k: &f64| {
        if k.is_nan() {
            return Err(QueryError::execution("Parameter value is NaN"));
        }
        if k <= -INT64_END {
            return Err(QueryError::execution(format!("Scalar value {} underflows int64", go_number(k))));
        }
        if k >= INT64_END {
            return Err(QueryError::execution(format!("Scalar value {} overflows int64", go_number(k))));
        }
        Ok(k.max(0.0) as usize)
    };
    parameter.iter().map(count).collect()
}

/// Keeps the cells that rank among the first `counts[step]` of their group. With one step the rows come in the order of their ranks.
pub(super) fn evaluate(
    rows: Vec<Row>,
    bottom: bool,
    counts: &[usize],
    grouping: &Grouping,
    threads: Threads<'_>,
    cancel: &Cancel,
) -> Result<Vec<Row>> {
    let members = Groups::of(cancel, rows.len(), |at| &rows[at].labels, grouping)?.members();
    let picked = threads.map(counts.len(), Vec::new, |candidates, step| {
        cancel.check()?;
        let mut picked = Vec::new();
        for members in &members {
            pick(&rows, members, step, counts[step], bottom, candidates, &mut picked);
        }
        Ok(picked)
    })?;
    if let [ranked] = picked.as_slice() {
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        return Ok(ranked.iter().filter_map(|&at| rows[at].take()).collect());
    }
    let mut results: Vec<Option<Row>> = rows.iter().map(|_| None).collect();
    for (step, picked) in picked.iter().enumerate() {
        for &at in picked {
            let Row { labels, drop_name, values } = &rows[at];
            let result = results[at].get_or_insert_with(|| Row {
                labels: labels.clone(),
                drop_name: *drop_name,
                values: vec![ABSENT; counts.len()],
            });
            result.values[step] = values[step];
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// Appends the rows among `members` that rank first at `step`, in order.
fn pick(
    rows: &[Row],
    members: &[usize],
    step: usize,
    count: usize,
    bottom: bool,
    candidates: &mut Vec<(f64, usize)>,
    picked: &mut Vec<usize>,
) {
    if count == 0 {
        return;
    }
    candidates.clear();
    candidates.extend(
        members.iter().map(|&at| (rows[at].values[step], at)).filter(|(value, _)| is_present(*value)),
    );
    // Of equal values, the one of the earlier row ranks first.
    let order = |a: &(f64, usize), b: &(f64, usize)| rank_order(a.0, b.0, bottom).then(a.1.cmp(&b.1));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    picked.extend(candidates.iter().map(|(_, at)| at));
}

#[cfg(test)]
mod tests {
    use timberline_engine::Labels;

    use super::*;
    use crate::exec::threads::Pool;

    #[test]
    fn nan_ranks_last_in_both_directions() {
        let row = |name: &str, value| Row {
            labels: Labels::from_pairs([("i", name)]).unwrap(),
            drop_name: false,
            values: vec![value],
        };
        let rows = || vec![row("nan", f64::NAN), row("one", 1.0), row("two", 2.0)];
        let names = |bottom, k| {
            let ranked = evaluate(
                rows(),
                bottom,
                &[k],
                &Grouping::default(),
                Pool::new(1).unwrap().threads(None),
                &Cancel::new(),
            )
            .unwrap();
            ranked.iter().map(|row| row.labels.get("i").unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(false, 3), ["two", "one", "nan"]);
        assert_eq!(names(true, 3), ["one", "two", "nan"]);
        assert_eq!(names(true, 1), ["one"]);
        assert_eq!(names(false, 0), [""; 0]);
    }

    #[test]
    fn k_must_be_an_integer_that_fits() {
        assert_eq!(counts(&[2.9, -5.0, 0.0]).unwrap(), [2, 0, 0]);
        assert_eq!(counts(&[f64::NAN]).unwrap_err().to_string(), "Parameter value is NaN");
        assert!(counts(&[1e19]).is_err() && counts(&[f64::NEG_INFINITY]).is_err());
    }
}
