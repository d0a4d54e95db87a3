//! `info`: what info metrics tell of the target of a series.

use timberline_engine::Labels;
use timberline_query::ast::{Call, Expr, VectorSelector};

use crate::data::Series;
use crate::model::{LOOKBACK_MS, Model, Result, Sample, Step, newest_within, unwrapped};

fn target(labels: &Labels) -> [&str; 2] {
    ["instance", "job"].map(|name| labels.get(name).unwrap_or_default())
}

impl Model<'_> {
    /// Per step and metric, the series with the newest sample tells of a target. The input has no `offset` and no `@`.
    pub(crate) fn info(&self, call: &Call, step: Step) -> Result<Vec<Sample>> {
        let selector = match call.args.get(1).map(unwrapped) {
            Some(Expr::Selector(selector)) => Some(selector),
            _ => None,
        };
        let matchers = selector.map_or(&[][..], |VectorSelector { matchers, .. }| matchers);
        let names: Vec<_> = matchers.iter().filter(|matcher| matcher.name() == "__name__").collect();
        let data: Vec<_> = matchers.iter().filter(|matcher| matcher.name() != "__name__").collect();
        let is_info = |labels: &Labels| {
            let name = labels.metric_name().unwrap_or_default();
            let is_positive = names.iter().any(|matcher| ["=", "=~"].contains(&matcher.op().as_str()));
            names.iter().all(|matcher| matcher.matches(name))
                && if names.is_empty() {
                    name == "target_info"
                } else {
                    is_positive || name.ends_with("_info")
                }
        };
        let mut newest: Vec<(i64, &Series)> = Vec::new();
        for series in self.series().iter().filter(|series| is_info(&series.labels)) {
            let value = |name| series.labels.get(name).unwrap_or_default();
            if !data.iter().all(|matcher| matcher.matches(value(matcher.name()))) {
                continue;
            }
            let Some(&(time, _)) = newest_within(&series.samples, step.now() - LOOKBACK_MS, step.now())
            else {
                continue;
            };
            let same = |(_, other): &&mut (i64, &Series)| {
                target(&other.labels) == target(&series.labels)
                    && other.labels.metric_name() == series.labels.metric_name()
            };
            match newest.iter_mut().find(same) {
                Some(known) if known.0 < time => *known = (time, series),
                Some(_) => {}
                None => newest.push((time, series)),
            }
        }
        let mut results = Vec::new();
        for sample in self.vector(&call.args[0], step)? {
            if is_info(&sample.labels) {
                results.push(sample);
                continue;
            }
            let found: Vec<&Labels> = newest
                .iter()
                .map(|(_, series)| &series.labels)
                .filter(|labels| target(labels) == target(&sample.labels))
                .collect();
            if found.is_empty() && !data.iter().all(|matcher| matcher.matches("")) {
                continue;
            }
            let mut labels = sample.labels.clone();
            for (name, value) in found.iter().flat_map(|labels| labels.iter()) {
                let wanted = data.is_empty() || data.iter().any(|matcher| matcher.name() == name);
                if wanted && labels.get(name).is_none() && name != "__name__" {
                    labels = labels.to_builder().set(name, value).build().expect("a label set");
                }
            }
            results.push(Sample { labels, ..sample });
        }
        Ok(results)
    }
}
