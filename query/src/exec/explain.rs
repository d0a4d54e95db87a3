//! Describes a plan as a tree of [nodes](Node), with what the indexes say of its selectors and what a profile says of its evaluation.

use timberline_engine::{Matcher, TimeRange};

use super::Statistic;
use super::context::Context;
use super::eval::Evaluator;
use super::grid::{Grid, Windows};
use super::usage::{Spent, node_id};
use crate::ast::Edges;
use crate::deep::{Deep, on_enough_stack};
use crate::error::Result;
use crate::explain::{Explanation, MatcherEstimate, Measured, Node, PushDown, Reads, Selection, Steps};
use crate::plan::{
    AggregateKind, AggregatePlan, DatePart, FoldOp, MapOp, Math, Plan, RangeInput, RangePlan, Rollup,
    ScalarPlan, SetOp, Shift, Smoothing, VectorPlan,
};
use crate::print::{GroupBy, Matching, Quoted};
use crate::signature::SIGNATURES;

/// Explains `plan`, which was evaluated with `context` if that has a profile.
pub(super) fn explain(context: &Context<'_>, grid: Grid, plan: &Plan) -> Result<Explanation> {
    let explainer = Explainer { evaluator: Evaluator { context, grid } };
    let root = match plan {
        Plan::Scalar(plan) => explainer.scalar(plan)?.node,
        Plan::Vector(plan) => explainer.vector(plan)?.node,
        Plan::Range(plan) => explainer.range(plan)?.node,
        Plan::String(text) => constant(Quoted(text).to_string()),
    };
    Ok(Explanation { grid: steps(grid), root, analysis: None })
}

fn steps(grid: Grid) -> Steps {
    Steps { start_ms: grid.start_ms, end_ms: grid.end_ms(), step_ms: grid.step_ms, count: grid.steps }
}

/// A node, and what the nodes in and below it read that were evaluated by themselves.
struct Described {
    node: Node,
    reads: Reads,
}

/// Describes the nodes that one grid's evaluator evaluates.
#[derive(Clone, Copy)]
struct Explainer<'q> {
    evaluator: Evaluator<'q>,
}

fn new_node(kind: &'static str, operation: impl Into<String>) -> Node {
    Node {
        kind,
        operation: operation.into(),
        push_downs: Vec::new(),
        selection: None,
        grid: None,
        measured: None,
        reads: None,
        inputs: Deep::default(),
    }
}

fn constant(text: String) -> Node {
    Node { push_downs: vec![PushDown::ConstantFolded], ..new_node("constant", text) }
}

impl Node {
    fn takes(mut self, inputs: impl IntoIterator<Item = Described>) -> Described {
        let mut reads = Reads::default();
        for input in inputs {
            reads = reads.plus(input.reads);
            self.inputs.push(input.node);
        }
        Described { node: self, reads }
    }

    /// The node of the same pipeline that reads: this one or one that is fused into it.
    fn source(&mut self) -> &mut Self {
        let mut node = self;
        while let Some(at) = node.inputs.iter().position(|input| input.push_downs.contains(&PushDown::Fused))
        {
            node = &mut node.inputs[at];
        }
        node
    }
}

impl<'q> Explainer<'q> {
    fn context(&self) -> &'q Context<'q> {
        self.evaluator.context
    }

    /// A node that is evaluated by itself.
    fn vector(&self, plan: &'q VectorPlan) -> Result<Described> {
        let described = on_enough_stack(|| self.describe(plan))?;
        Ok(measure(described, self.context().usage.spent(node_id(plan))))
    }

    /// The input of a node that takes cells as they come.
    fn piped(&self, plan: &'q VectorPlan) -> Result<Described> {
        let is_fused = matches!(
            plan,
            VectorPlan::Select { .. }
                | VectorPlan::SelectTimestamps { .. }
                | VectorPlan::Rollup(_)
                | VectorPlan::Map { .. }
        );
        if !is_fused {
            return self.vector(plan);
        }
        let mut described = on_enough_stack(|| self.describe(plan))?;
        described.node.push_downs.insert(0, PushDown::Fused);
        Ok(described)
    }

    fn at(&self, grid: Grid) -> Self {
        Self { evaluator: Evaluator { grid, ..self.evaluator } }
    }

