//! `and`, `or`, `unless`: which cells of the two sides stay.

use hashbrown::HashMap;

use super::matching::{keeps, match_groups};
use crate::ast::VectorMatching;
use crate::error::Result;
use crate::exec::context::{Cancel, Context};
use crate::exec::eval::Evaluator;
use crate::exec::finish::RowMerger;
use crate::exec::row::{ABSENT, Row, is_present, write_key};
use crate::plan::{SetOp, VectorPlan};

/// `and` and `unless`.
pub(in crate::exec) fn evaluate_set(
    cancel: &Cancel,
    op: SetOp,
    matching: &VectorMatching,
    mut lhs: Vec<Row>,
    rhs: &[Row],
) -> Result<Vec<Row>> {
    let Some(steps) = lhs.first().map(|row| row.values.len()) else { return Ok(lhs) };
    for (at, group) in match_groups(cancel, matching, &lhs, rhs)?.iter().enumerate() {
        cancel.look(at)?;
        let present = presence(rhs, &group.one, steps);
        for &at in &group.many {
            keep_where(&mut lhs[at], &present, op == SetOp::And);
        }
    }
    lhs.retain(|row| !row.is_empty());
    Ok(lhs)
}

/// `or`, and all that are on its left and match in the same way: the rows of a long chain are looked at once.
pub(in crate::exec) fn evaluate_or<'q>(
    evaluator: &Evaluator<'q>,
    matching: &VectorMatching,
    lhs: &'q VectorPlan,
    rhs: &'q VectorPlan,
) -> Result<Vec<Row>> {
    let (mut first, mut operands) = (lhs, vec![rhs]);
    while let VectorPlan::Set { op: SetOp::Or, matching: other, lhs, rhs } = first
        && other == matching
    {
        operands.push(rhs);
        first = lhs;
    }
    operands.push(first);
    let context = evaluator.context;
    let merger = RowMerger::with_capacity(context.cancel(), 0);
    let mut union = Union { context, matching, groups: HashMap::default(), present: Vec::new(), merger };
    for operand in operands.into_iter().rev() {
        union.add(evaluator.rows(operand)?)?;
    }
    Ok(union.merger.into_rows())
}

/// The rows of several operands of `or`.
struct Union<'q> {
    context: &'q Context<'q>,
    matching: &'q VectorMatching,
    /// The number of each match group, by its labels.
    groups: HashMap<Vec<u8>, usize, foldhash::fast::RandomState>,
    /// The steps at which each group has a sample.
    present: Vec<Vec<bool>>,
    merger: RowMerger<'q>,
}

impl Union<'_> {
    /// Adds the cells of the next operand where those before it have no sample of the same group.
    fn add(&mut self, rows: Vec<Row>) -> Result<()> {
        let mut groups = Vec::with_capacity(rows.len());
        let mut key = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            self.context.cancel().look(at)?;
            key.clear();
            write_key(&row.labels, &mut key, |name| keeps(self.matching, name));
            groups.push(match self.groups.get(&key) {
                Some(&group) => group,
                None => {
                    let steps = row.values.len();
                    self.context.charge_bytes(steps + key.len())?;
                    self.present.push(vec![false; steps]);
                    self.groups.insert(key.clone(), self.present.len() - 1);
                    self.present.len() - 1
                }
            });
        }
        let mut added = Vec::with_capacity(rows.len());
        for (mut row, &group) in rows.into_iter().zip(&groups) {
            keep_where(&mut row, &self.present[group], false);
            if !row.is_empty() {
                added.push((row, group));
            }
        }
        // Rows of one operand do not stand in each other's way.
        for (row, group) in added {
            add_presence(&mut self.present[group], &row);
            self.merger.add(row)?;
        }
        Ok(())
    }
}

/// The steps at which any of the rows `members` has a sample.
fn presence(rows: &[Row], members: &[usize], steps: usize) -> Vec<bool> {
    let mut present = vec![false; steps];
    members.iter().for_each(|&at| add_presence(&mut present, &rows[at]));
    present
}

fn add_presence(present: &mut [bool], row: &Row) {
    present.iter_mut().zip(&row.values).for_each(|(present, &value)| *present |= is_present(value));
}

/// Keeps the cells of the steps whose `present` is `wanted`.
fn keep_where(row: &mut Row, present: &[bool], wanted: bool) {
    for (cell, &present) in row.values.iter_mut().zip(present) {
        if present != wanted {
            *cell = ABSENT;
        }
    }
}
