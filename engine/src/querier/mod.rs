//! Reading: one set of blocks and heads that belong together, and the series that a selection finds in it.

mod cardinality;
mod estimate;
mod known_times;
mod series;
mod snapshot;

pub use cardinality::{Cardinality, Count};
pub use estimate::Estimate;
pub use known_times::KnownTimes;
pub use series::{Part, Series};
pub use snapshot::{SealedHead, Snapshot};
