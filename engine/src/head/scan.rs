//! Which series of a shard satisfy matchers. Values that have to be matched one by one are looked at first, a few at a time, and
//! writers get the shard's lock in between: with a large expression a value may take milliseconds.

use croaring::Bitmap;
use parking_lot::{RwLock, RwLockReadGuard};

use super::pairs::PairId;
use super::postings::Postings;
use super::shard::Shard;
use crate::error::Result;
use crate::index::{LabelIndex, matching_any, values_to_look_at};
use crate::matcher::Matcher;
use crate::pattern::Pattern;
use crate::watch::{VALUES_BETWEEN, Watch};

/// Selectors, and for each of their matchers in turn what is known of the values of its label.
#[derive(Debug)]
pub(super) struct Scan<'m> {
    selectors: &'m [&'m [Matcher]],
    looks: Vec<Look>,
    watch: Watch<'m>,
}

/// The values that a pattern was held against, in order of appearance, which is for ever.
#[derive(Debug, Default)]
struct Look {
    values: usize,
    matched: Vec<PairId>,
}

impl<'m> Scan<'m> {
    /// Locks a shard to read it, with the values looked at.
    pub(super) fn begin<'s>(
        shard: &'s RwLock<Shard>,
        selectors: &'m [&'m [Matcher]],
        watch: Watch<'m>,
    ) -> Result<(RwLockReadGuard<'s, Shard>, Self)> {
        let mut shard = watch.read(shard)?;
        watch
            .expect_values(|| selectors.iter().map(|matchers| values_to_look_at(&*shard, matchers)).sum())?;
        let mut looks = Vec::with_capacity(selectors.len());
        for matcher in selectors.iter().copied().flatten() {
            let mut look = Look::default();
            if let Some(pattern) =
                matcher.pattern().filter(|pattern| !pattern.is_list() && !matcher.wants_any())
            {
                while look.go_on(&shard, matcher.name(), pattern, VALUES_BETWEEN) {
                    watch.ask(0)?;
                    RwLockReadGuard::bump(&mut shard);
                }
            }
            looks.push(look);
        }
        Ok((shard, Self { selectors, looks, watch }))
    }

    /// The series that satisfy all matchers of one of the selectors.
    pub(super) fn series(&self, shard: &Shard) -> Result<Bitmap> {
        matching_any(&Scanned { shard, scan: self }, self.selectors, self.watch)
    }
}

impl Look {
    /// Looks at the next values, `most` at most; tells whether there were so many.
    fn go_on(&mut self, shard: &Shard, name: &str, pattern: &Pattern, most: usize) -> bool {
        let pairs = shard.pairs();
        let rest = pairs.ids(name).get(self.values..).unwrap_or_default();
        let next = &rest[..rest.len().min(most)];
        self.matched.extend(next.iter().filter(|id| pattern.rest_matches(pairs.text(**id).1)));
        self.values += next.len();
        next.len() == most
    }
}

/// A shard's index that need not look at values again.
struct Scanned<'a> {
    shard: &'a Shard,
    scan: &'a Scan<'a>,
}

impl LabelIndex for Scanned<'_> {
    fn all(&self) -> Result<Bitmap> {
        self.shard.all()
    }

    fn with_value(&self, name: &str, value: &str) -> Result<Bitmap> {
        self.shard.with_value(name, value)
    }

    fn with_any(
        &self,
        name: &str,
        values: &mut dyn Iterator<Item = &str>,
        watch: Watch<'_>,
    ) -> Result<Bitmap> {
        self.shard.with_any(name, values, watch)
    }

    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool, watch: Watch<'_>) -> Result<Bitmap> {
        self.shard.with_values(name, keep, watch)
    }

    fn count_values(&self, name: &str) -> u64 {
        self.shard.count_values(name)
    }

    fn with_pattern(&self, name: &str, pattern: &Pattern, watch: Watch<'_>) -> Result<Bitmap> {
        let is_its = |matcher: &&Matcher| matcher.pattern().is_some_and(|its| std::ptr::eq(its, pattern));
        let known = self
            .scan
            .selectors
            .iter()
            .copied()
            .flatten()
            .zip(&self.scan.looks)
            .find(|(matcher, _)| is_its(matcher));
        let Some((_, look)) = known else { return self.shard.with_pattern(name, pattern, watch) };
        // The few that came since.
        let mut new = Look { values: look.values, matched: Vec::new() };
        new.go_on(self.shard, name, pattern, usize::MAX);
        let matched = look.matched.iter().chain(&new.matched);
        Ok(Postings::union(matched.map(|id| self.shard.pairs().postings(*id))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::labels::Labels;
    use crate::matcher::MatchOp;

    fn define(shard: &mut Shard, host: &str) {
        shard.define(&[Labels::from_pairs([("host", host)]).unwrap()]);
    }

    fn shard() -> RwLock<Shard> {
        let mut shard = Shard::new(&crate::budget::Budget::unlimited());
        (0..1000).for_each(|i| define(&mut shard, &format!("host-{i}")));
        RwLock::new(shard)
    }

    #[test]
    fn writers_get_the_lock_between_values_and_what_they_add_is_found() {
        let (lock, asked) = (shard(), AtomicUsize::new(0));
        let matchers = [Matcher::new("host", MatchOp::Regex, "first|.*[05]").unwrap()];
        let selectors: [&[Matcher]; 1] = [&matchers];
        std::thread::scope(|scope| {
            let goes_on = |_| {
                if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    scope.spawn(|| define(&mut lock.write(), "host-new-5"));
                    // Nobody else can read while a writer waits.
                    while lock.try_read().is_some() {
                        std::thread::yield_now();
                    }
                } else {
                    assert!(lock.try_read().is_some(), "the writer waits no longer");
                }
                true
            };
            let (shard, scan) = Scan::begin(&lock, &selectors, Watch::new(&goes_on)).unwrap();
            assert_eq!(scan.series(&shard).unwrap().cardinality(), 201);
        });
        assert!(asked.into_inner() > 1000 / VALUES_BETWEEN);
    }

    #[test]
    fn looking_at_values_ends_when_nobody_wants_them() {
        let lock = shard();
        for pattern in [".*7", "(?i)HOST-1|x"] {
            for op in [MatchOp::Regex, MatchOp::NotRegex] {
                let matchers = [Matcher::new("host", op, pattern).unwrap()];
                let selectors: [&[Matcher]; 1] = [&matchers];
                let broken_off = Scan::begin(&lock, &selectors, Watch::new(&|_| false));
                assert!(matches!(broken_off, Err(Error::BrokenOff { .. })), "{pattern}");
            }
        }
    }
}
