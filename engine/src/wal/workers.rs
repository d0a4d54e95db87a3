//! The threads of a replay: each owns some shards, decodes their records and applies them in the order of the log.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::record::{GroupDefinition, GroupId, Rows, batch_parts, shard_of_definition};
use super::replay::Replay;
use super::segment::{Frame, KIND_GROUP, KIND_ROWS};
use crate::encoding::DecodeError;

/// Records that may wait for a worker. They are references, so this bounds how far a worker can fall behind, not memory.
const QUEUE_MAX: usize = 256;

/// A part of a record, with the offset of its frame in the segment.
struct Job<'b> {
    offset: usize,
    what: What<'b>,
}

enum What<'b> {
    Definition(&'b [u8]),
    Rows(&'b [u8]),
}

/// A record that cannot be read although its checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) reason: &'static str,
}

/// What the workers did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) samples: u64,
    pub(super) orphaned: u64,
    /// By offset.
    pub(super) damages: Vec<Damage>,
}

/// The running workers.
pub(super) struct Workers<'scope, 'b> {
    workers: Vec<(SyncSender<Job<'b>>, ScopedJoinHandle<'scope, Applied>)>,
}

impl<'scope, 'b: 'scope> Workers<'scope, 'b> {
    /// Starts a worker for each processor, but no more than there are shards.
    pub(super) fn start<'env>(scope: &'scope Scope<'scope, 'env>, head: &'scope impl Replay) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(GroupId::SHARDS);
        let start = |_| {
            let (jobs, queue) = sync_channel(QUEUE_MAX);
            (jobs, scope.spawn(move || work(&queue, head)))
        };
        Self { workers: (0..count).map(start).collect() }
    }

    /// Gives a record to the workers of its shards.
    ///
    /// # Errors
    /// When the record cannot be told apart into shards; some of it may have been given then.
    pub(super) fn give(&mut self, frame: Frame<'b>) -> Result<(), DecodeError> {
        let offset = frame.offset;
        match frame.kind {
            KIND_GROUP => {
                let shard = shard_of_definition(frame.payload)?;
                self.send(shard, Job { offset, what: What::Definition(frame.payload) });
            }
            KIND_ROWS => {
                for part in batch_parts(frame.payload) {
                    let (shard, rows) = part?;
                    self.send(shard, Job { offset, what: What::Rows(rows) });
                }
            }
            _ => return Err(DecodeError { offset: 3, reason: "the record's kind is unknown" }),
        }
        Ok(())
    }

    fn send(&self, shard: usize, job: Job<'b>) {
        let (jobs, _) = &self.workers[shard % self.workers.len()];
        // A worker that is gone panicked: `finish` tells.
        let _ = jobs.send(job);
    }

    /// Waits until all is applied.
    pub(super) fn finish(self) -> Applied {
        let (queues, threads): (Vec<_>, Vec<_>) = self.workers.into_iter().unzip();
        drop(queues);
        let mut all = Applied::default();
        for thread in threads {
            let applied = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            all.samples += applied.samples;
            all.orphaned += applied.orphaned;
            all.damages.extend(applied.damages);
        }
        all.damages.sort_by_key(|damage| damage.offset);
        all
    }
}

fn work(queue: &Receiver<Job<'_>>, head: &impl Replay) -> Applied {
    let mut applied = Applied::default();
    let mut rows = Rows::default();
    for Job { offset, what } in queue {
        let (len, outcome) = match what {
            What::Definition(payload) => {
                let decoded = GroupDefinition::decode(payload).map_err(|error| error.reason);
                (payload.len(), decoded.and_then(|definition| head.define(&definition)))
            }
            What::Rows(bytes) => {
                let decoded = rows.decode_into(bytes).map_err(|error| error.reason);
                let apply = |()| {
                    applied.samples += rows.samples() as u64;
                    applied.orphaned += head.rows(&rows);
                };
                (bytes.len(), decoded.map(apply))
            }
        };
        if let Err(reason) = outcome {
            applied.damages.push(Damage { offset, len, reason });
        }
    }
    applied
}
