//! `and`, `or`, `unless`: which cells of the two sides stay.

use super::matching::match_groups;
use crate::ast::VectorMatching;
use crate::error::Result;
use crate::exec::context::Cancel;
use crate::exec::finish::RowMerger;
use crate::exec::row::{ABSENT, Row, is_present};
use crate::plan::SetOp;

pub(in crate::exec) fn evaluate_set(
    cancel: &Cancel,
    op: SetOp,
    matching: &VectorMatching,
    mut lhs: Vec<Row>,
    mut rhs: Vec<Row>,
) -> Result<Vec<Row>> {
    if lhs.is_empty() {
        return Ok(if op == SetOp::Or { rhs } else { lhs });
    }
    let steps = lhs[0].values.len();
    for (at, group) in match_groups(cancel, matching, &lhs, &rhs)?.iter().enumerate() {
        cancel.look(at)?;
        match op {
            SetOp::And | SetOp::Unless => {
                let present = presence(&rhs, &group.one, steps);
                keep_where(&mut lhs, &group.many, &present, op == SetOp::And);
            }
            SetOp::Or => {
                let present = presence(&lhs, &group.many, steps);
                keep_where(&mut rhs, &group.one, &present, false);
            }
        }
    }
    if op != SetOp::Or {
        lhs.retain(|row| !row.is_empty());
        return Ok(lhs);
    }
    let mut merger = RowMerger::with_capacity(cancel, lhs.len() + rhs.len());
    for row in lhs.into_iter().chain(rhs).filter(|row| !row.is_empty()) {
        merger.add(row)?;
    }
    Ok(merger.into_rows())
}

/// The steps at which any of the rows `members` has a sample.
fn presence(rows: &[Row], members: &[usize], steps: usize) -> Vec<bool> {
    let mut present = vec![false; steps];
    for &at in members {
        present.iter_mut().zip(&rows[at].values).for_each(|(present, &value)| *present |= is_present(value));
    }
    present
}

/// Keeps the cells of the steps whose `present` is `wanted`.
fn keep_where(rows: &mut [Row], members: &[usize], present: &[bool], wanted: bool) {
    for &at in members {
        for (cell, &present) in rows[at].values.iter_mut().zip(present) {
            if present != wanted {
                *cell = ABSENT;
            }
        }
    }
}