    fn describe(&self, plan: &'q VectorPlan) -> Result<Described> {
        Ok(match plan {
            VectorPlan::Select { matchers, shift, without_buckets } => {
                let node = self.instant("select", matchers, *shift, *without_buckets)?;
                node.takes([])
            }
            VectorPlan::SelectTimestamps { matchers, shift } => {
                self.instant("select", matchers, *shift, false)?.named("timestamp").takes([])
            }
            VectorPlan::SelectSmoothed(plan) => {
                let windows = self.evaluator.windows(0, plan.shift);
                let node = new_node("select", "smoothed");
                self.widened(node, &plan.matchers, &windows, Edges::Smoothed, plan.without_buckets)?
            }
            VectorPlan::Extended(plan) => {
                let name = name_of(|name| Rollup::from_name(name) == Some(plan.function));
                let windows = self.evaluator.windows(plan.range_ms, plan.shift);
                let node = new_node("rollup", format!("{name} {}", plan.edges));
                self.widened(node, &plan.matchers, &windows, plan.edges, plan.without_buckets)?
            }
            VectorPlan::Rollup(plan) => {
                let param = plan.param.as_deref().map(|param| self.scalar(param)).transpose()?;
                self.windowed(
                    "rollup",
                    name_of(|name| Rollup::from_name(name) == Some(plan.function)),
                    &plan.range,
                    param,
                )?
            }
            VectorPlan::Smoothing(plan) => match &plan.method {
                Smoothing::Double { level, trend } => {
                    let params = [self.scalar(level)?, self.scalar(trend)?];
                    self.windowed("smooth", "double_exponential_smoothing", &plan.range, params)?
                }
                Smoothing::Average { alpha, .. } => {
                    self.windowed("smooth", "ema_over_time", &plan.range, [self.scalar(alpha)?])?
                }
            },
            VectorPlan::Info(plan) => {
                let texts: Vec<String> = plan.names.iter().chain(&plan.data).map(matcher_text).collect();
                new_node("info", format!("{{{}}}", texts.join(", "))).takes([self.vector(&plan.input)?])
            }
            VectorPlan::Map { input, op } => self.map(input, op)?,
            VectorPlan::FromScalar(scalar) => new_node("vector", "").takes([self.scalar(scalar)?]),
            VectorPlan::Aggregate(plan) => self.aggregate(plan)?,
            VectorPlan::Binary(plan) => {
                let bool_text = if plan.return_bool { " bool" } else { "" };
                let operation = format!("{}{bool_text}{}", plan.op, Matching(&plan.matching));
                new_node("binary", operation).takes([self.vector(&plan.lhs)?, self.vector(&plan.rhs)?])
            }
            VectorPlan::Set { op, matching, lhs, rhs } => {
                let operation = format!("{}{}", set_text(*op), Matching(matching));
                new_node("set", operation).takes([self.vector(lhs)?, self.vector(rhs)?])
            }
            VectorPlan::Absent { input, .. } => {
                let node = Node { push_downs: vec![PushDown::WithoutRows], ..new_node("absent", "") };
                node.takes([self.piped(input)?])
            }
            VectorPlan::LabelReplace { input, target, .. } => {
                new_node("label_replace", Quoted(target).to_string()).takes([self.vector(input)?])
            }
            VectorPlan::LabelJoin { input, target, .. } => {
                new_node("label_join", Quoted(target).to_string()).takes([self.vector(input)?])
            }
            VectorPlan::Sort { input, descending, .. } => {
                new_node("sort", if *descending { "descending" } else { "ascending" })
                    .takes([self.vector(input)?])
            }
            VectorPlan::SortByLabel { input, labels, .. } => {
                new_node("sort_by_label", labels.join(", ")).takes([self.vector(input)?])
            }
            VectorPlan::HistogramFraction { lower, upper, input, .. } => new_node("histogram_fraction", "")
                .takes([self.scalar(lower)?, self.scalar(upper)?, self.vector(input)?]),
            VectorPlan::HistogramQuantile { quantile, input, .. } => {
                new_node("histogram_quantile", "").takes([self.scalar(quantile)?, self.vector(input)?])
            }
            VectorPlan::HistogramQuantiles { label, quantiles, input, .. } => {
                let mut inputs = vec![self.vector(input)?];
                for (quantile, _) in quantiles {
                    inputs.push(self.scalar(quantile)?);
                }
                new_node("histogram_quantiles", Quoted(label).to_string()).takes(inputs)
            }
            VectorPlan::Shared(shared) => new_node("shared", format!("#{}", shared.number + 1))
                .with(PushDown::Shared)
                .takes([self.vector(&shared.plan)?]),
            VectorPlan::Invariant(inner) => {
                let first = self.evaluator.grid.first();
                self.once(first).takes([self.at(first).vector(inner)?])
            }
        })
    }

    fn once(&self, first: Grid) -> Node {
        Node {
            push_downs: vec![PushDown::EvaluatedOnce],
            grid: Some(steps(first)),
            ..new_node("invariant", "")
        }
    }

