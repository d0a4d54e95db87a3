//! What late samples cost.

use super::*;

const DAY: i64 = 24 * HOUR;

/// Samples far behind the newest went to blocks of up to 341 days. Two of them became one block that overlapped with all between
/// them, so that a year was written anew for two samples.
#[test]
fn late_samples_are_merged_with_the_blocks_that_they_touch_and_no_others() {
    let db = Db::open_in(SimulatedDirectory::new(1), options()).unwrap();
    let newest = 1_700_000_000_000_000_000;
    for day in (0..1_000).rev().step_by(5) {
        write(&db, "a", newest - day * DAY, &[("user", 1.0)]);
        db.flush().unwrap();
    }
    db.compact().unwrap();
    let before = db.stats().blocks;
    assert!((13..40).contains(&before), "{before} blocks, most of 85 days");
    for late in [[600, 800], [500, 700], [3, 333]] {
        for day in late {
            write(&db, "late", newest - day * DAY - HOUR, &[("user", 1.0)]);
        }
        write(&db, "a", newest, &[("user", 1.0)]);
        let sealed = db.flush().unwrap().blocks;
        assert_eq!(sealed, 3, "one for each late sample, and one for the newest");
        let report = db.compact().unwrap();
        assert!(report.merged <= 6, "each is merged with one block: {report:?}");
    }
    // Of the last days, which are in no block yet, there may be more.
    assert!(db.stats().blocks <= before + 2, "{} blocks that were {before}", db.stats().blocks);
    let all: usize = read(&db, &[]).iter().map(|(_, samples)| samples.len()).sum();
    assert_eq!(all, 207);
}
