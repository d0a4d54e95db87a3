//! The Prometheus query API.

mod answer;
pub(super) mod explain;
pub(super) mod info;
pub mod json;
pub(super) mod labels;
pub(in crate::http) mod params;
pub mod points;
pub(super) mod query;
pub(super) mod status;
pub(super) mod syntax;
mod tree;

pub(super) use answer::{ApiError, ErrorType};