    fn instant(
        &self,
        kind: &'static str,
        matchers: &[Matcher],
        shift: Shift,
        without_buckets: bool,
    ) -> Result<Node> {
        let windows = self.evaluator.windows(self.context().lookback_ms, shift);
        let needed = self.evaluator.needed(&windows, without_buckets);
        let node = self.selecting(new_node(kind, ""), matchers, &windows, needed)?;
        Ok(if without_buckets { node.with(PushDown::WithoutBuckets) } else { node })
    }

    /// A node that looks beyond the edges of its windows.
    fn widened(
        &self,
        node: Node,
        matchers: &[Matcher],
        windows: &Windows,
        edges: Edges,
        without_buckets: bool,
    ) -> Result<Described> {
        let needed = super::windowed::needed(&self.evaluator, windows.range_ms, windows.shift, edges);
        let node = self.selecting(node, matchers, windows, needed)?;
        Ok(if without_buckets { node.with(PushDown::WithoutBuckets) } else { node }.takes([]))
    }

    fn selecting(
        &self,
        mut node: Node,
        matchers: &[Matcher],
        windows: &Windows,
        needed: TimeRange,
    ) -> Result<Node> {
        let snapshot = self.context().snapshot;
        let estimate = snapshot.estimate(matchers, needed)?;
        let mut each = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            let series_estimated = snapshot.estimate(std::slice::from_ref(matcher), needed)?.series;
            each.push(MatcherEstimate { matcher: matcher_text(matcher), series_estimated });
        }
        node.selection = Some(Selection {
            matchers: each,
            series_estimated: estimate.series,
            series_estimated_max: estimate.series_max,
            range_ns: (needed.start, needed.end),
            window_ms: windows.range_ms,
            offset_ms: windows.shift.offset_ms,
            at_ms: windows.shift.at_ms,
        });
        Ok(node)
    }

    /// A function of windows, with its scalar arguments as inputs behind the range.
    fn windowed(
        &self,
        kind: &'static str,
        name: &str,
        range: &'q RangePlan,
        params: impl IntoIterator<Item = Described>,
    ) -> Result<Described> {
        let Described { node, reads } = self.range(range)?;
        let node = Node { kind, operation: name.to_owned(), ..node };
        let params = node_with_params(node, params);
        Ok(Described { reads: reads.plus(params.reads), ..params })
    }

    /// A range vector.
    fn range(&self, plan: &'q RangePlan) -> Result<Described> {
        let windows = self.evaluator.windows(plan.range_ms, plan.shift);
        let described = match &plan.input {
            RangeInput::Series(matchers) => {
                let needed = self.evaluator.needed(&windows, plan.without_buckets);
                let node = self.selecting(new_node("select", "range"), matchers, &windows, needed)?;
                if plan.without_buckets { node.with(PushDown::WithoutBuckets) } else { node }.takes([])
            }
            RangeInput::Subquery { plan: inner, step_ms } => {
                let grid = self.evaluator.grid.subquery(plan.range_ms, plan.shift, *step_ms);
                let inside = Node { grid: Some(steps(grid)), ..new_node("subquery", "") };
                let subquery = inside.takes([self.at(grid).vector(inner)?]);
                new_node("range", "").takes([subquery])
            }
        };
        Ok(measure(described, self.context().usage.spent(node_id(plan))))
    }

    fn map(&self, input: &'q VectorPlan, op: &'q MapOp) -> Result<Described> {
        let input = self.piped(input)?;
        Ok(match op {
            MapOp::Negate => new_node("map", "-").takes([input]),
            MapOp::Math(math) => {
                new_node("map", name_of(|name| Math::from_name(name) == Some(*math))).takes([input])
            }
            MapOp::Clamp { min, max } => {
                new_node("map", "clamp").takes([input, self.scalar(min)?, self.scalar(max)?])
            }
            MapOp::ClampMin(min) => new_node("map", "clamp_min").takes([input, self.scalar(min)?]),
            MapOp::ClampMax(max) => new_node("map", "clamp_max").takes([input, self.scalar(max)?]),
            MapOp::Round(nearest) => new_node("map", "round").takes([input, self.scalar(nearest)?]),
            MapOp::Date(part) => {
                new_node("map", name_of(|name| DatePart::from_name(name) == Some(*part))).takes([input])
            }
            MapOp::StepTime => new_node("map", "timestamp").takes([input]),
            MapOp::Statistic(statistic) => {
                new_node("map", name_of(|name| Statistic::from_name(name) == Some(*statistic))).takes([input])
            }
            MapOp::StartTime { .. } => new_node("map", "start_timestamp").takes([input]),
            MapOp::Binary { op, scalar, scalar_on_left, return_bool, .. } => {
                let scalar = self.scalar(scalar)?;
                let operation = format!("{op}{}", if *return_bool { " bool" } else { "" });
                let inputs = if *scalar_on_left { [scalar, input] } else { [input, scalar] };
                new_node("map", operation).takes(inputs)
            }
        })
    }

    fn aggregate(&self, plan: &'q AggregatePlan) -> Result<Described> {
        let by = GroupBy(&plan.grouping);
        let (name, param) = match &plan.kind {
            AggregateKind::Fold(op) => {
                let node = new_node("aggregate", format!("{}{by}", fold_text(*op)));
                let node = node.with(PushDown::WithoutRows);
                let node = if plan.grouping.without { node } else { node.with(PushDown::NeededLabels) };
                return Ok(node.takes([self.piped(&plan.input)?]));
            }
            AggregateKind::Rank { bottom, k } => (if *bottom { "bottomk" } else { "topk" }, Some(k)),
            AggregateKind::Quantile { quantile, .. } => ("quantile", Some(quantile)),
            AggregateKind::CountValues { .. } => ("count_values", None),
            AggregateKind::Limit { k } => ("limitk", Some(k)),
            AggregateKind::LimitRatio { ratio, .. } => ("limit_ratio", Some(ratio)),
        };
        let mut inputs = vec![self.vector(&plan.input)?];
        if let Some(param) = param {
            inputs.push(self.scalar(param)?);
        }
        Ok(new_node("aggregate", format!("{name}{by}")).takes(inputs))
    }

    fn scalar(&self, plan: &'q ScalarPlan) -> Result<Described> {
        on_enough_stack(|| self.describe_scalar(plan))
    }

    fn describe_scalar(&self, plan: &'q ScalarPlan) -> Result<Described> {
        Ok(match plan {
            ScalarPlan::Constant(value) => constant(value.to_string()).takes([]),
            ScalarPlan::Time => new_node("time", "").takes([]),
            ScalarPlan::Of(vector) => new_node("scalar", "").takes([self.vector(vector)?]),
            ScalarPlan::Negate(input) => new_node("calculate", "-").takes([self.scalar(input)?]),
            ScalarPlan::Binary { op, lhs, rhs } => {
                new_node("calculate", op.as_str()).takes([self.scalar(lhs)?, self.scalar(rhs)?])
            }
            ScalarPlan::Extreme { largest, lhs, rhs } => {
                let name = if *largest { "max_of" } else { "min_of" };
                new_node("calculate", name).takes([self.scalar(lhs)?, self.scalar(rhs)?])
            }
            ScalarPlan::Invariant(inner) => {
                let first = self.evaluator.grid.first();
                self.once(first).takes([self.at(first).scalar(inner)?])
            }
        })
    }
}

