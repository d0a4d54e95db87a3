//! Plans: a query with everything decided that does not need data.
//!
//! A plan is typed (scalars, vectors and range vectors are different types), names are resolved to enums,
//! `@ start()` and `@ end()` to times, constants are folded, regular expressions compiled, and parts that do not
//! depend on the evaluation time ([`VectorPlan::Invariant`]) or stand in the query more than once ([`VectorPlan::Shared`]) are
//! marked to be evaluated once.

mod build;
mod call;
mod duration;
mod extended;
mod function;
mod shared;

use std::sync::Arc;

use timberline_engine::{Labels, Matcher, Pattern};

use crate::ast::{BinaryOp, Edges, Grouping, Span, VectorMatching};
use crate::deep::Deep;
use crate::exec::Statistic;
use crate::template::Template;

pub(crate) use build::{Bounds, build};
pub(crate) use function::{DatePart, Math, Rollup};
pub(crate) use shared::SharedPlan;

/// A planned query.
#[derive(Debug)]
pub(crate) enum Plan {
    Scalar(ScalarPlan),
    Vector(VectorPlan),
    Range(RangePlan),
    String(String),
}

/// An expression with one number per step.
#[derive(Debug)]
pub(crate) enum ScalarPlan {
    Constant(f64),
    /// `time()`: the step's time in seconds.
    Time,
    /// `scalar(v)`.
    Of(Deep<VectorPlan>),
    Negate(Deep<ScalarPlan>),
    /// Comparisons give 0 or 1.
    Binary {
        op: BinaryOp,
        lhs: Deep<ScalarPlan>,
        rhs: Deep<ScalarPlan>,
    },
    /// `min_of(a, b)`, `max_of(a, b)`.
    Extreme {
        largest: bool,
        lhs: Deep<ScalarPlan>,
        rhs: Deep<ScalarPlan>,
    },
    /// The same at each step: evaluated once.
    Invariant(Deep<ScalarPlan>),
}

impl Default for ScalarPlan {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}

impl Default for VectorPlan {
    fn default() -> Self {
        Self::FromScalar(ScalarPlan::default())
    }
}

/// When a selector looks at the data: at the step, moved by `offset` and `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) offset_ms: i64,
    /// The fixed time that replaces the step's.
    pub(crate) at_ms: Option<i64>,
}

/// An expression with at most one sample per series and step.
#[derive(Debug)]
pub(crate) enum VectorPlan {
    /// An instant selector.
    Select {
        matchers: Vec<Matcher>,
        shift: Shift,
        /// Whether of native histograms only the count and the sum are asked for.
        without_buckets: bool,
    },
    /// `timestamp(selector)`: the times of the selected samples.
    SelectTimestamps {
        matchers: Vec<Matcher>,
        shift: Shift,
    },
    /// `selector smoothed`: interpolated between the samples around the step.
    SelectSmoothed(SmoothedPlan),
    /// A function of a window of samples.
    Rollup(RollupPlan),
    /// A function of a selector's windows that are anchored or smoothed.
    Extended(ExtendedPlan),
    /// `double_exponential_smoothing` and `ema_over_time`.
    Smoothing(SmoothingPlan),
    /// `info(v, {…})`: the labels of info series join those of `v`.
    Info(InfoPlan),
    /// A function of each cell.
    Map {
        input: Deep<VectorPlan>,
        op: MapOp,
    },
    /// `vector(s)`.
    FromScalar(ScalarPlan),
    Aggregate(AggregatePlan),
    Binary(BinaryPlan),
    /// `and`, `or`, `unless`.
    Set {
        op: SetOp,
        matching: VectorMatching,
        lhs: Deep<VectorPlan>,
        rhs: Deep<VectorPlan>,
    },
    /// One sample with `labels` where `input` has none.
    Absent {
        input: Deep<VectorPlan>,
        labels: Labels,
    },
    LabelReplace {
        input: Deep<VectorPlan>,
        target: String,
        replacement: Template,
        source: String,
        pattern: Arc<Pattern>,
    },
    LabelJoin {
        input: Deep<VectorPlan>,
        target: String,
        separator: String,
        sources: Vec<String>,
    },
    Sort {
        input: Deep<VectorPlan>,
        descending: bool,
        span: Span,
    },
    /// In the natural order of the values of `labels`.
    SortByLabel {
        input: Deep<VectorPlan>,
        labels: Vec<String>,
        descending: bool,
        span: Span,
    },
    HistogramFraction {
        lower: ScalarPlan,
        upper: ScalarPlan,
        input: Deep<VectorPlan>,
        input_span: Span,
    },
    HistogramQuantile {
        quantile: ScalarPlan,
        quantile_span: Span,
        input: Deep<VectorPlan>,
        input_span: Span,
    },
    /// One row per histogram and quantile; `label` says which one.
    HistogramQuantiles {
        label: String,
        /// The quantiles and where they stand.
        quantiles: Vec<(ScalarPlan, Span)>,
        input: Deep<VectorPlan>,
        input_span: Span,
    },
    /// The same at each step: evaluated once.
    Invariant(Deep<VectorPlan>),
    /// Stands in the query more than once: evaluated once.
    Shared(Box<SharedPlan>),
}

