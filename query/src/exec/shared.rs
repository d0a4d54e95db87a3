//! Rows of expressions that stand in a query more than once, kept until they are wanted again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::eval::Evaluator;
use super::grid::Grid;
use super::pipeline::{Pipeline, Source};
use super::row::Row;
use super::usage::{CELL_BYTES, node_id};
use crate::error::Result;
use crate::plan::SharedPlan;

/// Rows that take more memory than this are computed anew each time rather than kept.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// The part of the memory that a query may take that one such expression may.
const KEPT_SHARE: u64 = 8;

/// The rows that are kept, by the number of their expression.
#[derive(Debug, Default)]
pub(super) struct SharedRows(Mutex<HashMap<usize, Kept>>);

#[derive(Clone, Debug)]
struct Kept {
    grid: Grid,
    rows: Arc<Vec<Row>>,
}

impl SharedRows {
    fn kept(&self) -> MutexGuard<'_, HashMap<usize, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, number: usize, grid: Grid) -> Option<Arc<Vec<Row>>> {
        let kept = self.kept().get(&number).cloned();
        kept.filter(|kept| kept.grid == grid).map(|kept| kept.rows)
    }
}

/// The pipeline of `shared`: its rows, if they can be kept.
pub(super) fn pipeline<'q>(evaluator: &Evaluator<'q>, shared: &'q SharedPlan) -> Result<Pipeline<'q>> {
    let (context, grid) = (evaluator.context, evaluator.grid);
    // Who counts the samples of each step counts them at each place.
    if context.tally.is_some() {
        return evaluator.pipeline(&shared.plan);
    }
    if let Some(rows) = context.shared.get(shared.number, grid) {
        return Pipeline::new(context, grid, Source::Shared(rows));
    }
    let annotations = context.annotations_made();
    let mark = context.usage.begin();
    let pipeline = evaluator.pipeline(&shared.plan)?;
    let bytes = (pipeline.len() as u64).saturating_mul(grid.steps as u64).saturating_mul(CELL_BYTES);
    if bytes > KEPT_BYTES_MAX.min(context.limits.query_memory_bytes_max / KEPT_SHARE) {
        return Ok(pipeline);
    }
    let rows = Arc::new(pipeline.collect()?);
    context.end_node(mark, node_id(&shared.plan), &rows)?;
    // What is annotated names its place in the query, and so has to be found at each place.
    if context.annotations_made() == annotations {
        context.charge_kept_bytes(rows.len() * grid.steps * size_of::<f64>())?;
        context.shared.kept().insert(shared.number, Kept { grid, rows: Arc::clone(&rows) });
    }
    Pipeline::new(context, grid, Source::Shared(rows))
}
