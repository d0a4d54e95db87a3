//! The series that carry one label pair. Most pairs of a head with many series are in the series of one line only (a host,
//! a pod, a container), so these take no memory of their own; a bitmap is made once a pair has many series.

use croaring::Bitmap;

use super::size::allocated;

/// As many ids are kept as a list; a bitmap takes about as much as a list of these.
const FEW_MAX: usize = 32;
/// What each container of a bitmap takes without its ids.
const CONTAINER_BYTES: usize = 32;
/// A list grows by this many ids.
const FEW_STEP: usize = 4;

/// Series ids. They come in ascending order.
#[derive(Debug)]
pub(super) enum Postings {
    /// `len` ids from `start` on.
    Run {
        start: u32,
        len: u32,
    },
    Few(Vec<u32>),
    Many(Box<Many>),
}

/// Many ids, and what says how much they take: to ask the bitmap for it each time would take longer than to add to it.
#[derive(Debug)]
pub(super) struct Many {
    ids: Bitmap,
    first: u32,
    last: u32,
    len: u32,
}

impl Many {
    fn of(ids: Bitmap) -> Self {
        let (first, last) = (ids.minimum().unwrap_or_default(), ids.maximum().unwrap_or_default());
        Self { len: ids.cardinality() as u32, ids, first, last }
    }

    fn add(&mut self, start: u32, len: u32) {
        self.ids.add_range(start..start + len);
        self.len += len;
        self.last = start + len - 1;
    }

    /// A bitmap has a container for each 65,536 ids between its first and its last; one takes two bytes an id, or 8 KiB.
    fn heap_bytes(&self) -> usize {
        let containers = 1 + (self.last >> 16) as usize - (self.first >> 16) as usize;
        size_of::<Self>() + containers * CONTAINER_BYTES + (2 * self.len as usize).min(containers << 13)
    }
}

impl Default for Postings {
    fn default() -> Self {
        Self::Run { start: 0, len: 0 }
    }
}

impl Postings {
    /// Adds `len` ids from `start` on, all of them above those that are here.
    pub(super) fn add(&mut self, start: u32, len: u32) {
        if let Self::Run { start: first, len: before } = self {
            if *before == 0 {
                *first = start;
            }
            if *first + *before == start {
                *before += len;
                return;
            }
            *self = Self::of_run(*first, *before, len);
        }
        match self {
            Self::Few(ids) if ids.len() + len as usize <= FEW_MAX => {
                if ids.capacity() < ids.len() + len as usize {
                    ids.reserve_exact((len as usize).next_multiple_of(FEW_STEP));
                }
                ids.extend(start..start + len);
            }
            Self::Few(ids) => {
                let mut many = Many::of(Bitmap::of(ids));
                many.add(start, len);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => many.add(start, len),
            Self::Run { .. } => {}
        }
    }

    /// A run as something that takes `more` ids elsewhere.
    fn of_run(start: u32, len: u32, more: u32) -> Self {
        if (len + more) as usize <= FEW_MAX {
            Self::Few((start..start + len).collect())
        } else {
            Self::Many(Box::new(Many::of(Bitmap::from_range(start..start + len))))
        }
    }

    /// Bytes that it takes elsewhere.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Run { .. } => 0,
            Self::Few(ids) => allocated(ids.capacity() * size_of::<u32>()),
            Self::Many(many) => many.heap_bytes(),
        }
    }

    /// How many series there are.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Run { len, .. } => u64::from(*len),
            Self::Few(ids) => ids.len() as u64,
            Self::Many(many) => many.len.into(),
        }
    }

    /// Appends the ids.
    pub(super) fn append_to(&self, out: &mut Vec<u32>) {
        match self {
            Self::Run { start, len } => out.extend(*start..*start + *len),
            Self::Few(ids) => out.extend_from_slice(ids),
            Self::Many(many) => out.extend(many.ids.iter()),
        }
    }

    pub(super) fn to_bitmap(&self) -> Bitmap {
        match self {
            Self::Run { start, len } => Bitmap::from_range(*start..*start + *len),
            Self::Few(ids) => Bitmap::of(ids),
            Self::Many(many) => many.ids.clone(),
        }
    }

    /// Whether one of the series is in `ids`.
    pub(super) fn intersects(&self, ids: &Bitmap) -> bool {
        match self {
            Self::Run { start, len } => ids.range_cardinality(*start..*start + *len) > 0,
            Self::Few(few) => few.iter().any(|id| ids.contains(*id)),
            Self::Many(many) => many.ids.intersect(ids),
        }
    }

    /// All series of several postings.
    pub(super) fn union<'a>(all: impl Iterator<Item = &'a Self>) -> Bitmap {
        let mut small = Bitmap::new();
        let mut large: Vec<&Bitmap> = Vec::new();
        for postings in all {
            match postings {
                Self::Run { start, len } => small.add_range(*start..*start + *len),
                Self::Few(ids) => small.add_many(ids),
                Self::Many(many) => large.push(&many.ids),
            }
        }
        if large.is_empty() {
            return small;
        }
        large.push(&small);
        Bitmap::fast_or(&large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pair_of_one_line_takes_nothing_of_its_own_and_few_ids_stay_a_list() {
        let mut postings = Postings::default();
        postings.add(70, 10);
        postings.add(80, 5);
        assert!(matches!(postings, Postings::Run { start: 70, len: 15 }));
        postings.add(100, 10);
        assert!(matches!(postings, Postings::Few(_)));
        postings.add(200, 10);
        assert!(matches!(postings, Postings::Many(_)));
        assert_eq!(postings.count(), 35);
        assert!(size_of::<Postings>() <= 24);
    }

    proptest! {
        #[test]
        fn every_form_says_the_same(runs in prop::collection::vec((0_u32..50, 1_u32..12), 0..40)) {
            let (mut postings, mut expected, mut next) = (Postings::default(), Vec::new(), 7);
            for (gap, len) in runs {
                next += gap;
                postings.add(next, len);
                expected.extend(next..next + len);
                next += len;
                prop_assert_eq!(postings.to_bitmap().to_vec(), expected.clone());
                prop_assert_eq!(postings.count(), expected.len() as u64);
            }
            if let Postings::Many(many) = &postings {
                let (first, last) = (expected.first().copied(), expected.last().copied());
                prop_assert_eq!((Some(many.first), Some(many.last)), (first, last));
            }
            for id in [expected.first(), expected.last()].into_iter().flatten() {
                prop_assert!(postings.intersects(&Bitmap::of(&[*id])));
            }
            prop_assert!(!postings.intersects(&Bitmap::of(&[0, next])));
            let other = Postings::Run { start: 3, len: 2 };
            let union = Postings::union([&other, &postings].into_iter()).to_vec();
            prop_assert_eq!(union, [vec![3, 4], expected].concat());
        }
    }
}
