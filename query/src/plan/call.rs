//! Planning of function calls.

use std::sync::Arc;

use timberline_engine::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Pattern, PatternError};

use super::build::{Builder, Built, is_no_label_name, mistyped, selector_matchers, string, unparen, within};
use super::{DatePart, MapOp, Math, Rollup, RollupPlan, ScalarPlan, VectorPlan};
use crate::ast::{Call, Expr, Span};
use crate::deep::Deep;
use crate::error::{QueryError, Result};
use crate::exec::Statistic;
use crate::template::Template;

impl Builder<'_> {
    pub(super) fn scalar_call(&self, call: &Call) -> Result<Built<ScalarPlan>> {
        match call.function.name {
            "pi" => Ok(Built::new(ScalarPlan::Constant(std::f64::consts::PI), true)),
            "time" => Ok(Built::new(ScalarPlan::Time, false)),
            "start" => Ok(self.constant_seconds(self.bounds.start_ms)),
            "end" => Ok(self.constant_seconds(self.bounds.end_ms)),
            "step" => Ok(self.constant_seconds(self.bounds.step_ms)),
            "range" => Ok(self.constant_seconds(self.bounds.range_ms())),
            "min_of" | "max_of" => self.extreme(call),
            "scalar" => {
                let input = self.vector(argument(call, 0)?)?;
                Ok(Built::new(ScalarPlan::Of(Deep::new(input.plan)), input.invariant))
            }
            _ => Err(unsupported(call)),
        }
    }

    pub(super) fn vector_call(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let name = call.function.name;
        if let Some(function) = Rollup::from_name(name) {
            return self.rollup(function, call);
        }
        if let Some(math) = Math::from_name(name) {
            return self.map(argument(call, 0)?, MapOp::Math(math));
        }
        if let Some(part) = DatePart::from_name(name) {
            return self.date(part, call);
        }
        if let Some(statistic) = Statistic::from_name(name) {
            let builder =
                if statistic.needs_no_buckets() { self.without_buckets() } else { self.with_buckets() };
            return builder.map(argument(call, 0)?, MapOp::Statistic(statistic));
        }
        match name {
            "absent" => self.absent(call),
            "absent_over_time" => self.absent_over_time(call),
            "clamp" | "clamp_min" | "clamp_max" | "round" => self.bounded(call),
            "histogram_fraction" => self.with_buckets().histogram_fraction(call),
            "histogram_quantile" => self.with_buckets().histogram_quantile(call),
            "histogram_quantiles" => self.with_buckets().histogram_quantiles(call),
            "double_exponential_smoothing" | "ema_over_time" => self.smoothing(call),
            "info" => self.info(call),
            "sort_by_label" | "sort_by_label_desc" => self.sort_by_label(call),
            "start_timestamp" => self.start_timestamp(call),
            "label_join" => self.label_join(call),
            "label_replace" => self.label_replace(call),
            "sort" | "sort_desc" => {
                let input = self.vector(argument(call, 0)?)?;
                let (input_plan, descending) = (Deep::new(input.plan), name == "sort_desc");
                let plan = VectorPlan::Sort { input: input_plan, descending, span: call.span };
                Ok(Built::new(plan, input.invariant))
            }
            "timestamp" => self.timestamp(call),
            "vector" => {
                let input = self.scalar(argument(call, 0)?)?;
                Ok(Built::new(VectorPlan::FromScalar(input.plan), input.invariant))
            }
            _ => Err(unsupported(call)),
        }
    }

    fn map(&self, input: &Expr, op: MapOp) -> Result<Built<VectorPlan>> {
        let input = self.vector(input)?;
        Ok(Built::new(VectorPlan::Map { input: Deep::new(input.plan), op }, input.invariant))
    }

    fn rollup(&self, function: Rollup, call: &Call) -> Result<Built<VectorPlan>> {
        let (range_at, param_at) = match function {
            Rollup::Quantile => (1, Some(0)),
            Rollup::PredictLinear => (0, Some(1)),
            _ => (0, None),
        };
        let range_expr = argument(call, range_at)?;
        if let Some(extended) = self.extended(function, range_expr, call)? {
            return Ok(extended);
        }
        let range = self.range(range_expr)?;
        let mut invariant = range.invariant && !function.uses_step_time();
        let (mut param, mut param_span) = (None, Span::default());
        if let Some(at) = param_at {
            let expr = argument(call, at)?;
            let scalar = self.scalar(expr)?;
            invariant &= scalar.invariant;
            param_span = expr.span();
            param = Some(Deep::new(within(scalar, invariant)));
        }
        let plan = RollupPlan { function, range: range.plan, param, param_span };
        Ok(Built::new(VectorPlan::Rollup(plan), invariant))
    }

    fn date(&self, part: DatePart, call: &Call) -> Result<Built<VectorPlan>> {
        let input = match call.args.first() {
            // Without an argument it is the date of the step.
            None => VectorPlan::FromScalar(ScalarPlan::Time),
            Some(expr) => {
                let input = self.vector(expr)?;
                within(input, false)
            }
        };
        Ok(Built::new(VectorPlan::Map { input: Deep::new(input), op: MapOp::Date(part) }, false))
    }

    fn timestamp(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let expr = argument(call, 0)?;
        if let Expr::Selector(selector) = unparen(expr) {
            let shift = self.shift(&selector.offset, selector.at)?;
            let plan = VectorPlan::SelectTimestamps { matchers: selector.matchers.clone(), shift };
            return Ok(Built::new(plan, shift.at_ms.is_some()));
        }
        let input = Deep::new(within(self.vector(expr)?, false));
        Ok(Built::new(VectorPlan::Map { input, op: MapOp::StepTime }, false))
    }

    /// `clamp`, `clamp_min`, `clamp_max` and `round`: a vector and scalars.
    fn bounded(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input = self.vector(argument(call, 0)?)?;
        let mut scalars = Vec::new();
        for expr in &call.args[1..] {
            scalars.push(self.scalar(expr)?);
        }
        let invariant = input.invariant && scalars.iter().all(|s| s.invariant);
        let mut scalars = scalars.into_iter().map(|scalar| within(scalar, invariant));
        let mut next = || scalars.next().ok_or_else(|| mistyped("scalar"));
        let op = match call.function.name {
            "clamp" => MapOp::Clamp { min: next()?, max: next()? },
            "clamp_min" => MapOp::ClampMin(next()?),
            "clamp_max" => MapOp::ClampMax(next()?),
            _ => MapOp::Round(next().unwrap_or(ScalarPlan::Constant(1.0))),
        };
        Ok(Built::new(VectorPlan::Map { input: Deep::new(within(input, invariant)), op }, invariant))
    }

    fn absent(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let expr = argument(call, 0)?;
        let input = self.vector(expr)?;
        let labels = absent_labels(selector_matchers(expr))?;
        Ok(Built::new(VectorPlan::Absent { input: Deep::new(input.plan), labels }, input.invariant))
    }

    fn absent_over_time(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let labels = absent_labels(selector_matchers(argument(call, 0)?))?;
        let input = self.rollup(Rollup::Present, call)?;
        Ok(Built::new(VectorPlan::Absent { input: Deep::new(input.plan), labels }, input.invariant))
    }

    fn histogram_fraction(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input_expr = argument(call, 2)?;
        let (lower, upper) = (self.scalar(argument(call, 0)?)?, self.scalar(argument(call, 1)?)?);
        let input = self.vector(input_expr)?;
        let invariant = lower.invariant && upper.invariant && input.invariant;
        let plan = VectorPlan::HistogramFraction {
            lower: within(lower, invariant),
            upper: within(upper, invariant),
            input: Deep::new(within(input, invariant)),
            input_span: input_expr.span(),
        };
        Ok(Built::new(plan, invariant))
    }

    fn histogram_quantile(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let (quantile_expr, input_expr) = (argument(call, 0)?, argument(call, 1)?);
        let (quantile, input) = (self.scalar(quantile_expr)?, self.vector(input_expr)?);
        let invariant = quantile.invariant && input.invariant;
        let plan = VectorPlan::HistogramQuantile {
            quantile: within(quantile, invariant),
            quantile_span: quantile_expr.span(),
            input: Deep::new(within(input, invariant)),
            input_span: input_expr.span(),
        };
        Ok(Built::new(plan, invariant))
    }

    fn label_replace(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let Built { plan: input, invariant } = self.vector(argument(call, 0)?)?;
        let text = |at| string(argument(call, at)?);
        let (target, replacement, source, pattern) = (text(1)?, text(2)?, text(3)?, text(4)?);
        let pattern = Pattern::with_groups(&pattern, self.budget).map_err(|error| match error {
            PatternError::Limit { name, limit, got, .. } => QueryError::Limit { name, limit, got },
            error => QueryError::execution(format!(
                "invalid regular expression in label_replace(): {pattern}: {error}"
            )),
        })?;
        let replacement = Template::new(&replacement, pattern.group_names());
        if is_no_label_name(argument(call, 1)?) {
            let message = format!("invalid destination label name in label_replace(): {target}");
            return Err(QueryError::execution(message));
        }
        let (input, pattern) = (Deep::new(input), Arc::new(pattern));
        let plan = VectorPlan::LabelReplace { input, target, replacement, source, pattern };
        Ok(Built::new(plan, invariant))
    }

    fn label_join(&self, call: &Call) -> Result<Built<VectorPlan>> {
        let input = self.vector(argument(call, 0)?)?;
        let (target, separator) = (string(argument(call, 1)?)?, string(argument(call, 2)?)?);
        let sources = call.args[3..].iter().map(string).collect::<Result<Vec<_>>>()?;
        let wrong = |what: &str, name: &str| {
            Err(QueryError::execution(format!("invalid {what} label name in label_join(): {name}")))
        };
        if let Some(at) = call.args[3..].iter().position(is_no_label_name) {
            return wrong("source", &sources[at]);
        }
        if is_no_label_name(argument(call, 1)?) {
            return wrong("destination", &target);
        }
        let plan = VectorPlan::LabelJoin { input: Deep::new(input.plan), target, separator, sources };
        Ok(Built::new(plan, input.invariant))
    }
}

