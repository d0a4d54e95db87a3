//! `fill`: samples that one side lacks get a value before the sides meet.

use super::matching::{MatchGroup, keeps, match_groups};
use crate::ast::{Cardinality, FillValues, VectorMatching};
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::row::{ABSENT, Row, is_present};

/// What stands for samples of the left side, and of the right one. As in Prometheus, `fill_left` is for the "many" side and
/// `fill_right` for the "one", which with `group_right` are the right and the left side.
fn values_of_sides(matching: &VectorMatching) -> FillValues {
    let FillValues { left, right } = matching.fill;
    if matching.cardinality == Cardinality::OneToMany {
        return FillValues { left: right, right: left };
    }
    matching.fill
}

/// Adds to each side one row per match group, with the fill value at the steps at which only the other side has a sample. Its
/// labels are those of the match.
pub(super) fn fill(
    context: &Context<'_>,
    matching: &VectorMatching,
    lhs: &mut Vec<Row>,
    rhs: &mut Vec<Row>,
) -> Result<()> {
    if !matching.fill.any() {
        return Ok(());
    }
    let Some(steps) = lhs.first().or(rhs.first()).map(|row| row.values.len()) else { return Ok(()) };
    let values = values_of_sides(matching);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for MatchGroup { many, one } in match_groups(context.cancel(), matching, lhs, rhs)? {
        let left_rows = Members { rows: lhs.as_slice(), at: &many };
        let right_rows = Members { rows: rhs.as_slice(), at: &one };
        if let Some(value) = values.left {
            left.extend(right_rows.missing_in(&left_rows, value, steps, matching));
        }
        if let Some(value) = values.right {
            right.extend(left_rows.missing_in(&right_rows, value, steps, matching));
        }
    }
    context.charge_points(left.len() + right.len(), steps)?;
    lhs.extend(left);
    rhs.extend(right);
    Ok(())
}

/// Some rows of one side.
struct Members<'a> {
    rows: &'a [Row],
    at: &'a [usize],
}

impl Members<'_> {
    fn has(&self, step: usize) -> bool {
        self.at.iter().any(|&at| is_present(self.rows[at].values[step]))
    }

    /// A row with `value` at the steps at which these rows have a sample and `other` has none.
    fn missing_in(&self, other: &Self, value: f64, steps: usize, matching: &VectorMatching) -> Option<Row> {
        let first = &self.rows[*self.at.first()?];
        let cell = |step| if self.has(step) && !other.has(step) { value } else { ABSENT };
        let values: Vec<f64> = (0..steps).map(cell).collect();
        let labels = first.labels.retain(|name| keeps(matching, name));
        let row = Row { labels, drop_name: false, values };
        (!row.is_empty()).then_some(row)
    }
}
