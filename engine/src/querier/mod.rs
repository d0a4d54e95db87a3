//! Reading: one immutable view of blocks and heads, and the series that a selection finds in it.

mod cardinality;
mod series;
mod snapshot;

pub use cardinality::{Cardinality, Count};
pub use series::Series;
pub use snapshot::{SealedHead, Snapshot};
