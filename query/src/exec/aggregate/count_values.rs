//! `count_values`: how many samples of a group have each value.

use hashbrown::HashMap;
use timberline_engine::Labels;
use timberline_engine::histogram::cell;

use super::groups::keeps;
use crate::ast::Grouping;
use crate::error::Result;
use crate::exec::eval::Evaluator;
use crate::exec::row::{ABSENT, Row, is_absent, is_present};
use crate::histogram::describe;

/// Counts equal values. The results have the group's labels and `label`, whose value is the counted value.
pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    rows: &[Row],
    label: &str,
    grouping: &Grouping,
) -> Result<Vec<Row>> {
    // At least so much, mostly: each row has a value of its own.
    evaluator.context.charge_kept_bytes(label.len().saturating_mul(rows.len()))?;
    let mut results: Vec<Row> = Vec::new();
    let mut by_labels: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    for row in rows {
        evaluator.context.check()?;
        // Where in `results` each value of this row is counted.
        let mut by_value: HashMap<u64, usize, foldhash::fast::RandomState> = HashMap::default();
        for (step, &value) in row.values.iter().enumerate().filter(|(_, value)| is_present(**value)) {
            let at = match by_value.get(&canonical_bits(value)) {
                Some(&at) => at,
                None => {
                    let text = match evaluator.context.histogram(value) {
                        Some(histogram) => describe(histogram),
                        None => format_value(value),
                    };
                    let labels = result_labels(&row.labels, label, &text, grouping)?;
                    let next = results.len();
                    let at = *by_labels.entry(labels.clone()).or_insert(next);
                    if at == next {
                        evaluator.context.charge_points(1, row.values.len())?;
                        evaluator.context.charge_kept_bytes(labels.as_packed().len())?;
                        results.push(Row {
                            labels,
                            drop_name: false,
                            values: vec![ABSENT; row.values.len()],
                        });
                    }
                    by_value.insert(canonical_bits(value), at);
                    at
                }
            };
            let result = &mut results[at];
            result.drop_name |= row.drop_name;
            let count = &mut result.values[step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
    Ok(results)
}

/// Equal for values that print alike.
fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() && !cell::is_histogram(value) { f64::NAN.to_bits() } else { value.to_bits() }
}

fn result_labels(labels: &Labels, label: &str, value: &str, grouping: &Grouping) -> Result<Labels> {
    let mut builder = labels.to_builder();
    builder.set(label, value);
    builder.retain(|name| (!grouping.without && name == label) || keeps(grouping, name));
    Ok(builder.build()?)
}

/// The shortest decimal that reads back as `value`, without an exponent.
fn format_value(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_prometheus() {
        let values = [6.0, 0.1, 1e21, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        let expected = ["6", "0.1", "1000000000000000000000", "NaN", "+Inf", "-Inf", "-0"];
        assert_eq!(values.map(format_value), expected);
    }
}
