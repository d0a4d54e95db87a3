#![doc = include_str!("../../docs/format/index.md")]
//!
//! # The module
//! [`builder`] writes the file, [`reader`] answers from its mapped bytes, [`layout`] is what both share, [`matching`] turns
//! matchers into series ids over any index, and [`automaton`] finds what a regular expression wants in sorted values.
//! [`postings`] are the sets of series ids.

mod automaton;
mod builder;
mod layout;
mod matching;
mod postings;
mod reader;

pub use builder::IndexBuilder;
pub use layout::{BlockMeta, ChunkRef, StatisticsRef, TimesEntry};
pub use matching::{LabelIndex, matching, matching_any, values_to_look_at};
pub use reader::Index;

#[cfg(test)]
mod tests;
