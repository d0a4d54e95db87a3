//! Long windows: where a window holds the whole of a chunk, the chunk's statistics stand in for its samples, which are not decoded.

use std::iter::Peekable;
use std::slice::Iter;

use timberline_engine::{Part, Resets, Samples, Series, Statistics};

use super::context::Context;
use super::grid::{Window, Windows};
use super::native;
use super::pipeline::Scratch;
use super::rollup::{self, CompensatedSum, Gaps};
use super::row::{ABSENT, is_present};
use super::select;
use crate::error::Result;
use crate::plan::Rollup;

/// What a function of a window has to know of a chunk's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    First,
    Last,
    Least,
    Greatest,
    Sum,
    Count,
    SumAndCount,
    /// The first, the last, how many there are, and whether resets count.
    Change {
        is_counter: bool,
    },
}

impl Needs {
    fn of(function: Rollup) -> Option<Self> {
        Some(match function {
            Rollup::First => Self::First,
            Rollup::Last | Rollup::Present => Self::Last,
            Rollup::Min => Self::Least,
            Rollup::Max => Self::Greatest,
            Rollup::Sum => Self::Sum,
            Rollup::Count => Self::Count,
            Rollup::Avg => Self::SumAndCount,
            Rollup::Delta => Self::Change { is_counter: false },
            Rollup::Increase | Rollup::Rate => Self::Change { is_counter: true },
            _ => return None,
        })
    }

    /// Whether each window that has something of the part that this needs has all of it.
    fn are_whole(self, windows: &Windows, part: &Part) -> bool {
        let range = part.range();
        // The newest sample does not change where a window begins, nor the oldest where it ends.
        (self == Self::Last || !windows.begin_in(range)) && (self == Self::First || !windows.end_in(range))
    }
}

/// What stands behind the sample at a time besides itself.
#[derive(Clone, Copy, Debug)]
struct Hidden {
    timestamp: i64,
    /// So many samples more.
    samples: f64,
    /// What a counter had counted before its resets there.
    lost: f64,
}

/// What there was up to a sample, from the first sample on.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    samples: f64,
    /// What a counter had counted before its resets.
    lost: CompensatedSum,
}

/// Memory that is reused from series to series.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    hidden: Vec<Hidden>,
    /// How many samples each sample stands for.
    counts: Vec<f64>,
    counted: Vec<Counted>,
    cells: Vec<f64>,
}

/// Reads the newest samples of an instant selector's windows; whether that could be done so.
pub(super) fn read_newest(
    context: &Context<'_>,
    series: &Series,
    windows: &Windows,
    scratch: &mut Scratch,
) -> Result<bool> {
    read(context, series, windows, Needs::Last, scratch)
}

/// Sets the cells of a function of windows; whether that could be done so. If not, they are as before.
pub(super) fn roll_up(
    context: &Context<'_>,
    series: &Series,
    windows: &Windows,
    function: Rollup,
    scratch: &mut Scratch,
    cells: &mut [f64],
) -> Result<bool> {
    let Some(needs) = Needs::of(function) else { return Ok(false) };
    if !read(context, series, windows, needs, scratch)? {
        return Ok(false);
    }
    select::remove_markers(&mut scratch.samples);
    let Scratch { samples, condensed, rollup, .. } = scratch;
    if !samples.histograms.is_empty() {
        return Ok(false);
    }
    rollup.times = None;
    let evaluate = |function, samples: &Samples, rollup: &mut rollup::Buffers, cells: &mut [f64]| {
        rollup::evaluate(function, windows, None, samples, rollup, cells);
    };
    match needs {
        Needs::First | Needs::Last | Needs::Least | Needs::Greatest => {
            evaluate(function, samples, rollup, cells);
        }
        Needs::Change { is_counter } => {
            condensed.count_up(samples);
            if condensed.counted.last().is_some_and(|all| !all.lost.sum.is_finite()) {
                return Ok(false);
            }
            let per_second = if function == Rollup::Rate { windows.range_nanos() as f64 / 1e9 } else { 1.0 };
            windows.walk(&samples.timestamps, |window| {
                if window.lo + 1 < window.hi {
                    let (change, gaps) = condensed.change(samples, window, windows, is_counter);
                    cells[window.step] =
                        gaps.extrapolate(change, samples.values[window.lo], is_counter, per_second);
                }
            });
        }
        Needs::Sum | Needs::Count | Needs::SumAndCount => {
            condensed.count(samples);
            if needs != Needs::Count {
                evaluate(Rollup::Sum, samples, rollup, cells);
                // Whether a sum leaves what a double holds depends on the order of the samples.
                if cells.iter().any(|cell| is_present(*cell) && !cell.is_finite()) {
                    cells.fill(ABSENT);
                    return Ok(false);
                }
            }
            if needs != Needs::Sum {
                std::mem::swap(&mut samples.values, &mut condensed.counts);
                condensed.cells.clear();
                condensed.cells.resize(cells.len(), ABSENT);
                evaluate(Rollup::Sum, samples, rollup, &mut condensed.cells);
                let counts = cells.iter_mut().zip(&condensed.cells).filter(|(_, count)| is_present(**count));
                for (cell, &count) in counts {
                    *cell = if needs == Needs::Count { count } else { *cell / count };
                }
            }
        }
    }
    Ok(true)
}