/// A smoothed selector.
#[derive(Debug)]
pub(crate) struct SmoothedPlan {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) shift: Shift,
    /// Whether of native histograms only the count and the sum are asked for.
    pub(crate) without_buckets: bool,
    pub(crate) span: Span,
}

/// A function of anchored or smoothed windows of a selector's samples.
#[derive(Debug)]
pub(crate) struct ExtendedPlan {
    pub(crate) function: Rollup,
    pub(crate) edges: Edges,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range_ms: i64,
    pub(crate) shift: Shift,
    /// Whether of native histograms only the count and the sum are asked for.
    pub(crate) without_buckets: bool,
    pub(crate) span: Span,
}

/// A function that smooths a window, with its parameters.
#[derive(Debug)]
pub(crate) struct SmoothingPlan {
    pub(crate) range: RangePlan,
    pub(crate) method: Smoothing,
}

/// How a window is smoothed.
#[derive(Debug)]
pub(crate) enum Smoothing {
    /// `double_exponential_smoothing`: Holt's linear trend.
    Double { level: ScalarPlan, trend: ScalarPlan },
    /// `ema_over_time`: the exponential moving average.
    Average { alpha: ScalarPlan, span: Span },
}

/// `info`.
#[derive(Debug)]
pub(crate) struct InfoPlan {
    pub(crate) input: Deep<VectorPlan>,
    /// Which metrics have the information: matchers of the name.
    pub(crate) names: Vec<Matcher>,
    /// Which labels join, and with which values; all when there are none.
    pub(crate) data: Vec<Matcher>,
    /// When the info series are looked at: as the selectors of the input, if all look at the same time, else at the step.
    pub(crate) shift: Shift,
}

/// A function of a window of samples.
#[derive(Debug)]
pub(crate) struct RollupPlan {
    pub(crate) function: Rollup,
    pub(crate) range: RangePlan,
    /// The scalar argument of `quantile_over_time` and `predict_linear`.
    pub(crate) param: Option<Deep<ScalarPlan>>,
    /// Where that argument stands.
    pub(crate) param_span: Span,
}

/// A range vector: for each step, the samples in `(end - range, end]`.
#[derive(Debug)]
pub(crate) struct RangePlan {
    pub(crate) input: RangeInput,
    pub(crate) range_ms: i64,
    pub(crate) shift: Shift,
    /// Whether of native histograms only the count and the sum are asked for.
    pub(crate) without_buckets: bool,
    pub(crate) span: Span,
}

/// Where the samples of a range vector come from.
#[derive(Debug)]
pub(crate) enum RangeInput {
    Series(Vec<Matcher>),
    /// An expression evaluated at the multiples of `step_ms`.
    Subquery {
        plan: Deep<VectorPlan>,
        step_ms: i64,
    },
}

/// A function of each cell. All but the filtering comparisons drop the metric name.
#[derive(Debug)]
pub(crate) enum MapOp {
    Negate,
    Math(Math),
    Clamp {
        min: ScalarPlan,
        max: ScalarPlan,
    },
    ClampMin(ScalarPlan),
    ClampMax(ScalarPlan),
    Round(ScalarPlan),
    Date(DatePart),
    /// `timestamp(v)` where `v` is not a selector: the step's time.
    StepTime,
    /// A number that describes a native histogram; other samples have none.
    Statistic(Statistic),
    /// `start_timestamp(v)`: when the counting began, which no sample here says; 0 where `v` is a selector (`known`), else
    /// nothing.
    StartTime {
        known: bool,
    },
    /// An arithmetic operator or comparison with a scalar.
    Binary {
        op: BinaryOp,
        scalar: ScalarPlan,
        scalar_on_left: bool,
        return_bool: bool,
        span: Span,
    },
}

/// An aggregation.
#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) kind: AggregateKind,
    pub(crate) grouping: Grouping,
    pub(crate) input: Deep<VectorPlan>,
    pub(crate) input_span: Span,
}

/// What an aggregation does with the samples of a group.
#[derive(Debug)]
pub(crate) enum AggregateKind {
    Fold(FoldOp),
    /// `topk` and `bottomk`.
    Rank {
        bottom: bool,
        k: ScalarPlan,
    },
    Quantile {
        quantile: ScalarPlan,
        span: Span,
    },
    CountValues {
        label: String,
    },
    /// `limitk`
    Limit {
        k: ScalarPlan,
    },
    /// `limit_ratio`
    LimitRatio {
        ratio: ScalarPlan,
        span: Span,
    },
}

/// An aggregation that keeps a fixed-size accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
}

/// An arithmetic operator or comparison between two vectors.
#[derive(Debug)]
pub(crate) struct BinaryPlan {
    pub(crate) op: BinaryOp,
    pub(crate) return_bool: bool,
    pub(crate) span: Span,
    pub(crate) matching: VectorMatching,
    pub(crate) lhs: Deep<VectorPlan>,
    pub(crate) rhs: Deep<VectorPlan>,
}

/// A set operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOp {
    And,
    Or,
    Unless,
}