impl Node {
    fn with(mut self, push_down: PushDown) -> Self {
        self.push_downs.push(push_down);
        self
    }

    fn named(self, operation: &str) -> Self {
        Self { operation: operation.to_owned(), ..self }
    }
}

fn node_with_params(mut node: Node, params: impl IntoIterator<Item = Described>) -> Described {
    let mut inputs = std::mem::take(&mut *node.inputs);
    let mut described = node.takes(params);
    inputs.append(&mut described.node.inputs);
    *described.node.inputs = inputs;
    described
}

/// Adds what the evaluation of a node took. What it read besides its inputs was read by the source of its pipeline.
fn measure(mut described: Described, spent: Option<Spent>) -> Described {
    let Some(Spent { runs, time, rows, reads }) = spent else { return described };
    described.node.measured = Some(Measured { runs, time, rows });
    let own = reads.minus(described.reads);
    if own != Reads::default() {
        described.node.source().reads = Some(own);
    }
    Described { reads, ..described }
}

/// The function of which `is_it` is true.
fn name_of(is_it: impl Fn(&str) -> bool) -> &'static str {
    SIGNATURES.iter().map(|signature| signature.name).find(|name| is_it(name)).unwrap_or_default()
}

fn matcher_text(matcher: &Matcher) -> String {
    format!("{}{}{}", matcher.name(), matcher.op().as_str(), Quoted(matcher.value()))
}

fn set_text(op: SetOp) -> &'static str {
    match op {
        SetOp::And => "and",
        SetOp::Or => "or",
        SetOp::Unless => "unless",
    }
}

fn fold_text(op: FoldOp) -> &'static str {
    match op {
        FoldOp::Sum => "sum",
        FoldOp::Avg => "avg",
        FoldOp::Count => "count",
        FoldOp::Min => "min",
        FoldOp::Max => "max",
        FoldOp::Group => "group",
        FoldOp::Stddev => "stddev",
        FoldOp::Stdvar => "stdvar",
    }
}
