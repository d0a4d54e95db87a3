//! The compaction policy: a pure function of the blocks' metadata, the clock and the configuration.
//!
//! 1. Blocks whose newest sample is older than the retention are dropped.
//! 2. Blocks that overlap in time are merged, all that hang together at once: so no block is ever merged past one that
//!    holds later writes to the same time.
//! 3. Blocks are merged into windows of 4, 16, 64 … times the span of a fresh block, aligned to the epoch, as soon as
//!    newer samples show that the window is complete.

use ulid::Ulid;

use crate::index::BlockMeta;
use crate::time::TimeRange;

/// A window is this many times as wide as the one of the level below.
const LEVEL_FACTOR: i64 = 4;
/// Windows grow up to this many levels above a fresh block: 4⁵ × 2 h is 85 days.
const LEVELS_MAX: u32 = 5;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is left to do.
    DoNothing,
    /// These blocks are older than the retention.
    Drop(Vec<Ulid>),
    /// These blocks become one.
    Merge(Vec<Ulid>),
}

/// The configuration of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The span of a fresh block, nanoseconds.
    pub block_span_ns: i64,
    /// How old samples may get, nanoseconds.
    pub retention_ns: Option<i64>,
}

impl Policy {
    /// What to do next with these blocks at the time `now_ns`.
    #[must_use]
    pub fn choose(&self, blocks: &[BlockMeta], now_ns: i64) -> Choice {
        let expired = self.expired(blocks, now_ns);
        if !expired.is_empty() {
            return Choice::Drop(expired);
        }
        let mut sorted: Vec<&BlockMeta> = blocks.iter().collect();
        sorted.sort_unstable_by_key(|block| (block.range.start, block.id));
        overlapping(&sorted).or_else(|| self.window(&sorted)).map_or(Choice::DoNothing, Choice::Merge)
    }

    fn expired(&self, blocks: &[BlockMeta], now_ns: i64) -> Vec<Ulid> {
        let Some(retention) = self.retention_ns else { return Vec::new() };
        let oldest = now_ns.saturating_sub(retention);
        blocks.iter().filter(|block| block.range.end < oldest).map(|block| block.id).collect()
    }

    /// The blocks of the first complete window that holds more than one.
    fn window(&self, sorted: &[&BlockMeta]) -> Option<Vec<Ulid>> {
        let newest = sorted.iter().map(|block| block.range.end).max()?;
        for level in 1..=LEVELS_MAX {
            let Some(width) = LEVEL_FACTOR.checked_pow(level).and_then(|f| f.checked_mul(self.block_span_ns))
            else {
                break;
            };
            let window = |time: i64| time.div_euclid(width);
            let inside: Vec<_> =
                sorted.iter().filter(|block| window(block.range.start) == window(block.range.end)).collect();
            let complete = |block: &BlockMeta| window(block.range.end) < window(newest);
            for blocks in inside.chunk_by(|a, b| window(a.range.start) == window(b.range.start)) {
                if blocks.len() > 1 && complete(blocks[0]) {
                    return Some(blocks.iter().map(|block| block.id).collect());
                }
            }
        }
        None
    }
}

/// The first blocks, in order of time, that hang together by overlaps.
fn overlapping(sorted: &[&BlockMeta]) -> Option<Vec<Ulid>> {
    let mut run: Vec<Ulid> = Vec::new();
    let mut range: Option<TimeRange> = None;
    for block in sorted {
        match &mut range {
            Some(range) if range.overlaps(block.range) => *range = range.union(block.range),
            _ if run.len() > 1 => break,
            _ => {
                run.clear();
                range = Some(block.range);
            }
        }
        run.push(block.id);
    }
    (run.len() > 1).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: u128, start: i64, end: i64) -> BlockMeta {
        BlockMeta {
            id: Ulid(id),
            range: TimeRange::new(start, end),
            generation_first: 1,
            generation_last: 1,
            level: 0,
            series: 1,
            samples: 1,
            chunk_bytes: 12,
        }
    }

    #[test]
    fn choices() {
        let ids = |ids: &[u128]| ids.iter().map(|id| Ulid(*id)).collect::<Vec<_>>();
        let merge = |of: &[u128]| Choice::Merge(ids(of));
        let cases: &[(&str, Vec<BlockMeta>, Choice)] = &[
            ("no blocks", vec![], Choice::DoNothing),
            ("one block", vec![block(1, 0, 9)], Choice::DoNothing),
            ("neighbours in an open window", vec![block(1, 100, 109), block(2, 110, 119)], Choice::DoNothing),
            (
                "neighbours in a complete window",
                vec![block(1, 100, 109), block(2, 110, 119), block(3, 120, 129)],
                merge(&[1, 2]),
            ),
            ("an overlap", vec![block(1, 100, 109), block(2, 105, 112)], merge(&[1, 2])),
            ("a shared timestamp", vec![block(1, 100, 105), block(2, 105, 112)], merge(&[1, 2])),
            (
                "overlaps that hang together",
                vec![block(1, 100, 150), block(2, 110, 112), block(3, 140, 170), block(4, 180, 190)],
                merge(&[1, 2, 3]),
            ),
            (
                "a higher level, when the lower one has nothing",
                vec![block(1, 0, 39), block(2, 40, 79), block(3, 160, 169)],
                merge(&[1, 2]),
            ),
            ("expired before all else", vec![block(1, 0, 9), block(2, 5, 1000)], Choice::Drop(ids(&[1]))),
            (
                "before the epoch",
                vec![block(1, -20, -11), block(2, -40, -21), block(3, 900, 901)],
                merge(&[2, 1]),
            ),
        ];
        for (name, blocks, expected) in cases {
            let retention_ns = name.contains("expired").then_some(100);
            let policy = Policy { block_span_ns: 10, retention_ns };
            assert_eq!(policy.choose(blocks, 200), *expected, "{name}");
        }
    }

    #[test]
    fn extremes_of_time_do_not_overflow() {
        let policy = Policy { block_span_ns: i64::MAX / 2, retention_ns: Some(i64::MAX) };
        let blocks = [block(1, i64::MIN, i64::MIN), block(2, i64::MAX, i64::MAX)];
        assert_eq!(policy.choose(&blocks, i64::MIN), Choice::DoNothing);
    }
}
