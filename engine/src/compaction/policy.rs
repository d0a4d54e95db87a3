//! The compaction policy: a pure function of the blocks' metadata, the clock and the configuration.
//!
//! 1. Blocks whose newest sample is older than the retention are dropped.
//! 2. Blocks that overlap in time are merged, all that hang together at once: so no block is ever merged past one that
//!    holds later writes to the same time.
//! 3. Blocks are merged into ever wider [windows](Windows), as soon as newer samples show that the window is complete.
//! 4. A block of whose samples a good share is deleted is written anew without them.
//!
//! A merge that failed is not tried again, nor one that would read the same blocks and others: what else there is goes on.

use ulid::Ulid;

use crate::index::BlockMeta;
use crate::windows::Windows;

/// A block is written anew when one in so many of its samples is deleted.
const DELETED_PARTS: u64 = 5;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is left to do.
    DoNothing,
    /// These blocks are older than the retention.
    Drop(Vec<Ulid>),
    /// These blocks become one, without what is deleted from them. One alone is written anew.
    Merge(Vec<Ulid>),
}

/// The configuration of the policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The windows into which blocks are merged.
    pub windows: Windows,
}

impl Policy {
    /// What to do next with these blocks at the time `now_ns`, when merges of the blocks in `failed` failed, and samples before
    /// `oldest_ns` are older than the retention. `deleted` says how many samples of a block are deleted, for those that have some.
    ///
    /// The two times need not be of one clock: a merge loses nothing, so it may go by a clock that is wrong.
    #[must_use]
    pub fn choose(
        &self,
        blocks: &[BlockMeta],
        deleted: &[(Ulid, u64)],
        failed: &[Vec<Ulid>],
        now_ns: i64,
        oldest_ns: i64,
    ) -> Choice {
        let expired = blocks.iter().filter(|block| block.range.end < oldest_ns);
        let expired: Vec<Ulid> = expired.map(|block| block.id).collect();
        if !expired.is_empty() {
            return Choice::Drop(expired);
        }
        let mut sorted: Vec<&BlockMeta> = blocks.iter().collect();
        sorted.sort_unstable_by_key(|block| (block.range.start, block.id));
        let mut stuck: Vec<Ulid> = Vec::new();
        for run in overlapping(&sorted).filter(|run| run.len() > 1) {
            if !failed.iter().any(|failed| contains_all(run, failed)) {
                return merge(run);
            }
            stuck.extend(run.iter().map(|block| block.id));
        }
        stuck.extend(failed.iter().filter(|failed| contains_all(&sorted, failed)).flatten());
        if let Some(window) = self.window(&sorted, &stuck, now_ns) {
            return merge(window);
        }
        let wasteful = sorted.into_iter().find(|block| {
            let failed = failed.iter().any(|failed| *failed == [block.id]);
            !failed && is_wasteful(block, deleted)
        });
        wasteful.map_or(Choice::DoNothing, |block| merge([block]))
    }

    /// The blocks of the first complete window that holds more than one, without a stuck one among them.
    fn window<'a>(
        &self,
        sorted: &[&'a BlockMeta],
        stuck: &[Ulid],
        now_ns: i64,
    ) -> Option<Vec<&'a BlockMeta>> {
        // A stray sample of the future does not complete the windows of today.
        let newest = sorted.iter().map(|block| block.range.end).max()?.min(now_ns);
        for width in self.windows.widths() {
            let window = |time: i64| time.div_euclid(*width);
            let is_inside = |block: &&&BlockMeta| window(block.range.start) == window(block.range.end);
            for free in sorted.split(|block| stuck.contains(&block.id)) {
                let inside: Vec<&BlockMeta> = free.iter().filter(is_inside).copied().collect();
                let mut windows = inside.chunk_by(|a, b| window(a.range.start) == window(b.range.start));
                let is_complete = |block: &BlockMeta| window(block.range.end) < window(newest);
                if let Some(blocks) = windows.find(|blocks| blocks.len() > 1 && is_complete(blocks[0])) {
                    return Some(blocks.to_vec());
                }
            }
        }
        None
    }
}

/// Whether so much is deleted from the block that writing it anew pays.
fn is_wasteful(block: &BlockMeta, deleted: &[(Ulid, u64)]) -> bool {
    let deleted = deleted.iter().find(|(id, _)| *id == block.id).map_or(0, |(_, samples)| *samples);
    deleted > 0 && deleted.saturating_mul(DELETED_PARTS) >= block.samples
}

fn merge<'a>(blocks: impl AsRef<[&'a BlockMeta]>) -> Choice {
    Choice::Merge(blocks.as_ref().iter().map(|block| block.id).collect())
}

fn contains_all(blocks: &[&BlockMeta], ids: &[Ulid]) -> bool {
    ids.iter().all(|id| blocks.iter().any(|block| block.id == *id))
}

