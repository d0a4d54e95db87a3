//! Which rows are aggregated together. A row's group is found once, before anything is computed.

use hashbrown::HashMap;
use timberline_engine::{Labels, METRIC_NAME};

use crate::ast::Grouping;
use crate::error::Result;
use crate::exec::context::Cancel;
use crate::exec::row::write_key;

/// The groups of rows, in the order of their first rows.
pub(super) struct Groups {
    of_row: Vec<u32>,
    labels: Vec<Labels>,
}

/// Whether the grouping keeps the label `name`.
pub(super) fn keeps(grouping: &Grouping, name: &str) -> bool {
    let listed = grouping.labels.iter().any(|label| label == name);
    if grouping.without { !listed && name != METRIC_NAME } else { listed }
}

/// The names of the labels that rows have to have, unless it is all: those of the grouping, and the metric name, which annotations say.
pub(super) fn needed_labels(grouping: &Grouping) -> Option<Vec<&str>> {
    let listed = grouping.labels.iter().map(String::as_str);
    (!grouping.without).then(|| listed.chain([METRIC_NAME]).collect())
}

impl Groups {
    pub(super) fn of<'l>(
        cancel: &Cancel,
        rows: usize,
        labels_of: impl Fn(usize) -> &'l Labels,
        grouping: &Grouping,
    ) -> Result<Self> {
        if !grouping.without && grouping.labels.is_empty() {
            let labels = if rows == 0 { Vec::new() } else { vec![Labels::empty()] };
            return Ok(Self { of_row: vec![0; rows], labels });
        }
        let mut groups = Self { of_row: Vec::with_capacity(rows), labels: Vec::new() };
        let mut known: HashMap<Vec<u8>, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut key = Vec::new();
        for at in 0..rows {
            cancel.look(at)?;
            key.clear();
            write_key(labels_of(at), &mut key, |name| keeps(grouping, name));
            let group = known.entry_ref(key.as_slice()).or_insert_with(|| {
                groups.labels.push(labels_of(at).retain(|name| keeps(grouping, name)));
                groups.labels.len() as u32 - 1
            });
            groups.of_row.push(*group);
        }
        Ok(groups)
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn of_row(&self, row: usize) -> u32 {
        self.of_row[row]
    }

    /// The labels of a group.
    pub(super) fn labels(&self, group: u32) -> &Labels {
        &self.labels[group as usize]
    }

    /// The rows of each group.
    pub(super) fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.labels.len()];
        for (row, &group) in self.of_row.iter().enumerate() {
            members[group as usize].push(row);
        }
        members
    }

    /// The labels of each group.
    pub(super) fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}
