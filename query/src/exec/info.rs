//! `info(v, {…})`: each series of `v` gets the labels of the info series that describe the same target.
//!
//! Info series are metrics whose labels are the message, such as `target_info`. They meet a series of `v` when `instance` and
//! `job` are equal, and per step the newest one of a metric counts, so labels may change over time.

use hashbrown::HashMap;
use timberline_engine::{KnownTimes, Labels, METRIC_NAME, MatchOp, Matcher, Samples, is_stale};

use super::context::Context;
use super::eval::Evaluator;
use super::finish;
use super::row::{ABSENT, Row, format_labels, is_present, write_key};
use super::select;
use super::usage::HeldSamples;
use crate::error::{QueryError, Result};
use crate::plan::InfoPlan;

/// The labels that tell targets apart.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// An info series, and per step the time of its newest sample in nanoseconds.
struct Info {
    labels: Labels,
    newest: Vec<Option<i64>>,
}

/// Per step, which info series of a metric tells of one target: that with the newest sample.
type Target = Vec<Option<usize>>;

pub(super) fn evaluate<'q>(evaluator: &Evaluator<'q>, plan: &'q InfoPlan) -> Result<Vec<Row>> {
    let base = evaluator.rows(&plan.input)?;
    let is_info =
        |row: &Row| plan.names.iter().all(|m| m.matches(row.labels.metric_name().unwrap_or_default()));
    let enriched: Vec<&Row> = base.iter().filter(|row| !is_info(row)).collect();
    let infos = Infos::read(evaluator, plan, &enriched)?;
    let mut results = Vec::with_capacity(base.len());
    for row in &base {
        evaluator.context.check()?;
        if is_info(row) {
            results.push(row.clone());
        } else {
            infos.enrich(evaluator.context, row, plan, &mut results)?;
        }
    }
    finish::merge(evaluator.context.cancel(), results)
}

fn identity(labels: &Labels, name: &str) -> Vec<u8> {
    let mut key = Vec::from(name.as_bytes());
    key.push(0xff);
    write_key(labels, &mut key, |name| IDENTIFYING.contains(&name));
    key
}

struct Infos {
    series: Vec<Info>,
    /// By metric name and identifying labels.
    targets: HashMap<Vec<u8>, Target, foldhash::fast::RandomState>,
    /// The names of the info metrics.
    names: Vec<String>,
}

impl Infos {
    /// Reads the info series about the targets of `rows`.
    fn read(evaluator: &Evaluator<'_>, plan: &InfoPlan, rows: &[&Row]) -> Result<Self> {
        let mut infos = Self { series: Vec::new(), targets: HashMap::default(), names: Vec::new() };
        let identifying = identifying_matchers(rows)?;
        if identifying.is_empty() {
            return Ok(infos);
        }
        let matchers: Vec<Matcher> =
            plan.names.iter().chain(&plan.data).cloned().chain(identifying).collect();
        let windows = evaluator.windows(evaluator.context.lookback_ms, plan.shift);
        let series = evaluator.context.select(&matchers, windows.needed())?;
        evaluator.context.charge_points(series.len(), evaluator.grid.steps)?;
        let read = |(samples, held): &mut (Samples, HeldSamples), at: usize| {
            let series = &series[at];
            evaluator.context.check()?;
            select::read(evaluator.context, series, &mut KnownTimes::default(), samples, held)?;
            if !samples.histograms.is_empty() {
                let series = super::row::format_labels(series.labels());
                let message = format!("this should be an info metric, with float samples: {series}");
                return Err(QueryError::execution(message));
            }
            let mut newest = vec![None; evaluator.grid.steps];
            windows.walk(&samples.timestamps, |w| {
                let at = w.hi - 1;
                newest[w.step] = (!is_stale(samples.values[at])).then_some(samples.timestamps[at]);
            });
            Ok(Info { labels: series.labels().clone(), newest })
        };
        infos.series = evaluator.context.threads.map(series.len(), Default::default, read)?;
        for (at, info) in infos.series.iter().enumerate() {
            let name = info.labels.metric_name().unwrap_or_default();
            if !infos.names.iter().any(|known| known == name) {
                infos.names.push(name.to_owned());
            }
            let steps = evaluator.grid.steps;
            let target =
                infos.targets.entry(identity(&info.labels, name)).or_insert_with(|| vec![None; steps]);
            add_to_target(target, at, &infos.series)?;
        }
        infos.names.sort_unstable();
        Ok(infos)
    }

