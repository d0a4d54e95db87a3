//! Timberline's storage engine.
pub mod directory;
mod db;
mod error;
mod labels;
mod matcher;
mod options;
mod time;
mod value;

pub use db::*;
pub use directory::Directory;
pub use error::{Error, Result};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use options::{Options, WalSync};
pub use time::TimeRange;
pub use value::{STALE_NAN, STALE_NAN_BITS, is_stale};
