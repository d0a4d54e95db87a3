//! PromQL for Timberline: parse → plan → vectorized execution over an engine snapshot.
//!
//! This crate knows nothing about HTTP and nothing about how the engine stores samples.

pub mod ast;
mod deep;
mod error;
mod exec;
pub mod explain;
pub mod histogram;
pub mod parser;
mod plan;
mod pretty;
mod print;
pub mod signature;
mod template;
mod value;

pub use deep::{Deep, on_enough_stack};
pub use error::{ErrorKind, QueryError, Result};
pub use exec::{Cancel, Executor, ExecutorOptions, Limits, Query};
pub use parser::{
    ParseError, format_duration, is_cheap_to_parse, parse, parse_duration, parse_selector,
    parse_selector_within, parse_within,
};
pub use value::{MatrixSeries, Outcome, QueryStats, Timings, Value, VectorSample};
