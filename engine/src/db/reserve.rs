//! Space that is set aside for a full disk: what frees space there needs some itself, for the manifest that no longer lists it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::directory::Directory;
use crate::error::Result;

/// The file that takes the space.
const RESERVE_FILE: &str = "RESERVE";
/// Its size. A manifest with ten thousand blocks has 300 KB.
const RESERVE_BYTES: u64 = 2 << 20;

/// A file that is removed when there is no space, and made again when there is.
#[derive(Debug)]
pub(super) struct Reserve {
    directory: Arc<dyn Directory>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is there.
    Held,
    /// It was given up.
    GivenUp,
    /// There has been no room for it.
    Missing,
}

impl Reserve {
    /// The reserve of a database that is being opened: the one that is there, or a new one if there is room.
    pub(super) fn open(directory: Arc<dyn Directory>) -> Self {
        let is_there = directory.len(Path::new(RESERVE_FILE)).is_ok_and(|bytes| bytes >= RESERVE_BYTES);
        let state = if is_there { State::Held } else { State::Missing };
        let reserve = Self { directory, state: Mutex::new(state) };
        reserve.fill();
        reserve
    }

    /// Makes it again once there is room for twice as much. False while it is given up: then space is for what frees some.
    pub(super) fn fill(&self) -> bool {
        let mut state = self.state.lock();
        if *state != State::Held {
            match self.make() {
                Ok(()) => *state = State::Held,
                Err(error) => tracing::debug!(%error, "no space can be reserved for a full disk"),
            }
        }
        *state != State::GivenUp
    }

    fn make(&self) -> io::Result<()> {
        let (directory, path) = (&*self.directory, Path::new(RESERVE_FILE));
        if directory.free_bytes().is_ok_and(|free| free < 2 * RESERVE_BYTES) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let remove = || match directory.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        // A shorter one is what a crash left.
        remove()?;
        let make = || {
            let mut file = directory.create(path)?;
            match file.preallocate(RESERVE_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    file.write_all(&vec![0; RESERVE_BYTES as usize])?;
                }
                done => done?,
            }
            file.sync()?;
            directory.sync_dir(Path::new(""))
        };
        make().inspect_err(|_| drop(remove()))
    }

    /// Does what frees space by itself; when there is none for that, once more with the space of the reserve.
    pub(super) fn pay<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.is_no_space() && self.give_up() => {
                tracing::warn!(%error, "the disk is full: the space that was reserved is given up to free some");
                work()
            }
            done => done,
        }
    }

    fn give_up(&self) -> bool {
        let mut state = self.state.lock();
        let is_given_up =
            *state == State::Held && self.directory.remove_file(Path::new(RESERVE_FILE)).is_ok();
        if is_given_up {
            *state = State::GivenUp;
        }
        is_given_up
    }
}

/// What a merge must leave free.
pub(super) const FREE_BYTES_MIN: u64 = 2 * RESERVE_BYTES;
