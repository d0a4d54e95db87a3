//! PromQL for Timberline: parse → plan → vectorized execution over an engine snapshot.
//!
//! This crate knows nothing about HTTP and nothing about how the engine stores samples.

pub mod ast;
pub mod signature;
