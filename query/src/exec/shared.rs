//! Rows of expressions that stand in a query more than once, kept until they are wanted again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::eval::Evaluator;
use super::grid::Grid;
use super::pipeline::{Pipeline, Source};
use super::row::Row;
use crate::error::Result;
use crate::plan::SharedPlan;

/// More cells than this are computed anew each time rather than kept: 64 MB.
const KEPT_CELLS_MAX: usize = 8 << 20;

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
    if let Some(rows) = context.shared.get(shared.number, grid) {
        return Ok(Pipeline::new(context, grid, Source::Shared(rows)));
    }
    let annotations = context.annotations_made();
    let pipeline = evaluator.pipeline(&shared.plan)?;
    if pipeline.len().saturating_mul(grid.steps) > KEPT_CELLS_MAX {
        return Ok(pipeline);
    }
    let rows = Arc::new(pipeline.collect()?);
    // What is annotated names its place in the query, and so has to be found at each place.
    if context.annotations_made() == annotations {
        context.shared.kept().insert(shared.number, Kept { grid, rows: Arc::clone(&rows) });
    }
    Ok(Pipeline::new(context, grid, Source::Shared(rows)))
}