/// Reads a series with a sample or two in place of each chunk that is needed as a whole only; whether there is such a chunk.
fn read(
    context: &Context<'_>,
    series: &Series,
    windows: &Windows,
    needs: Needs,
    scratch: &mut Scratch,
) -> Result<bool> {
    let is_whole = |part: &Part| part.may_have_statistics() && needs.are_whole(windows, part);
    // Who counts the samples of each step has to see them.
    if context.tally.is_some() || !series.parts().iter().any(is_whole) || !series.is_ordered() {
        return Ok(false);
    }
    let Scratch { samples, held, known, condensed, .. } = scratch;
    known.forget();
    condensed.hidden.clear();
    let (mut chunks, mut bytes) = (0, 0);
    let mut refused = Ok(());
    let outcome = series.read_with(samples, |part, out| {
        if refused.is_err() {
            return Ok(true);
        }
        let statistics = if is_whole(part) { part.statistics()? } else { None };
        let stands_in =
            statistics.is_some_and(|statistics| condensed.stand_in(needs, part, &statistics, out));
        chunks += u64::from(stands_in);
        if !stands_in {
            refused = select::refuse_histograms_if_short(context, part);
            if refused.is_err() {
                // Nothing is in its place, nor of what follows: what was read is not used.
                return Ok(true);
            }
        }
        if !stands_in && context.usage.has_profile() {
            bytes += part.encoded_bytes()?;
        }
        Ok(stands_in)
    });
    refused?;
    context.usage.add_condensed_chunks(chunks);
    context.usage.add_encoded_bytes(bytes as u64);
    select::leave_out_if_damaged(context, series, outcome, samples)?;
    if !samples.histograms.is_empty() {
        native::forget_hints(samples);
    }
    context.charge_samples(held, samples.values.len())?;
    Ok(true)
}

impl Buffers {
    /// Appends what stands for the samples of a part, unless its statistics do not say enough.
    fn stand_in(&mut self, needs: Needs, part: &Part, statistics: &Statistics, out: &mut Samples) -> bool {
        let (range, samples) = (part.range(), part.samples() as f64);
        let &Statistics { first, last, min, max, sum, resets } = statistics;
        let mut hidden = Hidden { timestamp: range.end, samples: samples - 1.0, lost: 0.0 };
        match needs {
            Needs::First => return push(out, range.start, first),
            Needs::Last => return push(out, range.end, last),
            Needs::Least => return push(out, range.end, min),
            Needs::Greatest => return push(out, range.end, max),
            Needs::Sum | Needs::Count | Needs::SumAndCount => out.push(range.end, sum),
            Needs::Change { is_counter } => {
                let Some(Resets { lost, .. }) = resets.or((!is_counter).then(Resets::default)) else {
                    return false;
                };
                out.push(range.start, first);
                out.push(range.end, last);
                hidden = Hidden { samples: samples - 2.0, lost, ..hidden };
            }
        }
        self.hidden.push(hidden);
        true
    }

    /// Finds how many samples each of `samples` stands for.
    fn count(&mut self, samples: &Samples) {
        self.counts.clear();
        let mut hidden = self.hidden.iter().peekable();
        self.counts.extend(samples.timestamps.iter().map(|&timestamp| {
            let behind = hidden_at(&mut hidden, timestamp);
            1.0 + behind.map_or(0.0, |hidden| hidden.samples)
        }));
    }

    /// Finds what there was up to each of `samples`.
    fn count_up(&mut self, samples: &Samples) {
        let Samples { timestamps, values, .. } = samples;
        let mut hidden = self.hidden.iter().peekable();
        let mut counted = Counted::default();
        self.counted.clear();
        self.counted.extend((0..values.len()).map(|at| {
            counted.samples += 1.0;
            match hidden_at(&mut hidden, timestamps[at]) {
                Some(hidden) => {
                    counted.samples += hidden.samples;
                    counted.lost.add(hidden.lost);
                }
                None if at > 0 && values[at] < values[at - 1] => counted.lost.add(values[at - 1]),
                None => {}
            }
            counted
        }));
    }

    /// The change in a window of two samples at least, and where they lie in it.
    fn change(&self, samples: &Samples, window: Window, windows: &Windows, is_counter: bool) -> (f64, Gaps) {
        let Samples { timestamps, values, .. } = samples;
        let (first, last) = (window.lo, window.hi - 1);
        let (before, after) = (self.counted[first], self.counted[last]);
        let lost = (after.lost.sum - before.lost.sum) + (after.lost.error - before.lost.error);
        let gaps = Gaps::new(
            (timestamps[last] - timestamps[first]) as f64,
            (after.samples - before.samples) as usize,
            (timestamps[first] - window.end.saturating_sub(windows.range_nanos())) as f64,
            (window.end - timestamps[last]) as f64,
        );
        ((values[last] - values[first]) + if is_counter { lost } else { 0.0 }, gaps)
    }
}

/// What stands behind the sample at `timestamp`, if that stands for others. To be asked in order of time.
fn hidden_at<'a>(hidden: &mut Peekable<Iter<'a, Hidden>>, timestamp: i64) -> Option<&'a Hidden> {
    while hidden.next_if(|hidden| hidden.timestamp < timestamp).is_some() {}
    hidden.next_if(|hidden| hidden.timestamp == timestamp)
}

fn push(out: &mut Samples, timestamp: i64, value: f64) -> bool {
    out.push(timestamp, value);
    true
}
