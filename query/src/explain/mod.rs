//! A plan as people and programs read it: a tree of nodes with what each is going to do, and after an evaluation with what it took.
//!
//! `query/docs/plan.md` explains the nodes.

mod text;

use std::time::Duration;

use crate::deep::Deep;
use crate::value::{QueryStats, Timings};

/// A query's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The steps of the query.
    pub grid: Steps,
    /// The node whose value is the answer.
    pub root: Node,
    /// What the evaluation took, if the query was evaluated.
    pub analysis: Option<Analysis>,
}

/// What a whole evaluation took.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Time by phase.
    pub timings: Timings,
    /// Samples, series and memory.
    pub stats: QueryStats,
    /// Annotations, as the query itself would give them.
    pub warnings: Vec<String>,
    /// The same of the milder kind.
    pub infos: Vec<String>,
}

/// Evenly spaced times at which something is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The first, milliseconds since the epoch.
    pub start_ms: i64,
    /// The last, milliseconds since the epoch.
    pub end_ms: i64,
    /// The distance, milliseconds.
    pub step_ms: i64,
    /// How many there are.
    pub count: usize,
}

/// One operation of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What sort of operation: `select`, `rollup`, `aggregate`, ….
    pub kind: &'static str,
    /// The operation in PromQL's words, such as `sum by (job)` or `rate`.
    pub operation: String,
    /// What is saved over evaluating node by node and step by step.
    pub push_downs: Vec<PushDown>,
    /// What it selects, when it reads series.
    pub selection: Option<Selection>,
    /// The steps of the nodes below, when they have their own: those of a subquery, or the one of what is evaluated once.
    pub grid: Option<Steps>,
    /// What its evaluation took; `None` before the evaluation, and for a node that is fused into another one.
    pub measured: Option<Measured>,
    /// What it read itself; `None` before the evaluation, and for a node that reads nothing.
    pub reads: Option<Reads>,
    /// Its inputs.
    pub inputs: Deep<Vec<Node>>,
}

/// Work that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushDown {
    /// Part of the pipeline of the node above: each series passes through all of it before the next one is read.
    Fused,
    /// Takes the cells of its input as they come: no row of a series is kept.
    WithoutRows,
    /// Of labels stored in one block, those of the grouping are read.
    NeededLabels,
    /// The same at each step, so evaluated at one.
    EvaluatedOnce,
    /// Stands in the query more than once: the first place evaluates it, the others take its rows.
    Shared,
    /// Computed when the query was planned.
    ConstantFolded,
    /// Native histograms are reduced to their count and sum when they are read.
    WithoutBuckets,
}

impl PushDown {
    /// As JSON has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::WithoutRows => "without_rows",
            Self::NeededLabels => "needed_labels",
            Self::EvaluatedOnce => "evaluated_once",
            Self::Shared => "shared",
            Self::ConstantFolded => "constant_folded",
            Self::WithoutBuckets => "without_buckets",
        }
    }
}

/// The series and times that a node reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Each matcher, and how many series satisfy it alone.
    pub matchers: Vec<MatcherEstimate>,
    /// Series that all matchers leave, by the index: in the place (the head, a block) that has the most.
    pub series_estimated: u64,
    /// The same, of all places added up.
    pub series_estimated_max: u64,
    /// First and last time that is read, nanoseconds since the epoch, both included.
    pub range_ns: (i64, i64),
    /// How far each step looks back, milliseconds.
    pub window_ms: i64,
    /// `offset`, milliseconds.
    pub offset_ms: i64,
    /// `@`, milliseconds since the epoch.
    pub at_ms: Option<i64>,
}

/// A matcher and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatcherEstimate {
    /// As PromQL writes it.
    pub matcher: String,
    /// Series that satisfy it, by the index, in the place that has the most.
    pub series_estimated: u64,
}

/// What the evaluation of a node took, with all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// How often it was evaluated.
    pub runs: u64,
    /// Wall time.
    pub time: Duration,
    /// Series that it gave.
    pub rows: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Series selected.
    pub series: u64,
    /// Samples decoded; below a function over a subquery, points of the subquery.
    pub samples: u64,
    /// Bytes that these samples take where they are stored.
    pub encoded_bytes: u64,
    /// Chunks whose statistics stood in for their samples, which were not decoded.
    pub condensed_chunks: u64,
}

impl Reads {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            series: self.series + other.series,
            samples: self.samples + other.samples,
            encoded_bytes: self.encoded_bytes + other.encoded_bytes,
            condensed_chunks: self.condensed_chunks + other.condensed_chunks,
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            series: self.series.saturating_sub(other.series),
            samples: self.samples.saturating_sub(other.samples),
            encoded_bytes: self.encoded_bytes.saturating_sub(other.encoded_bytes),
            condensed_chunks: self.condensed_chunks.saturating_sub(other.condensed_chunks),
        }
    }
}
