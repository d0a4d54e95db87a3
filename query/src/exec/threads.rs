//! The threads that all queries share, and how queries take turns on them.
//!
//! A query runs in the thread that asks it. What is worth more threads is cut into tasks, runs of items:
//! 1. The query's own thread begins. The work of most queries is over before [`ALONE`], so they wait for nobody but the
//!    operating system. A query that is only to run if it is short ends here.
//! 2. What is left goes to the shared threads, behind the other queries that wait for them.
//! 3. One that runs for longer than [`PATIENT`] asks for long time slices, so that threads that wake up meanwhile, which are mostly about
//!    something shorter, need not wait for the end of its slice (see [`slice`]).
//! 4. While another query is there, a turn is over after [`TURN`]: each task stops behind its current item, and the query queues up
//!    again. Also one that has its turn already is there: a thread of it that waits for the others may have begun a task of ours.
//!
//! So a query waits for one turn of each other query, however long they are, and alone it is never interrupted. Tasks are cut by
//! the number of items only: the answer does not depend on who else is there.

mod slice;

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use self::slice::LongSlices;
use super::short::Short;
use crate::error::{QueryError, Result};

/// How long a query's own thread computes before it asks for the shared ones.
const ALONE: Duration = Duration::from_micros(500);
/// How long a query has the shared threads while others want them.
const TURN: Duration = Duration::from_millis(2);
/// A query that has been running for so long gets long time slices.
const PATIENT: Duration = Duration::from_millis(50);
/// So many items are computed between two looks at the time that only decide on the time slices.
const ITEMS_BETWEEN: usize = 16;
/// Fewer items than this are not worth a task of their own.
const TASK_ITEMS_MIN: usize = 16;
/// Tasks per thread: enough that a slow one does not make the others wait. Each has a state of its own, which may be large.
const TASKS_PER_THREAD: usize = 4;
/// Fewer rows than this are sorted sooner than threads are asked.
const SORT_MIN: usize = 4096;

/// The shared threads.
#[derive(Debug)]
pub(super) struct Pool {
    threads: ThreadPool,
    /// Queries that have work for the threads, whether they wait or have their turn.
    queries: AtomicUsize,
}

/// The threads that one query has: its own, and the shared ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threads<'q> {
    pool: &'q Pool,
    /// A query that only goes on as long as it is short has its own thread alone.
    short: Option<Short>,
    started: Instant,
}

/// A run of items that are computed one after the other.
struct Task<S> {
    items: Range<usize>,
    state: S,
    outcome: Result<()>,
}

/// What all tasks of one piece of work share.
struct Work<F> {
    item: F,
    /// The first task that failed: those behind it need not go on, those before it decide what the error is.
    failed: AtomicUsize,
}

impl<F> Work<F> {
    fn goes_on<S>(&self, at: usize, task: &Task<S>) -> bool {
        !task.items.is_empty() && task.outcome.is_ok() && at < self.failed.load(Relaxed)
    }

    /// Computes items, at least one, until the turn is over.
    fn advance<S>(&self, at: usize, task: &mut Task<S>, mut is_over: impl FnMut() -> bool)
    where
        F: Fn(&mut S, usize) -> Result<()>,
    {
        while self.goes_on(at, task) {
            let Some(item) = task.items.next() else { return };
            if let Err(error) = (self.item)(&mut task.state, item) {
                task.outcome = Err(error);
                self.failed.fetch_min(at, Relaxed);
            }
            if is_over() {
                return;
            }
        }
    }
}

impl Pool {
    /// Starts `count` threads, or one per core when it is 0.
    pub(super) fn new(count: usize) -> Result<Self> {
        let threads = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("query-{i}"))
            .build()
            .map_err(|error| QueryError::Threads(error.to_string()))?;
        Ok(Self { threads, queries: AtomicUsize::new(0) })
    }

    /// The threads of one query.
    pub(super) fn threads(&self, short: Option<Short>) -> Threads<'_> {
        Threads { pool: self, short, started: Instant::now() }
    }
}