    /// The row with the labels of its info series: several rows when they change over time.
    fn enrich(
        &self,
        context: &Context<'_>,
        row: &Row,
        plan: &InfoPlan,
        results: &mut Vec<Row>,
    ) -> Result<()> {
        let targets: Vec<&Target> =
            self.names.iter().filter_map(|name| self.targets.get(&identity(&row.labels, name))).collect();
        let begin = results.len();
        let mut last: Option<(Vec<usize>, Option<usize>)> = None;
        for (step, &value) in row.values.iter().enumerate().filter(|(_, value)| is_present(**value)) {
            let found: Vec<usize> = targets.iter().filter_map(|target| target[step]).collect();
            let place = match &last {
                Some((known, place)) if *known == found => *place,
                _ => {
                    let labels = self.joined_labels(row, &found, plan)?;
                    let place = match labels {
                        Some(labels) => Some(place_of(context, &mut *results, begin, row, labels)?),
                        None => None,
                    };
                    last = Some((found, place));
                    place
                }
            };
            if let Some(place) = place {
                results[place].values[step] = value;
            }
        }
        Ok(())
    }

    /// The labels of the row and of its info series; none when a matcher asks for a label and there is no info series.
    fn joined_labels(&self, row: &Row, found: &[usize], plan: &InfoPlan) -> Result<Option<Labels>> {
        if found.is_empty() {
            return Ok(plan.data.iter().all(Matcher::matches_empty).then(|| row.labels.clone()));
        }
        let mut joined: Vec<(&str, &str)> = Vec::new();
        for &at in found {
            for (name, value) in self.series[at].labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
                if !plan.data.is_empty() && !plan.data.iter().any(|matcher| matcher.name() == name) {
                    continue;
                }
                match joined.iter().find(|(known, _)| *known == name) {
                    Some((_, known)) if *known != value => {
                        return Err(QueryError::execution(format!("conflicting label: {name}")));
                    }
                    Some(_) => {}
                    None => joined.push((name, value)),
                }
            }
        }
        let mut builder = row.labels.to_builder();
        for (name, value) in joined {
            if row.labels.get(name).is_none() {
                builder.set(name, value);
            }
        }
        Ok(Some(builder.build()?))
    }
}

/// Lets the info series `at` tell of the target where it is the newest, or fails where another one is as new.
fn add_to_target(target: &mut Target, at: usize, series: &[Info]) -> Result<()> {
    let info = &series[at];
    for (step, known) in target.iter_mut().enumerate() {
        let Some(time) = info.newest[step] else { continue };
        match known.map(|known| (known, series[known].newest[step])) {
            Some((other, Some(newest))) if newest == time => {
                let ms = time.div_euclid(1_000_000);
                let (other, labels) = (format_labels(&series[other].labels), format_labels(&info.labels));
                return Err(QueryError::execution(format!(
                    "found duplicate series for info metric: existing {other} @ {ms}, new {labels} @ {ms}"
                )));
            }
            Some((_, Some(newest))) if newest > time => {}
            _ => *known = Some(at),
        }
    }
    Ok(())
}

/// The row in `results[begin..]` with these labels, a new one if there is none.
fn place_of(
    context: &Context<'_>,
    results: &mut Vec<Row>,
    begin: usize,
    row: &Row,
    labels: Labels,
) -> Result<usize> {
    if let Some(known) = results[begin..].iter().position(|result| result.labels == labels) {
        return Ok(begin + known);
    }
    context.charge_points(1, row.values.len())?;
    results.push(Row { labels, drop_name: row.drop_name, values: vec![ABSENT; row.values.len()] });
    Ok(results.len() - 1)
}

/// Matchers of the identifying labels that any of the rows has, with the values that they have.
fn identifying_matchers(rows: &[&Row]) -> Result<Vec<Matcher>> {
    let mut matchers = Vec::new();
    for label in IDENTIFYING {
        let mut values: Vec<&str> = rows.iter().filter_map(|row| row.labels.get(label)).collect();
        values.sort_unstable();
        values.dedup();
        if values.is_empty() {
            continue;
        }
        let pattern = values.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|");
        let matcher = Matcher::new(label, MatchOp::Regex, pattern);
        matchers.push(matcher.map_err(|error| QueryError::execution(error.to_string()))?);
    }
    Ok(matchers)
}
