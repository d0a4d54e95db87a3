//! What a writer hands in: rows of named values that share a key and a timestamp.

use std::sync::Arc;

use crate::histogram::Histogram;

/// One field of a row. The name is opaque to the engine: the bytes as the protocol has them.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The name within the row's key; shorter than 64 KiB.
    pub name: &'a [u8],
    /// The value.
    pub value: f64,
}

/// Values that share a key and a timestamp: one line of line protocol.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Which series the row belongs to, as opaque bytes: equal keys with equal field names mean equal series.
    /// Protocols keep out of each other's way by a prefix.
    pub key: &'a [u8],
    /// Nanoseconds since the epoch.
    pub timestamp: i64,
    /// The fields. When a name stands twice, the later value counts.
    pub fields: &'a [Field<'a>],
}

/// A native histogram as a row of its own.
#[derive(Clone, Debug)]
pub struct HistogramRow<'a> {
    /// As [`Row::key`]. The series may be one that other rows give floats.
    pub key: &'a [u8],
    /// As [`Field::name`].
    pub name: &'a [u8],
    /// Nanoseconds since the epoch.
    pub timestamp: i64,
    /// The sample.
    pub histogram: Arc<Histogram>,
}
