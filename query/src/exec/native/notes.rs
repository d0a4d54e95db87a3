//! Annotations about native histograms, worded as in Prometheus.

use timberline_engine::Labels;
use timberline_engine::METRIC_NAME;

use crate::ast::{BinaryOp, Span};
use crate::exec::annotations::{Annotations, for_metric};
use crate::exec::context::Context;
use crate::print::Quoted;

/// What was done when something was noticed about a sum.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) enum Doing {
    Addition,
    Aggregation,
    Subtraction,
}

impl Doing {
    fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Aggregation => "aggregation",
            Self::Subtraction => "subtraction",
        }
    }
}

/// Something about the histograms of one metric.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) enum Finding {
    IgnoredInMixedRange,
    MixedWithClassic,
    MixedWithFloats,
    MixedSchemas,
    NanInFraction,
    NanIsQuantile,
    NanSkewsQuantile,
    NotACounter,
    NotAGauge,
}

impl Annotations {
    fn warning(&mut self, text: &str, position: &str) {
        self.warn(format!("PromQL warning: {text} ({position})"));
    }

    fn note(&mut self, text: &str, position: &str) {
        self.inform(format!("PromQL info: {text} ({position})"));
    }

    fn finding(&mut self, finding: Finding, metric: &str, position: &str) {
        const QUANTILE: &str = "input to histogram_quantile has NaN observations, result is";
        let name = for_metric(metric);
        match finding {
            Finding::IgnoredInMixedRange => {
                let text = "ignored histograms in a range containing both floats and histograms";
                self.note(&format!("{text}{name}"), position);
            }
            Finding::MixedWithClassic => {
                let text = "vector contains a mix of classic and native histograms";
                self.warning(&format!("{text}{name}"), position);
            }
            Finding::MixedWithFloats => {
                self.warning(&format!("encountered a mix of histograms and floats{name}"), position);
            }
            Finding::MixedSchemas => {
                let text = "vector contains a mix of histograms with exponential and custom buckets schemas";
                self.warning(&format!("{text}{name}"), position);
            }
            Finding::NanInFraction => {
                let text =
                    "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                self.note(&format!("{text}{name}"), position);
            }
            Finding::NanIsQuantile => self.note(&format!("{QUANTILE} NaN{name}"), position),
            Finding::NanSkewsQuantile => self.note(&format!("{QUANTILE} skewed higher{name}"), position),
            Finding::NotACounter => {
                let text = format!("this native histogram metric is not a counter: {}", Quoted(metric));
                self.warning(&text, position);
            }
            Finding::NotAGauge => {
                let text = format!("this native histogram metric is not a gauge: {}", Quoted(metric));
                self.warning(&text, position);
            }
        }
    }
}

impl Context<'_> {
    /// Notes `finding` about the metric that `labels` name.
    pub(in crate::exec) fn found(&self, finding: Finding, labels: &Labels, span: Span) {
        let metric = labels.get(METRIC_NAME).unwrap_or_default();
        self.annotate(span, |annotations, position| annotations.finding(finding, metric, position));
    }

    /// Notes that an aggregation left histograms out.
    pub(in crate::exec) fn ignored_in_aggregation(&self, aggregation: &str, span: Span) {
        self.annotate(span, |annotations, position| {
            annotations.note(&format!("ignored histogram in {aggregation} aggregation"), position);
        });
    }

    /// Notes that an aggregation met floats and histograms.
    pub(in crate::exec) fn mixed_aggregation(&self, span: Span) {
        self.annotate(span, |annotations, position| {
            annotations.warning("encountered a mix of histograms and floats for aggregation", position);
        });
    }

    /// Notes that `op` is not there for what it was given: `float` or `histogram`.
    pub(in crate::exec) fn incompatible_types(&self, op: BinaryOp, lhs: &str, rhs: &str, span: Span) {
        let op = op.as_str();
        let text =
            format!("incompatible sample types encountered for binary operator {op:?}: {lhs} {op} {rhs}");
        self.annotate(span, |annotations, position| annotations.note(&text, position));
    }

    /// Notes that `op` met exponential and custom buckets.
    pub(in crate::exec) fn incompatible_buckets(&self, op: BinaryOp, span: Span) {
        let text = format!("incompatible bucket layout encountered for binary operator {}", op.as_str());
        self.annotate(span, |annotations, position| annotations.warning(&text, position));
    }

    /// Notes that only common bounds are left.
    pub(in crate::exec) fn bounds_reconciled(&self, doing: Doing, span: Span) {
        let text = format!("mismatched custom buckets were reconciled during {}", doing.name());
        self.annotate(span, |annotations, position| annotations.note(&text, position));
    }

    /// Notes that counters with and without a reset were put together.
    pub(in crate::exec) fn conflicting_resets(&self, doing: Doing, span: Span) {
        let text = format!("conflicting counter resets during histogram {}", doing.name());
        self.annotate(span, |annotations, position| annotations.warning(&text, position));
    }
}
