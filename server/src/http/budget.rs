//! Memory that requests may hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that may be held at once.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    limit: usize,
}

/// A share would not fit in its [`Budget`].
#[derive(Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The whole budget, bytes.
    pub limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { held: AtomicUsize::new(0), limit }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A share of nothing yet.
    #[must_use]
    pub fn hold(budget: &Arc<Self>) -> Held {
        Held { budget: Arc::clone(budget), bytes: 0 }
    }
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    /// Grows the share to `total` bytes, if it is smaller.
    ///
    /// # Errors
    /// [`Exceeded`], and the share stays as it was.
    pub fn grow(&mut self, total: usize) -> Result<(), Exceeded> {
        let more = total.saturating_sub(self.bytes);
        let before = self.budget.held.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return Err(Exceeded { limit: self.budget.limit });
        }
        self.bytes += more;
        Ok(())
    }

    /// Gives back what the share has beyond `total` bytes.
    pub fn shrink(&mut self, total: usize) {
        let less = self.bytes.saturating_sub(total);
        self.budget.held.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_and_takes_back() {
        let budget = Arc::new(Budget::new(100));
        let mut first = Budget::hold(&budget);
        first.grow(60).unwrap();
        first.grow(50).unwrap();
        assert_eq!(budget.held(), 60);
        let mut second = Budget::hold(&budget);
        second.grow(30).unwrap();
        assert_eq!(second.grow(41), Err(Exceeded { limit: 100 }));
        assert_eq!(budget.held(), 90);
        drop(second);
        first.shrink(10);
        assert_eq!(budget.held(), 10);
        first.shrink(20);
        assert_eq!(budget.held(), 10);
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}
