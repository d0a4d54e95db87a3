//! `kill -9` of the real server under load: every answered write is there after the restart, and nothing else is.
//!
//! Two connections write batches as fast as they are answered. Each value names the batch that wrote it, and some batches
//! write over an earlier one, so a lost, torn, resurrected or invented sample is told from a good one. A write that the
//! kill left without an answer may be there or not, but as a whole, and from the next start on it stays as it was found.
//!
//! `TIMBERLINE_ROUNDS=n` runs n rounds on one directory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;
mod support;

use std::fmt::Write as _;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use common::{Random, SECOND, START};
use support::Server;
use support::series::{self, Cells, assert_same};

const ROUNDS: u64 = 5;
const WRITERS: usize = 2;
const SERIES: usize = 10;
const STEPS: u64 = 10;
/// The most answers that a round waits for.
const ANSWERS_MAX: usize = 300;
const FIELDS: [&str; 2] = ["a", "b"];
/// The server is killed less than 2^16 µs after the answer that decides it; half of the times in less than 256 µs.
const LAST_MOMENT_BITS_MAX: usize = 16;

/// What is known of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It was answered with success, or found after a restart.
    Stored,
    /// It got no answer.
    Open,
    /// It got no answer, and was not found after the restart.
    Lost,
}

/// One connection, and the fate of each batch that it sent.
struct Writer {
    id: usize,
    fates: Vec<Fate>,
}

impl Writer {
    /// Sends batches until the server is gone, and tells of each answer.
    fn write(&mut self, server: &Server, answered: &Sender<()>) {
        loop {
            let batch = self.fates.len() as u64;
            self.fates.push(Fate::Open);
            let Ok((status, text)) = server.try_post("/write", self.lines(batch).as_bytes()) else { return };
            assert_eq!(status, 204, "{text}");
            *self.fates.last_mut().unwrap() = Fate::Stored;
            // The one who counts has stopped when it kills the server.
            let _ = answered.send(());
        }
    }

    fn lines(&self, batch: u64) -> String {
        let mut text = String::new();
        for step in 0..STEPS {
            for series in 0..SERIES {
                let [a, b] = [0, 1].map(|field| self.value(batch, step, series, field));
                let (writer, timestamp) = (self.id, timestamp(batch, step));
                writeln!(text, "load,writer={writer},series={series} a={a},b={b} {timestamp}").unwrap();
            }
        }
        text
    }

    /// Unlike any other value of this or another batch.
    fn value(&self, batch: u64, step: u64, series: usize, field: usize) -> f64 {
        let cell = (step as usize * SERIES + series) * FIELDS.len() + field;
        let number = (batch as usize * WRITERS + self.id) * 1_000 + cell;
        // Decimals, integers and doubles with a full mantissa.
        match series % 3 {
            0 => number as f64,
            1 => number as f64 / 100.0,
            _ => (number as f64).sqrt(),
        }
    }

    /// What the batch left in the database, or would have.
    fn apply(&self, batch: u64, cells: &mut Cells) {
        for series in 0..SERIES {
            for (field, name) in FIELDS.iter().enumerate() {
                let samples = cells.entry(self.series_name(series, name)).or_default();
                for step in 0..STEPS {
                    samples.insert(timestamp(batch, step), self.value(batch, step, series, field).to_bits());
                }
            }
        }
    }

    fn series_name(&self, series: usize, field: &str) -> String {
        let (name, writer, series) = (format!("load_{field}"), self.id.to_string(), series.to_string());
        series::name(&[("__name__", &name), ("writer", &writer), ("series", &series)])
    }

    /// Decides what became of the batch that got no answer, by one of its samples.
    fn settle(&mut self, found: &Cells) {
        let (id, last) = (self.id, self.fates.len().saturating_sub(1));
        if self.fates.last() == Some(&Fate::Open) {
            let value = self.value(last as u64, 0, 0, 0).to_bits();
            let series = found.get(&self.series_name(0, FIELDS[0]));
            let is_there = series.and_then(|samples| samples.get(&timestamp(last as u64, 0))) == Some(&value);
            println!("writer {id}: the last batch, {last}, was not answered; stored: {is_there}");
            self.fates[last] = if is_there { Fate::Stored } else { Fate::Lost };
        }
    }
}

/// The time of a step. Every seventh batch writes over an earlier one.
fn timestamp(batch: u64, step: u64) -> i64 {
    let slot = if batch % 7 == 6 { batch - 4 } else { batch };
    START + (slot * STEPS + step) as i64 * SECOND
}

/// Compares what a restarted server has with what it must have.
fn check(found: &Cells, writers: &mut [Writer], round: u64) {
    let mut expected = Cells::new();
    for writer in writers {
        writer.settle(found);
        for batch in (0_u64..).zip(&writer.fates).filter(|(_, fate)| **fate == Fate::Stored).map(|(b, _)| b) {
            writer.apply(batch, &mut expected);
        }
    }
    assert_same(found, &expected, &format!("after the kill of round {round}"));
    println!("round {round}: {} samples are there", expected.values().map(|s| s.len()).sum::<usize>());
}

/// Lets the writers write, and kills the server somewhere in the middle; in some rounds during a flush or compaction.
fn write_and_kill(server: &Server, writers: &mut [Writer], round: u64, random: &mut Random) {
    let answers = 50 + random.below(ANSWERS_MAX - 50);
    let last_moment_bits = random.below(LAST_MOMENT_BITS_MAX + 1);
    let last_moment = Duration::from_micros(random.below(1 << last_moment_bits) as u64);
    // The first job is waited for, the second one is under way when the kill comes.
    let jobs = match round % 3 {
        0 => [None, None],
        1 => [None, Some("flush")],
        _ => [Some("flush"), Some("compact")],
    };
    let jobs = jobs.map(|job| job.map(|job| format!("/api/v1/admin/tsdb/{job}")));
    thread::scope(|scope| {
        let (sender, answered) = mpsc::channel();
        for writer in writers {
            let sender = sender.clone();
            scope.spawn(move || writer.write(server, &sender));
        }
        drop(sender);
        for count in 0..answers {
            answered.recv().expect("the writers end after the server only");
            if let (true, Some(job)) = (count == answers / 2, &jobs[0]) {
                server.post(job, b"");
            }
        }
        if let Some(job) = &jobs[1] {
            scope.spawn(move || server.try_post(job, b""));
        }
        let end = Instant::now() + last_moment;
        while answered.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok() {}
        server.kill();
    });
}

#[test]
fn nothing_answered_is_lost_and_nothing_else_appears() {
    let rounds = std::env::var("TIMBERLINE_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(rounds);
    let mut writers = [0, 1].map(|id| Writer { id, fates: Vec::new() });
    for round in 0..rounds {
        if round % 4 == 3 {
            // Recovery is killed too.
            Server::start_opening("serve", folder.path()).kill();
        }
        let server = Server::serve(folder.path());
        check(&server.export(), &mut writers, round);
        write_and_kill(&server, &mut writers, round, &mut random);
    }
    let server = Server::serve(folder.path());
    check(&server.export(), &mut writers, rounds);
    server.flush();
    server.compact();
    check(&server.export(), &mut writers, rounds);
    assert!(server.interrupt().success());
    let server = Server::serve(folder.path());
    check(&server.export(), &mut writers, rounds);
}
