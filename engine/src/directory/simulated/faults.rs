//! What goes wrong on a simulated machine, and at which call.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;

/// What a call does, as far as faults tell calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Change,
    SyncFile,
    SyncDirectory,
}

/// How a call goes.
#[derive(Debug)]
pub(super) enum Outcome {
    Works,
    Fails(io::Error),
    /// The machine or the process stops in the middle of it.
    Crashes,
}

/// The faults that are planned, and the count of calls that they refer to.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) calls: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) fail_at: Option<(Range<u64>, ErrorKind)>,
    pub(super) fail_next_sync: bool,
    pub(super) read_only: bool,
    pub(super) bytes_max: Option<u64>,
    pub(super) crashed: bool,
    /// From this call on, the next reading of a file gets a flipped bit.
    pub(super) flip_read_at: Option<u64>,
    /// The file of which a reader got a flipped bit.
    pub(super) flipped: Option<PathBuf>,
}

impl Faults {
    /// Counts a call and says how it goes.
    pub(super) fn next(&mut self, call: Call) -> Outcome {
        if self.crashed {
            return Outcome::Fails(crash_error());
        }
        let number = self.calls;
        self.calls += 1;
        if self.crash_at == Some(number) {
            self.crashed = true;
            return Outcome::Crashes;
        }
        if let Some((calls, kind)) = &self.fail_at
            && calls.contains(&number)
        {
            return Outcome::Fails((*kind).into());
        }
        if call == Call::SyncFile && std::mem::take(&mut self.fail_next_sync) {
            return Outcome::Fails(io::Error::other("simulated I/O error"));
        }
        if call == Call::Change && self.read_only {
            return Outcome::Fails(ErrorKind::ReadOnlyFilesystem.into());
        }
        Outcome::Works
    }
}

impl Faults {
    /// Whether the file that was just read comes with a flipped bit.
    pub(super) fn flips_this_read(&mut self) -> bool {
        self.flip_read_at.take_if(|at| *at < self.calls).is_some()
    }
}

pub(super) fn crash_error() -> io::Error {
    io::Error::other("the simulated machine has crashed")
}
