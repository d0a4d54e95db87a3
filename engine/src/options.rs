//! How a database is opened.

use std::time::Duration;

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalSync {
    /// After its record is on disk. Concurrent writers share one sync.
    #[default]
    Always,
    /// At once; the log is synced this often, so a power cut loses at most that much.
    Interval(Duration),
    /// At once; the operating system decides when to write. A killed process loses nothing, a power cut may.
    Off,
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a write is answered.
    pub wal_sync: WalSync,
    /// Age at which a block is dropped, counted from its newest sample; `None` keeps everything.
    pub retention: Option<Duration>,
    /// The time that one unmerged block spans, and so how long samples stay in the head.
    pub block_span: Duration,
    /// The head is sealed early when its series and samples take this many bytes of memory. Where sealing does not keep up, new
    /// series are refused when all heads take 1.75 times as many, and all writes from twice as many on.
    pub head_bytes_max: usize,
    /// Memory that a merge of blocks may take to find its way, bytes. Blocks with more series than it is enough for stay as they
    /// are.
    pub merge_bytes_max: usize,
    /// Series that the newest head may have; new ones beyond it are refused, while those that are there go on. `None` sets no
    /// bound. What the log holds is replayed in any case.
    pub head_series_max: Option<u64>,
    /// New series that are let in a second, after a burst of as many; `None` sets no bound.
    pub new_series_per_second_max: Option<u64>,
    /// Whether background threads seal, compact and expire. Tests turn it off and call
    /// [`Db::flush`](crate::Db::flush) and [`Db::compact`](crate::Db::compact) themselves.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wal_sync: WalSync::Always,
            retention: None,
            block_span: Duration::from_secs(2 * 3600),
            head_bytes_max: 1 << 30,
            merge_bytes_max: 1 << 30,
            head_series_max: None,
            new_series_per_second_max: None,
            background: true,
        }
    }
}
