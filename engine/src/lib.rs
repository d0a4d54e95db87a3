//! Timberline's storage engine: labeled samples in, durable, compressed, indexed, and out again as columns.
//!
//! A library of its own: no HTTP, no query language, no async runtime. All file access goes through [`Directory`], so
//! that the whole engine also runs on a simulated disk.
//!
//! ```
//! use timberline_engine::{Db, Labels, Matcher, Options, Samples, TimeRange};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let db = Db::open(path, Options::default())?;
//!
//! let labels = Labels::from_pairs([("__name__", "temperature"), ("room", "attic")])?;
//! let mut batch = db.appender()?;
//! batch.series(&labels, [(1_000_000_000, 21.5), (2_000_000_000, 21.25)])?;
//! batch.commit()?; // on disk, and visible
//!
//! let mut samples = Samples::default();
//! for series in db.snapshot().select(&[Matcher::equal("room", "attic")], TimeRange::ALL)? {
//!     series.read(&mut samples)?;
//!     assert_eq!(samples.values, [21.5, 21.25]);
//! }
//! db.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a sample
//! [`Appender::row`] → [`head`] (series lookup) → [`wal`] (group commit) → [`head`] again (buffer, chunk) → [`merge`] (seal)
//! → [`block`] → [`compaction`]; and back through [`querier`], which [`Snapshot`] and [`Series`] come from. The repository's
//! `ARCHITECTURE.md` tells each step, the commit protocol, and why it is crash safe.

pub mod block;
mod budget;
pub mod chunk;
pub mod compaction;
mod db;
pub mod directory;
pub mod encoding;
mod error;
pub mod head;
pub mod histogram;
pub mod index;
pub mod inspect;
mod labels;
pub mod manifest;
mod matcher;
pub mod merge;
mod options;
mod pattern;
pub mod querier;
pub mod repair;
mod retention;
mod rows;
mod samples;
mod time;
pub mod tombstones;
mod value;
pub mod verify;
pub mod wal;
mod watch;
mod windows;

pub use budget::{Budget, Found, Held, Pieces};
pub use chunk::{Resets, Statistics};
pub use db::{Appender, CompactionReport, Db, DeleteReport, FlushReport, SNAPSHOTS_DIR, Stats};
pub use directory::Directory;
pub use error::{Error, Result};
pub use histogram::{BucketSpan, Buckets, Histogram, ResetHint};
pub use labels::{Iter as LabelsIter, Labels, LabelsBuilder, METRIC_NAME, WantedLabels};
pub use matcher::{MatchOp, Matcher};
pub use options::{Options, WalSync};
pub use pattern::{Groups, Pattern, PatternError};
pub use querier::{Cardinality, Count, Estimate, KnownTimes, Part, Series, Snapshot};
pub use retention::RetentionClock;
pub use rows::{Field, HistogramRow, Row};
pub use samples::Samples;
pub use time::TimeRange;
pub use value::{STALE_NAN, STALE_NAN_BITS, is_stale};
pub use wal::{ReplayProgress, ReplayState, SyncTimes};
pub use watch::Watch;
