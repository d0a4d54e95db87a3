//! The histograms of one query: a list that only grows, so that threads read it while others add to it.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use timberline_engine::Histogram;
use timberline_engine::histogram::cell;

/// The first segment has so many places, each other one twice as many as the one before.
const FIRST_SEGMENT: u32 = 64;
/// Enough for all places that a cell can name.
const SEGMENTS: usize = 27;

type Segment = Box<[OnceLock<Arc<Histogram>>]>;

/// A list that grows by segments, which never move.
#[derive(Debug, Default)]
pub(in crate::exec) struct List {
    segments: [OnceLock<Segment>; SEGMENTS],
    len: AtomicU32,
}

/// The segment of a place, and where in it.
fn locate(place: u32) -> (usize, usize) {
    let at = u64::from(place) + u64::from(FIRST_SEGMENT);
    let segment = at.ilog2() - FIRST_SEGMENT.ilog2();
    (segment as usize, (at - (u64::from(FIRST_SEGMENT) << segment)) as usize)
}

impl List {
    /// Adds a histogram: the cell that names it. The limit of a query's points ends it long before the places do.
    pub(in crate::exec) fn add(&self, histogram: Arc<Histogram>) -> f64 {
        let place = self.len.fetch_add(1, Relaxed);
        let (segment, at) = locate(place);
        let new_segment = || (0..(FIRST_SEGMENT as usize) << segment).map(|_| OnceLock::new()).collect();
        if let Some(slot) = self.segments.get(segment).and_then(|s| s.get_or_init(new_segment).get(at)) {
            slot.get_or_init(|| histogram);
        }
        cell::histogram(place)
    }

    pub(in crate::exec) fn get(&self, place: u32) -> Option<&Arc<Histogram>> {
        let (segment, at) = locate(place);
        self.segments.get(segment)?.get()?.get(at)?.get()
    }

    pub(in crate::exec) fn is_empty(&self) -> bool {
        self.len.load(Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_through_the_segments() {
        let mut expected = (0, 0);
        for place in 0..1000 {
            assert_eq!(locate(place), expected);
            expected.1 += 1;
            if expected.1 == (FIRST_SEGMENT as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate(u32::MAX).0 < SEGMENTS);
    }

    #[test]
    fn threads_add_to_one_list() {
        let list = List::default();
        assert!(list.is_empty());
        let add = |count: f64| list.add(Arc::new(Histogram { count, ..Histogram::default() }));
        let cells: Vec<(f64, f64)> = std::thread::scope(|scope| {
            let many = |thread: i32| {
                (0..200).map(|i| f64::from(thread * 1000 + i)).map(|c| (c, add(c))).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || many(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(cells.len(), 800);
        for (count, value) in cells {
            let place = cell::histogram_place(value).unwrap();
            assert_eq!(list.get(place).unwrap().count, count);
        }
        assert!(list.get(800).is_none());
    }
}
