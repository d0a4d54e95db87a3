//! `absent` and `absent_over_time`.

use timberline_engine::Labels;

use crate::error::Result;
use crate::exec::aggregate;
use crate::exec::pipeline::Pipeline;
use crate::exec::row::{ABSENT, Row};

/// One row with 1 at the steps where `input` has no sample.
pub(in crate::exec) fn absent(input: &Pipeline<'_>, labels: &Labels) -> Result<Vec<Row>> {
    let present = aggregate::presence(input)?;
    let values = present.into_iter().map(|present| if present { ABSENT } else { 1.0 }).collect();
    let row = Row { labels: labels.clone(), drop_name: false, values };
    Ok(if row.is_empty() { Vec::new() } else { vec![row] })
}