impl Threads<'_> {
    /// The results of `item` for each number below `count`, in order; `init` makes what a task reuses from item to item. Of several
    /// errors it is the first.
    pub(super) fn map<S: Send, T: Send>(
        self,
        count: usize,
        init: impl Fn() -> S,
        item: impl Fn(&mut S, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let tasks = self.fold(
            count,
            |length| (init(), Vec::with_capacity(length)),
            |(state, results), at| {
                results.push(item(state, at)?);
                Ok(())
            },
        );
        Ok(tasks?.into_iter().flat_map(|(_, results)| results).collect())
    }

    /// The same with the items of a slice, which may be changed.
    pub(super) fn map_mut<I: Send, T: Send>(
        self,
        items: &mut [I],
        item: impl Fn(&mut I) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let length = self.task_items(items.len());
        let tasks = items.chunks_mut(length).map(|items| Task {
            items: 0..items.len(),
            state: (items.iter_mut(), Vec::new()),
            outcome: Ok(()),
        });
        let states = self.run(tasks.collect(), |(items, results), _| {
            if let Some(next) = items.next() {
                results.push(item(next)?);
            }
            Ok(())
        });
        Ok(states?.into_iter().flat_map(|(_, results)| results).collect())
    }

    /// What becomes of each task's state, in the order of the items. `init` gets the number of items.
    pub(super) fn fold<S: Send>(
        self,
        count: usize,
        init: impl Fn(usize) -> S,
        item: impl Fn(&mut S, usize) -> Result<()> + Sync,
    ) -> Result<Vec<S>> {
        let length = self.task_items(count);
        let task = |start: usize| {
            let items = start..count.min(start + length);
            Task { state: init(items.len()), items, outcome: Ok(()) }
        };
        self.run((0..count).step_by(length).map(task).collect(), item)
    }

    /// Sorts; equal items come in any order.
    pub(super) fn sort_by<T: Send>(
        self,
        items: &mut [T],
        compare: impl Fn(&T, &T) -> Ordering + Send + Sync,
    ) {
        if items.len() < SORT_MIN || self.short.is_some() {
            items.sort_unstable_by(compare);
        } else {
            self.in_turn(|| items.par_sort_unstable_by(compare));
        }
    }

    fn task_items(self, count: usize) -> usize {
        count.div_ceil(self.pool.threads.current_num_threads() * TASKS_PER_THREAD).max(TASK_ITEMS_MIN)
    }

    fn run<S: Send>(
        self,
        mut tasks: Vec<Task<S>>,
        item: impl Fn(&mut S, usize) -> Result<()> + Sync,
    ) -> Result<Vec<S>> {
        let work = Work { item, failed: AtomicUsize::new(usize::MAX) };
        let until = Instant::now() + ALONE;
        let is_over = || {
            let now = Instant::now();
            self.short.map_or(now >= until, |short| short.is_over(now))
        };
        for (at, task) in tasks.iter_mut().enumerate() {
            work.advance(at, task, is_over);
            if is_over() {
                break;
            }
        }
        while tasks.iter().enumerate().any(|(at, task)| work.goes_on(at, task)) {
            if self.short.is_some() {
                return Err(QueryError::NotShort);
            }
            self.in_turn(|| {
                let turn = Instant::now();
                let others_wait = || self.pool.queries.load(Relaxed) > 1 && turn.elapsed() >= TURN;
                let is_patient = || self.started.elapsed() >= PATIENT;
                let was_patient = is_patient();
                let tasks = tasks.par_iter_mut().enumerate().with_max_len(1);
                tasks.for_each(|(at, task)| {
                    let _long_slices = was_patient.then(LongSlices::ask);
                    let mut items = 0_usize;
                    work.advance(at, task, || {
                        items += 1;
                        let looks = !was_patient && items.is_multiple_of(ITEMS_BETWEEN);
                        others_wait() || looks && is_patient()
                    });
                });
            });
        }
        tasks.into_iter().map(|task| task.outcome.map(|()| task.state)).collect()
    }

    /// Runs `work` on the shared threads, behind those who wait for them already.
    fn in_turn(self, work: impl FnOnce() + Send) {
        let Pool { threads, queries } = self.pool;
        queries.fetch_add(1, Relaxed);
        let _leave_in_the_end = Leave(queries);
        threads.install(work);
    }
}

/// A query has no work for the threads any more.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Longer than a query computes by itself, so that the rest goes to the threads.
    fn outlast() {
        let started = Instant::now();
        while started.elapsed() < ALONE {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 15, 16, 17, 100, 1000] {
            let pool = Pool::new(3).unwrap();
            let threads = pool.threads(None);
            let item = |seen: &mut usize, at: usize| {
                *seen += 1;
                if at == 7 {
                    outlast();
                }
                Ok(at * 2)
            };
            let doubles: Vec<usize> = (0..count).map(|at| at * 2).collect();
            assert_eq!(threads.map(count, || 0, item).unwrap(), doubles);
            let mut items: Vec<usize> = (0..count).collect();
            let before = threads.map_mut(&mut items, |item| Ok(std::mem::replace(item, *item * 2))).unwrap();
            assert_eq!((before, items), ((0..count).collect(), doubles));
        }
    }

    #[test]
    fn the_error_is_that_of_the_first_item_that_fails() {
        let pool = Pool::new(4).unwrap();
        let threads = pool.threads(None);
        let item = |(): &mut (), at: usize| {
            if at == 0 {
                outlast();
            }
            if at % 100 == 99 { Err(QueryError::execution(at.to_string())) } else { Ok(()) }
        };
        for _ in 0..50 {
            let error = threads.map(1000, || (), item).unwrap_err();
            assert_eq!(error.to_string(), "99");
        }
    }

    #[test]
    fn what_is_only_to_be_short_ends_when_its_own_thread_is_not_enough() {
        let pool = Pool::new(1).unwrap();
        let item = |(): &mut (), at: usize| Ok(at);
        let late = pool.threads(Some(Short::over()));
        assert!(matches!(late.map(2, || (), item), Err(QueryError::NotShort)));
        let in_time = pool.threads(Some(Short::endless()));
        assert_eq!(in_time.map(100, || (), item).unwrap().len(), 100);
    }

    #[test]
    fn a_query_gets_its_turn_while_another_has_no_end() {
        let pool = Pool::new(2).unwrap();
        let threads = pool.threads(None);
        let (stop, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            // Each item takes a little, and there are more than anybody can wait for.
            let endless = scope.spawn(|| {
                threads.fold(
                    usize::MAX >> 8,
                    |_| (),
                    |(), _| {
                        begun.fetch_add(1, Relaxed);
                        std::thread::yield_now();
                        if stop.load(Relaxed) { Err(QueryError::Canceled) } else { Ok(()) }
                    },
                )
            });
            while begun.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            for _ in 0..3 {
                let item = |(): &mut (), at: usize| {
                    outlast();
                    Ok(at)
                };
                assert_eq!(threads.map(100, || (), item).unwrap().len(), 100);
            }
            stop.store(true, Relaxed);
            assert!(matches!(endless.join().unwrap(), Err(QueryError::Canceled)));
        });
    }
}
