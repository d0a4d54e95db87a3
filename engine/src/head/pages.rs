//! A vector that grows page by page. What it holds never moves, so growing copies nothing: a head with millions of series
//! needs no second copy of its tables while they double, and little of them is spare.

use std::ops::{Index, IndexMut};

/// Items of a page.
const PAGE: usize = 256;

#[derive(Debug)]
pub(super) struct Pages<T> {
    /// All but the last are full. The first grows as it fills, so that a small head stays small.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    pub(super) fn push(&mut self, item: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(item),
            Some(_) => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(item);
                self.pages.push(page);
            }
            None => self.pages.push(vec![item]),
        }
    }

    /// Bytes that the pages take, without what their items keep elsewhere.
    pub(super) fn heap_bytes(&self) -> usize {
        let last = self.pages.last().map_or(0, Vec::capacity);
        let items = self.pages.len().saturating_sub(1) * PAGE + last;
        items * size_of::<T>() + self.pages.capacity() * size_of::<Vec<T>>()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.get(index % PAGE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

impl<T> Index<usize> for Pages<T> {
    type Output = T;
    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.pages[index / PAGE][index % PAGE]
    }
}

impl<T> IndexMut<usize> for Pages<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.pages[index / PAGE][index % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_were_put() {
        let mut pages = Pages::default();
        assert_eq!((pages.len(), pages.get(0)), (0, None));
        for item in 0..3 * PAGE + 1 {
            pages.push(item);
            assert_eq!(pages.len(), item + 1);
        }
        pages[PAGE] += 1_000_000;
        assert_eq!((pages[PAGE - 1], pages[PAGE]), (PAGE - 1, PAGE + 1_000_000));
        assert_eq!(pages.get(3 * PAGE), Some(&(3 * PAGE)));
        assert_eq!(pages.get(3 * PAGE + 1), None);
        assert_eq!(pages.get_mut(100 * PAGE), None);
        assert_eq!(pages.iter().count(), pages.len());
    }
}
