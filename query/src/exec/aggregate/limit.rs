//! `limitk` and `limit_ratio`: some samples of each group, whatever their values.

use timberline_engine::Labels;
use twox_hash::XxHash64;

use super::groups::Groups;
use crate::ast::{Grouping, Span};
use crate::error::{QueryError, Result};
use crate::exec::context::{Cancel, Context};
use crate::exec::row::{ABSENT, Row, is_present};

/// Keeps the first `counts[step]` samples of each group.
pub(super) fn first(
    cancel: &Cancel,
    mut rows: Vec<Row>,
    counts: &[usize],
    grouping: &Grouping,
) -> Result<Vec<Row>> {
    let members = Groups::of(cancel, rows.len(), |at| &rows[at].labels, grouping)?.members();
    for members in members {
        let mut left = counts.to_vec();
        for at in members {
            cancel.look(at)?;
            for (cell, left) in rows[at].values.iter_mut().zip(&mut left) {
                if !is_present(*cell) {
                    continue;
                }
                match left.checked_sub(1) {
                    Some(fewer) => *left = fewer,
                    None => *cell = ABSENT,
                }
            }
        }
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

/// Keeps the share `ratios[step]` of the series, chosen by the hash of their labels: a negative ratio keeps just what its
/// complement, one more, leaves out.
pub(super) fn ratio(
    context: &Context<'_>,
    mut rows: Vec<Row>,
    ratios: &[f64],
    span: Span,
) -> Result<Vec<Row>> {
    if ratios.iter().any(|ratio| ratio.is_nan()) {
        return Err(QueryError::execution("Ratio value is NaN"));
    }
    let largest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    for (got, bound) in [(largest, 1.0), (smallest, -1.0)] {
        if got * bound > 1.0 {
            context.annotate(span, |annotations, position| annotations.invalid_ratio(got, bound, position));
        }
    }
    for (at, row) in rows.iter_mut().enumerate() {
        context.cancel().look(at)?;
        let offset = offset(&row.labels);
        for (cell, ratio) in row.values.iter_mut().zip(ratios) {
            let ratio = ratio.clamp(-1.0, 1.0);
            let keeps = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
            if !keeps {
                *cell = ABSENT;
            }
        }
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

/// Where in `0..=1` the labels fall.
fn offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        for text in [name, value] {
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    XxHash64::oneshot(0, &bytes) as f64 / u64::MAX as f64
}

/// One byte, or 255 and three. This is the form of a label set that Prometheus hashes, so both choose the same series.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < u8::MAX => bytes.push(short),
        _ => {
            bytes.push(u8::MAX);
            bytes.extend_from_slice(&length.to_le_bytes()[..3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        let row = |i: usize| {
            let labels = Labels::from_pairs([("__name__", "x".to_owned()), ("i", i.to_string())]).unwrap();
            Row { labels, drop_name: false, values: vec![i as f64, if i == 0 { ABSENT } else { 1.0 }] }
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn a_step_takes_the_first_that_are_there() {
        let kept = first(&Cancel::new(), rows(4), &[1, 2], &Grouping::default()).unwrap();
        let present: Vec<Vec<bool>> =
            kept.iter().map(|row| row.values.iter().map(|&v| is_present(v)).collect()).collect();
        assert_eq!(present, [[true, false], [false, true], [false, true]]);
        assert!(first(&Cancel::new(), rows(4), &[0, 0], &Grouping::default()).unwrap().is_empty());
    }

    #[test]
    fn a_ratio_and_its_complement_are_everything() {
        let mut sum = 0;
        for i in 0..1000 {
            let share = offset(&rows(i + 1)[i].labels);
            assert!((0.0..=1.0).contains(&share));
            sum += usize::from(share < 0.3);
        }
        assert!((200..400).contains(&sum), "{sum} of 1000");
    }
}
