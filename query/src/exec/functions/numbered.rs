//! Labels whose values are numbers.

use hashbrown::HashMap;

use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::row::{ABSENT, Row, is_present};

/// Sets `label` to the number of each step. Rows whose steps have different numbers become several, in the worst case as many as
/// there are steps, so each is charged before it takes memory.
pub(in crate::exec) fn label_with_numbers(
    context: &Context<'_>,
    rows: Vec<Row>,
    label: &str,
    numbers: &[f64],
) -> Result<Vec<Row>> {
    let mut results: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let mut known: HashMap<u64, usize, foldhash::fast::RandomState> = HashMap::default();
        for (step, (&value, number)) in row.values.iter().zip(numbers).enumerate() {
            if !is_present(value) {
                continue;
            }
            let place = match known.get(&number.to_bits()) {
                Some(&place) => place,
                None => {
                    context.check()?;
                    context.charge_points(1, row.values.len())?;
                    let labels = row.labels.to_builder().set(label, &open_metrics_float(*number)).build()?;
                    let values = vec![ABSENT; row.values.len()];
                    results.push(Row { labels, drop_name: row.drop_name, values });
                    known.insert(number.to_bits(), results.len() - 1);
                    results.len() - 1
                }
            };
            results[place].values[step] = value;
        }
    }
    Ok(results)
}

/// A number as the OpenMetrics text format writes it: always with a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = crate::exec::annotations::go_number(value);
    let is_plain = value.is_finite() && !text.contains(['e', '.']);
    if is_plain { text + ".0" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_a_point() {
        let values = [0.0, 1.0, 0.25, -1.0, f64::NAN, f64::INFINITY, 1e-9];
        assert_eq!(values.map(open_metrics_float), ["0.0", "1.0", "0.25", "-1.0", "NaN", "+Inf", "1e-09"]);
    }
}