/// The labels that a missing series would have had: those with exactly one matcher, an `=`.
fn absent_labels(matchers: Option<&[Matcher]>) -> Result<Labels> {
    let mut labels = LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.unwrap_or_default().iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    Ok(labels.build()?)
}

pub(super) fn argument(call: &Call, at: usize) -> Result<&Expr> {
    let name = call.function.name;
    call.args.get(at).ok_or_else(|| {
        QueryError::execution(format!("expected at least {} argument(s) in call to {name:?}", at + 1))
    })
}

fn unsupported(call: &Call) -> QueryError {
    QueryError::execution(format!("function {} is not supported", call.function.name))
}

#[cfg(test)]
mod tests {
    use super::super::{Bounds, Plan, build};
    use super::*;
    use crate::ast::ValueType;
    use crate::signature::SIGNATURES;
    use timberline_engine::Budget;

    fn plan(text: &str) -> Result<Plan> {
        let bounds = Bounds { start_ms: 1000, end_ms: 9000, step_ms: 1000, subquery_step_ms: 60_000 };
        build(&crate::parse(text).unwrap(), bounds, &Budget::unlimited())
    }

    #[test]
    fn every_function_has_a_plan() {
        for signature in SIGNATURES {
            let args: Vec<&str> = signature
                .args
                .iter()
                .map(|arg| match arg {
                    ValueType::Scalar => "1",
                    ValueType::Vector => "x",
                    ValueType::Matrix => "x[5m]",
                    ValueType::String => "\"a\"",
                })
                .collect();
            let args = if signature.name == "info" { "x, {a=\"b\"}".to_owned() } else { args.join(", ") };
            let text = format!("{}({args})", signature.name);
            assert!(plan(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn constants_are_folded() {
        assert!(matches!(plan("-(1 + 2 * pi()) < bool 0"), Ok(Plan::Scalar(ScalarPlan::Constant(1.0)))));
    }

    #[test]
    fn what_does_not_depend_on_the_step_is_evaluated_once() {
        let invariant = |text: &str| matches!(plan(text), Ok(Plan::Vector(VectorPlan::Invariant(_))));
        for text in ["x @ 5", "rate(x[5m] @ end())", "sum(x @ start()) + vector(1)", "vector(2)"] {
            assert!(invariant(text), "{text}");
        }
        for text in [
            "x",
            "x @ 5 + x",
            "predict_linear(x[5m] @ 5, 1)",
            "hour()",
            "quantile_over_time(time(), x[5m] @ 5)",
        ] {
            assert!(!invariant(text), "{text}");
        }
        let Ok(Plan::Vector(VectorPlan::Binary(binary))) = plan("x @ end() + x") else {
            panic!("not a binary")
        };
        let VectorPlan::Invariant(lhs) = &*binary.lhs else { panic!("not invariant") };
        assert!(matches!(**lhs, VectorPlan::Select { shift, .. } if shift.at_ms == Some(9000)));
    }

    #[test]
    fn buckets_are_read_where_they_matter() {
        let reads_all = |text: &str| !format!("{:?}", plan(text).unwrap()).contains("without_buckets: true");
        for text in [
            "histogram_count(x)",
            "histogram_avg(sum by (a) (rate(x[5m])))",
            "histogram_sum(x unless histogram_quantile(0.5, y) < 3)",
            "histogram_count(x smoothed)",
            "histogram_count(increase(x[5m] anchored))",
        ] {
            assert!(!reads_all(text), "{text}");
        }
        for text in [
            "x",
            "histogram_stddev(x)",
            "histogram_count(x </ 2)",
            "histogram_count(x == y)",
            "histogram_count(rate(x[5m:1m]))",
            "max_over_time(histogram_count(x)[5m:1m])",
            "histogram_sum(scalar(histogram_fraction(0, 1, x)) * vector(1))",
        ] {
            assert!(reads_all(text), "{text}");
        }
    }

    #[test]
    fn bad_label_arguments_are_refused() {
        let message = |text: &str| plan(text).unwrap_err().to_string();
        let text = r#"label_replace(x, "a", "$1", "b", "(")"#;
        assert!(message(text).starts_with("invalid regular expression in label_replace(): ("));
        assert!(
            message(r#"label_replace(x, "", "", "b", "")"#).starts_with("invalid destination label name")
        );
        assert!(
            message(r#"label_join(x, "a", "-", "")"#)
                .starts_with("invalid source label name in label_join()")
        );
        assert_eq!(message(r#"count_values("", x)"#), "invalid label name \"\"");
        assert_eq!(message(r#"count_values("a\xc5z", x)"#), r#"invalid label name "a\xc5z""#);
        assert!(message(r#"label_join(x, "\xff", "-", "a")"#).starts_with("invalid destination label name"));
    }
}