/// The blocks, which come by their start, in groups that hang together by overlaps.
fn overlapping<'a, 'b>(sorted: &'a [&'b BlockMeta]) -> impl Iterator<Item = &'a [&'b BlockMeta]> {
    let mut end = i64::MIN;
    sorted.chunk_by(move |earlier, later| {
        end = end.max(earlier.range.end);
        later.range.start <= end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::time::TimeRange;

    /// With fresh blocks of 10 ns.
    fn policy(retention: Option<Duration>) -> Policy {
        Policy { windows: Windows::new(Duration::from_nanos(10), retention) }
    }

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
            let oldest = if name.contains("expired") { 100 } else { i64::MIN };
            assert_eq!(policy(None).choose(blocks, &[], &[], 200, oldest), *expected, "{name}");
        }
    }

    #[test]
    fn a_sample_of_the_future_completes_no_window_of_today() {
        let choose = |blocks: &[BlockMeta], now| policy(None).choose(blocks, &[], &[], now, i64::MIN);
        let blocks = [block(1, 160, 169), block(2, 170, 179), block(3, 1 << 40, 1 << 40)];
        assert_eq!(choose(&blocks, 180), Choice::DoNothing);
        assert_eq!(choose(&blocks, 200), Choice::Merge(vec![Ulid(1), Ulid(2)]));
    }

    #[test]
    fn windows_stay_narrow_against_the_retention() {
        let blocks = [block(1, 0, 4), block(2, 5, 9), block(3, 10, 14), block(4, 20, 24)];
        let policy = policy(Some(Duration::from_nanos(300)));
        assert_eq!(policy.choose(&blocks, &[], &[], 24, i64::MIN), Choice::Merge(vec![Ulid(1), Ulid(2)]));
    }

    #[test]
    fn what_failed_is_left_alone_and_the_rest_goes_on() {
        let ids = |ids: &[u128]| ids.iter().map(|id| Ulid(*id)).collect::<Vec<_>>();
        let overlaps =
            [block(1, 0, 9), block(2, 5, 12), block(3, 20, 29), block(4, 25, 31), block(9, 900, 901)];
        let window: Vec<_> = (0..8).map(|i| block(i as u128 + 1, i * 10, i * 10 + 9)).collect();
        let window = [window, vec![block(9, 900, 901)]].concat();
        let mixed = [block(1, 0, 9), block(2, 5, 12), block(3, 20, 24), block(4, 30, 34), block(9, 900, 901)];
        type Case<'a> = (&'a str, &'a [BlockMeta], &'a [&'a [u128]], Choice);
        let cases: &[Case<'_>] = &[
            ("nothing failed", &overlaps, &[], Choice::Merge(ids(&[1, 2]))),
            ("another overlap", &overlaps, &[&[1, 2]], Choice::Merge(ids(&[3, 4]))),
            ("no overlap is left", &overlaps, &[&[3, 4], &[1, 2]], Choice::DoNothing),
            ("it has other blocks by now", &overlaps, &[&[1, 7]], Choice::Merge(ids(&[1, 2]))),
            ("a window", &window, &[], Choice::Merge(ids(&[1, 2, 3, 4]))),
            ("another window", &window, &[&[1, 2, 3, 4]], Choice::Merge(ids(&[5, 6, 7, 8]))),
            ("around blocks that overlap", &mixed, &[&[1, 2]], Choice::Merge(ids(&[3, 4]))),
        ];
        for (name, blocks, failed, expected) in cases {
            let failed: Vec<_> = failed.iter().map(|failed| ids(failed)).collect();
            assert_eq!(policy(None).choose(blocks, &[], &failed, 1000, i64::MIN), *expected, "{name}");
        }
    }

    #[test]
    fn blocks_are_written_anew_when_a_good_share_is_deleted() {
        let sized = |block: BlockMeta, samples| BlockMeta { samples, ..block };
        let blocks = [sized(block(1, 100, 109), 1000), sized(block(2, 110, 119), 10)];
        let overlapping = [sized(block(1, 100, 109), 1000), sized(block(2, 105, 119), 10)];
        type Case<'a> = (&'a str, &'a [BlockMeta], &'a [(u128, u64)], &'a [&'a [u128]], &'a [u128]);
        let cases: &[Case<'_>] = &[
            ("nothing is deleted", &blocks, &[], &[], &[]),
            ("a little is deleted", &blocks, &[(1, 199), (2, 1)], &[], &[]),
            ("a fifth is deleted", &blocks, &[(1, 200)], &[], &[1]),
            ("all of the second is deleted", &blocks, &[(1, 1), (2, 10)], &[], &[2]),
            ("both, the older first", &blocks, &[(2, 10), (1, 1000)], &[], &[1]),
            ("tombstones that hide nothing", &blocks, &[(1, 0)], &[], &[]),
            ("it failed", &blocks, &[(1, 1000)], &[&[1]], &[]),
            ("another one goes on", &blocks, &[(1, 1000), (2, 9)], &[&[1]], &[2]),
            ("overlaps come first", &overlapping, &[(1, 1000)], &[], &[1, 2]),
            ("an overlap that cannot be merged", &overlapping, &[(1, 1000)], &[&[1, 2]], &[1]),
            ("numbers that overflow", &blocks, &[(1, u64::MAX)], &[], &[1]),
        ];
        for (name, blocks, deleted, failed, expected) in cases {
            let deleted: Vec<_> = deleted.iter().map(|(id, samples)| (Ulid(*id), *samples)).collect();
            let ids = |ids: &[u128]| ids.iter().map(|id| Ulid(*id)).collect::<Vec<_>>();
            let failed: Vec<_> = failed.iter().map(|failed| ids(failed)).collect();
            let expected = if expected.is_empty() { Choice::DoNothing } else { Choice::Merge(ids(expected)) };
            assert_eq!(policy(None).choose(blocks, &deleted, &failed, 120, i64::MIN), expected, "{name}");
        }
    }

    #[test]
    fn extremes_of_time_do_not_overflow() {
        let policy = Policy { windows: Windows::new(Duration::MAX, Some(Duration::MAX)) };
        let blocks = [block(1, i64::MIN, i64::MIN), block(2, i64::MAX, i64::MAX)];
        assert_eq!(policy.choose(&blocks, &[], &[], i64::MIN, i64::MIN), Choice::DoNothing);
    }
}
