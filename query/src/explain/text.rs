//! The plan as an indented tree.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{Explanation, Measured, Node, PushDown, Reads, Selection, Steps};
use crate::deep::on_enough_stack;
use crate::parser::format_duration;

const INDENT: &str = "  ";
/// What is deeper is indented no further.
const INDENT_LEVELS_MAX: usize = 100;
/// Before the other lines of a node than its first.
const CONTINUED: &str = "    ";

impl Display for Explanation {
    /// One node a line, its inputs indented below it; times are seconds since the epoch.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "evaluated at {}", self.grid)?;
        write_node(f, &self.root, 0)?;
        let Some(analysis) = &self.analysis else { return Ok(()) };
        let (timings, stats) = (&analysis.timings, &analysis.stats);
        writeln!(
            f,
            "took {}: {} to plan and select, {} to evaluate, {} to put the result in order",
            millis(timings.total()),
            millis(timings.preparation),
            millis(timings.evaluation),
            millis(timings.result)
        )?;
        writeln!(
            f,
            "{} series, {} samples, at most {} of memory",
            stats.series,
            stats.samples,
            bytes(stats.memory_bytes_peak)
        )?;
        analysis.warnings.iter().chain(&analysis.infos).try_for_each(|text| writeln!(f, "{text}"))
    }
}

fn write_node(f: &mut Formatter<'_>, node: &Node, level: usize) -> fmt::Result {
    on_enough_stack(|| write_lines(f, node, level))
}

fn write_lines(f: &mut Formatter<'_>, node: &Node, level: usize) -> fmt::Result {
    let indent = INDENT.repeat(level.min(INDENT_LEVELS_MAX));
    write!(f, "{indent}{}", node.kind)?;
    if !node.operation.is_empty() {
        write!(f, " {}", node.operation)?;
    }
    for push_down in &node.push_downs {
        write!(f, " [{}]", words(*push_down))?;
    }
    if let Some(Measured { runs, time, rows }) = node.measured {
        let unit = if rows == 1 { "row" } else { "rows" };
        write!(f, "  ({}, {rows} {unit}", millis(time))?;
        if runs > 1 {
            write!(f, " in {runs} runs")?;
        }
        f.write_str(")")?;
    }
    f.write_str("\n")?;
    if let Some(grid) = &node.grid {
        writeln!(f, "{indent}{CONTINUED}at {grid}")?;
    }
    if let Some(selection) = &node.selection {
        write_selection(f, selection, &indent)?;
    }
    if let Some(reads) = node.reads {
        write_reads(f, reads, &indent)?;
    }
    node.inputs.iter().try_for_each(|input| write_node(f, input, level + 1))
}

fn write_reads(f: &mut Formatter<'_>, reads: Reads, indent: &str) -> fmt::Result {
    let Reads { series, samples, encoded_bytes, condensed_chunks } = reads;
    if series == 0 {
        let unit = if samples == 1 { "point" } else { "points" };
        return writeln!(f, "{indent}{CONTINUED}read {samples} {unit} of the subquery");
    }
    write!(
        f,
        "{indent}{CONTINUED}read {series} series, {samples} samples, {} encoded",
        bytes(encoded_bytes)
    )?;
    if condensed_chunks > 0 {
        write!(f, ", {condensed_chunks} chunks by their statistics alone")?;
    }
    writeln!(f)
}

fn write_selection(f: &mut Formatter<'_>, selection: &Selection, indent: &str) -> fmt::Result {
    let Selection { series_estimated, series_estimated_max, range_ns: (start, end), .. } = selection;
    write!(f, "{indent}{CONTINUED}about {series_estimated} series")?;
    if series_estimated_max > series_estimated {
        write!(f, ", at most {series_estimated_max}")?;
    }
    if selection.window_ms > 0 {
        write!(f, ", windows of {}", format_duration(selection.window_ms))?;
    }
    writeln!(f, ", from {} to {}", seconds(*start), seconds(*end))?;
    for matcher in &selection.matchers {
        writeln!(f, "{indent}{CONTINUED}{}  ({} series)", matcher.matcher, matcher.series_estimated)?;
    }
    Ok(())
}

fn words(push_down: PushDown) -> &'static str {
    match push_down {
        PushDown::Fused => "fused into the node above",
        PushDown::WithoutRows => "adds up cells as they come, keeps no rows of series",
        PushDown::NeededLabels => "reads the labels of its groups",
        PushDown::EvaluatedOnce => "evaluated once",
        PushDown::Shared => "evaluated at the first of its places",
        PushDown::ConstantFolded => "constant, folded",
        PushDown::WithoutBuckets => "histograms without buckets",
    }
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let second = |ms: i64| ms as f64 / 1e3;
        match self.count {
            0 => f.write_str("no step"),
            1 => write!(f, "{}", second(self.start_ms)),
            count => write!(
                f,
                "{count} steps of {} from {} to {}",
                format_duration(self.step_ms),
                second(self.start_ms),
                second(self.end_ms)
            ),
        }
    }
}

/// Nanoseconds as seconds, with all digits that matter.
fn seconds(nanoseconds: i64) -> String {
    const NANOS: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (whole, rest) = (nanoseconds.unsigned_abs() / NANOS, nanoseconds.unsigned_abs() % NANOS);
    let digits = format!("{sign}{whole}.{rest:09}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
