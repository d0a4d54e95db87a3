//! How many file descriptors this process may have, and which share of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of the descriptors, one in so many may be a connection; the rest is for the engine's files.
const CONNECTIONS_SHARE: u64 = 2;

/// Raises the soft limit of descriptors to the hard one. Gives the limit that holds; `None` is none.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, limit = current, "cannot raise the limit of file descriptors");
            current
        }
    }
}

/// How many connections there may be when `wanted` are, and the process may have `limit` descriptors.
pub(crate) fn connections(wanted: usize, limit: Option<u64>) -> usize {
    let share =
        limit.map_or(usize::MAX, |limit| usize::try_from(limit / CONNECTIONS_SHARE).unwrap_or(usize::MAX));
    wanted.min(share).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_is_not_for_connections() {
        assert_eq!(connections(10_000, Some(1 << 20)), 10_000);
        assert_eq!(connections(10_000, Some(1_024)), 512);
        assert_eq!(connections(10_000, None), 10_000);
        assert_eq!(connections(10, Some(0)), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, limit), (maximum, maximum));
    }
}
