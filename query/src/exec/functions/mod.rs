//! Functions of vectors that are not rollups.

mod absent;
mod date;
mod label;
mod math;
mod numbered;
mod sort;

pub(super) use absent::absent;
pub(super) use date::apply_date;
pub(super) use label::{label_join, label_replace};
pub(super) use math::{apply_math, clamp, clamp_max, clamp_min, max, min, round};
pub(super) use numbered::label_with_numbers;
pub(super) use sort::sort_by_label;
