//! What was written, and what a database may hold after it.
//!
//! The rule. Let a batch be *acknowledged* when its commit succeeded, and *attempted* when its commit was called and did not.
//!
//! - A sample that was acknowledged is there, unless a later acknowledged write to the same series and timestamp replaced it: then
//!   that one is there.
//! - A write that was attempted may be there instead, if it came after the acknowledged one; so may be nothing, where nothing
//!   was acknowledged. Rows are all or nothing: of a row that was attempted, all fields are there or none. Batches are not:
//!   one that was attempted may be there in part, row by row.
//! - Nothing else is there: no other value, no other timestamp, no other series.
//! - What a database shows once it is open again after a crash is settled. What it shows is acknowledged from then on, and
//!   what it does not show never comes back.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Cells, Write};

/// What may be at one timestamp of one series.
#[derive(Clone, Debug, Default)]
struct Cell {
    acknowledged: Option<u64>,
    /// Values of commits that failed since then.
    attempted: Vec<u64>,
    /// Values that were written before the acknowledged one.
    overwritten: Vec<u64>,
}

/// What was written, as far as the writer knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    cells: BTreeMap<timberline_engine::Labels, BTreeMap<i64, Cell>>,
    /// The batches whose commit failed.
    failed: Vec<Write>,
}

impl History {
    fn cell(&mut self, labels: timberline_engine::Labels, timestamp: i64) -> &mut Cell {
        self.cells.entry(labels).or_default().entry(timestamp).or_default()
    }

    pub(crate) fn acknowledged(&mut self, batch: &[Write]) {
        for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
            let cell = self.cell(labels, timestamp);
            cell.overwritten.append(&mut cell.attempted);
            cell.overwritten.extend(cell.acknowledged.replace(bits));
        }
    }

    pub(crate) fn attempted(&mut self, batch: Vec<Write>) {
        for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
            self.cell(labels, timestamp).attempted.push(bits);
        }
        self.failed.extend(batch);
    }

    /// After a power cut, what was found is on disk, and what was not found is gone.
    pub(crate) fn settle(&mut self, found: &Cells) {
        self.failed.clear();
        self.cells.clear();
        for (labels, samples) in found {
            let cells = samples
                .iter()
                .map(|(timestamp, bits)| (*timestamp, Cell { acknowledged: Some(*bits), ..Cell::default() }));
            self.cells.insert(labels.clone(), cells.collect());
        }
    }

    /// Nothing was promised: each write may be lost.
    pub(crate) fn doubt_all(&mut self) {
        for cell in self.cells.values_mut().flat_map(BTreeMap::values_mut) {
            cell.attempted.append(&mut cell.overwritten);
            cell.attempted.extend(cell.acknowledged.take());
        }
    }

    pub(crate) fn check(&self, found: &Cells, context: &str) {
        for (labels, cells) in &self.cells {
            let samples = found.get(labels);
            for (timestamp, cell) in cells {
                let value = samples.and_then(|samples| samples.get(timestamp)).copied();
                let right = match value {
                    None => cell.acknowledged.is_none(),
                    Some(bits) => cell.acknowledged == Some(bits) || cell.attempted.contains(&bits),
                };
                assert!(right, "{context}: {labels} at {timestamp} is {value:x?}, not {cell:x?}");
            }
        }
        for (labels, samples) in found {
            let cells = self.cells.get(labels);
            for timestamp in samples.keys() {
                let known = cells.is_some_and(|cells| cells.contains_key(timestamp));
                assert!(known, "{context}: {labels} has a sample at {timestamp} that nobody wrote");
            }
        }
        self.check_rows_are_whole(found, context);
    }

    /// Of a row whose commit failed, all fields are there or none.
    fn check_rows_are_whole(&self, found: &Cells, context: &str) {
        let mut touched = BTreeMap::new();
        for (labels, timestamp, _) in self.failed.iter().flat_map(Write::cells) {
            *touched.entry((labels, timestamp)).or_insert(0) += 1;
        }
        for row in self.failed.iter().filter(|write| matches!(write, Write::Row { .. })) {
            let visible: BTreeSet<bool> = row
                .cells()
                .into_iter()
                .filter(|(labels, timestamp, bits)| {
                    let cell = &self.cells[labels][timestamp];
                    let tells = cell.acknowledged != Some(*bits) && cell.attempted == [*bits];
                    tells && touched[&(labels.clone(), *timestamp)] == 1
                })
                .map(|(labels, timestamp, bits)| {
                    found.get(&labels).and_then(|samples| samples.get(&timestamp)) == Some(&bits)
                })
                .collect();
            assert!(visible.len() < 2, "{context}: a part of the row {row:?} is there");
        }
    }
}
