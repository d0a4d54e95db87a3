//! What to do with the blocks: a pure policy decides, [`Db`](crate::Db) carries it out.

mod policy;

pub use policy::{Choice, Policy};
