#![doc = include_str!("../../docs/format/index.md")]
//!
//! # The module
//! [`builder`] writes the file, with [`sections`] and [`spill`], from sources whose label pairs a [`dictionary`] numbers;
//! [`listed`] is the simplest of those. [`reader`] answers from the file's mapped bytes, [`layout`] is what both share,
//! [`matching`] turns matchers into series ids over any index, and [`automaton`] finds what a regular expression wants in
//! sorted values. [`postings`] are the sets of series ids.

mod automaton;
mod builder;
mod dictionary;
mod layout;
mod listed;
mod matching;
mod postings;
mod reader;
mod sections;
mod spill;

pub use builder::{IndexBuilder, SHARED_SET_BYTES_MAX};
pub use dictionary::{Dictionary, PairSource};
pub use layout::{BlockMeta, ChunkRef, StatisticsRef, TimesEntry};
pub use listed::ListedSeries;
pub use matching::{LabelIndex, matching, matching_any, values_to_look_at};
pub use reader::Index;

#[cfg(test)]
mod tests;
