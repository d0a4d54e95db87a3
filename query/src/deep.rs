//! Trees as deep as queries are. A query may be a chain of thousands of operators, or nested as often, and what walks its tree calls
//! itself for each level. Threads have stacks for hundreds of levels.
//!
//! So whatever calls itself on a tree does so through [`on_enough_stack`], which takes another piece of stack when the one in use is
//! nearly used up; and the children of nodes are in a [`Deep`], so that a tree is dropped, copied and compared the same way. How deep a
//! tree may be is bounded by the parser.

use std::fmt::{self, Debug, Display, Formatter};
use std::ops::{Deref, DerefMut};

/// What is left of a stack when more is taken: more than what lies between two looks, in builds that are not optimised, too.
const RESERVE_BYTES: usize = 192 << 10;
/// The piece of stack that is taken. It is given back when `recurse` is over.
const PIECE_BYTES: usize = 1 << 20;

/// Calls `recurse`, on another piece of stack if this one is nearly used up.
#[inline]
pub fn on_enough_stack<T>(recurse: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RESERVE_BYTES, PIECE_BYTES, recurse)
}

/// The children of a node of a tree that may be deep. `T`'s default is something without children.
pub struct Deep<T: Default>(Box<T>);

impl<T: Default> Deep<T> {
    /// Takes what may be deep.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// What is inside.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        std::mem::take(&mut *self.0)
    }
}

impl<T: Default> Drop for Deep<T> {
    fn drop(&mut self) {
        let value = std::mem::take(&mut *self.0);
        on_enough_stack(|| drop(value));
    }
}

impl<T: Default> Default for Deep<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Default> Deref for Deep<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Default> DerefMut for Deep<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Default + Clone> Clone for Deep<T> {
    fn clone(&self) -> Self {
        on_enough_stack(|| Self::new(T::clone(&self.0)))
    }
}

impl<T: Default + PartialEq> PartialEq for Deep<T> {
    fn eq(&self, other: &Self) -> bool {
        on_enough_stack(|| self.0 == other.0)
    }
}

impl<T: Default + Debug> Debug for Deep<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        on_enough_stack(|| self.0.fmt(f))
    }
}

impl<T: Default + Display> Display for Deep<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        on_enough_stack(|| self.0.fmt(f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Tree(Option<Deep<Tree>>);

    #[test]
    fn a_tree_of_a_million_levels_is_compared_copied_and_dropped() {
        let run = || {
            let mut tree = Tree::default();
            for _ in 0..1_000_000 {
                tree = Tree(Some(Deep::new(tree)));
            }
            assert_eq!(tree.clone(), tree);
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
    }
}
