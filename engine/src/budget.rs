//! Memory that may be held at a time: of the whole process, of one kind of work, of one request.
//!
//! Budgets nest: what is held of a part counts in the whole as well. A request gets a part of its own
//! ([`Budget::part`]); whoever is about to take memory for it asks first ([`Held::add`]), and gives it back by dropping the [`Held`].

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Bytes that may be held at once.
#[derive(Debug)]
pub struct Budget {
    /// The limit's configuration name.
    name: &'static str,
    limit: usize,
    held: AtomicUsize,
    within: Option<Arc<Budget>>,
}

impl Budget {
    /// A budget of `limit` bytes, which the setting `name` gives.
    #[must_use]
    pub fn new(name: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Self { name, limit, held: AtomicUsize::new(0), within: None })
    }

    /// A budget that refuses nothing and still counts.
    #[must_use]
    pub fn unlimited() -> Arc<Self> {
        Self::new("none", usize::MAX)
    }

    /// A part of this budget that may have up to `limit` bytes of it, which the setting `name` gives.
    #[must_use]
    pub fn part(self: &Arc<Self>, name: &'static str, limit: usize) -> Arc<Self> {
        Arc::new(Self { name, limit, held: AtomicUsize::new(0), within: Some(Arc::clone(self)) })
    }

    /// Bytes held now, those of its parts included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The most bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// A share of nothing yet.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(self), bytes: 0 }
    }

    /// A share of `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] with the name of the budget that would be exceeded.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Result<Held> {
        let mut held = self.hold();
        held.add(bytes)?;
        Ok(held)
    }

    fn charge(&self, bytes: usize) -> Result<()> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let total = before.saturating_add(bytes);
        let charged = match &self.within {
            _ if total > self.limit => {
                Err(Error::Limit { name: self.name, limit: self.limit as u64, got: total as u64 })
            }
            Some(whole) => whole.charge(bytes),
            None => Ok(()),
        };
        if charged.is_err() {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        charged
    }

    /// Counts bytes that are taken already, whether there is room for them or not.
    fn count(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.within {
            whole.count(bytes);
        }
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.within {
            whole.give_back(bytes);
        }
    }
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Bytes of the share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share larger by `more` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] with the name of the budget that would be exceeded; the share stays as it was.
    pub fn add(&mut self, more: usize) -> Result<()> {
        self.budget.charge(more)?;
        self.bytes += more;
        Ok(())
    }

    /// Grows the share to `total` bytes, if it is smaller.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn grow(&mut self, total: usize) -> Result<()> {
        self.add(total.saturating_sub(self.bytes))
    }

    /// Says that the share is `total` bytes now. It may become more than the budget has: this is for memory that is taken
    /// already, and of which nothing can be refused any more.
    pub fn count(&mut self, total: usize) {
        if total < self.bytes {
            self.shrink(total);
        } else if total > self.bytes {
            self.budget.count(total - self.bytes);
            self.bytes = total;
        }
    }

    /// Gives back what the share has beyond `total` bytes.
    pub fn shrink(&mut self, total: usize) {
        let less = self.bytes.saturating_sub(total);
        self.budget.give_back(less);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// [`Pieces`] ask their budget for so much at a time.
const STEP_BYTES: usize = 64 << 10;

/// A share for what is taken in many small pieces: it grows in steps, so that most pieces cost nothing.
#[derive(Debug, Default)]
pub struct Pieces {
    /// Without one, nothing is refused.
    held: Option<Held>,
    bytes: usize,
}

impl Pieces {
    /// Pieces of this budget.
    #[must_use]
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self { held: Some(budget.hold()), bytes: 0 }
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes room for one more piece.
    ///
    /// # Errors
    /// [`Error::Limit`] with the name of the budget that would be exceeded.
    pub fn add(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        match &mut self.held {
            Some(held) if held.bytes() < self.bytes => {
                let in_steps = self.bytes.saturating_add(STEP_BYTES - 1) / STEP_BYTES * STEP_BYTES;
                held.grow(in_steps).or_else(|_| held.grow(self.bytes))
            }
            _ => Ok(()),
        }
    }

    /// One share of all pieces.
    #[must_use]
    pub fn into_held(self) -> Held {
        self.held.unwrap_or_else(|| Budget::unlimited().hold())
    }

    /// Gives all pieces back.
    pub fn clear(&mut self) {
        self.bytes = 0;
        if let Some(held) = &mut self.held {
            held.shrink(0);
        }
    }
}

/// What was found, sorted and without repetitions. Its memory is charged before it is taken.
#[derive(Debug)]
pub struct Found<T> {
    items: BTreeSet<T>,
    pieces: Pieces,
}

impl<T: Ord> Found<T> {
    /// Nothing yet; what is found counts among these pieces.
    #[must_use]
    pub fn new(pieces: Pieces) -> Self {
        Self { items: BTreeSet::new(), pieces }
    }

    /// Adds what `make` gives, which takes `bytes` on the heap, unless it is there already.
    ///
    /// # Errors
    /// As [`Pieces::add`].
    pub fn add<Q: Ord + ?Sized>(&mut self, item: &Q, bytes: usize, make: impl FnOnce() -> T) -> Result<()>
    where
        T: Borrow<Q>,
    {
        if !self.items.contains(item) {
            // The nodes of the tree are not full.
            self.pieces.add(bytes.saturating_add(2 * size_of::<T>()))?;
            self.items.insert(make());
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// All of it, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// What it takes, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.bytes()
    }

    /// The items, which from here on somebody else charges, and what held them.
    #[must_use]
    pub fn into_parts(self) -> (BTreeSet<T>, Pieces) {
        (self.items, self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_and_takes_back() {
        let budget = Budget::new("bytes_max", 100);
        let mut first = budget.take(60).unwrap();
        first.grow(50).unwrap();
        assert_eq!((first.bytes(), budget.held()), (60, 60));
        let mut second = budget.take(30).unwrap();
        let error = second.grow(41).unwrap_err();
        assert!(matches!(error, Error::Limit { name: "bytes_max", limit: 100, got: 101 }), "{error}");
        assert_eq!(budget.held(), 90);
        drop(second);
        first.shrink(10);
        first.shrink(20);
        assert_eq!(budget.held(), 10);
        drop(first);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn pieces_are_charged_in_steps_and_to_the_last_byte() {
        let budget = Budget::new("bytes_max", STEP_BYTES + 10);
        let mut pieces = Pieces::of(&budget);
        pieces.add(1).unwrap();
        assert_eq!(budget.held(), STEP_BYTES);
        pieces.add(STEP_BYTES + 9).unwrap();
        assert_eq!((budget.held(), pieces.bytes()), (STEP_BYTES + 10, STEP_BYTES + 10));
        assert!(matches!(pieces.add(1), Err(Error::Limit { name: "bytes_max", .. })));
        pieces.clear();
        assert_eq!(budget.held(), 0);
        assert!(Pieces::default().add(usize::MAX).is_ok());
    }

    #[test]
    fn what_is_found_again_costs_nothing() {
        let budget = Budget::new("bytes_max", 100);
        let mut found = Found::new(Pieces::of(&budget));
        let mut add = |text: &str| found.add(text, text.len(), || text.to_owned());
        for _ in 0..100 {
            add("b").unwrap();
            add("a").unwrap();
        }
        assert!(matches!(add("c"), Err(Error::Limit { .. })));
        assert_eq!((found.len(), found.is_empty(), found.bytes() > 2), (2, false, true));
        assert!(found.iter().eq(["a", "b"]));
        drop(found);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_taken_already_counts_beyond_the_limit_and_leaves_no_room() {
        let whole = Budget::new("all", 100);
        let part = whole.part("part", usize::MAX);
        let mut held = part.hold();
        held.count(150);
        assert_eq!((held.bytes(), part.held(), whole.held()), (150, 150, 150));
        assert!(matches!(part.take(1), Err(Error::Limit { name: "all", limit: 100, got: 151 })));
        held.count(20);
        assert!(part.take(80).is_ok());
        drop(held);
        assert_eq!((part.held(), whole.held()), (0, 0));
    }

    #[test]
    fn a_part_counts_in_the_whole_and_is_bounded_by_both() {
        let whole = Budget::new("all", 100);
        let (one, other) = (whole.part("request", 70), whole.part("request", 70));
        let held = one.take(60).unwrap();
        assert!(matches!(one.take(11), Err(Error::Limit { name: "request", .. })));
        assert!(matches!(other.take(41), Err(Error::Limit { name: "all", limit: 100, got: 101 })));
        assert_eq!((whole.held(), one.held(), other.held()), (60, 60, 0));
        drop(held);
        assert_eq!((whole.held(), one.held()), (0, 0));
        assert!(Budget::unlimited().take(usize::MAX).is_ok());
    }
}
